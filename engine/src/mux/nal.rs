//! H.264 and HEVC as they lie in MP4, NAL units behind their lengths, with the parameter sets that the
//! initialisation section announced; and as a transport stream has them, units behind start codes.
//!
//! On copy ffmpeg says nothing when a channel changes its picture size, or even its codec, in mid-stream:
//! the new pictures come out under the old configuration, with exit code 0. Only the samples tell.

use super::Sample;
use super::boxes::Fields;

/// Why a sample does not belong to its track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleFault {
    /// The lengths of its NAL units do not add up to its own.
    #[error("the lengths of the NAL units of a sample do not add up")]
    Torn,
    /// A key picture holds units that are not of this codec at all.
    #[error("a key picture is not of the codec that the track announced")]
    OtherCodec,
    /// The stream changed in mid-stream: the key picture needs another initialisation section.
    #[error("a key picture has another sequence parameter set than the track announced")]
    Changed,
}

/// What an `avcC` or `hvcC` box says about the samples that follow it.
#[derive(Clone, Debug)]
pub(super) struct NalConfig {
    family: Family,
    length_size: usize,
    /// All that a decoder has to know first, in the order of their use. Without the zero bytes that a
    /// transport stream may leave behind a unit, and none of them empty.
    parameter_sets: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Avc,
    Hevc,
}

const START_CODE: [u8; 4] = [0, 0, 0, 1];

impl Family {
    /// The unit's type, unless its first byte says that it is no unit.
    fn unit_type(self, first: u8) -> Option<u8> {
        let kind = match self {
            Family::Avc => first & 0x1f,
            Family::Hevc => first >> 1 & 0x3f,
        };
        (first & 0x80 == 0).then_some(kind)
    }

    fn sequence_set(self) -> u8 {
        match self {
            Family::Avc => 7,
            Family::Hevc => 33,
        }
    }

    /// The unit that opens every picture of a transport stream; this one says that slices of any type follow.
    fn delimiter(self) -> &'static [u8] {
        match self {
            Family::Avc => b"\x09\xf0",
            Family::Hevc => b"\x46\x01\x50",
        }
    }
}

impl NalConfig {
    pub(super) fn avc(avcc: &[u8]) -> Option<NalConfig> {
        let mut fields = Fields::new(avcc);
        fields.skip(4)?;
        let length_size = usize::from(fields.u8()? & 3) + 1;
        let mut parameter_sets = Vec::new();
        // The sequence sets, then the picture sets; the latter have all eight bits to count with.
        for mask in [0x1f, 0xff] {
            for _ in 0..fields.u8()? & mask {
                let length = fields.u16()?;
                parameter_sets.push(trimmed(fields.take(usize::from(length))?).to_vec());
            }
        }
        parameter_sets.retain(|set| !set.is_empty());
        Some(NalConfig { family: Family::Avc, length_size, parameter_sets })
    }

    pub(super) fn hevc(hvcc: &[u8]) -> Option<NalConfig> {
        let mut fields = Fields::new(hvcc);
        fields.skip(21)?;
        let length_size = usize::from(fields.u8()? & 3) + 1;
        let arrays = fields.u8()?;
        let mut parameter_sets = Vec::new();
        for _ in 0..arrays {
            let kind = fields.u8()? & 0x3f;
            for _ in 0..fields.u16()? {
                let length = fields.u16()?;
                let unit = fields.take(usize::from(length))?;
                // Video, sequence and picture sets; the messages that may stand here too are no parameters.
                if (32..=34).contains(&kind) {
                    parameter_sets.push(trimmed(unit).to_vec());
                }
            }
        }
        parameter_sets.retain(|set| !set.is_empty());
        Some(NalConfig { family: Family::Hevc, length_size, parameter_sets })
    }

    pub(super) fn family(&self) -> Family {
        self.family
    }

    /// Appends a sample the way a transport stream has it: a delimiter, before a key picture the parameter
    /// sets, then its units, each behind a start code. `None` if their lengths do not add up.
    pub(super) fn write_annex_b(&self, sample: &Sample, out: &mut Vec<u8>) -> Option<()> {
        let mut write = |unit: &[u8]| {
            out.extend_from_slice(&START_CODE);
            out.extend_from_slice(unit);
        };
        let delimiter = self.family.delimiter();
        write(delimiter);
        if sample.sync {
            self.parameter_sets.iter().for_each(|set| write(set));
        }
        if sample.data.is_empty() {
            return None;
        }
        let mut fields = Fields::new(&sample.data);
        while !fields.is_empty() {
            let unit = self.unit(&mut fields)?;
            // A copied stream may have both in its samples already.
            let is_delimiter = self.family.unit_type(unit[0]) == self.family.unit_type(delimiter[0]);
            let was_written = sample.sync && self.parameter_sets.iter().any(|set| set == trimmed(unit));
            if !is_delimiter && !was_written {
                write(unit);
            }
        }
        Some(())
    }

    /// Walks the units of a sample; in a key sample it also looks at what they are.
    pub(super) fn check(&self, sample: &Sample) -> Result<(), SampleFault> {
        if sample.data.is_empty() {
            return Err(SampleFault::Torn);
        }
        let mut fields = Fields::new(&sample.data);
        while !fields.is_empty() {
            let unit = self.unit(&mut fields).ok_or(SampleFault::Torn)?;
            if sample.sync {
                self.check_unit(unit)?;
            }
        }
        Ok(())
    }

    fn unit<'a>(&self, fields: &mut Fields<'a>) -> Option<&'a [u8]> {
        let length =
            fields.take(self.length_size)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        // Decoders refuse a unit of no bytes as they refuse one that is torn.
        if length == 0 { None } else { fields.take(length) }
    }

    fn check_unit(&self, unit: &[u8]) -> Result<(), SampleFault> {
        let first = unit.first().copied().unwrap_or_default();
        // What starts with a one bit is no NAL unit; MPEG-2 sequence headers do.
        let kind = self.family.unit_type(first).ok_or(SampleFault::OtherCodec)?;
        if kind == self.family.sequence_set() {
            let mut announced = self
                .parameter_sets
                .iter()
                .filter(|set| self.family.unit_type(set[0]) == Some(kind))
                .peekable();
            if announced.peek().is_some() && !announced.any(|set| set == trimmed(unit)) {
                return Err(SampleFault::Changed);
            }
        }
        Ok(())
    }
}

/// A parameter set ends with a one bit, so zero bytes behind it are padding.
fn trimmed(unit: &[u8]) -> &[u8] {
    let end = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &unit[..end]
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const SPS: &[u8] = b"\x67\x4d\x40\x0c\xec\xa0";
    const IDR: &[u8] = b"\x65\x88\x84";

    fn avcc() -> NalConfig {
        let mut bytes = b"\x01\x4d\x40\x0c\xff\xe1\0\x06".to_vec();
        bytes.extend_from_slice(SPS);
        bytes.extend_from_slice(b"\x01\0\x02\x68\xce");
        NalConfig::avc(&bytes).unwrap()
    }

    fn check(sync: bool, data: Vec<u8>) -> Result<(), SampleFault> {
        avcc().check(&Sample { dts: 0, pts: 0, duration: 1, sync, data: Bytes::from(data) })
    }

    fn annex_b(sync: bool, data: Vec<u8>) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let sample = Sample { dts: 0, pts: 0, duration: 1, sync, data: Bytes::from(data) };
        avcc().write_annex_b(&sample, &mut out).map(|()| out)
    }

    fn units(units: &[&[u8]]) -> Vec<u8> {
        units.iter().flat_map(|unit| [&(unit.len() as u32).to_be_bytes(), *unit].concat()).collect()
    }

    #[test]
    fn a_key_picture_with_the_announced_parameters_is_sound() {
        assert_eq!(check(true, units(&[b"\x09\xf0", SPS, b"\x68\xce", IDR])), Ok(()));
        assert_eq!(check(true, units(&[IDR])), Ok(()), "nothing has to be repeated in-band");
        assert_eq!(
            check(true, units(&[b"\x67\x4d\x40\x0c\xec\xa0\0\0", IDR])),
            Ok(()),
            "padding is no change"
        );
    }

    #[test]
    fn a_change_in_mid_stream_is_noticed_at_the_key_picture() {
        let other = b"\x67\x64\0\x1f\xac";
        assert_eq!(check(true, units(&[other, IDR])), Err(SampleFault::Changed));
        assert_eq!(check(false, units(&[other, IDR])), Ok(()));
    }

    #[test]
    fn another_codec_is_noticed() {
        assert_eq!(check(true, units(&[b"\xb3\x14\0\xf0"])), Err(SampleFault::OtherCodec));
    }

    #[test]
    fn lengths_that_do_not_add_up_are_noticed_in_every_sample() {
        let whole = units(&[b"\x41\x9a\x02", b"\x41\x01"]);
        assert_eq!(check(false, whole.clone()), Ok(()));
        for end in 0..whole.len() {
            let at_a_boundary = end == 7;
            assert_eq!(check(false, whole[..end].to_vec()).is_ok(), at_a_boundary, "{end}");
            assert_eq!(annex_b(false, whole[..end].to_vec()).is_some(), at_a_boundary, "{end}");
        }
        assert_eq!(check(false, vec![0; 8]), Err(SampleFault::Torn));
        assert_eq!(annex_b(false, vec![0; 8]), None);
    }

    #[test]
    fn a_key_picture_brings_its_parameters_into_a_transport_stream_once() {
        let delimited = b"\0\0\0\x01\x09\xf0".as_slice();
        let parameters = [b"\0\0\0\x01", SPS, b"\0\0\0\x01\x68\xce"].concat();
        let key = b"\0\0\0\x01\x65\x88\x84".as_slice();
        let expected = Some([delimited, &parameters, key].concat());
        assert_eq!(annex_b(true, units(&[IDR])), expected);
        assert_eq!(annex_b(true, units(&[b"\x09\x10", SPS, b"\x68\xce", IDR])), expected);
        let changed = annex_b(true, units(&[b"\x68\xcf", IDR]));
        let another = b"\0\0\0\x01\x68\xcf".as_slice();
        assert_eq!(changed, Some([delimited, &parameters, another, key].concat()), "the later set counts");
        let plain = annex_b(false, units(&[b"\x68\xce", b"\x41\x9a"]));
        assert_eq!(plain, Some([delimited, b"\0\0\0\x01\x68\xce", b"\0\0\0\x01\x41\x9a"].concat()));
    }

    #[test]
    fn a_torn_configuration_is_refused() {
        assert!(NalConfig::avc(b"\x01\x4d\x40\x0c\xff\xe1\0\x06\x67").is_none());
        assert!(NalConfig::avc(b"\x01\x4d\x40\x0c\xff\xe0\x01\0\x02\x68").is_none());
        assert!(NalConfig::hevc(&[1; 22]).is_none());
    }
}
