//! What the control socket says: requests, answers and the records of its streams, as JSON.
//!
//! Times are RFC 3339 in UTC, durations seconds, sizes bytes. What is not known is `null`, never 0 and
//! never an empty string. Fields are only ever added within `/v1`, and both sides ignore those they don't
//! know, so every type here decodes what a newer engine or console may send.

mod engine;
mod event;
mod log;
mod order;
mod problem;
mod session;

pub use engine::{Engine, Limits, Storage, Totals};
pub use event::{Action, Event, Patch, StateChange, Tick};
pub use log::{Level, LogRecord};
pub use order::{PinOrder, ResumeOrder, StartOrder, Started, StopOrder, Subtitle};
pub use problem::{Problem, code};
pub use session::{Cause, Detail, Hold, Kind, PastRun, Run, Segments, Session, State, Viewer};

/// The content type of the event stream and of log tails: one JSON record a line.
pub const NDJSON: &str = "application/x-ndjson";

/// A list of sessions, as `GET /v1/sessions` answers it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Sessions {
    /// Those that live, and with `?history=true` those that ended.
    pub sessions: Vec<Session>,
}
