//! Bytes of fragmented MP4, in any chunking, become a track and its samples on one time axis.
//!
//! The reader does no I/O: it lends the place where the next bytes go, and that place never reaches past
//! the next decision. So each fragment's media is one allocation of its exact size, and samples are slices
//! of it. What came is trusted as little as any input: a size allocates nothing before its bytes are there.
//!
//! The axis: presentation is decode time plus composition offset, less the edit list's `media_time` and less
//! the lead that ffmpeg was told to give. Decode times have the same taken off, and so may be negative.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;

use super::boxes::{Boxes, FourCc, HEADER};
use super::moof::{self, Entry};
use super::moov::{self, Axis};
use super::{Sample, Time, Track, write};

/// Takes a stream of fragmented MP4 apart.
#[derive(Debug)]
pub struct Reader {
    lead: Time,
    /// Bytes that came so far.
    position: u64,
    state: State,
    /// The box that is being gathered; one that is skipped is written over and over.
    body: Vec<u8>,
    axis: Option<Axis>,
    /// The samples of a `moof` whose `mdat` has not come yet.
    promised: Option<Vec<Entry>>,
}

/// What a stream is made of.
#[derive(Clone, Debug)]
pub enum Item {
    /// The track: once, and before all samples.
    Track(Arc<Track>),
    /// The samples of one fragment, in decoding order. The first one need not be a sync sample.
    Samples(Vec<Sample>),
}

/// Why a stream cannot be read on. There is no way back: whoever writes it has to start again.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Fault {
    /// More than any fragment has.
    #[error("box `{kind}` says that it has {size} bytes")]
    TooLarge {
        /// The box.
        kind: FourCc,
        /// Its announced size.
        size: u64,
    },
    /// A size smaller than the box's own header.
    #[error("box `{kind}` says that it has {size} bytes, fewer than its header")]
    TooSmall {
        /// The box.
        kind: FourCc,
        /// Its announced size.
        size: u64,
    },
    /// A box that goes on until the stream ends: its samples could never be checked.
    #[error("box `{0}` has no size")]
    Endless(FourCc),
    /// Nothing that a stream of fragments consists of: it is probably no MP4.
    #[error("unknown box `{0}`")]
    Unknown(FourCc),
    /// The inside of a box contradicts itself.
    #[error("malformed box `{0}`")]
    Malformed(&'static str),
    /// Samples of no known track.
    #[error("`moof` before `moov`")]
    MoofBeforeMoov,
    /// One stream is one run of one command.
    #[error("a second `moov`")]
    SecondMoov,
    /// Media that nothing describes: the file is not fragmented.
    #[error("`mdat` without `moof`")]
    MdatWithoutMoof,
    /// Two descriptions in a row, so the samples of the first never came.
    #[error("`moof` without `mdat`")]
    MoofWithoutMdat,
    /// A pipe carries exactly one track.
    #[error("{0} tracks instead of one")]
    Tracks(usize),
    /// Neither video nor audio.
    #[error("a track of `{0}`, neither video nor audio")]
    NoMedia(FourCc),
    /// A fragment points to bytes that are not its own.
    #[error("a sample lies outside its `mdat`")]
    OutsideMdat,
    /// A segment that was kept has fewer bytes than its boxes say.
    #[error("a segment that was cut off")]
    CutOff,
}

#[derive(Debug)]
enum State {
    /// Between boxes, or within the header of one.
    Header { bytes: [u8; 2 * HEADER], have: usize },
    /// Gathering a box whose inside matters.
    Body { kind: Kept, have: usize, size: usize },
    /// Passing over one whose inside does not.
    Skip { left: u64 },
}

/// The boxes that are looked into.
#[derive(Clone, Copy, Debug)]
enum Kept {
    Moov,
    Moof { start: u64 },
    Mdat { start: u64 },
}

const LARGEST_BOX: u64 = 256 * 1024 * 1024;
/// How far a box may grow before more of it came: as much as a large pipe holds.
const STEP: usize = 256 * 1024;
const SKIP_STEP: usize = 4 * 1024;
const SKIPPED: [&[u8; 4]; 9] =
    [b"ftyp", b"styp", b"sidx", b"ssix", b"free", b"skip", b"mfra", b"emsg", b"prft"];
const BETWEEN_BOXES: State = State::Header { bytes: [0; 2 * HEADER], have: 0 };

impl Reader {
    /// Reads from the first byte of a stream. `lead` is what ffmpeg's `-output_ts_offset` was: it keeps
    /// priming and decode times positive on the pipe, and is taken off every time here.
    pub fn new(lead: Time) -> Reader {
        Reader { lead, position: 0, state: BETWEEN_BOXES, body: Vec::new(), axis: None, promised: None }
    }

    /// Where the next bytes go: never empty, and never past the end of what is being gathered.
    pub fn room(&mut self) -> &mut [u8] {
        match &mut self.state {
            State::Header { bytes, have } => {
                let wanted = if *have < HEADER { HEADER } else { bytes.len() };
                &mut bytes[*have..wanted]
            }
            State::Body { have, size, .. } => {
                grow(&mut self.body, *have, *size);
                &mut self.body[*have..]
            }
            State::Skip { left } => {
                let wanted = usize::try_from(*left).map_or(SKIP_STEP, |left| left.min(SKIP_STEP));
                self.body.resize(wanted, 0);
                &mut self.body
            }
        }
    }

    /// Says that the first `n` bytes of [`room`](Reader::room) were written, and returns what they completed.
    /// After a fault the reader is of no further use.
    pub fn filled(&mut self, n: usize) -> Result<Option<Item>, Fault> {
        assert!(n <= self.room().len(), "more bytes than there was room for");
        self.position += n as u64;
        match &mut self.state {
            State::Header { bytes, have } => {
                *have += n;
                let (bytes, have) = (*bytes, *have);
                self.header(bytes, have)
            }
            State::Body { kind, have, size } => {
                *have += n;
                let (kind, whole) = (*kind, have == size);
                if whole { self.body(kind) } else { Ok(None) }
            }
            State::Skip { left } => {
                *left -= n as u64;
                if *left == 0 {
                    self.state = BETWEEN_BOXES;
                }
                Ok(None)
            }
        }
    }

    /// Reads bytes that already lie somewhere, copying them; a fault hides what came before it in them.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<Vec<Item>, Fault> {
        let mut items = Vec::new();
        while !bytes.is_empty() {
            let room = self.room();
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            items.extend(self.filled(now.len())?);
            bytes = later;
        }
        Ok(items)
    }

    /// Whether the stream may end here without anything torn.
    pub fn is_whole(&self) -> bool {
        matches!(self.state, State::Header { have: 0, .. }) && self.promised.is_none()
    }

    fn header(&mut self, bytes: [u8; 2 * HEADER], have: usize) -> Result<Option<Item>, Fault> {
        if have < HEADER {
            return Ok(None);
        }
        let [a, b, c, d, e, f, g, h, large @ ..] = bytes;
        let kind = FourCc([e, f, g, h]);
        let (header, size) = match u32::from_be_bytes([a, b, c, d]) {
            0 => return Err(Fault::Endless(kind)),
            1 if have < bytes.len() => return Ok(None),
            1 => (bytes.len() as u64, u64::from_be_bytes(large)),
            size => (HEADER as u64, u64::from(size)),
        };
        let payload = size.checked_sub(header).ok_or(Fault::TooSmall { kind, size })?;
        if size > LARGEST_BOX {
            return Err(Fault::TooLarge { kind, size });
        }
        self.open(kind, self.position - header, payload)
    }

    /// Decides what to do with a box by its name and by what came before it.
    fn open(&mut self, kind: FourCc, box_start: u64, payload: u64) -> Result<Option<Item>, Fault> {
        let kept = match &kind.0 {
            b"moov" if self.axis.is_some() => return Err(Fault::SecondMoov),
            b"moov" => Kept::Moov,
            b"moof" if self.axis.is_none() => return Err(Fault::MoofBeforeMoov),
            b"moof" if self.promised.is_some() => return Err(Fault::MoofWithoutMdat),
            b"moof" => Kept::Moof { start: box_start },
            b"mdat" => {
                let promised = self.promised.as_ref().ok_or(Fault::MdatWithoutMoof)?;
                if !lie_within(promised, self.position, payload) {
                    return Err(Fault::OutsideMdat);
                }
                Kept::Mdat { start: self.position }
            }
            name if SKIPPED.contains(&name) => {
                self.state = if payload == 0 { BETWEEN_BOXES } else { State::Skip { left: payload } };
                return Ok(None);
            }
            _ => return Err(Fault::Unknown(kind)),
        };
        self.body = Vec::new();
        if payload == 0 {
            return self.body(kept);
        }
        let size = usize::try_from(payload).expect("no box is larger than 256 MiB");
        self.state = State::Body { kind: kept, have: 0, size };
        Ok(None)
    }

    /// A box is whole.
    fn body(&mut self, kind: Kept) -> Result<Option<Item>, Fault> {
        self.state = BETWEEN_BOXES;
        let body = mem::take(&mut self.body);
        match kind {
            Kept::Moov => {
                let (track, axis) = moov::parse(&body, self.lead)?;
                self.axis = Some(axis);
                Ok(Some(Item::Track(Arc::new(track))))
            }
            Kept::Moof { start } => {
                let axis = self.axis.as_mut().ok_or(Fault::MoofBeforeMoov)?;
                self.promised = Some(moof::parse(&body, start, axis)?);
                Ok(None)
            }
            Kept::Mdat { start } => {
                let entries = self.promised.take().unwrap_or_default();
                let samples = samples(&entries, &Bytes::from(body), start);
                Ok((!samples.is_empty()).then_some(Item::Samples(samples)))
            }
        }
    }
}

/// The samples of a segment as [`write::segment`] wrote it, or of several in a row, all in `bytes`: with the
/// times that were published, and their media as slices.
pub fn segment(bytes: &Bytes) -> Result<Vec<Sample>, Fault> {
    let mut axis = Axis { track_id: write::TRACK_ID, ..Axis::default() };
    let (mut promised, mut all, mut position) = (None, Vec::new(), 0);
    for entry in Boxes::new(bytes) {
        let (kind, body) = entry.ok_or(Fault::CutOff)?;
        let start = position + HEADER as u64;
        match &kind.0 {
            b"moof" if promised.is_some() => return Err(Fault::MoofWithoutMdat),
            b"moof" => promised = Some(moof::parse(body, position, &mut axis)?),
            b"mdat" => {
                let entries = promised.take().ok_or(Fault::MdatWithoutMoof)?;
                if !lie_within(&entries, start, body.len() as u64) {
                    return Err(Fault::OutsideMdat);
                }
                all.extend(samples(&entries, &bytes.slice_ref(body), start));
            }
            name if SKIPPED.contains(&name) => {}
            _ => return Err(Fault::Unknown(kind)),
        }
        position = start + body.len() as u64;
    }
    if promised.is_some() { Err(Fault::CutOff) } else { Ok(all) }
}

/// Makes room for more of a box of `size` bytes. Beyond one step it at most doubles, so an announced size
/// costs nothing; the last growth is to the exact size.
fn grow(body: &mut Vec<u8>, have: usize, size: usize) {
    if body.len() > have {
        return;
    }
    let wanted = size.min(have + STEP);
    if wanted > body.capacity() {
        let capacity = size.min(wanted.max(2 * body.capacity()));
        body.reserve_exact(capacity - body.len());
    }
    body.resize(wanted, 0);
}

/// Whether all of these are in an `mdat` whose payload of so many bytes begins at `start`.
fn lie_within(entries: &[Entry], start: u64, payload: u64) -> bool {
    // `at + size` was computed without overflow when the run was read.
    entries.iter().all(|entry| entry.at >= start && entry.at + u64::from(entry.size) <= start + payload)
}

fn samples(entries: &[Entry], data: &Bytes, start: u64) -> Vec<Sample> {
    entries
        .iter()
        .map(|entry| {
            let from = (entry.at - start) as usize;
            let data = data.slice(from..from + entry.size as usize);
            Sample { dts: entry.dts, pts: entry.pts, duration: entry.duration, sync: entry.sync, data }
        })
        .collect()
}
