//! Media at the level of samples: bytes of fragmented MP4, in any chunking, become samples on one time axis,
//! and samples become our own initialisation sections and segments. Values in, values out: nothing here knows
//! processes, files, clocks or tasks.
//!
//! ffmpeg's fragments are never published as they are: where its audio ends depends on where a run ended, and
//! its edit lists put the picture 80 ms beside the sound in some player or other. So [`Reader`] takes the
//! samples out and puts each at its presentation time, the session cuts and checks, and [`mod@write`] writes them
//! again with times from zero, unsigned offsets and no edit list; for players that know nothing else, [`ts`]
//! makes a transport stream of the same samples.

mod boxes;
pub mod clock;
mod entry;
mod esds;
pub mod index;
mod moof;
mod moov;
mod nal;
mod packets;
pub mod read;
#[cfg(test)]
mod tests;
pub mod time;
pub mod ts;
pub mod write;

use bytes::Bytes;

pub use self::boxes::FourCc;
pub use self::nal::SampleFault;
pub use self::read::{Fault, Item, Reader};
pub use self::time::{Rate, Time};
pub use self::ts::TsError;
pub use self::write::WriteError;

use self::entry::SampleEntry;
use self::moov::Display;

/// One coded picture, or one packet of sound. Times are in ticks of its track's timescale, on the axis that
/// [`Reader`] describes; `dts` and often `pts` are negative before the axis begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it has to be decoded.
    pub dts: i64,
    /// When it is shown or heard.
    pub pts: i64,
    /// How long, as far as ffmpeg knew: for the last sample of a run it is a guess.
    pub duration: u32,
    /// Decoding may begin here.
    pub sync: bool,
    /// The coded bytes: a slice of the fragment that it came in.
    pub data: Bytes,
}

/// What `moov` says about the one track of a pipe: all that an initialisation section needs.
#[derive(Clone, Debug)]
pub struct Track {
    /// Ticks in a second of this track's times.
    pub timescale: u32,
    /// What kind of media it is, with its measures.
    pub media: Media,
    entry: SampleEntry,
    display: Display,
}

/// The measures of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// Pictures of so many coded samples, before the pixel aspect and the rotation.
    Video {
        /// Samples in a line.
        width: u32,
        /// Lines.
        height: u32,
    },
    /// Sound.
    Audio {
        /// In hertz, as a decoder puts it out.
        sample_rate: u32,
        /// From the codec's own configuration where it has one, since ffmpeg writes 2 beside it for most codecs.
        channels: u16,
    },
}

impl Track {
    /// The codec as playlists name it (RFC 6381): `avc1.64001e`, `hvc1.1.6.L63.90`, `mp4a.40.2`, `ac-3`.
    pub fn codec(&self) -> String {
        self.entry.codec()
    }

    /// Whether samples of `other` may follow under this track's initialisation section. Bit rates, which
    /// differ between two runs of the same command, are no part of it.
    pub fn same_configuration(&self, other: &Track) -> bool {
        self.timescale == other.timescale
            && self.media == other.media
            && self.entry.same_configuration(&other.entry)
    }

    /// Whether the samples are encrypted. ffmpeg copies them without a word.
    pub fn is_protected(&self) -> bool {
        self.entry.is_protected()
    }

    /// Whether a sample is what the track announced, as far as it shows: H.264 and HEVC, on every sample that
    /// its units are whole, on key samples also that the parameters are still the announced ones. Sound
    /// carries nothing that could be compared.
    pub fn check(&self, sample: &Sample) -> Result<(), SampleFault> {
        self.entry.nal().map_or(Ok(()), |config| config.check(sample))
    }
}
