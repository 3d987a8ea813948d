//! The words for a session's states, causes and kinds: the contract's.

/// Where a session is in its life, as the world sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "the contract's words, explained where they travel: `sluice_protocol::State`"
)]
pub enum State {
    Starting,
    Running,
    Ahead,
    Backoff,
    Stopping,
    Stopped,
    Complete,
    Failed,
    Ended,
}

/// Why the state changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "the contract's words, explained where they travel: `sluice_protocol::Cause`"
)]
pub enum Cause {
    Viewer,
    Operator,
    Idle,
    Limit,
    Ready,
    Ahead,
    Demand,
    Finished,
    Retry,
    Exit,
    Stall,
    Source,
    Storage,
    Config,
    Shutdown,
    Internal,
}

impl State {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 9] = [
        Self::Starting,
        Self::Running,
        Self::Ahead,
        Self::Backoff,
        Self::Stopping,
        Self::Stopped,
        Self::Complete,
        Self::Failed,
        Self::Ended,
    ];

    /// The contract's word.
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
        }
    }
}

impl Cause {
    /// The contract's word.
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
            Self::Internal => "internal",
        }
    }
}

/// How a session is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A film whose cut points are known: the playlist covers it from the first second, and segments are made
    /// when they are asked for.
    Timeline,
    /// Live: the playlist slides.
    Window,
    /// A film whose playlist grows until the input ends.
    Event,
}

impl Kind {
    /// Whether it has a beginning and an end.
    pub fn is_film(self) -> bool {
        self != Self::Window
    }
}
