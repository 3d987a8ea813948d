//! A session on the list, and what watching it showed: that it stands still, or is too slow.

use std::time::{Duration, Instant};

use sluice_protocol::{Session, State};

use crate::condition::Word;

/// A run counts as silent after this many segments' time without a new one.
const SILENT_SEGMENTS: f64 = 3.0;
/// A segment's length while too few exist to tell.
const USUAL_SEGMENT: f64 = 6.0;
/// A run that keeps up makes at least this much media per wall time.
const KEEPS_UP: f64 = 0.95;
/// Slower than that is worth a word only after this long.
const SLOW_AFTER: Duration = Duration::from_secs(10);
/// A session on the list, and what watching it showed.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// As the engine describes it.
    pub(crate) session: Session,
    /// When the engine last said something about it.
    pub(crate) heard: Instant,
    /// When it last made a segment, as far as we saw.
    grew: Instant,
    /// Since when it is too slow.
    slow_since: Option<Instant>,
}

impl Row {
    /// A session that was just heard of.
    pub(crate) fn new(session: Session, now: Instant) -> Self {
        let mut row = Self { session, heard: now, grew: now, slow_since: None };
        row.watch(now);
        row
    }

    /// Takes a newer description.
    pub(crate) fn replace(&mut self, session: Session, now: Instant) {
        let restarted = session.state != self.session.state && session.state == State::Running;
        // A window that slides keeps the number of its segments; their bytes are other ones.
        let before = &self.session;
        if (session.segments, session.bytes) != (before.segments, before.bytes) || restarted {
            self.grew = now;
        }
        self.session = session;
        self.heard = now;
        self.watch(now);
    }

    /// The state word, with what watching showed.
    pub(crate) fn word(&self, at: Instant) -> Word {
        let word = Word::of(&self.session);
        if word != Word::Running || self.session.runs.is_empty() {
            return word;
        }
        let limit = Duration::from_secs_f64(SILENT_SEGMENTS * self.segment_length());
        if at.saturating_duration_since(self.grew) > limit {
            return Word::Stalled;
        }
        match self.slow_since {
            Some(since) if at.saturating_duration_since(since) >= SLOW_AFTER => Word::Slow,
            _ => word,
        }
    }

    fn watch(&mut self, now: Instant) {
        let slow = self.session.state == State::Running && self.session.speed.is_some_and(|s| s < KEEPS_UP);
        self.slow_since = slow.then(|| self.slow_since.unwrap_or(now));
    }

    fn segment_length(&self) -> f64 {
        let session = &self.session;
        let mean = session.produced / session.segments.max(1) as f64;
        if session.segments >= 3 && mean.is_finite() { mean.clamp(1.0, 60.0) } else { USUAL_SEGMENT }
    }
}
