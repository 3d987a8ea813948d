//! Where a film is cut: its segments as exact times, known before anything is made. Pure.
//!
//! Times are film time: 0 is the first picture (the first sound where there is no picture). The last boundary is
//! where the film ends, as far as that is known; a header may lie, and [`Grid::ending`] puts it right.

use std::sync::Arc;

use super::inputs::Known;
use crate::ffmpeg::{Container, Decision};
use crate::mux::{Rate, Time};

/// Segments of one film: a day of pictures and more. A film of more is played as an event.
const MOST_SEGMENTS: usize = 100_000;
/// A rest at the end that is shorter than this belongs to the segment before it: headers are off by a frame.
const SHORTEST: Time = Time::from_millis(500);
/// Past its expected end an encoded film gets a cut only so much later: an end that is off by less than this
/// is a rounding of its header.
const END_SLACK: Time = Time::from_secs(1);
/// Key frames are planned for this long after a film should have ended: headers lie.
const AFTER_END: Time = Time::from_secs(600);
/// So much sound after the end of a picture is read in vain.
const OUTLASTS: Time = Time::from_secs(10);
/// A clock of milliseconds makes two seconds 1.999 s at times.
const CLOCK_SLACK: Time = Time::from_millis(50);
/// Copied pictures are cut at their key frames, which may lie so many segments apart.
const MOST_APART: i64 = 3;
/// Key frames that can be asked for in one argument list.
const MOST_CUTS: usize = 10_000;
/// Samples in a packet of AAC (ISO/IEC 14496-3).
const AAC_PACKET: i64 = 1024;

/// The cut points of a film.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// One more than segments: the first is 0, the last the film's end.
    bounds: Arc<[Time]>,
}

/// Why a film has no grid of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Key frames too far apart.
    LongGop,
    /// Nothing to cut, or more than anybody watches.
    Length,
}

impl Grid {
    /// The grid of pictures that are encoded at a constant rate: whole frames, the first two segments short,
    /// since a start costs the frames of its first segment.
    pub(crate) fn encoded(rate: Rate, segment: Time, end: Time) -> Result<Self, Unfit> {
        let end = rate.frame(rate.nearest_frame(end));
        Self::regular(segment, end, |at| rate.frame(rate.frames_in(at)))
    }

    /// The grid of sound without a picture: whole packets.
    pub(super) fn packets(sample_rate: u32, segment: Time, end: Time) -> Result<Self, Unfit> {
        Self::regular(segment, end, |at| {
            let packet = (at.ceil_in(sample_rate) + AAC_PACKET - 1).div_euclid(AAC_PACKET);
            Time::new(packet * AAC_PACKET, sample_rate)
        })
    }

    /// The grid of pictures that are copied: the next cut is the first key frame at least a segment after the
    /// last one. `keys` count from the film's first picture.
    pub(super) fn copied(keys: &[Time], segment: Time, end: Time) -> Result<Self, Unfit> {
        let end = believable(keys, segment, end);
        let mut bounds = vec![Time::ZERO];
        for key in keys.iter().copied().filter(|key| *key < end) {
            let last = bounds[bounds.len() - 1];
            if key - last + CLOCK_SLACK >= segment {
                bounds.push(key);
            }
        }
        Self::closed(bounds, end, segment).and_then(|grid| {
            let apart = grid.bounds.windows(2).map(|pair| pair[1] - pair[0]).max();
            if apart.is_some_and(|apart| apart > segment * MOST_APART) {
                Err(Unfit::LongGop)
            } else {
                Ok(grid)
            }
        })
    }

    fn regular(segment: Time, end: Time, exact: impl Fn(Time) -> Time) -> Result<Self, Unfit> {
        let mut bounds = vec![Time::ZERO];
        for at in targets(segment) {
            let cut = exact(at);
            if cut >= end || bounds.len() > MOST_SEGMENTS {
                break;
            }
            bounds.push(cut);
        }
        Self::closed(bounds, end, segment)
    }

    fn closed(mut bounds: Vec<Time>, end: Time, segment: Time) -> Result<Self, Unfit> {
        if end <= Time::ZERO || bounds.len() > MOST_SEGMENTS {
            return Err(Unfit::Length);
        }
        while bounds.len() > 1 && end - bounds[bounds.len() - 1] < SHORTEST.min(segment) {
            bounds.pop();
        }
        bounds.push(end);
        Ok(Self { bounds: bounds.into() })
    }

    /// How many segments there are.
    pub fn count(&self) -> u64 {
        self.bounds.len() as u64 - 1
    }

    /// Where a segment begins; the film's end for all that would come after it.
    pub fn start(&self, number: u64) -> Time {
        let place = usize::try_from(number).unwrap_or(usize::MAX).min(self.bounds.len() - 1);
        self.bounds[place]
    }

    /// How long a segment is.
    pub fn length(&self, number: u64) -> Time {
        self.start(number.saturating_add(1)) - self.start(number)
    }

    /// Where the film ends.
    pub fn end(&self) -> Time {
        self.bounds[self.bounds.len() - 1]
    }

    /// The segment that a moment lies in: the first or the last one for what lies outside.
    pub fn at(&self, moment: Time) -> u64 {
        let after = self.bounds.partition_point(|bound| *bound <= moment) as u64;
        after.saturating_sub(1).min(self.count() - 1)
    }

    /// The longest segment.
    pub fn longest(&self) -> Time {
        self.bounds.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(Time::ZERO)
    }

    /// The boundaries after the beginning of a segment, at most `most` of them.
    pub(super) fn cuts_after(&self, number: u64, most: usize) -> Vec<Time> {
        let from = usize::try_from(number).unwrap_or(usize::MAX).saturating_add(1).min(self.bounds.len() - 1);
        self.bounds[from..self.bounds.len() - 1].iter().copied().take(most).collect()
    }

    /// The same film with its segment `number` ending at `end`, which the last one does where `last`. Where the
    /// film goes on after what was taken for its end, another segment is added.
    #[must_use]
    pub(super) fn ending(&self, number: u64, end: Time, last: bool) -> Self {
        let segments = usize::try_from(number).unwrap_or(usize::MAX).saturating_add(1);
        let mut bounds = self.bounds.to_vec();
        let goes_on = !last && end > self.end();
        if last || goes_on || segments >= self.bounds.len() - 1 {
            bounds.truncate(segments);
            bounds.push(end);
        }
        if goes_on {
            // As long as its fellows: the one before it was stretched over what was taken for the end.
            bounds.push(end + self.longest().min(end - self.start(number)));
        }
        Self { bounds: bounds.into() }
    }
}

/// Where a film ends whose key frames are known. A header that says a time before its last key frame, or far
/// after it, says less than they do; where it ends really, the run shows that comes to its end.
fn believable(keys: &[Time], segment: Time, end: Time) -> Time {
    let Some(last) = keys.last().copied() else { return end };
    let apart = keys.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(segment);
    let (least, most) = (last + Time::from_millis(1), last + segment.max(apart) * MOST_APART);
    if end < least || end > most { last + apart.min(segment) } else { end }
}

/// Where cuts are meant to be: short ones first.
fn targets(segment: Time) -> impl Iterator<Item = Time> {
    let short = Time::from_secs(1).min(segment);
    let first = [short, short * 2].into_iter();
    first.chain((1..).map(move |n| short * 2 + segment * n))
}

/// Where an encoded film is cut past its expected end, should it go on: `from` is the last planned boundary
/// before the end.
pub(super) fn beyond(rate: Rate, segment: Time, end: Time) -> impl Iterator<Item = Time> {
    targets(segment)
        .map(move |at| rate.frame(rate.frames_in(at)))
        .skip_while(move |cut| *cut < end + END_SLACK)
        .take_while(move |cut| *cut < end + AFTER_END)
}

/// Where an encoded event is cut: its length is not known, so for as long as one argument list can say.
pub(super) fn cuts(from: Time, segment: Time, rate: Rate, until: Option<Time>) -> Vec<Time> {
    targets(segment)
        .map(|at| rate.frame(rate.frames_in(at)))
        .skip_while(|cut| *cut <= from)
        .take_while(|cut| until.is_none_or(|until| *cut < until + AFTER_END))
        .take(MOST_CUTS - 1)
        .collect()
}

/// How long a film is said to be: its picture if that is known, since a film ends with its picture.
pub(super) fn expected(known: &Known) -> Option<Time> {
    let probe = &known.probe;
    if known.clock_jumps {
        return None;
    }
    // Matroska says where the last packet ends, and ffprobe calls that its length, wherever the first one begins.
    let before = probe.start.filter(|_| probe.container() == Some(Container::Matroska));
    let whole = |length: Time| length - before.unwrap_or(Time::ZERO).max(Time::ZERO);
    let length = probe.video().and_then(|video| video.duration).or(probe.duration.map(whole));
    length.filter(|length| *length > Time::ZERO)
}

/// Where output has to stop because its sound is padded with silence: only where the sound ends early, since a
/// film that is longer than its header says would be cut there.
pub(super) fn padded(known: &Known, decision: &Decision, segment: Time) -> Option<Time> {
    let end = expected(known)?;
    let encoded = decision.audio.iter().filter(|track| !track.is_copied());
    let mut lengths = encoded.filter_map(|track| known.probe.stream(track.stream?)?.duration);
    lengths.any(|sound| sound + segment < end).then(|| end + segment)
}

/// Where output may stop because sound goes on for long after the picture has ended: ffmpeg gives out the last
/// pictures only when all is read.
pub(super) fn outlasted(known: &Known, decision: &Decision, end: Time) -> Option<Time> {
    let stop = end + OUTLASTS;
    let is_told = known.probe.container() == Some(Container::Mp4) && decision.video.is_some();
    let lengths = decision.audio.iter().filter_map(|track| known.probe.stream(track.stream?)?.duration);
    (is_told && lengths.max().is_some_and(|longest| longest > stop)).then_some(stop)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEGMENT: Time = Time::from_secs(2);
    const PAL: Rate = Rate { num: 25, den: 1 };

    fn seconds(grid: &Grid) -> Vec<f64> {
        grid.bounds.iter().map(|bound| bound.seconds()).collect()
    }

    #[test]
    fn the_first_segments_of_an_encoded_film_are_short_and_a_short_rest_is_no_segment() {
        let grid = |end| seconds(&Grid::encoded(PAL, SEGMENT, end).unwrap());
        assert_eq!(grid(Time::from_secs(7)), [0.0, 1.0, 2.0, 4.0, 6.0, 7.0]);
        assert_eq!(grid(Time::from_millis(6_040)), [0.0, 1.0, 2.0, 4.0, 6.04]);
        assert_eq!(grid(Time::from_millis(400)), [0.0, 0.4]);
        assert_eq!(Grid::encoded(PAL, SEGMENT, Time::ZERO), Err(Unfit::Length));
    }

    #[test]
    fn copied_pictures_are_cut_at_key_frames_a_segment_apart() {
        let keys = |keys: &[i64]| keys.iter().map(|key| Time::from_millis(*key)).collect::<Vec<_>>();
        let grid = Grid::copied(&keys(&[0, 400, 2_200, 5_000, 5_600, 9_000]), SEGMENT, Time::from_secs(11));
        assert_eq!(seconds(&grid.unwrap()), [0.0, 2.2, 5.0, 9.0, 11.0]);
        // A clock of milliseconds.
        let grid = Grid::copied(&keys(&[0, 1_999, 3_999]), SEGMENT, Time::from_secs(6));
        assert_eq!(seconds(&grid.unwrap()), [0.0, 1.999, 3.999, 6.0]);
        let sparse = Grid::copied(&keys(&[0, 6_001, 8_000]), SEGMENT, Time::from_secs(10));
        assert_eq!(sparse, Err(Unfit::LongGop));
        let far = Grid::copied(&keys(&[0, 6_001]), SEGMENT, Time::from_secs(9));
        assert_eq!(far, Err(Unfit::LongGop));
    }

    #[test]
    fn a_header_that_lies_about_the_end_is_not_believed_against_the_key_frames() {
        let keys: Vec<Time> = (0..12).map(|n| Time::from_secs(2 * n)).collect();
        for (said, end) in [(24.0, 24.0), (23.5, 23.5), (72.0, 24.0), (12.0, 24.0), (22.0, 24.0)] {
            let said = Time::from_millis((said * 1000.0) as i64);
            let grid = Grid::copied(&keys, SEGMENT, said).unwrap();
            assert_eq!((grid.count(), grid.end().seconds()), (12, end), "{said}");
        }
        let one = Grid::copied(&keys[..1], SEGMENT, Time::from_secs(7)).unwrap();
        assert_eq!(seconds(&one), [0.0, 2.0]);
    }

    #[test]
    fn a_moment_lies_in_one_segment() {
        let grid = Grid::encoded(PAL, SEGMENT, Time::from_secs(7)).unwrap();
        for (moment, expected) in
            [(0, 0), (999, 0), (1_000, 1), (3_999, 2), (4_000, 3), (6_999, 4), (99_000, 4)]
        {
            assert_eq!(grid.at(Time::from_millis(moment)), expected, "{moment} ms");
        }
        assert_eq!((grid.count(), grid.length(2).seconds(), grid.length(9).seconds()), (5, 2.0, 0.0));
        assert_eq!(grid.cuts_after(2, 10), [Time::from_secs(4), Time::from_secs(6)]);
        assert_eq!(grid.cuts_after(4, 10), []);
    }

    #[test]
    fn a_film_that_ends_elsewhere_is_put_right() {
        let grid = Grid::encoded(PAL, SEGMENT, Time::from_secs(7)).unwrap();
        assert_eq!(seconds(&grid.ending(2, Time::from_millis(3_400), true)), [0.0, 1.0, 2.0, 3.4]);
        let longer = grid.ending(4, Time::from_secs(8), false);
        assert_eq!(seconds(&longer), [0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(seconds(&longer.ending(5, Time::from_secs(9), true)), [0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 9.0]);
        // One that is given up ends where it was to end.
        assert_eq!(grid.ending(4, Time::from_secs(7), false), grid);
        assert_eq!(grid.ending(2, Time::from_secs(4), false), grid);
    }

    #[test]
    fn an_encoded_film_that_goes_on_is_cut_regularly() {
        let cuts: Vec<_> = beyond(PAL, SEGMENT, Time::from_secs(7)).take(2).map(Time::seconds).collect();
        assert_eq!(cuts, [8.0, 10.0]);
        let events = cuts_of_event(Time::from_secs(4), Some(Time::from_secs(8)));
        assert_eq!(events[..2], [6.0, 8.0]);
        assert!(cuts_of_event(Time::ZERO, None).len() < MOST_CUTS);
    }

    fn cuts_of_event(from: Time, until: Option<Time>) -> Vec<f64> {
        cuts(from, SEGMENT, PAL, until).into_iter().map(Time::seconds).collect()
    }

    proptest! {
        #[test]
        fn every_encoded_boundary_is_a_whole_frame_and_none_drifts(
            rate in prop::sample::select(vec![(24_000, 1001), (24, 1), (25, 1), (30_000, 1001), (50, 1), (60_000, 1001), (60, 1)]),
            length in 1_i64..4_000_000,
        ) {
            let rate = Rate { num: rate.0, den: rate.1 };
            let grid = Grid::encoded(rate, SEGMENT, Time::from_millis(length)).unwrap_or_else(|_| {
                Grid::encoded(rate, SEGMENT, Time::from_secs(1)).unwrap()
            });
            let (first, last) = (grid.bounds[0], grid.end());
            prop_assert_eq!((first, last), (Time::ZERO, rate.frame(rate.nearest_frame(last))));
            for (bound, meant) in grid.bounds[1..grid.bounds.len() - 1].iter().zip(targets(SEGMENT)) {
                prop_assert_eq!(*bound, rate.frame(rate.nearest_frame(*bound)));
                prop_assert!(*bound >= meant && *bound < meant + rate.frame(1));
            }
            for number in 0..grid.count() {
                prop_assert_eq!(grid.at(grid.start(number)), number);
            }
        }
    }
}
