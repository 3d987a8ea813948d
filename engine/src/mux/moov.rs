//! `moov`: what the one track of a pipe is, what its fragments leave unsaid, and how far its decode times
//! lie from the axis.

use super::boxes::{Boxes, Fields, FourCc};
use super::entry::{Kind, SampleEntry};
use super::read::Fault;
use super::{Time, Track};

/// How a picture is to be shown: rotation and size after the pixel aspect, as `tkhd` has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Display {
    pub(super) matrix: [u8; 36],
    /// Both with 16 bits of fraction.
    pub(super) width: u32,
    pub(super) height: u32,
}

/// What fragments need to know of `moov`.
#[derive(Clone, Debug, Default)]
pub(super) struct Axis {
    pub(super) track_id: u32,
    pub(super) default_duration: u32,
    pub(super) default_size: u32,
    pub(super) default_flags: u32,
    /// Taken off every time: the edit list's shift and the lead that ffmpeg was told to give.
    pub(super) offset: i64,
    /// Where a fragment begins that does not say so.
    pub(super) next_dts: i64,
}

pub(super) fn parse(moov: &[u8], lead: Time) -> Result<(Track, Axis), Fault> {
    let mut tracks = Boxes::new(moov).flatten().filter(|(kind, _)| kind.0 == *b"trak").map(|(_, body)| body);
    let (trak, others) = (tracks.next(), tracks.count());
    if Boxes::new(moov).any(|entry| entry.is_none()) {
        return Err(Fault::Malformed("moov"));
    }
    let Some(trak) = trak.filter(|_| others == 0) else {
        return Err(Fault::Tracks(others + usize::from(trak.is_some())));
    };
    let (track_id, display) = inside(trak, &[b"tkhd"]).and_then(header).ok_or(Fault::Malformed("tkhd"))?;
    let timescale = inside(trak, &[b"mdia", b"mdhd"]).and_then(ticks).ok_or(Fault::Malformed("mdhd"))?;
    let handler = inside(trak, &[b"mdia", b"hdlr"]).and_then(handler).ok_or(Fault::Malformed("hdlr"))?;
    let kind = match &handler.0 {
        b"vide" => Kind::Video,
        b"soun" => Kind::Audio,
        _ => return Err(Fault::NoMedia(handler)),
    };
    let (entry, media) = inside(trak, &[b"mdia", b"minf", b"stbl", b"stsd"])
        .and_then(|stsd| description(stsd, kind))
        .and_then(|entry| entry.media().map(|media| (entry, media)))
        .ok_or(Fault::Malformed("stsd"))?;
    let movie = inside(moov, &[b"mvhd"]).and_then(ticks).ok_or(Fault::Malformed("mvhd"))?;
    let mut axis = inside(moov, &[b"mvex", b"trex"]).and_then(defaults).ok_or(Fault::Malformed("trex"))?;
    axis.track_id = track_id;
    axis.offset = shift(trak, timescale, movie)
        .and_then(|shift| shift.checked_add(lead.ticks_in(timescale)))
        .ok_or(Fault::Malformed("elst"))?;
    axis.next_dts = axis.offset.saturating_neg();
    Ok((Track { timescale, media, entry, display }, axis))
}

/// Goes down a path of boxes.
pub(super) fn inside<'a>(body: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    path.iter().try_fold(body, |body, name| Boxes::find(body, name))
}

/// The fields of a full box behind its two dates, with its version.
fn behind_dates(body: &[u8]) -> Option<(u8, Fields<'_>)> {
    let mut fields = Fields::new(body);
    let (version, _) = fields.version_and_flags()?;
    fields.skip(if version == 1 { 16 } else { 8 })?;
    Some((version, fields))
}

fn header(tkhd: &[u8]) -> Option<(u32, Display)> {
    let (version, mut fields) = behind_dates(tkhd)?;
    let track_id = fields.u32()?;
    fields.skip(4)?;
    fields.wide(version)?;
    fields.skip(16)?;
    Some((track_id, Display { matrix: fields.array()?, width: fields.u32()?, height: fields.u32()? }))
}

/// `mvhd` and `mdhd` begin alike: the ticks in a second.
pub(super) fn ticks(header: &[u8]) -> Option<u32> {
    behind_dates(header)?.1.u32().filter(|scale| *scale > 0)
}

pub(super) fn handler(hdlr: &[u8]) -> Option<FourCc> {
    let mut fields = Fields::new(hdlr);
    fields.skip(8)?;
    fields.array().map(FourCc)
}

/// The one sample entry: with more of them, samples would have to say which is theirs.
fn description(stsd: &[u8], kind: Kind) -> Option<SampleEntry> {
    let mut fields = Fields::new(stsd);
    fields.skip(4)?;
    if fields.u32()? != 1 {
        return None;
    }
    let (format, payload) = Boxes::new(fields.rest()).next()??;
    SampleEntry::parse(kind, format, payload)
}

fn defaults(trex: &[u8]) -> Option<Axis> {
    let mut fields = Fields::new(trex);
    fields.skip(12)?;
    let (default_duration, default_size) = (fields.u32()?, fields.u32()?);
    Some(Axis { default_duration, default_size, default_flags: fields.u32()?, ..Axis::default() })
}

/// How much later a sample's composition time is than its presentation: the media time of the first edit
/// with media, less the empty edits before it. No edit list is no shift.
fn shift(trak: &[u8], timescale: u32, movie: u32) -> Option<i64> {
    let Some(elst) = inside(trak, &[b"edts", b"elst"]) else { return Some(0) };
    let mut fields = Fields::new(elst);
    let (version, _) = fields.version_and_flags()?;
    let mut empty = 0_i64;
    for _ in 0..fields.u32()? {
        let duration = i64::try_from(fields.wide(version)?).ok()?;
        let media_time = if version == 1 { fields.u64()? as i64 } else { i64::from(fields.i32()?) };
        fields.skip(4)?;
        if media_time >= 0 {
            return media_time.checked_sub(Time::new(empty, movie).ticks_in(timescale));
        }
        empty = empty.checked_add(duration)?;
    }
    Some(Time::new(empty, movie).ticks_in(timescale).saturating_neg())
}

#[cfg(test)]
mod tests {
    use super::super::boxes::{write_box, write_words};
    use super::*;

    fn edits(entries: &[(u32, i32)]) -> Vec<u8> {
        let mut trak = Vec::new();
        write_box(&mut trak, b"edts", |out| {
            write_box(out, b"elst", |out| {
                write_words(out, &[0, entries.len() as u32]);
                for (duration, media_time) in entries {
                    write_words(out, &[*duration, *media_time as u32, 0x10000]);
                }
            });
        });
        trak
    }

    #[test]
    fn the_media_time_of_the_first_edit_is_the_shift() {
        assert_eq!(shift(&edits(&[(0, 7_200)]), 90_000, 1_000), Some(7_200));
        assert_eq!(shift(&edits(&[(0, 1_024)]), 48_000, 1_000), Some(1_024));
        assert_eq!(shift(&[], 48_000, 1_000), Some(0));
    }

    #[test]
    fn an_empty_edit_puts_the_samples_later() {
        assert_eq!(shift(&edits(&[(40, -1), (0, 7_200)]), 90_000, 1_000), Some(3_600));
        assert_eq!(shift(&edits(&[(1_000, -1)]), 90_000, 1_000), Some(-90_000));
    }

    #[test]
    fn an_edit_list_that_announces_more_than_it_has_is_refused() {
        let mut trak = edits(&[(40, -1)]);
        trak[23] = 9;
        assert_eq!(shift(&trak, 90_000, 1_000), None);
    }
}
