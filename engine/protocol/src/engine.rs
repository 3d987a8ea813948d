//! The engine as operators see it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The answer of `GET /v1/engine`, and part of snapshots and ticks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Engine {
    /// The engine's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// Seconds since then.
    pub uptime: f64,
    /// Where viewers reach it: `127.0.0.1:8088`.
    pub listen: String,
    /// The limits in force.
    pub limits: Limits,
    /// What it has to do now, and has done.
    pub totals: Totals,
    /// Segments on disk and in memory.
    pub storage: Storage,
    /// `ffmpeg -version`, its first line's version; `null` if it can't be run.
    pub ffmpeg: Option<String>,
    /// The H.264 encoders that this ffmpeg names.
    pub encoders: Vec<String>,
    /// Whether it is shutting down.
    pub draining: bool,
}

/// The limits in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Sessions with a run, a probe or a retry pending.
    pub sessions: u64,
    /// Runs a session may have at a time.
    pub runs_per_session: u64,
    /// Connections to the playback listener.
    pub connections: u64,
    /// Ended sessions that are remembered.
    pub history: u64,
}

/// Sums over all sessions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Sessions that are not in history.
    pub sessions: u64,
    /// Of these, those that count against the limit.
    pub active: u64,
    /// Living ffmpeg processes.
    pub runs: u64,
    /// Viewers, an estimate.
    pub viewers: u64,
    /// Sessions started since the engine started.
    pub started: u64,
    /// Percent of one core, all ffmpeg processes together.
    pub cpu: f64,
    /// Resident bytes, all ffmpeg processes together.
    pub rss: u64,
}

/// Segments on disk and in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// Bytes of segments on disk.
    pub used: u64,
    /// The most they may take.
    pub max: u64,
    /// Bytes free on that file system; `null` if it can't be asked.
    pub free: Option<u64>,
    /// Bytes of segments held in memory.
    pub held: u64,
    /// The most that may be held.
    pub memory: u64,
}
