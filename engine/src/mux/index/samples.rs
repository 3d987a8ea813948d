//! The sample tables of a plain MP4 file: when each key frame is shown.

use super::super::Time;
use super::super::boxes::{Boxes, Fields};
use super::super::moov::inside;
use super::{By, KeyFrames, MOST_KEYS, NoIndex, Stop, refuse, sound};

/// A day at 60 frames a second, and half another.
const MOST_SAMPLES: u64 = 8 << 20;

/// An edit list that shifts the film: nothing for a while, then one stretch of it at its own pace. All in ticks
/// of the track.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edit {
    empty: i64,
    media_time: i64,
    duration: i64,
}

/// Values with the number of samples in a row that have them, as `stts` and `ctts` list them. A table that ends
/// early has no further values.
struct Runs<'a> {
    table: Fields<'a>,
    left: u32,
    value: u32,
}

impl Edit {
    pub(super) fn read(trak: &[u8], timescale: u32, movie: u32) -> Result<Option<Edit>, Stop> {
        let Some(elst) = inside(trak, &[b"edts", b"elst"]) else { return Ok(None) };
        let mut fields = Fields::new(elst);
        let (version, _) = sound(fields.version_and_flags(), "elst")?;
        let count = sound(fields.u32(), "elst")?;
        let (mut empty, mut edit) = (0_i64, None);
        for _ in 0..count {
            let duration = sound(fields.wide(version).and_then(|ticks| i64::try_from(ticks).ok()), "elst")?;
            let duration = Time::new(duration, movie).ticks_in(timescale);
            let media_time = match version {
                1 => fields.u64().map(|time| time as i64),
                _ => fields.i32().map(i64::from),
            };
            let media_time = sound(media_time, "elst")?;
            if sound(fields.u32(), "elst")? != 0x1_0000 || edit.is_some() {
                return refuse(NoIndex::Edits);
            }
            match media_time {
                0.. => edit = Some(Edit { empty, media_time, duration }),
                _ => empty = sound(empty.checked_add(duration), "elst")?,
            }
        }
        if edit.is_none() && empty > 0 { refuse(NoIndex::Edits) } else { Ok(edit) }
    }

    /// What a fragment's times are shifted by. How long the stretch is has no meaning there.
    pub(super) fn shift(self) -> i64 {
        self.media_time.saturating_sub(self.empty)
    }
}

/// How many samples there are.
pub(super) fn count(table: &[u8]) -> Option<u64> {
    let (sizes, each) = match Boxes::find(table, b"stsz") {
        Some(body) => (body, 4),
        None => (Boxes::find(table, b"stz2")?, 0),
    };
    let mut fields = Fields::new(sizes);
    fields.skip(4)?;
    let size = fields.u32()?;
    let count = u64::from(fields.u32()?);
    let listed = each == 4 && size == 0;
    Some(if listed { count.min(fields.rest().len() as u64 / each) } else { count })
}

pub(super) fn key_frames(table: &[u8], timescale: u32, edit: Option<Edit>) -> Result<KeyFrames, Stop> {
    let find = |name| Boxes::find(table, name);
    // ffmpeg goes on with the first description, or mixes them.
    if sound(find(b"stsd").and_then(|stsd| Fields::new(stsd.get(4..)?).u32()), "stsd")? != 1 {
        return refuse(NoIndex::Descriptions);
    }
    let count = sound(count(table), "stsz")?;
    if count > MOST_SAMPLES {
        return refuse(NoIndex::TooMany);
    }
    let durations = sound(find(b"stts").and_then(Runs::new), "stts")?;
    let mut offsets = find(b"ctts").map(|body| sound(Runs::new(body), "ctts")).transpose()?;
    let mut syncs = find(b"stss").map(|body| sound(Syncs::new(body), "stss")).transpose()?;
    let (media_time, media_end) = match edit {
        // What ffmpeg makes of a stretch without length is of no use.
        Some(edit) if edit.duration <= 0 => return refuse(NoIndex::Edits),
        Some(edit) => (edit.media_time, edit.media_time.saturating_add(edit.duration)),
        None => (i64::MIN, i64::MAX),
    };

    let (mut dts, mut keys, mut first_offset) = (0_i64, Vec::new(), None);
    let (mut begins, mut ends, mut before) = (i64::MAX, i64::MIN, None);
    for (number, duration) in (0..count).zip(durations) {
        let duration = sound(i32::try_from(duration).ok(), "stts")?;
        let offset = offsets.as_mut().and_then(Iterator::next).unwrap_or(0) as i32;
        if offset.unsigned_abs() >= 1 << 28 {
            return refuse(NoIndex::Damaged("ctts"));
        }
        first_offset.get_or_insert(offset);
        // Eight million times 2^31 is far from the end of 64 bits.
        let shown = dts + i64::from(offset);
        dts += i64::from(duration);
        if syncs.as_mut().is_none_or(|syncs| syncs.holds(number)) {
            if keys.len() == MOST_KEYS {
                return refuse(NoIndex::TooMany);
            }
            if shown < media_time {
                before = Some(shown);
            } else if shown < media_end {
                keys.push(shown);
            }
        }
        if (media_time..media_end).contains(&shown) {
            begins = begins.min(shown);
            ends = ends.max((shown + i64::from(duration)).min(media_end));
        }
    }
    let Some(first) = keys.first() else { return refuse(NoIndex::Absent) };
    if before.is_some() && *first > media_time {
        return refuse(NoIndex::Hidden);
    }
    // Under an edit list ffmpeg lets the first picture that is shown begin where the stretch does.
    let shift = edit.map_or(0, |edit| begins.saturating_sub(edit.empty));
    let time = |ticks: i64| Time::new(ticks.saturating_sub(shift), timescale);
    let delay = i64::from(first_offset.unwrap_or(0)) + i64::from(find(b"ctts").map_or(0, advance));
    Ok(KeyFrames {
        times: keys.into_iter().map(time).collect(),
        end: Some(time(ends)),
        delay: Some(Time::new(delay, timescale)),
        by: By::Moov,
    })
}

/// How much earlier everything is decoded, where offsets are negative. ffmpeg leaves the last two entries out,
/// which other writers fill with what they like.
fn advance(ctts: &[u8]) -> u32 {
    let entries = ctts.get(8..).unwrap_or_default().chunks_exact(8);
    let kept = entries.len().saturating_sub(2);
    let offsets = entries.take(kept).filter_map(|entry| Fields::new(&entry[4..]).i32());
    offsets.filter(|offset| *offset < 0).map(i32::unsigned_abs).max().unwrap_or(0)
}

impl<'a> Runs<'a> {
    fn new(body: &'a [u8]) -> Option<Runs<'a>> {
        let mut table = Fields::new(body);
        table.skip(8)?;
        Some(Runs { table, left: 0, value: 0 })
    }
}

impl Iterator for Runs<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        while self.left == 0 {
            self.left = self.table.u32()?;
            self.value = self.table.u32()?;
        }
        self.left -= 1;
        Some(self.value)
    }
}

/// The numbers of the key frames, rising. They count from 1, but for some writers from 0.
struct Syncs<'a> {
    table: Fields<'a>,
    next: Option<u32>,
    base: u64,
}

impl<'a> Syncs<'a> {
    fn new(body: &'a [u8]) -> Option<Syncs<'a>> {
        let mut table = Fields::new(body);
        table.skip(8)?;
        let next = table.u32();
        Some(Syncs { table, next, base: u64::from(next != Some(0)) })
    }

    /// Whether this sample is one; to be asked with rising numbers.
    fn holds(&mut self, number: u64) -> bool {
        while let Some(next) = self.next {
            let next = u64::from(next);
            if next > number + self.base {
                return false;
            }
            self.next = self.table.u32();
            if next == number + self.base {
                return true;
            }
        }
        false
    }
}
