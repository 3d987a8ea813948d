//! MP4 at its top level: where `moov`, `sidx` and `mfra` lie, and which of them counts.
//!
//! ffmpeg jumps in fragments only by an index that it takes for complete: one flat `sidx` that reaches to the
//! end of the file, or to the `mfra` there; or the `mfra`, when it is told to. By others it reads all before.

use super::super::boxes::{Boxes, Fields, FourCc, HEADER};
use super::super::moov::{handler, inside, ticks};
use super::fragments::{self, Entries};
use super::samples::{self, Edit};
use super::{KeyFrames, NoIndex, Stop, Stream, Window, refuse, sound};

/// A `moov` this large is eight hours at 60 frames a second, with sound.
const MOST_MOOV: u64 = 64 << 20;
/// The same for what indexes fragments, of which there are far fewer.
const MOST_INDEX: u64 = 16 << 20;
/// `mfro`, the last box of a file that has an `mfra`.
const MFRO: u64 = 16;

#[derive(Debug)]
pub(super) struct Walk {
    stream: Stream,
    /// The box that is looked at next.
    at: u64,
    track: Option<Track>,
    sidx: Option<Entries>,
    stage: Stage,
}

/// What has to be known of a track to understand its fragments.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) id: u32,
    pub(super) timescale: u32,
    /// What is taken off its composition times.
    pub(super) shift: i64,
    /// The flags of samples that have none of their own.
    pub(super) flags: u32,
}

#[derive(Debug)]
enum Stage {
    /// From box to box.
    Boxes,
    /// All boxes before the first fragment are known: what is at the end?
    Tail,
    /// The random access table, of this size.
    Mfra(u64),
    /// Whether the index is true.
    Checks(fragments::Checks),
}

pub(super) struct Header {
    pub(super) kind: FourCc,
    pub(super) body: u64,
    pub(super) end: u64,
}

impl Walk {
    pub(super) fn new(stream: Stream) -> Walk {
        Walk { stream, at: 0, track: None, sidx: None, stage: Stage::Boxes }
    }

    pub(super) fn go_on(&mut self, window: &Window) -> Result<KeyFrames, Stop> {
        loop {
            self.stage = match &mut self.stage {
                Stage::Boxes => match self.boxes(window)? {
                    Some(found) => return Ok(found),
                    None => Stage::Tail,
                },
                Stage::Tail => self.tail(window)?,
                Stage::Mfra(size) => {
                    let bytes = window.whole(window.length - *size, *size)?;
                    let body = sound(Boxes::find(bytes, b"mfra"), "mfra")?;
                    let track = sound(self.track.as_ref(), "moov")?;
                    Stage::Checks(fragments::random_access(body, track)?.checks(window.length)?)
                }
                Stage::Checks(checks) => {
                    let track = sound(self.track.as_ref(), "moov")?;
                    return checks.go_on(window, track);
                }
            }
        }
    }

    /// Up to the key frames of a plain file, or to the first fragment.
    fn boxes(&mut self, window: &Window) -> Result<Option<KeyFrames>, Stop> {
        loop {
            let header = header(window, self.at)?;
            match &header.kind.0 {
                b"moov" => {
                    let size = header.end - header.body;
                    if size > MOST_MOOV {
                        return refuse(NoIndex::TooLarge("moov", MOST_MOOV));
                    }
                    let moov = window.inside(self.at, header.body, header.end)?;
                    match read(moov, self.stream)? {
                        Film::Plain(found) => return Ok(Some(found)),
                        Film::Fragmented(track) => self.track = Some(track),
                    }
                }
                b"sidx" => {
                    let size = header.end - header.body;
                    if size > MOST_INDEX {
                        return refuse(NoIndex::TooLarge("sidx", MOST_INDEX));
                    }
                    if let (Some(track), None) = (&self.track, &self.sidx) {
                        let body = window.inside(self.at, header.body, header.end)?;
                        self.sidx = fragments::segment_index(body, header.end, track)?;
                    }
                }
                b"moof" if self.track.is_none() => return refuse(NoIndex::Absent),
                b"moof" | b"mdat" if self.track.is_some() => return Ok(None),
                _ => {}
            }
            self.at = header.end;
        }
    }

    fn tail(&mut self, window: &Window) -> Result<Stage, Stop> {
        let sidx = self.sidx.take_if(|sidx| sidx.covers == window.length);
        if let Some(sidx) = sidx {
            return Ok(Stage::Checks(sidx.checks(window.length)?));
        }
        let from = window.length.checked_sub(MFRO).ok_or(Stop::No(NoIndex::Fragments))?;
        let bytes = window.whole(from, MFRO)?;
        let size = random_access_size(bytes).filter(|size| *size <= window.length);
        let Some(size) = size else { return refuse(NoIndex::Fragments) };
        let sidx = self.sidx.take_if(|sidx| sidx.covers == window.length - size);
        match sidx {
            Some(sidx) => Ok(Stage::Checks(sidx.checks(window.length)?)),
            None if size > MOST_INDEX => refuse(NoIndex::TooLarge("mfra", MOST_INDEX)),
            None => Ok(Stage::Mfra(size)),
        }
    }
}

/// The box that begins here.
pub(super) fn header(window: &Window, at: u64) -> Result<Header, Stop> {
    let mut fields = Fields::new(window.onward(at, 16)?);
    let small = sound(fields.u32(), "a box")?;
    let kind = FourCc(sound(fields.array(), "a box")?);
    let (head, size) = match small {
        // It reaches to the end of the file.
        0 => (HEADER as u64, window.length - at),
        1 => (16, sound(fields.u64(), "a box")?),
        size => (HEADER as u64, u64::from(size)),
    };
    let end = sound(at.checked_add(size).filter(|_| size >= head), "a box")?;
    Ok(Header { kind, body: at + head, end })
}

fn random_access_size(mfro: &[u8]) -> Option<u64> {
    let mut fields = Fields::new(Boxes::find(mfro, b"mfro")?);
    fields.skip(4)?;
    fields.u32().map(u64::from)
}

enum Film {
    Plain(KeyFrames),
    Fragmented(Track),
}

fn read(moov: &[u8], stream: Stream) -> Result<Film, Stop> {
    let movie = sound(inside(moov, &[b"mvhd"]).and_then(ticks), "mvhd")?;
    let trak = video(moov, stream).ok_or(Stop::No(NoIndex::Track))?;
    let timescale = sound(inside(trak, &[b"mdia", b"mdhd"]).and_then(ticks), "mdhd")?;
    let edit = Edit::read(trak, timescale, movie)?;
    let table = sound(inside(trak, &[b"mdia", b"minf", b"stbl"]), "stbl")?;
    let Some(extends) = Boxes::find(moov, b"mvex") else {
        return samples::key_frames(table, timescale, edit).map(Film::Plain);
    };
    // The first fragment may be in `moov` itself. Told to use `mfra`, ffmpeg then loses the second one.
    if samples::count(table) != Some(0) {
        return refuse(NoIndex::Fragments);
    }
    let id = sound(track_id(trak), "tkhd")?;
    let flags = Boxes::new(extends).flatten().filter(|(kind, _)| kind.0 == *b"trex");
    let flags = flags.filter_map(|(_, body)| default_flags(body)).find(|(of, _)| *of == id);
    let flags = flags.map_or(0, |(_, flags)| flags);
    Ok(Film::Fragmented(Track { id, timescale, shift: edit.map_or(0, |edit| edit.shift()), flags }))
}

/// The track that ffprobe chose, or the only one there is.
fn video(moov: &[u8], stream: Stream) -> Option<&[u8]> {
    let videos = || {
        let traks = Boxes::new(moov).flatten().filter(|(kind, _)| kind.0 == *b"trak").map(|(_, body)| body);
        traks.filter(|trak| {
            let kind = inside(trak, &[b"mdia", b"hdlr"]).and_then(handler);
            kind.is_some_and(|kind| kind.0 == *b"vide")
        })
    };
    let chosen = videos().find(|trak| stream.id.is_some() && track_id(trak) == stream.id);
    chosen.or_else(|| videos().next().filter(|_| videos().count() == 1))
}

fn track_id(trak: &[u8]) -> Option<u32> {
    let mut fields = Fields::new(inside(trak, &[b"tkhd"])?);
    let (version, _) = fields.version_and_flags()?;
    fields.skip(if version == 1 { 16 } else { 8 })?;
    fields.u32()
}

fn default_flags(trex: &[u8]) -> Option<(u32, u32)> {
    let mut fields = Fields::new(trex);
    fields.skip(4)?;
    let id = fields.u32()?;
    fields.skip(12)?;
    Some((id, fields.u32()?))
}
