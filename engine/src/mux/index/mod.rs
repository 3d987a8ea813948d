//! Key frames from a container's own index: `moov`, `sidx`, `mfra`, Cues. It asks for bytes and is fed them;
//! where they come from, and how long that may take, is the caller's.
//!
//! What it finds are times as ffmpeg gives them with `-copyts`, edit lists applied, and only where ffmpeg can
//! jump by the same index: a film whose every jump reads the whole file is better encoded. The bytes are a
//! stranger's: no count in them is believed beyond the bytes that came, and whatever is odd is no index.

mod fragments;
mod matroska;
mod mp4;
mod samples;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use super::Time;

/// Where a film may be cut without encoding it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFrames {
    /// The presentation times of the key frames, rising. At least one.
    pub times: Vec<Time>,
    /// Where the picture ends, if the index tells.
    pub end: Option<Time>,
    /// How much earlier than it is shown the first sample is decoded, if the container says so.
    pub delay: Option<Time>,
    /// The index that told.
    pub by: By,
}

/// Which index of a container it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The sample tables of an MP4 file.
    Moov,
    /// The segment index of a fragmented MP4 file.
    Sidx,
    /// The random access table at the end of a fragmented MP4 file. ffmpeg jumps by it only when it is told
    /// `-use_mfra_for pts`, which is of use for a file of one track: of fragments that hold several, it then loses
    /// all but the first and the last one. Without it, it reads on from the beginning.
    Mfra,
    /// The cues of a Matroska file.
    Cues,
}

/// Which family of containers to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// MP4 and QuickTime, fragmented or not.
    Mp4,
    /// Matroska and WebM.
    Matroska,
}

/// The video stream that is asked about, as ffprobe named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its number among all streams of the input.
    pub index: u32,
    /// The container's own number for it; of MP4, the track's.
    pub id: Option<u32>,
}

/// Why a film can't be cut at its key frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoIndex {
    /// Nobody looks for key frames in what won't be copied.
    #[error("its video is not of a kind that is copied")]
    NotCopied,
    /// The container knows no index, or none that is read.
    #[error("its container has no index of key frames")]
    Container,
    /// Only the beginning can be asked for.
    #[error("its server does not send parts of the file, or not its length")]
    Ranges,
    /// The file was written without one, or cut off before it.
    #[error("there is no index of key frames in the file")]
    Absent,
    /// Fragments without an index that ffmpeg jumps by.
    #[error("the file is fragmented without an index that ffmpeg can jump by")]
    Fragments,
    /// More than is read.
    #[error("the index ({name}) is larger than {mib} MiB", name = .0, mib = .1 >> 20)]
    TooLarge(&'static str, u64),
    /// More key frames or samples than any film has.
    #[error("the index lists more frames than are read")]
    TooMany,
    /// Its parts lie in more places than are asked for.
    #[error("the index is scattered over the file")]
    Scattered,
    /// The video that ffprobe chose isn't among the tracks.
    #[error("the index does not tell which track is the video")]
    Track,
    /// The edit list does more than shift the film.
    #[error("the file's edit list cuts or repeats parts of the film")]
    Edits,
    /// The film begins between two key frames: a copy would show what was cut away.
    #[error("the file's edit list lets the film begin between two key frames")]
    Hidden,
    /// The codec's parameters change on the way.
    #[error("the video changes its parameters in mid-film")]
    Descriptions,
    /// What it says of some fragments isn't what they are.
    #[error("the index is not exact: a fragment does not begin with a key frame at the time it names")]
    Inexact,
    /// ffmpeg shifts such a film by what it has met so far.
    #[error(
        "its fragments have pictures that are shown before they are decoded, which ffmpeg reads inexactly"
    )]
    Signed,
    /// The first picture is farther from the beginning than is read.
    #[error("the beginning of the film does not show where its picture begins")]
    Beginning,
    /// It contradicts itself.
    #[error("the index is damaged ({0})")]
    Damaged(&'static str),
    /// The source did not give it.
    #[error("the index could not be read: {0}")]
    Unreadable(String),
}

/// What a reader wants next, or what it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These bytes of the file. They lie within it, and there is at least one.
    Need {
        /// The first of them.
        from: u64,
        /// How many.
        length: u64,
    },
    /// The end: the key frames.
    Found(KeyFrames),
    /// The end: there are none to be had.
    None(NoIndex),
}

/// Reads the index of one file.
#[derive(Debug)]
pub struct Reader {
    window: Window,
    walk: Walk,
    asked: u32,
}

#[derive(Debug)]
enum Walk {
    Mp4(mp4::Walk),
    Matroska(matroska::Walk),
}

/// Why a walk stands still.
#[derive(Debug)]
enum Stop {
    Need { from: u64, length: u64 },
    No(NoIndex),
}

/// The part of the file that is at hand.
#[derive(Debug)]
struct Window {
    /// Of the whole file.
    length: u64,
    from: u64,
    bytes: Bytes,
}

/// A source is asked no more often than this for one index.
const REQUESTS: u32 = 12;
/// What is read where it isn't known how much there is: most small indexes are in it whole.
const PAGE: u64 = 64 * 1024;
/// Nearly three hours at 25 a second of a film that has nothing but key frames. A few bytes can claim them all, and
/// they are kept.
const MOST_KEYS: usize = 1 << 18;

impl Reader {
    /// A reader of a file of `length` bytes that begins with `first`.
    pub fn new(layout: Layout, stream: Stream, length: u64, first: Bytes) -> Reader {
        let walk = match layout {
            Layout::Mp4 => Walk::Mp4(mp4::Walk::new(stream)),
            Layout::Matroska => Walk::Matroska(matroska::Walk::new(stream)),
        };
        Reader { window: Window { length, from: 0, bytes: first }, walk, asked: 0 }
    }

    /// Goes on as far as the bytes at hand allow. After the end there is nothing more to ask.
    pub fn step(&mut self) -> Step {
        let found = match &mut self.walk {
            Walk::Mp4(walk) => walk.go_on(&self.window),
            Walk::Matroska(walk) => walk.go_on(&self.window),
        };
        match found {
            Ok(found) if found.times.is_empty() => Step::None(NoIndex::Absent),
            Ok(found) if !found.times.is_sorted_by(|a, b| a < b) => {
                Step::None(NoIndex::Damaged("the order of its times"))
            }
            Ok(found) => Step::Found(found),
            Err(Stop::No(why)) => Step::None(why),
            Err(Stop::Need { .. }) if self.asked == REQUESTS => Step::None(NoIndex::Scattered),
            Err(Stop::Need { from, length }) => {
                self.asked += 1;
                Step::Need { from, length }
            }
        }
    }

    /// Takes the bytes from `from` on. Fewer than were asked for are asked for again, a few times.
    pub fn feed(&mut self, from: u64, bytes: Bytes) {
        self.window.from = from;
        self.window.bytes = bytes;
    }
}

impl Window {
    /// These bytes and no fewer.
    fn whole(&self, from: u64, length: u64) -> Result<&[u8], Stop> {
        let end = from.checked_add(length).filter(|end| *end <= self.length);
        if end.is_none() {
            return Err(Stop::No(NoIndex::Absent));
        }
        if length == 0 {
            return Ok(&[]);
        }
        self.covered(from, length).map(|bytes| &bytes[..length as usize]).ok_or(Stop::Need { from, length })
    }

    /// What stands from `body` to `end`. What stands in front, from `start` on, comes with it: whoever is called
    /// again begins there.
    fn inside(&self, start: u64, body: u64, end: u64) -> Result<&[u8], Stop> {
        let bytes = self.whole(start, end.saturating_sub(start))?;
        Ok(bytes.get((body - start) as usize..).unwrap_or_default())
    }

    /// What is at hand from here on: at least so many bytes, or all up to the file's end.
    fn onward(&self, from: u64, least: u64) -> Result<&[u8], Stop> {
        let left = self.length.saturating_sub(from);
        if left == 0 {
            return Err(Stop::No(NoIndex::Absent));
        }
        self.covered(from, least.min(left)).ok_or(Stop::Need { from, length: PAGE.max(least).min(left) })
    }

    fn covered(&self, from: u64, least: u64) -> Option<&[u8]> {
        let start = usize::try_from(from.checked_sub(self.from)?).ok()?;
        self.bytes.get(start..).filter(|bytes| bytes.len() as u64 >= least.max(1))
    }
}

/// Whatever is missing from a box or an element makes all of it worthless.
fn sound<T>(part: Option<T>, name: &'static str) -> Result<T, Stop> {
    part.ok_or(Stop::No(NoIndex::Damaged(name)))
}

fn refuse<T>(why: NoIndex) -> Result<T, Stop> {
    Err(Stop::No(why))
}
