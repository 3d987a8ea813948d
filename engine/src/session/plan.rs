//! Where a film is cut, and where its output has to stop. Pure.

use super::inputs::Known;
use crate::ffmpeg::Decision;
use crate::mux::{Rate, Time};

/// Key frames that can be asked for in one argument list.
const MOST_CUTS: usize = 10_000;
/// Key frames are planned for this long after the film should have ended: headers lie.
pub(super) const AFTER_END: Time = Time::from_secs(600);

/// How long a film is said to be: its picture if that is known, since a film ends with its picture.
pub(super) fn expected(known: &Known) -> Option<Time> {
    known.probe.video().and_then(|video| video.duration).or(known.probe.duration)
}

/// Where output has to stop because its sound is padded with silence: only where the sound ends early, since a
/// film that is longer than its header says would be cut there.
pub(super) fn padded(known: &Known, decision: &Decision, segment: Time) -> Option<Time> {
    let end = expected(known)?;
    let encoded = decision.audio.iter().filter(|track| !track.is_copied());
    let mut lengths = encoded.filter_map(|track| known.probe.stream(track.stream?)?.duration);
    lengths.any(|sound| sound + segment < end).then(|| end + segment)
}

/// Where an encoded film is cut after `from`: whole frames, the first two segments of a film short, since a
/// start costs the frames of its first segment.
pub(super) fn grid(from: Time, segment: Time, rate: Rate, until: Option<Time>) -> Vec<Time> {
    let short = Time::from_secs(1).min(segment);
    let mut at = from;
    let mut cuts = Vec::new();
    while cuts.len() < MOST_CUTS - 1 && until.is_none_or(|until| at < until) {
        at += if from == Time::ZERO && cuts.len() < 2 { short } else { segment };
        cuts.push(rate.frame(rate.frames_in(at)));
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(from: i64, rate: Rate, until: i64) -> Vec<f64> {
        let cuts = grid(Time::from_secs(from), Time::from_secs(2), rate, Some(Time::from_secs(until)));
        cuts.into_iter().map(Time::seconds).collect()
    }

    #[test]
    fn the_first_segments_of_a_film_are_short() {
        assert_eq!(seconds(0, Rate { num: 25, den: 1 }, 6), [1.0, 2.0, 4.0, 6.0]);
    }

    #[test]
    fn a_later_run_goes_on_with_whole_ones() {
        assert_eq!(seconds(4, Rate { num: 25, den: 1 }, 8), [6.0, 8.0]);
    }

    #[test]
    fn cuts_are_whole_frames_that_do_not_drift() {
        let rate = Rate { num: 30_000, den: 1001 };
        let cuts = grid(Time::ZERO, Time::from_secs(2), rate, Some(Time::from_secs(7200)));
        for (n, cut) in cuts.iter().enumerate().skip(1) {
            let meant = Time::from_secs(2 * n as i64);
            assert!(*cut >= meant && *cut < meant + rate.frame(1), "{cut} for {meant}");
            assert_eq!(*cut, rate.frame(rate.nearest_frame(*cut)));
        }
    }

    #[test]
    fn one_argument_holds_them_all() {
        assert!(grid(Time::ZERO, Time::from_secs(2), Rate { num: 25, den: 1 }, None).len() < MOST_CUTS);
    }
}
