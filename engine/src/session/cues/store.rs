//! The cues of a session's subtitle tracks, and which stretches of the film were read for them.
//!
//! All runs feed it, in any order and over one another; what it holds depends only on what they read.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Cue;
use crate::mux::Time;

/// The subtitles of a session. Tracks count from zero, in the order of the input; one that does not exist has
/// no cues and takes none.
#[derive(Debug)]
pub(in crate::session) struct Cues {
    /// Each lock is held for a lookup, never while text is written.
    tracks: Vec<Mutex<Track>>,
    /// Tells that more was read.
    progress: watch::Sender<()>,
}

/// A track has more cues than are kept: the rest is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("subtitle track {track} has more than {MOST_CUES} cues or 16 MiB of text; the rest is left out")]
pub(in crate::session) struct Overflow {
    /// Which track.
    pub track: usize,
}

#[derive(Debug, Default)]
struct Track {
    /// No cue of these continues another one.
    cues: BTreeSet<Arc<Cue>>,
    bytes: usize,
    /// Stretches that were read: sorted, and with gaps between them.
    read: Vec<(Time, Time)>,
    has_overflowed: bool,
}

/// Ten times what the most talkative film has.
const MOST_CUES: usize = 100_000;
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// More gaps than jumps can leave. Beyond them a stretch counts as unread, and is only read again.
const MOST_STRETCHES: usize = 4_096;

impl Cues {
    /// Nothing yet, for so many tracks.
    pub(in crate::session) fn new(tracks: usize) -> Self {
        Self { tracks: (0..tracks).map(|_| Mutex::default()).collect(), progress: watch::Sender::new(()) }
    }

    /// How many tracks there are.
    pub(in crate::session) fn tracks(&self) -> usize {
        self.tracks.len()
    }

    /// Takes what a run read. A cue that another run read as well is kept once, and one that continues another
    /// takes its place. The first cue that finds no room gives the warning, later ones are silently dropped.
    pub(in crate::session) fn insert(&self, track: usize, cue: Cue) -> Option<Overflow> {
        let mut kept = self.track(track)?;
        let is_first = !kept.insert(cue) && !std::mem::replace(&mut kept.has_overflowed, true);
        is_first.then_some(Overflow { track })
    }

    /// Notes that a run has brought every cue of `from .. to`: it began with a key frame at `from` or before,
    /// and its pictures have passed `to`. What its subtitle pipe holds by then is fed first.
    pub(in crate::session) fn read(&self, track: usize, from: Time, to: Time) {
        if let Some(mut kept) = self.track(track)
            && from < to
        {
            kept.read(from, to);
            drop(kept);
            self.progress.send_replace(());
        }
    }

    /// Whether all of `from .. to` was read, so that its segment is complete.
    pub(in crate::session) fn covered(&self, track: usize, from: Time, to: Time) -> bool {
        self.track(track).is_some_and(|kept| {
            let next = kept.read.partition_point(|stretch| stretch.0 <= from);
            next > 0 && kept.read[next - 1].1 >= to
        })
    }

    /// Waits until all of `from .. to` was read, for ever if nobody reads it.
    pub(in crate::session) async fn until_covered(&self, track: usize, from: Time, to: Time) {
        let mut progress = self.progress.subscribe();
        while !self.covered(track, from, to) && progress.changed().await.is_ok() {}
    }

    /// The WebVTT segment of `from .. to`: all cues that touch it, in film time. `delay` is how much later
    /// than film time the presentation times of the pictures beside it are.
    pub(in crate::session) fn segment(&self, track: usize, from: Time, to: Time, delay: Time) -> String {
        let cues = self.select(track, |cue| cue.end > from, Some(to));
        // Transport streams count with 33 bits.
        let ticks = delay.ticks_in(90_000).rem_euclid(1 << 33);
        let head = format!("WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:{ticks}\n\n");
        written(head, &cues, Time::ZERO)
    }

    /// All cues that are known by now, on the axis of the pictures: `delay` later than film time.
    pub(in crate::session) fn whole(&self, track: usize, delay: Time) -> String {
        written("WEBVTT\n\n".to_owned(), &self.select(track, |_| true, None), delay)
    }

    /// The cues that begin before a time and fulfil a wish, by their start.
    fn select(&self, track: usize, wanted: impl Fn(&Cue) -> bool, before: Option<Time>) -> Vec<Arc<Cue>> {
        let Some(kept) = self.track(track) else { return Vec::new() };
        let early = kept.cues.iter().take_while(|cue| before.is_none_or(|before| cue.start < before));
        early.filter(|cue| wanted(cue)).cloned().collect()
    }

    fn track(&self, track: usize) -> Option<MutexGuard<'_, Track>> {
        // Each change of a track is made in one piece; there is nothing to find half done.
        self.tracks.get(track).map(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Track {
    /// Whether there was room, or no need for any.
    fn insert(&mut self, cue: Cue) -> bool {
        let cue = Arc::new(cue);
        // No character sorts before a line end, so a cue and what continues it are neighbours.
        let next = self.cues.range(Arc::clone(&cue)..).next();
        if next.is_some_and(|next| *next == cue || next.continues(&cue)) {
            return true;
        }
        let replaced = self.cues.range(..Arc::clone(&cue)).next_back();
        let replaced = replaced.filter(|last| cue.continues(last)).cloned();
        let freed = replaced.as_deref().map_or(0, size);
        let count = self.cues.len() + usize::from(replaced.is_none());
        let bytes = self.bytes - freed + size(&cue);
        if count > MOST_CUES || bytes > MOST_BYTES {
            return false;
        }
        if let Some(replaced) = replaced {
            self.cues.remove(&replaced);
        }
        self.cues.insert(cue);
        self.bytes = bytes;
        true
    }

    fn read(&mut self, from: Time, to: Time) {
        let first = self.read.partition_point(|stretch| stretch.1 < from);
        let after = self.read.partition_point(|stretch| stretch.0 <= to);
        match self.read.get(first..after) {
            Some([one, ..]) => {
                let merged = (from.min(one.0), to.max(self.read[after - 1].1));
                self.read.splice(first..after, [merged]);
            }
            _ if self.read.len() < MOST_STRETCHES => self.read.insert(first, (from, to)),
            _ => {}
        }
    }
}

fn size(cue: &Cue) -> usize {
    cue.text.len() + cue.settings.len()
}

fn written(mut out: String, cues: &[Arc<Cue>], later: Time) -> String {
    for cue in cues {
        cue.write(&mut out, later);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cue(start: i64, end: i64, text: &str) -> Cue {
        let (start, end) = (Time::from_millis(start), Time::from_millis(end));
        Cue { start, end, settings: String::new(), text: text.to_owned() }
    }

    fn texts(cues: &Cues) -> Vec<String> {
        cues.select(0, |_| true, None).iter().map(|cue| cue.text.clone()).collect()
    }

    #[test]
    fn a_cue_that_two_runs_read_is_kept_once() {
        let cues = Cues::new(1);
        for (start, end, text) in [(5, 6, "b"), (1, 2, "a"), (5, 6, "b"), (5, 7, "b"), (5, 6, "c")] {
            assert_eq!(cues.insert(0, cue(start, end, text)), None);
        }
        assert_eq!(texts(&cues), ["a", "b", "c", "b"]);
    }

    #[test]
    fn the_longer_of_two_readings_stays_whichever_comes_first() {
        for order in [["a", "a\nb", "ab"], ["a\nb", "ab", "a"], ["ab", "a", "a\nb"]] {
            let cues = Cues::new(1);
            for text in order {
                cues.insert(0, cue(1, 2, text));
            }
            assert_eq!(texts(&cues), ["a\nb", "ab"], "{order:?}");
        }
    }

    #[test]
    fn a_track_that_never_ends_is_warned_about_once() {
        let cues = Cues::new(2);
        assert_eq!(cues.tracks(), 2);
        for start in 0..MOST_CUES as i64 {
            assert_eq!(cues.insert(1, cue(start, start + 1, "x")), None);
        }
        assert_eq!(cues.insert(1, cue(-1, 1, "x")), Some(Overflow { track: 1 }));
        assert_eq!(cues.insert(1, cue(-2, 1, "x")), None);
        assert_eq!(cues.insert(1, cue(0, 1, "x\ny")), None, "it takes the place of another");
        assert_eq!(cues.select(1, |_| true, None).len(), MOST_CUES);

        let long = "x".repeat(MOST_BYTES / 1_000);
        let warnings = (0..1_002).filter_map(|start| cues.insert(0, cue(start, start + 1, &long)));
        assert_eq!(warnings.count(), 1);
        assert_eq!(cues.select(0, |_| true, None).len(), 1_000);
    }

    #[test]
    fn a_stretch_is_covered_when_runs_have_read_all_of_it() {
        let cues = Cues::new(1);
        let time = Time::from_secs;
        let covered = |from, to| cues.covered(0, time(from), time(to));
        cues.read(0, time(10), time(12));
        cues.read(0, time(20), time(24));
        assert!(covered(10, 12) && covered(11, 12) && covered(20, 24));
        assert!(!covered(10, 13) && !covered(9, 11) && !covered(12, 14) && !covered(11, 21));
        cues.read(0, time(12), time(16));
        cues.read(0, time(14), time(15));
        assert!(covered(10, 16) && !covered(10, 17));
        cues.read(0, time(15), time(21));
        assert!(covered(10, 24));
        cues.read(0, time(0), time(30));
        cues.read(0, time(5), time(5));
        assert!(covered(0, 30) && !covered(0, 31));
        assert!(!cues.covered(1, time(0), time(1)), "there is no such track");
    }

    #[test]
    fn gaps_are_bounded_and_a_stretch_that_finds_no_room_counts_as_unread() {
        let cues = Cues::new(1);
        for second in 0..MOST_STRETCHES as i64 + 10 {
            cues.read(0, Time::from_secs(second * 2), Time::from_secs(second * 2 + 1));
        }
        let last = MOST_STRETCHES as i64 * 2;
        assert!(cues.covered(0, Time::from_secs(last - 2), Time::from_secs(last - 1)));
        assert!(!cues.covered(0, Time::from_secs(last), Time::from_secs(last + 1)));
        cues.read(0, Time::from_secs(last - 1), Time::from_secs(last + 1));
        assert!(cues.covered(0, Time::from_secs(last - 2), Time::from_secs(last + 1)));
    }

    #[test]
    fn a_segment_holds_every_cue_that_touches_it_unchanged() {
        let cues = Cues::new(1);
        for (start, end, text) in
            [(0, 2_000, "ends"), (1_500, 9_000, "over"), (2_000, 2_500, "in\ntwo"), (4_000, 5_000, "next")]
        {
            cues.insert(0, cue(start, end, text));
        }
        let segment = cues.segment(0, Time::from_secs(2), Time::from_secs(4), Time::new(2, 25));
        assert_eq!(
            segment,
            "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:7200\n\n\
             00:00:01.500 --> 00:00:09.000\nover\n\n00:00:02.000 --> 00:00:02.500\nin\ntwo\n\n"
        );
        let empty = cues.segment(0, Time::from_secs(10), Time::from_secs(12), Time::ZERO);
        assert_eq!(empty, "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0\n\n");
        let wrapped = cues.segment(1, Time::ZERO, Time::from_secs(2), Time::new((1 << 33) + 5, 90_000));
        assert!(wrapped.ends_with("MPEGTS:5\n\n"), "{wrapped}");
    }

    #[test]
    fn the_whole_is_on_the_axis_of_the_pictures_and_never_before_it() {
        let cues = Cues::new(1);
        assert_eq!(cues.whole(0, Time::ZERO), "WEBVTT\n\n");
        cues.insert(0, cue(-900, -500, "gone"));
        cues.insert(0, cue(-500, 1_000, "early"));
        let settings = "line:10%".to_owned();
        cues.insert(0, Cue { settings, ..cue(360_000_001, 363_723_004, "late") });
        assert_eq!(
            cues.whole(0, Time::from_millis(80)),
            "WEBVTT\n\n00:00:00.000 --> 00:00:01.080\nearly\n\n\
             100:00:00.081 --> 101:02:03.084 line:10%\nlate\n\n"
        );
    }
}
