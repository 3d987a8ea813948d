//! The boxes of fragmented MP4, as far as the tests must tell one fragment from the next.
//!
//! Written apart from the engine's own reader on purpose: a fault that both shared would be seen by nobody.

use std::ops::Range;

/// One `moof` with all that follows it up to the next.
#[derive(Debug, Clone, PartialEq)]
pub struct Fragment {
    /// When its first sample is decoded, in seconds of the file's own clock.
    pub time: f64,
    /// The bytes it takes. The first fragment takes the initialisation section too, as ffmpeg writes both
    /// in one go.
    pub bytes: Range<usize>,
}

/// The fragments of one track's file.
///
/// # Panics
///
/// Where `file` isn't whole fragmented MP4: a test that goes on with that shows nothing.
pub fn fragments(file: &[u8]) -> Vec<Fragment> {
    let top = children(file, 0..file.len());
    let timescale = top
        .iter()
        .find(|(kind, _)| kind == b"moov")
        .and_then(|(_, moov)| descend(file, moov.clone(), &[b"trak", b"mdia", b"mdhd"]))
        .map(|mdhd| {
            // Version 1 has 64-bit times before the time scale, version 0 32-bit ones.
            let at = if file[mdhd.start] == 1 { 20 } else { 12 };
            f64::from(number(file, mdhd.start + at))
        })
        .expect("a fragmented file has a time scale");

    let starts: Vec<(usize, f64)> = top
        .iter()
        .filter(|(kind, _)| kind == b"moof")
        .map(|(_, moof)| {
            let tfdt =
                descend(file, moof.clone(), &[b"traf", b"tfdt"]).expect("a fragment has a decode time");
            let time = if file[tfdt.start] == 1 {
                f64::from(number(file, tfdt.start + 4)) * 4_294_967_296.0
                    + f64::from(number(file, tfdt.start + 8))
            } else {
                f64::from(number(file, tfdt.start + 4))
            };
            (moof.start - 8, time / timescale)
        })
        .collect();
    let ends = starts.iter().skip(1).map(|(start, _)| *start).chain([file.len()]);
    starts
        .iter()
        .zip(ends)
        .enumerate()
        .map(|(index, ((start, time), end))| Fragment {
            time: *time,
            bytes: if index == 0 { 0..end } else { *start..end },
        })
        .collect()
}

/// What a track's segments hold, as the boxes say it and nobody has smoothed it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// When it is decoded, in ticks of the track.
    pub decoded: i64,
    /// When it is shown, in ticks of the track.
    pub shown: i64,
    /// How long it lasts, in ticks of the track.
    pub duration: u32,
    /// Whether it can be decoded without those before it.
    pub sync: bool,
    /// Where its bytes lie in the segment.
    pub bytes: Range<usize>,
}

/// Ticks a second of the one track of an initialisation section.
///
/// # Panics
///
/// Where it describes no track.
pub fn timescale(init: &[u8]) -> u32 {
    let mdhd = all(init, &[b"moov", b"trak", b"mdia", b"mdhd"]).into_iter().next().expect("it has a track");
    number(init, mdhd.start + if init[mdhd.start] == 1 { 20 } else { 12 })
}

/// The samples of a segment of one track, in the order in which they are decoded.
///
/// # Panics
///
/// Where it is no whole fragmented MP4 that says duration, size, flags and offset of each sample.
pub fn samples(segment: &[u8]) -> Vec<Sample> {
    let mut found = Vec::new();
    for moof in all(segment, &[b"moof"]) {
        let traf = descend(segment, moof.clone(), &[b"traf"]).expect("a fragment has a track");
        let tfdt = descend(segment, traf.clone(), &[b"tfdt"]).expect("a fragment has a decode time");
        assert_eq!(
            segment[tfdt.start], 1,
            "decode times have 64 bits, or they would be full after some hours"
        );
        let word = |at: usize| i64::from(number(segment, at));
        let mut decoded = word(tfdt.start + 4) << 32 | word(tfdt.start + 8);
        for (_, trun) in children(segment, traf).into_iter().filter(|(kind, _)| kind == b"trun") {
            assert_eq!(
                number(segment, trun.start),
                0xf01,
                "offsets are unsigned, and nothing is left to defaults"
            );
            let mut place = moof.start - 8 + number(segment, trun.start + 8) as usize;
            for entry in (trun.start + 12..trun.end).step_by(16) {
                let (duration, size) = (number(segment, entry), number(segment, entry + 4) as usize);
                found.push(Sample {
                    decoded,
                    shown: decoded + word(entry + 12),
                    duration,
                    sync: number(segment, entry + 8) & 0x1_0000 == 0,
                    bytes: place..place + size,
                });
                decoded += i64::from(duration);
                place += size;
            }
        }
    }
    found
}

/// The contents of all boxes at the end of this path.
pub fn all(file: &[u8], path: &[&[u8; 4]]) -> Vec<Range<usize>> {
    let whole = Range { start: 0, end: file.len() };
    path.iter().fold(vec![whole], |within, wanted| {
        within
            .into_iter()
            .flat_map(|within| children(file, within))
            .filter(|(kind, _)| kind == *wanted)
            .map(|(_, body)| body)
            .collect()
    })
}

/// The kinds of the top-level boxes, in order.
pub fn kinds(file: &[u8]) -> Vec<String> {
    children(file, 0..file.len())
        .into_iter()
        .map(|(kind, _)| String::from_utf8_lossy(&kind).into_owned())
        .collect()
}

fn descend(file: &[u8], within: Range<usize>, path: &[&[u8; 4]]) -> Option<Range<usize>> {
    path.iter().try_fold(within, |within, wanted| {
        children(file, within).into_iter().find(|(kind, _)| kind == *wanted).map(|(_, body)| body)
    })
}

/// The boxes in `within`: their kind, and where their content lies.
fn children(file: &[u8], within: Range<usize>) -> Vec<([u8; 4], Range<usize>)> {
    let mut found = Vec::new();
    let mut at = within.start;
    while at + 8 <= within.end {
        let size = number(file, at) as usize;
        let kind = [file[at + 4], file[at + 5], file[at + 6], file[at + 7]];
        assert!(size >= 8 && at + size <= within.end, "a box of {size} bytes at {at} does not fit");
        found.push((kind, at + 8..at + size));
        at += size;
    }
    assert_eq!(at, within.end, "bytes are left after the last box");
    found
}

fn number(file: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]])
}
