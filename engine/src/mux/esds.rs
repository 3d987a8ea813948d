//! MPEG-4's own description of a stream, as far as it matters: the object type and, for AAC, the
//! AudioSpecificConfig. The bit rates in it are estimates that differ between two runs of one command, so
//! nothing here reads them.

use std::ops::Range;

use super::boxes::Fields;

/// What an `esds` box says, as places in its payload.
#[derive(Debug)]
pub(super) struct Esds {
    pub(super) object_type: u8,
    /// Buffer size, highest and average bit rate: eleven bytes that say nothing about how to decode.
    pub(super) rates: Range<usize>,
    /// The decoder's own configuration.
    pub(super) config: Range<usize>,
}

/// The part of an AudioSpecificConfig that says what comes out of the decoder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AudioConfig {
    pub(super) object_type: u8,
    pub(super) sample_rate: Option<u32>,
    pub(super) channels: Option<u16>,
}

/// What ADTS repeats before every packet of AAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Adts {
    /// Of AAC itself: half of what is heard where the upper band is made up (HE-AAC).
    pub(super) sample_rate: u32,
    profile: u8,
    rate_index: u8,
    layout: u8,
}

/// The object type of MPEG-4 audio, which has more types of its own.
pub(super) const MPEG4_AUDIO: u8 = 0x40;

const SAMPLE_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
const BAND_REPLICATION: u32 = 5;
const PARAMETRIC_STEREO: u8 = 29;

impl Esds {
    pub(super) fn parse(payload: &[u8]) -> Option<Esds> {
        let mut fields = Fields::new(payload);
        fields.skip(4)?;
        descriptor(&mut fields, 3)?;
        fields.skip(2)?;
        let flags = fields.u8()?;
        if flags & 0x80 != 0 {
            fields.skip(2)?;
        }
        if flags & 0x40 != 0 {
            let url = fields.u8()?;
            fields.skip(usize::from(url))?;
        }
        if flags & 0x20 != 0 {
            fields.skip(2)?;
        }
        descriptor(&mut fields, 4)?;
        let object_type = fields.u8()?;
        fields.skip(1)?;
        let rates_at = payload.len() - fields.rest().len();
        fields.skip(11)?;
        // MP3 has no configuration, and no descriptor for it.
        let length = if fields.rest().first() == Some(&5) { descriptor(&mut fields, 5)? } else { 0 };
        let config_at = payload.len() - fields.rest().len();
        fields.skip(length)?;
        Some(Esds { object_type, rates: rates_at..rates_at + 11, config: config_at..config_at + length })
    }
}

impl AudioConfig {
    pub(super) fn parse(config: &[u8]) -> Option<AudioConfig> {
        let mut bits = Bits { bytes: config, at: 0 };
        let object_type = match bits.take(5)? {
            31 => 32 + bits.take(6)? as u8,
            short => short as u8,
        };
        let sample_rate = match bits.take(4)? {
            15 => Some(bits.take(24)?),
            index => SAMPLE_RATES.get(index as usize).copied(),
        };
        let layout = bits.take(4)?;
        let channels = match layout {
            _ if object_type == PARAMETRIC_STEREO => Some(2),
            1..=6 => Some(layout as u16),
            7 | 12 | 14 => Some(8),
            11 => Some(7),
            // Zero points to a program configuration element, others are reserved.
            _ => None,
        };
        Some(AudioConfig { object_type, sample_rate, channels })
    }
}

impl Adts {
    pub(super) const HEADER: usize = 7;
    /// What thirteen bits of length leave for a packet.
    pub(super) const LARGEST_PACKET: usize = 0x1fff - Adts::HEADER;
    /// Samples in a packet. Short frames of 960 have no sign in ADTS.
    pub(super) const PACKET: u32 = 1_024;

    /// Nothing where ADTS has no number for what the configuration says: channels that a program
    /// configuration element lists, odd sample rates, the newer kinds of AAC.
    pub(super) fn parse(config: &[u8]) -> Option<Adts> {
        let mut bits = Bits { bytes: config, at: 0 };
        let mut object_type = bits.take(5)?;
        let rate_index = bits.take(4)? as u8;
        let sample_rate = *SAMPLE_RATES.get(usize::from(rate_index))?;
        let layout = bits.take(4)? as u8;
        if object_type == BAND_REPLICATION || object_type == u32::from(PARAMETRIC_STEREO) {
            // Decoders find the upper band, and the second channel, in the packets themselves.
            if bits.take(4)? == 15 {
                bits.take(24)?;
            }
            object_type = bits.take(5)?;
        }
        let short_frames = bits.take(1)? == 1;
        let known = (1..=4).contains(&object_type) && (1..=7).contains(&layout) && !short_frames;
        known.then_some(Adts { sample_rate, profile: object_type as u8 - 1, rate_index, layout })
    }

    /// The header of a packet of at most [`Adts::LARGEST_PACKET`] bytes: MPEG-4, without a checksum.
    pub(super) fn header(self, packet: usize) -> [u8; Adts::HEADER] {
        debug_assert!(packet <= Adts::LARGEST_PACKET);
        let length = packet + Adts::HEADER;
        [
            0xff,
            0xf1,
            self.profile << 6 | self.rate_index << 2 | self.layout >> 2,
            self.layout << 6 | (length >> 11) as u8,
            (length >> 3) as u8,
            (length << 5) as u8 | 0x1f,
            0xfc,
        ]
    }
}

/// Enters a descriptor of this tag: its length, up to four bytes of seven bits.
fn descriptor(fields: &mut Fields<'_>, tag: u8) -> Option<usize> {
    let mut ahead = *fields;
    if ahead.u8()? != tag {
        return None;
    }
    let mut length = 0;
    for _ in 0..4 {
        let byte = ahead.u8()?;
        length = length << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    *fields = ahead;
    Some(length)
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As ffmpeg 5.1 writes it for AAC copied from a transport stream.
    const COPIED: &[u8] =
        b"\0\0\0\0\x03\x80\x80\x80\x22\x00\x01\x00\x04\x80\x80\x80\x14\x40\x15\0\0\0\0\x01\x82\xd8\0\x01\
        \x82\xd8\x05\x80\x80\x80\x02\x11\x88\x06\x80\x80\x80\x01\x02";
    /// As it writes it for MP3.
    const MP3: &[u8] =
        b"\0\0\0\0\x03\x80\x80\x80\x1b\0\x01\0\x04\x80\x80\x80\x0d\x6b\x15\0\0\0\0\0\0\0\0\0\0\0\x06\x80\x80\
        \x80\x01\x02";

    #[test]
    fn the_configuration_and_the_bit_rates_are_found() {
        let esds = Esds::parse(COPIED).unwrap();
        assert_eq!(esds.object_type, MPEG4_AUDIO);
        assert_eq!(COPIED[esds.rates], *b"\0\0\0\0\x01\x82\xd8\0\x01\x82\xd8");
        assert_eq!(COPIED[esds.config], *b"\x11\x88");
    }

    #[test]
    fn mp3_has_no_configuration() {
        let esds = Esds::parse(MP3).unwrap();
        assert_eq!(esds.object_type, 0x6b);
        assert!(esds.config.is_empty());
    }

    #[test]
    fn a_torn_description_is_refused() {
        let before_the_config = 30;
        let torn = (0..COPIED.len() - 6).filter(|end| *end != before_the_config);
        assert!(torn.into_iter().all(|end| Esds::parse(&COPIED[..end]).is_none()));
        let mut long = COPIED.to_vec();
        long[34] = 0x7f;
        assert!(Esds::parse(&long).is_none());
    }

    #[test]
    fn the_audio_configuration_says_rate_and_channels() {
        let config = |object_type, sample_rate, channels| {
            Some(AudioConfig { object_type, sample_rate: Some(sample_rate), channels })
        };
        assert_eq!(AudioConfig::parse(&[0x11, 0x90]), config(2, 48_000, Some(2)));
        assert_eq!(AudioConfig::parse(&[0x12, 0x08]), config(2, 44_100, Some(1)));
        assert_eq!(AudioConfig::parse(&[0x11, 0x80]), config(2, 48_000, None));
        assert_eq!(AudioConfig::parse(&[0xeb, 0x09, 0x88]), config(29, 24_000, Some(2)));
        assert_eq!(AudioConfig::parse(&[0x11]), None);
    }

    #[test]
    fn adts_says_what_the_configuration_said() {
        let header = |config: &[u8], packet| Adts::parse(config).map(|adts| adts.header(packet));
        // As ffmpeg 5.1 writes them: 48 kHz stereo, 44.1 kHz mono.
        assert_eq!(header(&[0x11, 0x90], 334), Some([0xff, 0xf1, 0x4c, 0x80, 0x2a, 0xbf, 0xfc]));
        assert_eq!(header(&[0x12, 0x08], 8_184), Some([0xff, 0xf1, 0x50, 0x43, 0xff, 0xff, 0xfc]));
        let doubled = Adts::parse(&[0x2b, 0x11, 0x88, 0x00]).unwrap();
        assert_eq!((doubled.sample_rate, doubled.profile, doubled.layout), (24_000, 1, 2), "half of 48 kHz");
    }

    #[test]
    fn what_adts_has_no_number_for_is_refused() {
        let refused = [
            ("listed channels", [0x11, 0x80]),
            ("a rate of its own", [0x17, 0x80]),
            ("seven and one above", [0x11, 0xe0]),
            ("short frames", [0x11, 0x94]),
            ("xHE-AAC", [0xf9, 0x46]),
            ("error resilience", [0x89, 0x90]),
        ];
        for (name, config) in refused {
            assert_eq!(Adts::parse(&config), None, "{name}");
        }
        assert_eq!(Adts::parse(&[0x11]), None);
    }
}
