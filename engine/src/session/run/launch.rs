//! The terms between a session and a run: what it is launched for, what is wished of it, what it reports.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::address::Mask;
use crate::ffmpeg::Job;
use crate::metrics::Metrics;
use crate::mux::{Time, Track};
use crate::process;
use crate::session::cues::Cues;
use crate::session::cut::{Axis, Misfit, Plan, Rendition, Silence};
use crate::session::state::Exit;
use crate::session::{Fault, Id};

/// All that a run needs to know.
#[derive(Debug)]
pub(in crate::session) struct Launch {
    pub session: Id,
    pub run: u32,
    pub program: PathBuf,
    pub job: Job,
    pub plan: Plan,
    /// What its subtitles go into.
    pub cues: Arc<Cues>,
    /// How long the film is said to be.
    pub expected: Option<Time>,
    /// An end before that is believed: it was tried often enough.
    pub accept_short: bool,
    /// What it may be made to wait by.
    pub pace: Pace,
    /// It reads no further than this.
    pub goal: Arc<Goal>,
    /// Nothing playable for so long is a failure.
    pub start: Duration,
    pub stall: Duration,
    /// The tracks of the runs before, to know whether the coding changed.
    pub tracks: Vec<(Rendition, Arc<Track>)>,
    /// Whether the first segment's times don't follow those of the segment before.
    pub discontinuity: bool,
    /// Hides what nobody may read of the address.
    pub mask: Mask,
    pub metrics: Arc<Metrics>,
}

/// What a run may be made to wait by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum Pace {
    /// The session's wish.
    Wish,
    /// Its own clock: no more than this ahead of it.
    Clock(Duration),
    /// Nothing: its source can't continue where it was left.
    Never,
}

/// How far a run may come before it waits: its session moves it on as viewers do. A run that copies makes a minute
/// of film in the time that its session takes to hear of it, so it has to know by itself when to stop.
#[derive(Debug)]
pub(in crate::session) struct Goal(AtomicI64);

impl Goal {
    pub(in crate::session) fn new(at: Time) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(at.ticks_in(1_000))))
    }

    /// Moves it; whether it lies further than before.
    pub(in crate::session) fn set(&self, at: Time) -> bool {
        let at = at.ticks_in(1_000);
        self.0.swap(at, Ordering::AcqRel) < at
    }

    pub(super) fn is_reached(&self, at: Time) -> bool {
        at.ticks_in(1_000) > self.0.load(Ordering::Acquire)
    }
}

/// What the session wants of a run, the last wish counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::session) enum Wish {
    Read,
    Pause,
    Terminate,
    TerminateAgain,
    Kill,
}

/// What a run tells its session.
#[derive(Debug)]
pub(in crate::session) struct Report {
    pub run: u32,
    pub what: What,
}

#[derive(Debug)]
pub(in crate::session) enum What {
    /// The process lives.
    Launched { pid: u32, argv: Vec<String> },
    /// The first segment fixed the axis and the tracks.
    Began { axis: Axis, tracks: Vec<(Rendition, Arc<Track>)> },
    /// A segment is on the shelf.
    Published(u64),
    /// A sound track has nothing there.
    Silent(Silence),
    /// What came was not what was planned: end it.
    Misfit(Misfit),
    /// Nothing comes any more: end it.
    Stalled(Fault),
    /// Something that operators should know.
    Warned(String),
    /// All of the film was made: its process is no longer needed.
    Made,
    /// How it is doing.
    Vitals(Vitals),
    /// It was reaped; `reached` in film time.
    Exited { exit: Exit, process: Option<process::Exit>, reached: Time, warning: Option<String> },
}

/// How a run is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::session) struct Vitals {
    pub at: Option<Time>,
    pub speed: Option<f64>,
    pub fps: Option<f64>,
    pub dropped: Option<u64>,
    pub cpu: Option<f64>,
    pub rss: Option<u64>,
}
