//! How a session is: one word for the list, one line for why.
//!
//! Most words are the engine's states. Two are found here by watching: a run that lives but makes nothing
//! (`STALL`), and one too slow for those who watch (`SLOW`).

use jiff::Timestamp;
use sluice_protocol::{Cause, Kind, Session, State};

use crate::format;

/// A state word, the gravest first: lists are sorted by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Word {
    Failed,
    Stalled,
    Slow,
    Retrying,
    Starting,
    Held,
    Parked,
    Ahead,
    Stopping,
    Running,
    Done,
    Ended,
    Unknown,
}

impl Word {
    /// The word for what the engine says, with nothing derived.
    pub(crate) fn of(session: &Session) -> Self {
        match session.state {
            State::Failed => Self::Failed,
            State::Backoff => Self::Retrying,
            State::Starting => Self::Starting,
            State::Stopped if session.held => Self::Held,
            State::Stopped => Self::Parked,
            State::Ahead => Self::Ahead,
            State::Stopping => Self::Stopping,
            State::Running => Self::Running,
            State::Complete => Self::Done,
            State::Ended => Self::Ended,
            State::Unknown => Self::Unknown,
        }
    }

    /// At most five letters.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Failed => "FAIL",
            Self::Stalled => "STALL",
            Self::Slow => "SLOW",
            Self::Retrying => "RETRY",
            Self::Starting => "START",
            Self::Held => "HELD",
            Self::Parked => "PARK",
            Self::Ahead => "AHEAD",
            Self::Stopping => "STOPP",
            Self::Running => "RUN",
            Self::Done => "DONE",
            Self::Ended => "ENDED",
            Self::Unknown => "?",
        }
    }

    /// Whether an operator should look.
    pub(crate) fn is_problem(self) -> bool {
        self <= Self::Retrying
    }

    /// Whether media is, or should be, coming out.
    pub(crate) fn is_on_air(self) -> bool {
        matches!(self, Self::Running | Self::Ahead | Self::Slow | Self::Stalled)
    }
}

/// What people call a session: its title, else the last piece of its address.
pub(crate) fn title(session: &Session) -> &str {
    let address = session.url.split(['?', '#']).next().unwrap_or_default();
    let piece = address.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    match session.title.as_deref().filter(|title| !title.trim().is_empty()) {
        Some(title) => title,
        None if piece.is_empty() => &session.url,
        None => piece,
    }
}

/// `LIVE` or `VOD`.
pub(crate) fn kind(session: &Session) -> &'static str {
    match session.kind {
        Some(Kind::Window) => "LIVE",
        Some(Kind::Timeline | Kind::Event) => "VOD",
        Some(Kind::Unknown) => "?",
        None => format::UNKNOWN,
    }
}

/// Seconds of media ready ahead of the furthest viewer.
pub(crate) fn lead(session: &Session) -> Option<f64> {
    Some(session.produced - session.position?)
}

/// Why a session is as it is, in one line.
pub(crate) fn why(session: &Session, word: Word, now: Timestamp) -> String {
    let reason = session.reason.as_deref().or(session.code.as_deref());
    match word {
        Word::Failed => format!("{} (after {})", reason.unwrap_or("it can't be played"), tries(session)),
        Word::Stalled => "ffmpeg lives but no new segment comes".to_owned(),
        Word::Slow => {
            let speed = session.speed.map_or_else(|| "too slow".to_owned(), format::ratio);
            let lead = lead(session).map(|lead| format!(", lead {}", format::lead(lead)));
            format!("made at {speed}, slower than it is watched{}", lead.unwrap_or_default())
        }
        Word::Retrying => {
            let when = session.retry_at.map_or_else(
                || "soon".to_owned(),
                |at| format!("in {}", format::age(format::elapsed(now, at))),
            );
            format!("{}; next try {when}", reason.unwrap_or("the run died"))
        }
        Word::Starting => {
            let again = if session.restarts > 0 { format!(" ({})", tries(session)) } else { String::new() };
            format!("{}, nothing playable yet{again}", origin(session.cause))
        }
        Word::Held => held(session, now).unwrap_or_else(|| "held by an operator".to_owned()),
        Word::Ended => match (held(session, now), reason) {
            (Some(held), _) => format!("{held}; segments deleted"),
            (None, Some(reason)) => format!("ended: {reason}"),
            (None, None) => format!("ended: {}", origin(session.cause)),
        },
        Word::Parked => format!("{}; what was made is kept", origin(session.cause)),
        Word::Stopping => format!("stopping: {}", origin(session.cause)),
        Word::Ahead => "enough is ready ahead of every viewer".to_owned(),
        Word::Running => match session.warnings.first() {
            Some(warning) => format!("runs; {warning}"),
            None => format!("runs: {}", origin(session.cause)),
        },
        Word::Done => "every segment of the film exists".to_owned(),
        Word::Unknown => "in a state that this console does not know: it is older than the engine".to_owned(),
    }
}

fn tries(session: &Session) -> String {
    format::plural(session.restarts as usize + 1, "run")
}

fn held(session: &Session, now: Timestamp) -> Option<String> {
    let hold = session.hold.as_ref()?;
    Some(match hold.until {
        Some(until) => format!("held by {} for {} more", hold.by, format::age(format::elapsed(now, until))),
        None => format!("held by {} until resumed", hold.by),
    })
}

/// A cause as people say it.
fn origin(cause: Cause) -> &'static str {
    match cause {
        Cause::Viewer => "a viewer asked or left",
        Cause::Operator => "an operator asked for it",
        Cause::Idle => "nobody watched",
        Cause::Limit => "a limit was reached",
        Cause::Ready => "ready to play",
        Cause::Ahead => "enough is ready",
        Cause::Demand => "a viewer came near the end of what is made",
        Cause::Finished => "played to its end",
        Cause::Retry => "trying again",
        Cause::Exit => "ffmpeg ended by itself",
        Cause::Stall => "ffmpeg went silent",
        Cause::Source => "the source",
        Cause::Storage => "the storage",
        Cause::Config => "the configuration",
        Cause::Shutdown => "the engine shuts down",
        Cause::Recovery => "the engine was restarted",
        Cause::Internal => "a fault of the engine",
        Cause::Unknown => "a cause that this console does not know",
    }
}
