//! The subtitles of one run: what its text pipes say goes into the session's cues, and what was read for them
//! is noted once all of it surely came.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::ffmpeg::LEAD;
use crate::mux::Time;
use crate::session::cues::{Cue, Cues, Overflow, Parser};

/// ffmpeg decodes subtitles on a thread of its own: a cue may come this much after the pictures beside it.
const LAG: Duration = Duration::from_millis(100);
/// Cues that wait until it is known where film time begins; more are for a source that sends nothing else.
const MOST_WAITING: usize = 10_000;

/// The text pipes of a run.
pub(super) struct Texts {
    cues: Arc<Cues>,
    parsers: Vec<Parser>,
    /// In ffmpeg's time.
    waiting: Vec<(usize, Cue)>,
    /// Where the run begins, in film time.
    from: Time,
    /// Up to where the pictures came, and when the text beside them is surely there.
    passed: VecDeque<(Instant, Time)>,
}

impl Texts {
    /// The pipes of a run that begins at `from`.
    pub(super) fn new(cues: Arc<Cues>, from: Time) -> Self {
        let parsers = (0..cues.tracks()).map(|_| Parser::new(LEAD)).collect();
        Self { cues, parsers, waiting: Vec::new(), from, passed: VecDeque::new() }
    }

    /// Takes what came on a pipe. Film time begins at `origin`; while that is not known the cues wait.
    pub(super) fn feed(&mut self, track: usize, bytes: &[u8], origin: Option<Time>) -> Vec<Overflow> {
        let cues = self.parsers.get_mut(track).map(|parser| parser.feed(bytes)).unwrap_or_default();
        self.take(track, cues, origin)
    }

    /// Film time begins at `origin`.
    pub(super) fn known(&mut self, origin: Time) -> Vec<Overflow> {
        self.take(0, Vec::new(), Some(origin))
    }

    /// The pipes ended because the input did, so their last lines are whole.
    pub(super) fn finish(&mut self, origin: Option<Time>) -> Vec<Overflow> {
        let mut overflows = Vec::new();
        for track in 0..self.parsers.len() {
            let cues = self.parsers[track].finish();
            overflows.extend(self.take(track, cues, origin));
        }
        overflows
    }

    /// The pictures have come up to there.
    pub(super) fn pass(&mut self, end: Time, now: Instant) {
        if !self.parsers.is_empty() {
            self.passed.push_back((now + LAG, end));
        }
    }

    /// When there is something to be noted.
    pub(super) fn due(&self) -> Option<Instant> {
        self.passed.front().map(|(due, _)| *due)
    }

    /// Notes what was read by now; everything, where nothing more will come.
    pub(super) fn note(&mut self, now: Option<Instant>) {
        while let Some((_, end)) = self.passed.pop_front_if(|(due, _)| now.is_none_or(|now| *due <= now)) {
            for track in 0..self.parsers.len() {
                self.cues.read(track, self.from, end);
            }
        }
    }

    fn take(&mut self, track: usize, cues: Vec<Cue>, origin: Option<Time>) -> Vec<Overflow> {
        let room = MOST_WAITING.saturating_sub(self.waiting.len());
        self.waiting.extend(cues.into_iter().take(room).map(|cue| (track, cue)));
        let Some(origin) = origin else { return Vec::new() };
        let known = std::mem::take(&mut self.waiting).into_iter().filter_map(|(track, mut cue)| {
            cue.start -= origin;
            cue.end -= origin;
            self.cues.insert(track, cue)
        });
        known.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[u8] = b"WEBVTT\n\n00:12.500 --> 00:13.000\none\n";

    #[tokio::test(start_paused = true)]
    async fn cues_wait_for_the_origin_and_a_stretch_for_its_last_cue() {
        let cues = Arc::new(Cues::new(2));
        let mut texts = Texts::new(cues.clone(), Time::from_secs(2));
        assert_eq!(texts.feed(1, ONE, None), []);
        assert_eq!(cues.whole(1, Time::ZERO), "WEBVTT\n\n");
        assert_eq!(texts.known(Time::from_millis(500)), []);
        assert_eq!(cues.whole(1, Time::ZERO), "WEBVTT\n\n00:00:02.000 --> 00:00:02.500\none\n\n");

        let (now, second) = (Instant::now(), Time::from_secs);
        texts.pass(second(4), now);
        texts.note(Some(now));
        assert!(!cues.covered(0, second(2), second(4)));
        texts.note(texts.due());
        assert!(cues.covered(0, second(2), second(4)) && cues.covered(1, second(2), second(4)));
        assert_eq!(texts.due(), None);
        texts.pass(second(6), now);
        texts.note(None);
        assert!(cues.covered(0, second(2), second(6)) && !cues.covered(0, second(1), second(2)));
    }

    #[test]
    fn what_breaks_off_is_told_only_where_the_input_ended() {
        let cues = Arc::new(Cues::new(1));
        let mut texts = Texts::new(cues.clone(), Time::ZERO);
        texts.feed(0, &ONE[..ONE.len() - 2], Some(Time::ZERO));
        assert_eq!(cues.whole(0, Time::ZERO), "WEBVTT\n\n");
        assert_eq!(texts.finish(Some(Time::ZERO)), []);
        assert!(cues.whole(0, Time::ZERO).ends_with("\non\n\n"));
    }
}
