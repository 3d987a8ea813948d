//! The records of `GET /v1/sessions/{id}/logs`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How much a line of ffmpeg's log matters, the gravest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
    Fatal,
}

impl Level {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

/// One line of a log tail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LogRecord {
    /// What ffmpeg said, or the engine about a run.
    Line {
        /// Counts from 1 within the session, over all its runs.
        seq: u64,
        /// When the engine read it.
        at: Timestamp,
        /// How grave it is.
        level: Level,
        /// Which run said it.
        run: u32,
        /// The text, free of control characters.
        text: String,
    },
    /// Lines that the reader was too late for.
    Gap {
        /// How many.
        dropped: u64,
        /// The sequence of the first of them.
        from: u64,
    },
    /// The session failed or ended: nothing more will come.
    End,
    /// A record that a newer engine knows.
    #[serde(other)]
    Unknown,
}
