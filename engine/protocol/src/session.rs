//! A session as operators see it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where a session is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Launched or relaunched, nothing playable yet.
    Starting,
    /// Playable, and producing.
    Running,
    /// Enough is ready ahead of every viewer; goes on by itself when one comes near.
    Ahead,
    /// The run died; the next try is at a known time.
    Backoff,
    /// Asked to end.
    Stopping,
    /// Its viewers left or an operator stopped it; what was made is kept.
    Stopped,
    /// Every segment of the film exists.
    Complete,
    /// It can't be played; `code` and `reason` say why.
    Failed,
    /// In history: segments deleted, log and reason kept.
    Ended,
    /// A state that a newer engine knows.
    #[serde(other)]
    Unknown,
}

impl State {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Ahead => "ahead",
            Self::Backoff => "backoff",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Ended => "ended",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a session changed its state: exactly one a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A viewer asked or left.
    Viewer,
    /// An operator did it, or an operator's hold ran out.
    Operator,
    /// Nobody asked for anything for too long.
    Idle,
    /// A limit was reached.
    Limit,
    /// The first playable segment is there.
    Ready,
    /// Enough is ready ahead of the viewers.
    Ahead,
    /// A viewer came near what is not made yet.
    Demand,
    /// The input was played to its end.
    Finished,
    /// The time of the next try has come.
    Retry,
    /// ffmpeg ended, and not because we asked it to.
    Exit,
    /// ffmpeg lives but nothing comes.
    Stall,
    /// The source refused, vanished or sent what can't be played.
    Source,
    /// The disk is full or gone.
    Storage,
    /// The configuration does not allow it.
    Config,
    /// The engine shuts down.
    Shutdown,
    /// The engine was restarted.
    Recovery,
    /// A fault of ours.
    Internal,
    /// A cause that a newer engine knows.
    #[serde(other)]
    Unknown,
}

impl Cause {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Idle => "idle",
            Self::Limit => "limit",
            Self::Ready => "ready",
            Self::Ahead => "ahead",
            Self::Demand => "demand",
            Self::Finished => "finished",
            Self::Retry => "retry",
            Self::Exit => "exit",
            Self::Stall => "stall",
            Self::Source => "source",
            Self::Storage => "storage",
            Self::Config => "config",
            Self::Shutdown => "shutdown",
            Self::Recovery => "recovery",
            Self::Internal => "internal",
            Self::Unknown => "unknown",
        }
    }
}

/// How a session is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A film of known duration: the playlist covers it from the first second.
    Timeline,
    /// Live: the playlist slides.
    Window,
    /// A film whose playlist grows until the input ends.
    Event,
    /// A kind that a newer engine knows.
    #[serde(other)]
    Unknown,
}

/// An operator's stop that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Who stopped it.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when; `null` means until an operator resumes it.
    pub until: Option<Timestamp>,
}

/// The life of one ffmpeg process inside a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Counts from 1 within the session.
    pub run: u32,
    /// The process id.
    pub pid: Option<u32>,
    /// Where on the session's time axis it began, in seconds.
    pub from: f64,
    /// Where it is now, in seconds.
    pub at: Option<f64>,
    /// `starting`, `running`, `ahead` or `stopping`.
    pub state: State,
    /// Media time made per wall time.
    pub speed: Option<f64>,
    /// Frames a second, as ffmpeg counts them.
    pub fps: Option<f64>,
    /// Percent of one core.
    pub cpu: Option<f64>,
    /// Resident memory, bytes.
    pub rss: Option<u64>,
}

/// One session, as lists and ticks carry it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are named in the wire's own words; those that need more say it")]
pub struct Session {
    pub id: Uuid,
    /// Rises with every change of state.
    pub generation: u64,
    pub state: State,
    pub state_since: Timestamp,
    pub cause: Cause,
    /// The machine's word for what went wrong, as in [`code`](crate::code).
    pub code: Option<String>,
    /// The same in a sentence.
    pub reason: Option<String>,
    pub kind: Option<Kind>,
    /// The address, its credentials masked.
    pub url: String,
    pub title: Option<String>,
    pub content_type: String,
    pub source_id: Option<String>,
    pub user: Option<String>,
    pub pinned: bool,
    pub held: bool,
    pub hold: Option<Hold>,
    pub runs: Vec<Run>,
    pub started_at: Timestamp,
    pub last_access: Option<Timestamp>,
    /// An estimate: client addresses and user agents seen lately.
    pub viewers: u32,
    /// Seconds of the whole input.
    pub duration: Option<f64>,
    /// Seconds: what the furthest viewer asked for; `null` on a window.
    pub position: Option<f64>,
    /// Seconds of media that exist.
    pub produced: f64,
    pub segments: u64,
    pub bytes: u64,
    pub speed: Option<f64>,
    pub fps: Option<f64>,
    /// Bits a second of what was made lately.
    pub bitrate: Option<u64>,
    pub frames_dropped: Option<u64>,
    /// Percent of one core, all runs together.
    pub cpu: Option<f64>,
    /// Resident bytes, all runs together.
    pub rss: Option<u64>,
    /// What happens to the picture: `copy (h264 640x360)`, `encode (hevc)`.
    pub video: Option<String>,
    /// What happens to the sound.
    pub audio: Option<String>,
    pub restarts: u64,
    pub retry_at: Option<Timestamp>,
    pub warnings: Vec<String>,
}

/// A session with all that is known about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detail {
    /// What lists show.
    #[serde(flatten)]
    pub session: Session,
    /// The argument list of each living run, secrets masked.
    pub argv: Vec<Vec<String>>,
    /// What ffprobe found, as the engine understood it.
    pub probe: Option<serde_json::Value>,
    /// Who watches.
    pub viewer_list: Vec<Viewer>,
    /// Runs that ended, newest last.
    pub past_runs: Vec<PastRun>,
    /// Which segments exist.
    pub segment_map: Vec<Segments>,
}

/// A playback client, as far as requests tell one from another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Viewer {
    /// The client's address.
    pub address: String,
    /// The user agent it sends.
    pub user_agent: Option<String>,
    /// When it asked first.
    pub since: Timestamp,
    /// When it asked last.
    pub last_access: Timestamp,
    /// Seconds on the session's time axis of the last segment it asked for.
    pub position: Option<f64>,
}

/// A run that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PastRun {
    /// Its number within the session.
    pub run: u32,
    /// Where it began, in seconds.
    pub from: f64,
    /// Where it ended, in seconds.
    pub to: Option<f64>,
    /// When it was launched.
    pub started_at: Timestamp,
    /// When it was reaped.
    pub ended_at: Timestamp,
    /// How the process ended: `exit 0`, `signal 9`.
    pub exit: String,
    /// Why it ended: what went wrong, or whose wish it was. `null` from an engine that does not say.
    #[serde(default)]
    pub cause: Option<Cause>,
    /// The machine's word for what went wrong, as in [`code`](crate::code); `null` where nothing did.
    #[serde(default)]
    pub code: Option<String>,
    /// What that meant, in words.
    pub reason: Option<String>,
}

/// A range of segments that exist, without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segments {
    /// The sequence of the first.
    pub first: u64,
    /// The sequence of the last.
    pub last: u64,
}
