//! The sample entry: the box that says which codec a track has, in which configuration. It is kept as it
//! came, compared without its bit rates, and written again without them.

use std::borrow::Cow;

use super::Media;
use super::boxes::{Boxes, Fields, FourCc, write_box};
use super::esds::{Adts, AudioConfig, Esds, MPEG4_AUDIO};
use super::nal::NalConfig;

/// A sample entry as `stsd` held it.
#[derive(Clone, Debug)]
pub(super) struct SampleEntry {
    kind: Kind,
    format: FourCc,
    payload: Vec<u8>,
    nal: Option<NalConfig>,
}

/// Which fields precede the boxes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Video,
    Audio,
}

/// The boxes that say how to decode. Colours, pixel aspect and the like may differ under one decoder.
const CONFIGURATIONS: [&[u8; 4]; 11] =
    [b"avcC", b"hvcC", b"av1C", b"vpcC", b"esds", b"dac3", b"dec3", b"dOps", b"dfLa", b"alac", b"sinf"];
/// Where a visual entry names the program that made it: 32 bytes that are no configuration.
const MADE_BY: std::ops::Range<usize> = 42..74;

impl Kind {
    fn fixed_size(self) -> usize {
        match self {
            Kind::Video => 78,
            Kind::Audio => 28,
        }
    }
}

impl SampleEntry {
    pub(super) fn parse(kind: Kind, format: FourCc, payload: &[u8]) -> Option<SampleEntry> {
        let boxes = payload.get(kind.fixed_size()..)?;
        if Boxes::new(boxes).any(|entry| entry.is_none()) {
            return None;
        }
        let nal = match (Boxes::find(boxes, b"avcC"), Boxes::find(boxes, b"hvcC")) {
            (Some(avcc), _) => Some(NalConfig::avc(avcc)?),
            (_, Some(hvcc)) => Some(NalConfig::hevc(hvcc)?),
            (None, None) => None,
        };
        Some(SampleEntry { kind, format, payload: payload.to_vec(), nal })
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn nal(&self) -> Option<&NalConfig> {
        self.nal.as_ref()
    }

    pub(super) fn format(&self) -> FourCc {
        self.format
    }

    /// How the packets of sound describe themselves in ADTS, where they can.
    pub(super) fn adts(&self) -> Option<Adts> {
        Adts::parse(self.audio_specific_config()?)
    }

    pub(super) fn media(&self) -> Option<Media> {
        let mut fields = Fields::new(&self.payload);
        match self.kind {
            Kind::Video => {
                fields.skip(24)?;
                Some(Media::Video { width: fields.u16()?.into(), height: fields.u16()?.into() })
            }
            Kind::Audio => {
                fields.skip(16)?;
                let channels = fields.u16()?;
                fields.skip(6)?;
                // 16.16 bits: rates above 65,535 Hz do not fit, and ffmpeg writes 0 for them.
                let sample_rate = fields.u32()? >> 16;
                let config = self.audio_config();
                let known_rate = config.as_ref().and_then(|config| config.sample_rate).unwrap_or(0);
                let known_channels =
                    config.and_then(|config| config.channels).or_else(|| self.coded_channels());
                Some(Media::Audio {
                    sample_rate: if sample_rate > 0 { sample_rate } else { known_rate },
                    channels: known_channels.unwrap_or(channels),
                })
            }
        }
    }

    pub(super) fn codec(&self) -> String {
        let format = self.format.text();
        let parameters = match &self.format.0 {
            b"avc1" | b"avc3" => self.find(b"avcC").and_then(avc_parameters),
            b"hvc1" | b"hev1" => self.find(b"hvcC").and_then(hevc_parameters),
            b"av01" => self.find(b"av1C").and_then(av1_parameters),
            b"vp09" => self.find(b"vpcC").and_then(vp9_parameters),
            b"mp4a" | b"mp4v" => self.mpeg4_parameters(),
            _ => None,
        };
        match parameters {
            Some(parameters) => format!("{format}.{parameters}"),
            None => format,
        }
    }

    pub(super) fn is_protected(&self) -> bool {
        matches!(&self.format.0, b"encv" | b"enca") || self.find(b"sinf").is_some()
    }

    pub(super) fn same_configuration(&self, other: &SampleEntry) -> bool {
        self.kind == other.kind
            && self.format == other.format
            && self.configurations().eq(other.configurations())
    }

    /// The whole box, less what differs between two runs of one command: bit rates and the encoder's name.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_box(out, &self.format.0, |out| {
            let start = out.len();
            out.extend_from_slice(&self.payload[..self.kind.fixed_size()]);
            if self.kind == Kind::Video {
                out[start + MADE_BY.start..start + MADE_BY.end].fill(0);
            }
            for (kind, body) in self.boxes().filter(|(kind, _)| kind.0 != *b"btrt") {
                let body = if kind.0 == *b"esds" { without_rates(kind, body) } else { Cow::Borrowed(body) };
                write_box(out, &kind.0, |out| out.extend_from_slice(&body));
            }
        });
    }

    fn boxes(&self) -> impl Iterator<Item = (FourCc, &[u8])> {
        Boxes::new(&self.payload[self.kind.fixed_size()..]).flatten()
    }

    fn find(&self, name: &[u8; 4]) -> Option<&[u8]> {
        self.boxes().find(|(kind, _)| kind.0 == *name).map(|(_, body)| body)
    }

    fn configurations(&self) -> impl Iterator<Item = (FourCc, Cow<'_, [u8]>)> {
        self.boxes()
            .filter(|(kind, _)| CONFIGURATIONS.contains(&&kind.0))
            .map(|(kind, body)| (kind, without_rates(kind, body)))
    }

    fn audio_config(&self) -> Option<AudioConfig> {
        AudioConfig::parse(self.audio_specific_config()?)
    }

    fn audio_specific_config(&self) -> Option<&[u8]> {
        let body = self.find(b"esds")?;
        let esds = Esds::parse(body)?;
        (esds.object_type == MPEG4_AUDIO).then(|| &body[esds.config])
    }

    fn coded_channels(&self) -> Option<u16> {
        if let Some(dac3) = self.find(b"dac3") {
            return Some(ac3_channels(*dac3.get(1)? >> 2));
        }
        if let Some(dec3) = self.find(b"dec3") {
            // The main programme: what a dependent substream adds is heard by few decoders.
            return Some(ac3_channels(*dec3.get(3)?));
        }
        self.find(b"dOps")?.get(1).map(|channels| u16::from(*channels))
    }

    fn mpeg4_parameters(&self) -> Option<String> {
        let object_type = Esds::parse(self.find(b"esds")?)?.object_type;
        match self.audio_config() {
            Some(config) => Some(format!("{object_type:02X}.{}", config.object_type)),
            None => Some(format!("{object_type:02X}")),
        }
    }
}

/// A configuration with its estimates of bit rates blotted out.
fn without_rates(kind: FourCc, body: &[u8]) -> Cow<'_, [u8]> {
    let mut copy = body.to_vec();
    match (&kind.0, copy.as_mut_slice()) {
        (b"esds", bytes) => match Esds::parse(body) {
            Some(esds) => bytes[esds.rates].fill(0),
            None => return Cow::Borrowed(body),
        },
        (b"dac3", [_, channels, rate, ..]) => {
            *channels &= 0xfc;
            *rate &= 0x1f;
        }
        (b"dec3", [rate, substreams, ..]) => {
            *rate = 0;
            *substreams &= 0x07;
        }
        _ => return Cow::Borrowed(body),
    }
    Cow::Owned(copy)
}

/// From three bits of layout above one of low frequencies.
fn ac3_channels(bits: u8) -> u16 {
    const CHANNELS: [u16; 8] = [2, 1, 2, 3, 3, 4, 4, 5];
    CHANNELS[usize::from(bits >> 1 & 7)] + u16::from(bits & 1)
}

fn avc_parameters(avcc: &[u8]) -> Option<String> {
    let [_, profile, constraints, level, ..] = avcc else { return None };
    Some(format!("{profile:02x}{constraints:02x}{level:02x}"))
}

fn hevc_parameters(hvcc: &[u8]) -> Option<String> {
    let mut fields = Fields::new(hvcc);
    fields.skip(1)?;
    let profile = fields.u8()?;
    let compatibility = fields.u32()?.reverse_bits();
    let constraints: [u8; 6] = fields.array()?;
    let level = fields.u8()?;
    let space = ["", "A", "B", "C"][usize::from(profile >> 6)];
    let tier = if profile & 0x20 == 0 { 'L' } else { 'H' };
    let mut text = format!("{space}{}.{compatibility:X}.{tier}{level}", profile & 0x1f);
    let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    for byte in &constraints[..used] {
        text.push_str(&format!(".{byte:X}"));
    }
    Some(text)
}

fn av1_parameters(av1c: &[u8]) -> Option<String> {
    let [_, profile_and_level, flags, ..] = av1c else { return None };
    let (profile, level) = (profile_and_level >> 5, profile_and_level & 0x1f);
    let tier = if flags & 0x80 == 0 { 'M' } else { 'H' };
    let depth = match (flags & 0x40 != 0, profile == 2 && flags & 0x20 != 0) {
        (false, _) => 8,
        (true, false) => 10,
        (true, true) => 12,
    };
    Some(format!("{profile}.{level:02}{tier}.{depth:02}"))
}

fn vp9_parameters(vpcc: &[u8]) -> Option<String> {
    let [_, _, _, _, profile, level, depth, ..] = vpcc else { return None };
    Some(format!("{profile:02}.{level:02}.{:02}", depth >> 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind, format: &[u8; 4], boxes: &[(&[u8; 4], &[u8])]) -> SampleEntry {
        let mut payload = vec![0; kind.fixed_size()];
        for (name, body) in boxes {
            write_box(&mut payload, name, |out| out.extend_from_slice(body));
        }
        SampleEntry::parse(kind, FourCc(*format), &payload).unwrap()
    }

    fn esds(rate: u8, config: &[u8; 2]) -> Vec<u8> {
        let mut bytes = b"\0\0\0\0\x03\x19\0\x01\0\x04\x11\x40\x15\0\0\0\0\0\0".to_vec();
        bytes.extend_from_slice(&[rate, 0, 0, 0, rate, 5, 2]);
        bytes.extend_from_slice(config);
        bytes
    }

    #[test]
    fn codecs_have_the_names_that_players_know() {
        let name = |kind, format, boxes: &[(&[u8; 4], &[u8])]| entry(kind, format, boxes).codec();
        let avcc: &[u8] = b"\x01\x64\x00\x1e\xff\xe0\0";
        assert_eq!(name(Kind::Video, b"avc1", &[(b"avcC", avcc)]), "avc1.64001e");
        let hvcc = b"\x01\x01\x60\0\0\0\x90\0\0\0\0\0\x3f\0\0\0\0\0\0\0\0\x03\0";
        assert_eq!(name(Kind::Video, b"hvc1", &[(b"hvcC", hvcc)]), "hvc1.1.6.L63.90");
        let main10 = b"\x01\x22\x20\0\0\0\xb0\0\0\0\0\x01\x99\0\0\0\0\0\0\0\0\x03\0";
        assert_eq!(name(Kind::Video, b"hev1", &[(b"hvcC", main10)]), "hev1.2.4.H153.B0.0.0.0.0.1");
        assert_eq!(name(Kind::Video, b"av01", &[(b"av1C", b"\x81\x08\x0c\0")]), "av01.0.08M.08");
        assert_eq!(name(Kind::Video, b"av01", &[(b"av1C", b"\x81\x4d\xec\0")]), "av01.2.13H.12");
        assert_eq!(name(Kind::Video, b"vp09", &[(b"vpcC", b"\x01\0\0\0\0\x1f\x80")]), "vp09.00.31.08");
        assert_eq!(name(Kind::Audio, b"mp4a", &[(b"esds", &esds(7, b"\x11\x90"))]), "mp4a.40.2");
        assert_eq!(name(Kind::Audio, b"mp4a", &[(b"esds", &esds(7, b"\x2b\x11"))]), "mp4a.40.5");
        assert_eq!(name(Kind::Audio, b"ac-3", &[]), "ac-3");
        assert_eq!(name(Kind::Audio, b"Opus", &[]), "Opus");
        assert_eq!(
            name(Kind::Video, b"avc1", &[]),
            "avc1",
            "without a configuration there is no more to say"
        );
    }

    #[test]
    fn bit_rates_are_no_part_of_a_configuration() {
        let slow = entry(Kind::Audio, b"mp4a", &[(b"esds", &esds(7, b"\x11\x90")), (b"btrt", &[7; 12])]);
        let fast = entry(Kind::Audio, b"mp4a", &[(b"esds", &esds(9, b"\x11\x90"))]);
        let mono = entry(Kind::Audio, b"mp4a", &[(b"esds", &esds(7, b"\x11\x88"))]);
        assert!(slow.same_configuration(&fast));
        assert!(!slow.same_configuration(&mono));
        let written = |entry: &SampleEntry| {
            let mut out = Vec::new();
            entry.write(&mut out);
            out
        };
        assert_eq!(written(&slow), written(&fast));
        let dolby = |dac3| entry(Kind::Audio, b"ac-3", &[(b"dac3", dac3)]);
        assert!(dolby(b"\x10\x3c\xe0").same_configuration(&dolby(b"\x10\x3d\x60")));
        assert!(!dolby(b"\x10\x3c\xe0").same_configuration(&dolby(b"\x10\x10\xe0")));
    }

    #[test]
    fn channels_are_those_of_the_codec() {
        let channels = |boxes: &[(&[u8; 4], &[u8])]| match entry(Kind::Audio, b"xxxx", boxes).media() {
            Some(Media::Audio { channels, .. }) => channels,
            other => panic!("{other:?}"),
        };
        assert_eq!(channels(&[(b"esds", &esds(7, b"\x11\x88"))]), 1);
        assert_eq!(channels(&[(b"dac3", b"\x10\x3c\xe0")]), 6);
        assert_eq!(channels(&[(b"dec3", b"\x02\0\x20\x04\0")]), 2);
        assert_eq!(channels(&[(b"dOps", b"\0\x02")]), 2);
    }

    #[test]
    fn encrypted_entries_say_so() {
        assert!(entry(Kind::Video, b"encv", &[]).is_protected());
        assert!(entry(Kind::Audio, b"mp4a", &[(b"sinf", &[])]).is_protected());
        assert!(!entry(Kind::Audio, b"mp4a", &[]).is_protected());
    }

    #[test]
    fn an_entry_that_is_too_short_or_torn_is_refused() {
        assert!(SampleEntry::parse(Kind::Video, FourCc(*b"avc1"), &[0; 77]).is_none());
        let mut payload = vec![0; 28];
        payload.extend_from_slice(b"\0\0\0\x09esds");
        assert!(SampleEntry::parse(Kind::Audio, FourCc(*b"mp4a"), &payload).is_none());
    }
}
