//! The one stream of things that happen, and what may be asked for in return.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use jiff::Timestamp;
use ratatui::layout::Size;
use sluice_protocol::{Detail, Event, LogRecord, Session};
use uuid::Uuid;

/// A moment, by both of our clocks: one that never jumps, one that people read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) wall: Timestamp,
}

impl Now {
    /// The present moment.
    pub(crate) fn read() -> Self {
        Self { instant: Instant::now(), wall: Timestamp::now() }
    }
}

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Msg {
    /// The time, told before whatever happened at it.
    Clock(Now),
    /// A key was pressed.
    Key(KeyEvent),
    /// Text was pasted.
    Paste(String),
    /// The terminal has another size.
    Resize(Size),
    /// The engine's feed.
    News(News),
    /// Lines of a log.
    Log(u64, LogNews),
    /// The detail that was asked for under this ticket, or why not.
    Detail(u64, Result<Box<Detail>, String>),
    /// How the order of this ticket went.
    Done(u64, Result<Box<Session>, Failure>),
}

/// What the engine's feed brings.
#[derive(Debug)]
pub(crate) enum News {
    /// A record.
    Event(Box<Event>),
    /// It broke.
    Lost(String),
    /// The next try comes after this wait.
    Waiting(u32, Duration),
    /// A try is under way.
    Trying(u32),
}

/// What a log's feed brings.
#[derive(Debug)]
pub(crate) enum LogNews {
    /// Records, oldest first.
    Records(Vec<LogRecord>),
    /// It broke, and is tried again.
    Lost(String),
    /// The engine won't give it.
    Refused(String),
}

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The engine said no: its code, and its sentence.
    Refused(String, String),
    /// It never reached the engine.
    Unsent(String),
    /// It was sent, and no answer came: it may or may not have happened.
    Unanswered(String),
}

/// What an operator may do to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Stop,
    Force,
    Resume,
    Restart,
}

impl Act {
    /// As a verb.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Force => "force-stop",
            Self::Resume => "resume",
            Self::Restart => "restart",
        }
    }
}

/// An act on one session as the operator saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    /// The number that its outcome carries.
    pub(crate) ticket: u64,
    /// What.
    pub(crate) act: Act,
    /// To which session.
    pub(crate) id: Uuid,
    /// The engine refuses it if the session has changed since.
    pub(crate) generation: u64,
}

/// What the world must do after an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Leave.
    Quit,
    /// Give the terminal back until continued.
    Suspend,
    /// Draw every cell anew.
    Repaint,
    /// Connect now.
    RetryNow,
    /// Carry these out.
    Act(Vec<Order>),
    /// Follow a session's log from now on, and no other.
    OpenLog {
        /// The number that its news carries.
        ticket: u64,
        /// Whose.
        id: Uuid,
    },
    /// Follow no log.
    CloseLog,
    /// Ask for a session's detail.
    AskDetail {
        /// The number that the answer carries.
        ticket: u64,
        /// Whose.
        id: Uuid,
    },
}

/// Puts together again what a slow link took apart: `Esc` followed by `[A` is an arrow, not three keys.
#[derive(Debug, Default)]
pub(crate) struct EscapeGuard {
    held: Vec<KeyEvent>,
    since: Option<Instant>,
}

impl EscapeGuard {
    /// Takes a key and gives those that are certain now.
    pub(crate) fn press(&mut self, key: KeyEvent, now: Instant) -> Vec<KeyEvent> {
        if key.kind == KeyEventKind::Release {
            return Vec::new();
        }
        match (self.held.as_slice(), key.code) {
            ([], KeyCode::Esc) if key.modifiers.is_empty() => {
                self.hold(key, now);
                Vec::new()
            }
            ([_], KeyCode::Char('[' | 'O')) if key.modifiers.is_empty() => {
                self.hold(key, now);
                Vec::new()
            }
            ([_, _], KeyCode::Char(last)) => match final_byte(last) {
                Some(code) => {
                    self.clear();
                    vec![KeyEvent::new(code, KeyModifiers::NONE)]
                }
                // More of some longer sequence: a key that acts must not come out of it.
                None => self.give_up(None),
            },
            ([_, _], _) => self.give_up(None),
            ([], _) => vec![key],
            _ => self.give_up(Some(key)),
        }
    }

    /// When what is held is certain by itself.
    pub(crate) fn deadline(&self, patience: Duration) -> Option<Instant> {
        Some(self.since? + patience)
    }

    /// What is held was no sequence after all. A lone `Esc` is one; `[` and `O` after it are dropped with
    /// it, because they are more likely the rest of a broken sequence than keys.
    pub(crate) fn expire(&mut self) -> Vec<KeyEvent> {
        self.give_up(None)
    }

    fn give_up(&mut self, next: Option<KeyEvent>) -> Vec<KeyEvent> {
        let escape = self.held.first().copied();
        self.clear();
        escape.into_iter().chain(next).collect()
    }

    fn hold(&mut self, key: KeyEvent, now: Instant) {
        self.held.push(key);
        self.since = Some(now);
    }

    fn clear(&mut self) {
        self.held.clear();
        self.since = None;
    }
}

fn final_byte(c: char) -> Option<KeyCode> {
    Some(match c {
        'A' => KeyCode::Up,
        'B' => KeyCode::Down,
        'C' => KeyCode::Right,
        'D' => KeyCode::Left,
        'H' => KeyCode::Home,
        'F' => KeyCode::End,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &str, expected: &[KeyCode]) {
        let now = Instant::now();
        let mut guard = EscapeGuard::default();
        let mut out = Vec::new();
        for c in keys.chars() {
            let code = if c == '\u{1b}' { KeyCode::Esc } else { KeyCode::Char(c) };
            out.extend(guard.press(KeyEvent::new(code, KeyModifiers::NONE), now));
        }
        out.extend(guard.expire());
        assert_eq!(out.iter().map(|key| key.code).collect::<Vec<_>>(), expected, "{keys:?}");
    }

    #[test]
    fn a_sequence_in_pieces_is_one_key_and_never_an_act() {
        check("\u{1b}[A", &[KeyCode::Up]);
        check("\u{1b}OB", &[KeyCode::Down]);
        check("\u{1b}", &[KeyCode::Esc]);
        check("\u{1b}x", &[KeyCode::Esc, KeyCode::Char('x')]);
        check("\u{1b}[", &[KeyCode::Esc]);
        check("\u{1b}[x", &[KeyCode::Esc]);
        check("jk", &[KeyCode::Char('j'), KeyCode::Char('k')]);
        check("[A", &[KeyCode::Char('['), KeyCode::Char('A')]);
    }
}
