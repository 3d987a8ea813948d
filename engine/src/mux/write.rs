//! Samples become what players load: an initialisation section, and segments or parts.
//!
//! Three things are written as no player misreads them: there is no edit list, composition offsets are
//! unsigned, and times are the caller's, from zero on. The same configuration gives the same bytes.

use bytes::Bytes;

use super::boxes::{write_box, write_words};
use super::entry::Kind;
use super::{Sample, Time, Track};

/// Why samples cannot be written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WriteError {
    /// A segment without samples has no time.
    #[error("a segment of no samples")]
    Empty,
    /// Times are unsigned: a decode time must not lie before zero.
    #[error("a segment would begin at {at} s")]
    BeforeZero {
        /// The decode time of the first sample.
        at: Time,
    },
    /// Offsets are unsigned and have 32 bits: presentation is never before decoding.
    #[error("a sample at {at} s is presented before it is decoded, or long after")]
    Offset {
        /// Its decode time.
        at: Time,
    },
    /// Samples come in decoding order.
    #[error("a sample is not decoded after the one at {at} s, or long after it")]
    Order {
        /// The decode time of the earlier one.
        at: Time,
    },
    /// Sizes have 32 bits, and places 31.
    #[error("a segment of {0} bytes")]
    TooLarge(u64),
}

pub(super) const TRACK_ID: u32 = 1;
const MOVIE_TIMESCALE: u32 = 1_000;
const LANGUAGE_UNDETERMINED: u32 = 0x55c4_0000;
const UPRIGHT: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];
/// Depends on no other sample; depends on others and is no sync sample.
const SYNC: u32 = 0x0200_0000;
const NON_SYNC: u32 = 0x0101_0000;

/// `moof` up to the entries of `trun`, and the size of one entry.
const MOOF_FIXED: usize = 8 + 16 + 8 + 16 + 20 + 20;
const MOOF_ENTRY: usize = 16;
const MDAT_HEADER: usize = 8;

/// The initialisation section of a track: `ftyp` and `moov`. What differs between two runs of one command
/// (bit rates, the encoder's name) is left out; pixel aspect, colours and rotation are kept.
pub fn init(track: &Track) -> Bytes {
    let mut out = Vec::with_capacity(1_024);
    write_box(&mut out, b"ftyp", |out| out.extend_from_slice(b"iso5\0\0\x02\0iso5iso6mp41"));
    write_box(&mut out, b"moov", |out| {
        write_box(out, b"mvhd", |out| {
            write_words(out, &[0, 0, 0, MOVIE_TIMESCALE, 0, 0x1_0000, 0x0100_0000, 0, 0]);
            write_words(out, &UPRIGHT);
            write_words(out, &[0, 0, 0, 0, 0, 0, TRACK_ID + 1]);
        });
        write_box(out, b"trak", |out| {
            write_track_header(out, track);
            write_box(out, b"mdia", |out| write_media(out, track));
        });
        write_box(out, b"mvex", |out| {
            write_box(out, b"trex", |out| write_words(out, &[0, TRACK_ID, 1, 0, 0, 0]));
        });
    });
    Bytes::from(out)
}

/// A segment or a part: `moof` and `mdat`, in one allocation. Every time is later by `shift` ticks, and each
/// sample lasts until the next one is decoded, so a hole between samples keeps its length; the last lasts as
/// long as it says. `sequence` counts the segments and parts of a rendition.
pub fn segment(track: &Track, sequence: u32, shift: i64, samples: &[Sample]) -> Result<Bytes, WriteError> {
    let first = samples.first().ok_or(WriteError::Empty)?;
    let at = |dts: i64| Time::new(dts.saturating_add(shift), track.timescale);
    let begin = first
        .dts
        .checked_add(shift)
        .and_then(|begin| u64::try_from(begin).ok())
        .ok_or(WriteError::BeforeZero { at: at(first.dts) })?;
    let media: u64 = samples.iter().map(|sample| sample.data.len() as u64).sum();
    let moof = MOOF_FIXED + samples.len() * MOOF_ENTRY;
    let whole = moof as u64 + MDAT_HEADER as u64 + media;
    if whole > i32::MAX as u64 {
        return Err(WriteError::TooLarge(whole));
    }

    let mut out = Vec::with_capacity(whole as usize);
    write_words(&mut out, &[moof as u32]);
    out.extend_from_slice(b"moof");
    write_box(&mut out, b"mfhd", |out| write_words(out, &[0, sequence]));
    write_words(&mut out, &[(moof - 8 - 16) as u32]);
    out.extend_from_slice(b"traf");
    // Places count from `moof`; nothing is left to defaults.
    write_box(&mut out, b"tfhd", |out| write_words(out, &[0x0002_0000, TRACK_ID]));
    write_box(&mut out, b"tfdt", |out| write_words(out, &[0x0100_0000, (begin >> 32) as u32, begin as u32]));
    write_words(&mut out, &[(20 + samples.len() * MOOF_ENTRY) as u32]);
    out.extend_from_slice(b"trun");
    write_words(&mut out, &[0x0000_0f01, samples.len() as u32, (moof + MDAT_HEADER) as u32]);
    for (index, sample) in samples.iter().enumerate() {
        let duration = match samples.get(index + 1) {
            Some(next) => next.dts.checked_sub(sample.dts).and_then(|duration| u32::try_from(duration).ok()),
            None => Some(sample.duration),
        };
        let offset = sample.pts.checked_sub(sample.dts).and_then(|offset| u32::try_from(offset).ok());
        let duration = duration.ok_or(WriteError::Order { at: at(sample.dts) })?;
        let offset = offset.ok_or(WriteError::Offset { at: at(sample.dts) })?;
        let flags = if sample.sync { SYNC } else { NON_SYNC };
        write_words(&mut out, &[duration, sample.data.len() as u32, flags, offset]);
    }
    write_words(&mut out, &[(MDAT_HEADER as u64 + media) as u32]);
    out.extend_from_slice(b"mdat");
    for sample in samples {
        out.extend_from_slice(&sample.data);
    }
    debug_assert_eq!(out.len() as u64, whole);
    Ok(Bytes::from(out))
}

fn write_track_header(out: &mut Vec<u8>, track: &Track) {
    let volume = match track.entry.kind() {
        Kind::Video => 0,
        Kind::Audio => 0x0100_0000,
    };
    write_box(out, b"tkhd", |out| {
        // Enabled, and part of the presentation.
        write_words(out, &[3, 0, 0, TRACK_ID, 0, 0, 0, 0, 0, volume]);
        out.extend_from_slice(&track.display.matrix);
        write_words(out, &[track.display.width, track.display.height]);
    });
}

fn write_media(out: &mut Vec<u8>, track: &Track) {
    let (handler, name) = match track.entry.kind() {
        Kind::Video => (b"vide", &b"video\0"[..]),
        Kind::Audio => (b"soun", &b"audio\0"[..]),
    };
    write_box(out, b"mdhd", |out| write_words(out, &[0, 0, 0, track.timescale, 0, LANGUAGE_UNDETERMINED]));
    write_box(out, b"hdlr", |out| {
        write_words(out, &[0, 0]);
        out.extend_from_slice(handler);
        write_words(out, &[0, 0, 0]);
        out.extend_from_slice(name);
    });
    write_box(out, b"minf", |out| {
        match track.entry.kind() {
            Kind::Video => write_box(out, b"vmhd", |out| write_words(out, &[1, 0, 0])),
            Kind::Audio => write_box(out, b"smhd", |out| write_words(out, &[0, 0])),
        }
        write_box(out, b"dinf", |out| {
            write_box(out, b"dref", |out| {
                write_words(out, &[0, 1]);
                write_box(out, b"url ", |out| write_words(out, &[1]));
            });
        });
        write_box(out, b"stbl", |out| {
            write_box(out, b"stsd", |out| {
                write_words(out, &[0, 1]);
                track.entry.write(out);
            });
            // The samples are in fragments, so their tables are empty.
            for table in [b"stts", b"stsc", b"stco"] {
                write_box(out, table, |out| write_words(out, &[0, 0]));
            }
            write_box(out, b"stsz", |out| write_words(out, &[0, 0, 0]));
        });
    });
}
