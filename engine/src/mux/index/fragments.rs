//! The two indexes of fragments, `sidx` and `mfra`, and whether the fragments are what they say.
//!
//! ffmpeg itself writes a `sidx` that counts from the first fragment whatever its time, and lists fragments that
//! don't begin with a key frame in both. So a few fragments are looked at.

use super::super::Time;
use super::super::boxes::{Boxes, Fields};
use super::mp4::{Track, header};
use super::{By, KeyFrames, MOST_KEYS, NoIndex, Stop, Window, refuse, sound};

/// No fragment's description is larger.
const MOST_MOOF: u64 = 1 << 20;
/// So many boxes may stand between where a fragment begins and its description.
const MOST_BEFORE: usize = 8;
/// Either bit says that decoding can't begin here: it is no sync sample, or depends on others.
const NO_KEY: u32 = 0x0101_0000;

/// Fragments that begin with a key frame: the time, and where in the file.
#[derive(Debug)]
pub(super) struct Entries {
    by: By,
    fragments: Vec<(Time, u64)>,
    end: Option<Time>,
    /// How far into the file they reach.
    pub(super) covers: u64,
}

/// An index that is being compared with some of its fragments.
#[derive(Debug)]
pub(super) struct Checks {
    entries: Entries,
    /// Which are still to be looked at, the last one first.
    left: Vec<usize>,
    /// How much later than the index says the first one lies.
    later: Option<Time>,
    delay: Option<Time>,
}

/// What a fragment says of its first sample.
struct First {
    shown: i64,
    delay: u32,
    key: bool,
    /// Some sample is shown before it is decoded.
    signed: bool,
}

/// A `sidx` that ends at `end`, if it is one of this track and of fragments only.
pub(super) fn segment_index(sidx: &[u8], end: u64, track: &Track) -> Result<Option<Entries>, Stop> {
    let mut fields = Fields::new(sidx);
    let mut read = || {
        let (version, _) = fields.version_and_flags()?;
        let (of, timescale) = (fields.u32()?, fields.u32().filter(|scale| *scale > 0)?);
        let earliest = i64::try_from(fields.wide(version.min(1))?).ok()?;
        let at = end.checked_add(fields.wide(version.min(1))?)?;
        fields.skip(2)?;
        Some((of, timescale, earliest, at, fields.u16()?))
    };
    let (of, timescale, mut ticks, mut at, count) = sound(read(), "sidx")?;
    if of != track.id {
        return Ok(None);
    }
    let mut fragments = Vec::new();
    for _ in 0..count {
        let words = (|| Some((fields.u32()?, fields.u32()?, fields.u32()?)))();
        let (reference, duration, access) = sound(words, "sidx")?;
        // An index of indexes is beyond ffmpeg.
        if reference >> 31 == 1 {
            return Ok(None);
        }
        if access >> 31 == 1 {
            let delta = i64::from(access & 0x0fff_ffff);
            fragments.push((Time::new(sound(ticks.checked_add(delta), "sidx")?, timescale), at));
        }
        ticks = sound(ticks.checked_add(i64::from(duration)), "sidx")?;
        at = sound(at.checked_add(u64::from(reference)), "sidx")?;
    }
    Ok(Some(Entries { by: By::Sidx, fragments, end: Some(Time::new(ticks, timescale)), covers: at }))
}

/// The fragments of this track in an `mfra`.
pub(super) fn random_access(mfra: &[u8], track: &Track) -> Result<Entries, Stop> {
    let tables = Boxes::new(mfra).flatten().filter(|(kind, _)| kind.0 == *b"tfra").map(|(_, body)| body);
    let table = tables.map(Fields::new).find_map(|mut fields| {
        let (version, _) = fields.version_and_flags()?;
        (fields.u32()? == track.id).then_some((version, fields))
    });
    let Some((version, mut fields)) = table else { return refuse(NoIndex::Fragments) };
    let widths = sound(fields.u32(), "tfra")?;
    let widths = [widths >> 4 & 3, widths >> 2 & 3, widths & 3].map(|width| width as usize + 1);
    let count = sound(fields.u32(), "tfra")?;
    let mut fragments = Vec::new();
    for _ in 0..count {
        let entry = (|| {
            let (time, at) = (fields.wide(version)?, fields.wide(version)?);
            let mut numbers = [0_u64; 3];
            for (number, width) in numbers.iter_mut().zip(widths) {
                *number = fields.take(width)?.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
            }
            Some((i64::try_from(time).ok()?, at, numbers))
        })();
        let (ticks, at, [_, run, sample]) = sound(entry, "tfra")?;
        // ffmpeg gives the time to the fragment's first sample, whichever was meant.
        if (run, sample) != (1, 1) {
            return refuse(NoIndex::Inexact);
        }
        if fragments.len() == MOST_KEYS {
            return refuse(NoIndex::TooMany);
        }
        fragments.push((Time::new(ticks, track.timescale), at));
    }
    Ok(Entries { by: By::Mfra, fragments, end: None, covers: 0 })
}

impl Entries {
    /// The first two fragments, one in the middle and the last tell of all.
    pub(super) fn checks(self, length: u64) -> Result<Checks, Stop> {
        let count = self.fragments.len();
        if count == 0 || self.fragments.iter().any(|(_, at)| *at >= length) {
            return refuse(NoIndex::Fragments);
        }
        let mut left = vec![count - 1, count / 2, 1.min(count - 1), 0];
        left.dedup();
        Ok(Checks { entries: self, left, later: None, delay: None })
    }
}

impl Checks {
    pub(super) fn go_on(&mut self, window: &Window, track: &Track) -> Result<KeyFrames, Stop> {
        while let Some(which) = self.left.last() {
            let (time, at) = self.entries.fragments[*which];
            let first = first_sample(window, at, track)?;
            let later = Time::new(first.shown, track.timescale) - time;
            let agrees = match self.later {
                // By `mfra` ffmpeg takes its times as they are.
                None => self.entries.by == By::Sidx || later == Time::ZERO,
                Some(expected) => later == expected,
            };
            if first.signed {
                return refuse(NoIndex::Signed);
            }
            if !agrees || !first.key {
                return refuse(NoIndex::Inexact);
            }
            if self.later.is_none() {
                self.later = Some(later);
                self.delay = Some(Time::new(i64::from(first.delay), track.timescale));
            }
            self.left.pop();
        }
        let later = self.later.unwrap_or(Time::ZERO);
        Ok(KeyFrames {
            times: self.entries.fragments.iter().map(|(time, _)| *time + later).collect(),
            end: self.entries.end.map(|end| end + later),
            delay: self.delay,
            by: self.entries.by,
        })
    }
}

fn first_sample(window: &Window, start: u64, track: &Track) -> Result<First, Stop> {
    let mut at = start;
    for _ in 0..MOST_BEFORE {
        let header = header(window, at)?;
        if header.kind.0 == *b"moof" {
            if header.end - start > MOST_MOOF {
                return refuse(NoIndex::TooLarge("moof", MOST_MOOF));
            }
            return sound(of_fragment(window.inside(start, header.body, header.end)?, track), "moof");
        }
        at = header.end;
    }
    refuse(NoIndex::Inexact)
}

fn of_fragment(moof: &[u8], track: &Track) -> Option<First> {
    let trafs = Boxes::new(moof).flatten().filter(|(kind, _)| kind.0 == *b"traf").map(|(_, body)| body);
    let (traf, flags) = trafs
        .filter_map(|traf| Some((traf, Boxes::find(traf, b"tfhd").and_then(|tfhd| defaults(tfhd, track))?)))
        .next()?;
    let mut fields = Fields::new(Boxes::find(traf, b"tfdt")?);
    let (version, _) = fields.version_and_flags()?;
    let decoded = i64::try_from(fields.wide(version)?).ok()?;

    let mut fields = Fields::new(Boxes::find(traf, b"trun")?);
    let (version, present) = fields.version_and_flags()?;
    let count = fields.u32()?;
    if present & 0x1 != 0 {
        fields.skip(4)?;
    }
    let of_first = if present & 0x4 != 0 { Some(fields.u32()?) } else { None };
    // Each has as many fields as are announced for all.
    let has = |bit: u32| usize::from(present & bit != 0);
    let before_flags = 4 * (has(0x100) + has(0x200));
    let before_offset = before_flags + 4 * has(0x400);
    let width = before_offset + 4 * has(0x800);
    let word = |sample: &[u8], at: usize| Fields::new(&sample[at..]).u32();
    let samples = fields.take(width.checked_mul(usize::try_from(count).ok()?)?)?;
    let first = samples.get(..width).filter(|_| count > 0)?;
    let own = if has(0x400) == 1 { word(first, before_flags) } else { None };
    let offset = if has(0x800) == 1 { word(first, before_offset)? } else { 0 };
    let signed = version > 0
        && has(0x800) == 1
        && samples
            .chunks_exact(width)
            .any(|sample| word(sample, before_offset).is_some_and(|it| it >> 31 == 1));
    Some(First {
        shown: decoded.checked_add(i64::from(offset))?.checked_sub(track.shift)?,
        delay: offset,
        key: of_first.or(own).unwrap_or(flags) & NO_KEY == 0,
        signed,
    })
}

/// The flags of this fragment's samples that have none of their own, if it is one of the track.
fn defaults(tfhd: &[u8], track: &Track) -> Option<u32> {
    let mut fields = Fields::new(tfhd);
    let (_, present) = fields.version_and_flags()?;
    if fields.u32()? != track.id {
        return None;
    }
    for (bit, width) in [(0x1, 8), (0x2, 4), (0x8, 4), (0x10, 4)] {
        if present & bit != 0 {
            fields.skip(width)?;
        }
    }
    if present & 0x20 != 0 { fields.u32() } else { Some(track.flags) }
}
