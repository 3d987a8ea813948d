//! The life of a session: one input being turned into HLS, shared by all who watch it.
//!
//! ```text
//!            start                 first segment            enough ahead
//!   (new) ─────────▶ starting ─────────────────▶ running ◀───────────────▶ ahead
//!                      ▲  │                      │  │ │  a viewer is near    │
//!        time is up    │  │ the run died         │  │ └──────────┐           │
//!                      │  ▼                      │  │ input ends ▼           │ idle, left,
//!                    backoff ◀───────────────────┘  │        complete        │ stopped
//!                      │                            ▼            │           │
//!                      │ no tries left           stopping ◀──────┼───────────┘
//!                      ▼                            │ reaped     │ cache time over
//!                    failed ──────────────┐         ▼            ▼
//!                                         └─────▶ stopped ──▶ ended (history)
//! ```
//!
//! [`state`] moves between these and does nothing else; [`actor`] is one task a session, which gathers
//! events, calls `step` and carries the actions out; [`grid`] says where a film is cut, and [`plan`] which run
//! makes which segment of it; [`run`] drives one ffmpeg; [`cut`] turns its samples
//! into checked segments; [`shelf`] keeps those that exist; [`registry`] says who exists.
//!
//! This module knows media, processes and files. It does not know HTTP, nor how a session is shown.

mod actor;
mod cues;
mod cut;
mod grid;
mod handle;
mod inputs;
mod labels;
mod languages;
mod log;
mod plan;
mod registry;
mod retry;
mod run;
mod shelf;
mod state;
mod store;
mod viewers;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

pub use cut::Rendition;
pub use grid::Grid;
pub use handle::{Handle, PastRun, RunSnapshot, Snapshot, Unserved};
pub use inputs::Inputs;
pub use labels::{Label, Labels};
pub use log::{Cursor, Entry, Log, Read};
pub use registry::{Happening, Registry, Resumption, Start, Started, Stop, Totals, World};
pub use shelf::{Index, Media, Missing, Segment, Served, Shape, Shelf};
pub use state::{Cause, Change, Force, Kind, State};
pub use store::{Store, StoreError};
pub use viewers::{Seen, Viewer};

/// How grave a line of a log is.
pub use crate::ffmpeg::Level;

/// What went wrong, in a closed set that the edges turn into a status and a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The address, or a field beside it, is not one we understand.
    BadRequest,
    /// The address rules refuse it.
    ForbiddenAddress,
    /// What came is not media.
    NotMedia,
    /// Media that this engine can't play.
    Unsupported,
    /// Encrypted media.
    Protected,
    /// The source says it does not exist.
    NotFound,
    /// The source refuses us.
    Refused,
    /// The source can't be reached, or sends an error.
    Unreachable,
    /// The input ended before its end.
    Truncated,
    /// ffmpeg can't be run.
    FfmpegMissing,
    /// ffmpeg failed for a reason of its own.
    Transcode,
    /// Nothing came in time.
    TimedOut,
    /// A process does not even die when killed.
    Unkillable,
    /// The disk is full.
    StorageFull,
    /// The storage directory is gone or can't be written.
    StorageLost,
    /// The session limit is reached.
    AtCapacity,
    /// An operator holds it.
    Held,
    /// No session has that id.
    NoSession,
    /// It ended, and does not come back by itself.
    Ended,
    /// It is no longer what the operator saw.
    Changed,
    /// There is nothing to resume.
    NotResumable,
    /// Its playlist can't be entered anywhere.
    NotSeekable,
    /// The engine shuts down.
    ShuttingDown,
    /// The session has too much to do to hear this.
    Busy,
    /// A fault of ours.
    Internal,
}

/// A failure: the machine's word, the sentence for people, and whether trying again could help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Fault {
    /// The machine's word.
    pub code: Code,
    /// What made the state change.
    pub cause: Cause,
    /// The sentence for people.
    pub reason: String,
    /// Whether trying again could help.
    pub heals: Heals,
    /// How long a client had better wait.
    pub retry_after: Option<Duration>,
}

/// Whether trying again could help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heals {
    /// It may work the next time.
    Soon,
    /// The source gave an answer that rarely changes: a few tries, then no more.
    Rarely,
    /// It will not.
    Never,
}

impl Fault {
    /// A failure that may not happen again.
    pub fn new(code: Code, cause: Cause, reason: impl Into<String>) -> Self {
        Self { code, cause, reason: reason.into(), heals: Heals::Soon, retry_after: None }
    }

    /// The same, with another hope.
    #[must_use]
    pub fn heals(mut self, heals: Heals) -> Self {
        self.heals = heals;
        self
    }

    /// A refusal of what an operator or a viewer asked for.
    pub fn refusal(code: Code, reason: impl Into<String>) -> Self {
        Self::new(code, Cause::Internal, reason).heals(Heals::Never)
    }
}

/// An operator's stop that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Who stopped it.
    pub by: Arc<str>,
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None` is until an operator resumes it.
    pub until: Option<Timestamp>,
}

/// The name of a session.
pub type Id = Uuid;
