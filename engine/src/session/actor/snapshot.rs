//! How a session looks from outside.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Actor, Living};
use crate::ffmpeg::Decision;
use crate::mux::Time;
use crate::session::grid::{Grid, expected};
use crate::session::handle::{RunSnapshot, Snapshot};
use crate::session::run::Wish;
use crate::session::state::{Kind, State};

/// The bit rate is that of this many segments.
const RATE_SEGMENTS: usize = 5;

/// What becomes of the sound tracks.
fn in_words(decision: &Decision) -> Option<String> {
    let tracks: Vec<_> = decision.audio.iter().map(ToString::to_string).collect();
    (!tracks.is_empty()).then(|| tracks.join(", "))
}

impl Actor {
    pub(super) fn snapshot(&self) -> Snapshot {
        let index = self.shelf.index();
        let state = self.life.state();
        let input = self.input.as_ref();
        let window = self.life.kind() == Some(Kind::Window);
        // A timeline's grid knows better than the header, once its end was seen.
        let duration = index.grid.as_ref().map(Grid::end);
        let duration =
            duration.or_else(|| input.filter(|_| !window).and_then(|input| expected(&input.known)));
        let retry_at = self
            .life
            .retry_at()
            .and_then(|at| Timestamp::now().checked_add(at.saturating_duration_since(Instant::now())).ok());
        Snapshot {
            id: self.id,
            generation: self.generation,
            state,
            state_since: self.since,
            cause: self.cause,
            fault: self.fault.clone(),
            kind: self.life.kind(),
            url: self.request.address.masked(),
            title: self.request.title.clone(),
            content_type: self.request.content_type,
            source_id: self.request.source_id.clone(),
            user: self.request.user.clone(),
            hold: self.hold.clone(),
            pinned: self.life.is_pinned(),
            runs: self.runs.iter().map(|(run, living)| living.snapshot(*run, state)).collect(),
            started_at: self.started_at,
            last_access: self.viewers.last_seen(),
            viewers: u32::try_from(self.viewers.count()).unwrap_or(u32::MAX),
            duration: duration.map(Time::seconds),
            position: if window { None } else { self.viewers.furthest().map(Time::seconds) },
            produced: index.seconds(),
            segments: index.segments.len() as u64,
            bytes: self.shelf.bytes(),
            bitrate: index.bitrate(RATE_SEGMENTS),
            frames_dropped: self
                .runs
                .values()
                .filter_map(|living| living.vitals.dropped)
                .reduce(|a, b| a + b),
            video: input.and_then(|input| input.decision.video.as_ref()).map(ToString::to_string),
            audio: input.and_then(|input| in_words(&input.decision)),
            restarts: self.restarts,
            retry_at,
            warnings: self.warnings.clone(),
            revivable: self.life.is_revivable(),
            active: self.life.is_active(),
            argv: self.runs.values().map(|living| living.argv.clone()).collect(),
            probe: input.map(|input| Arc::new(input.known.probe.clone())),
            past_runs: self.past.iter().cloned().collect(),
        }
    }
}

impl Living {
    pub(super) fn snapshot(&self, run: u32, state: State) -> RunSnapshot {
        let wish = *self.wish.borrow();
        let own = match wish {
            Wish::Terminate | Wish::TerminateAgain | Wish::Kill => State::Stopping,
            Wish::Pause => State::Ahead,
            Wish::Read if self.published == 0 => State::Starting,
            Wish::Read if state == State::Ahead => State::Ahead,
            Wish::Read => State::Running,
        };
        RunSnapshot {
            run,
            pid: self.pid,
            from: self.from.seconds(),
            at: self.vitals.at.map(Time::seconds),
            state: own,
            speed: self.vitals.speed,
            fps: self.vitals.fps,
            cpu: self.vitals.cpu,
            rss: self.vitals.rss,
        }
    }
}
