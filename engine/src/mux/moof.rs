//! `moof`: when each sample of a fragment is, and where its bytes lie in the stream.

use super::boxes::{Boxes, Fields};
use super::moov::Axis;
use super::read::Fault;

/// A sample before its bytes came.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its place in the stream, counted from the very first byte.
    pub(super) at: u64,
    pub(super) size: u32,
    pub(super) duration: u32,
    pub(super) dts: i64,
    pub(super) pts: i64,
    pub(super) sync: bool,
}

/// What a fragment takes for granted about its samples.
struct Defaults {
    duration: u32,
    size: u32,
    flags: u32,
    base: u64,
}

/// Over an hour at 60 pictures a second: a count that no bytes stand for allocates no more than this.
const MOST_SAMPLES: usize = 1 << 18;
const NON_SYNC: u32 = 0x0001_0000;

/// The samples of the fragment whose `moof` box begins at `start`.
pub(super) fn parse(moof: &[u8], start: u64, axis: &mut Axis) -> Result<Vec<Entry>, Fault> {
    let mut entries = Vec::new();
    let mut tracks = 0;
    for child in Boxes::new(moof) {
        let (kind, body) = child.ok_or(Fault::Malformed("moof"))?;
        if kind.0 == *b"traf" {
            tracks += 1;
            if tracks > 1 {
                return Err(Fault::Tracks(tracks));
            }
            track_fragment(body, start, axis, &mut entries)?;
        }
    }
    Ok(entries)
}

fn track_fragment(traf: &[u8], start: u64, axis: &mut Axis, entries: &mut Vec<Entry>) -> Result<(), Fault> {
    let mut defaults = None;
    let mut dts = axis.next_dts;
    let mut at = start;
    for child in Boxes::new(traf) {
        let (kind, body) = child.ok_or(Fault::Malformed("traf"))?;
        match &kind.0 {
            b"tfhd" => {
                let parsed = header(body, start, axis).ok_or(Fault::Malformed("tfhd"))?;
                at = parsed.base;
                defaults = Some(parsed);
            }
            b"tfdt" => {
                dts = decode_time(body)
                    .and_then(|time| time.checked_sub(axis.offset))
                    .ok_or(Fault::Malformed("tfdt"))?;
            }
            b"trun" => {
                let defaults = defaults.as_ref().ok_or(Fault::Malformed("traf"))?;
                (at, dts) = run(body, defaults, (at, dts), entries).ok_or(Fault::Malformed("trun"))?;
            }
            _ => {}
        }
    }
    axis.next_dts = dts;
    Ok(())
}

fn header(tfhd: &[u8], start: u64, axis: &Axis) -> Option<Defaults> {
    let mut fields = Fields::new(tfhd);
    let (_, flags) = fields.version_and_flags()?;
    if fields.u32()? != axis.track_id {
        return None;
    }
    let mut has = |flag, default| if flags & flag == 0 { Some(default) } else { fields.u32() };
    // A 64-bit offset from the beginning of the stream. Otherwise places count from `moof`, whether or not
    // `default-base-is-moof` says so: there is one track.
    let base = match (flags & 1, has(1, 0)?, has(1, 0)?) {
        (0, ..) => start,
        (_, high, low) => u64::from(high) << 32 | u64::from(low),
    };
    // There is one sample entry, so no fragment can mean another.
    if has(2, 1)? != 1 {
        return None;
    }
    let duration = has(8, axis.default_duration)?;
    let size = has(0x10, axis.default_size)?;
    Some(Defaults { duration, size, flags: has(0x20, axis.default_flags)?, base })
}

fn decode_time(tfdt: &[u8]) -> Option<i64> {
    let mut fields = Fields::new(tfdt);
    let (version, _) = fields.version_and_flags()?;
    i64::try_from(fields.wide(version)?).ok()
}

/// Appends the samples of one run, and returns where its bytes and its time end.
fn run(
    trun: &[u8],
    defaults: &Defaults,
    (mut at, mut dts): (u64, i64),
    entries: &mut Vec<Entry>,
) -> Option<(u64, i64)> {
    let mut fields = Fields::new(trun);
    let (version, flags) = fields.version_and_flags()?;
    let count = fields.u32()? as usize;
    if flags & 1 != 0 {
        at = defaults.base.checked_add_signed(i64::from(fields.i32()?))?;
    }
    let mut first_flags = if flags & 4 == 0 { None } else { Some(fields.u32()?) };
    let bytes_each = 4 * (flags >> 8 & 0xf).count_ones() as usize;
    if entries.len() + count > MOST_SAMPLES || count * bytes_each > fields.rest().len() {
        return None;
    }
    entries.reserve(count);
    for _ in 0..count {
        let mut has = |flag, default| if flags & flag == 0 { Some(default) } else { fields.u32() };
        let duration = has(0x100, defaults.duration)?;
        let size = has(0x200, defaults.size)?;
        let sample_flags = has(0x400, defaults.flags)?;
        let offset = has(0x800, 0)?;
        let offset = if version == 0 { i64::from(offset) } else { i64::from(offset as i32) };
        let sync = first_flags.take().unwrap_or(sample_flags) & NON_SYNC == 0;
        entries.push(Entry { at, size, duration, dts, pts: dts.checked_add(offset)?, sync });
        at = at.checked_add(u64::from(size))?;
        dts = dts.checked_add(i64::from(duration))?;
    }
    Some((at, dts))
}

#[cfg(test)]
mod tests {
    use super::super::boxes::{write_box, write_words};
    use super::*;

    const DEFAULTS: Axis = Axis {
        track_id: 1,
        default_duration: 10,
        default_size: 100,
        default_flags: NON_SYNC,
        offset: 50,
        next_dts: 7,
    };

    /// A fragment at byte 1000 of `tfhd`, perhaps `tfdt`, and `trun` with these words.
    fn fragment(tfhd: &[u32], tfdt: Option<&[u32]>, truns: &[&[u32]]) -> Result<(Vec<Entry>, Axis), Fault> {
        let mut moof = Vec::new();
        write_box(&mut moof, b"traf", |out| {
            write_box(out, b"tfhd", |out| write_words(out, tfhd));
            if let Some(tfdt) = tfdt {
                write_box(out, b"tfdt", |out| write_words(out, tfdt));
            }
            for trun in truns {
                write_box(out, b"trun", |out| write_words(out, trun));
            }
        });
        let mut axis = DEFAULTS;
        parse(&moof, 1_000, &mut axis).map(|entries| (entries, axis))
    }

    fn seen(entries: &[Entry]) -> Vec<(u64, u32, u32, i64, i64, bool)> {
        entries.iter().map(|it| (it.at, it.size, it.duration, it.dts, it.pts, it.sync)).collect()
    }

    #[test]
    fn what_a_fragment_leaves_out_comes_from_the_track() {
        let (entries, axis) = fragment(&[0x2_0000, 1], None, &[&[0x1, 2, 80]]).unwrap();
        assert_eq!(seen(&entries), [(1_080, 100, 10, 7, 7, false), (1_180, 100, 10, 17, 17, false)]);
        assert_eq!(axis.next_dts, 27);
    }

    #[test]
    fn the_fragment_goes_before_the_track_and_the_sample_before_the_fragment() {
        let tfhd = [0x2_0038, 1, 20, 200, 0];
        let trun: &[u32] = &[0xf01, 1, 80, 30, 300, NON_SYNC, 5];
        let (entries, _) = fragment(&tfhd, Some(&[0x0100_0000, 0, 150]), &[&[0x1, 1, 80], trun]).unwrap();
        assert_eq!(seen(&entries), [(1_080, 200, 20, 100, 100, true), (1_080, 300, 30, 120, 125, false)]);
    }

    #[test]
    fn the_first_sample_may_have_flags_of_its_own() {
        let (entries, _) = fragment(&[0x2_0000, 1], Some(&[0, 50]), &[&[0x5, 2, 80, 0x0200_0000]]).unwrap();
        assert_eq!(entries.iter().map(|entry| entry.sync).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn offsets_are_signed_from_version_one_on() {
        let minus_three = -3_i32 as u32;
        let (entries, _) =
            fragment(&[0x2_0000, 1], Some(&[0, 50]), &[&[0x0100_0801, 1, 80, minus_three]]).unwrap();
        assert_eq!(entries[0].pts, -3);
        let (entries, _) = fragment(&[0x2_0000, 1], Some(&[0, 50]), &[&[0x801, 1, 80, minus_three]]).unwrap();
        assert_eq!(entries[0].pts, 0xffff_fffd);
    }

    #[test]
    fn a_run_without_a_place_follows_the_one_before() {
        let (entries, _) = fragment(&[0x2_0000, 1], None, &[&[0x1, 1, 80], &[0, 1]]).unwrap();
        assert_eq!(entries[1].at, 1_180);
    }

    #[test]
    fn a_place_may_count_from_the_beginning_of_the_stream() {
        let (entries, _) = fragment(&[0x1, 1, 0, 4_096], None, &[&[0x1, 1, 8]]).unwrap();
        assert_eq!(entries[0].at, 4_104);
    }

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        let refused = |tfhd: &[u32], tfdt, truns: &[&[u32]]| match fragment(tfhd, tfdt, truns) {
            Err(Fault::Malformed(name)) => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(&[0x2_0000, 2], None, &[]), "tfhd", "another track");
        assert_eq!(refused(&[0x2_0002, 1, 2], None, &[]), "tfhd", "another sample entry");
        assert_eq!(refused(&[0x2_0000, 1], Some(&[0x0100_0000, u32::MAX, 0]), &[]), "tfdt");
        assert_eq!(refused(&[0x2_0000, 1], None, &[&[0x100, 3, 1, 1]]), "trun", "fewer than announced");
        assert_eq!(refused(&[0x2_0000, 1], None, &[&[0, u32::MAX]]), "trun", "more than anybody sends");
        assert_eq!(refused(&[0x2_0000, 1], None, &[&[1, 1, -2_000_i32 as u32]]), "trun", "before the stream");
        let late = [0x0100_0000, 0x7fff_ffff, 0xffff_ffff];
        assert_eq!(refused(&[0x2_0000, 1], Some(&late), &[&[0x100, 2, u32::MAX, 1]]), "trun");
    }
}
