//! Keys to commands.
//!
//! One table answers what a key does, fills the line of hints and prints the help screen, so that the three
//! can't disagree. `x X r R` act, in every place, and are nothing else anywhere.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Up,
    Down,
    Top,
    Bottom,
    HalfUp,
    HalfDown,
    PageUp,
    PageDown,
    Left,
    Right,
    Open,
    Back,
    PreviousSession,
    NextSession,
    Mark,
    MarkShown,
    ClearMarks,
    Search,
    ProblemsOnly,
    NextProblem,
    PreviousProblem,
    Sort,
    Reverse,
    HoldOrder,
    Stop,
    Force,
    Resume,
    Restart,
    Logs,
    Follow,
    NextHit,
    PreviousHit,
    Level,
    Times,
    Help,
    RetryNow,
    Redraw,
    Suspend,
    Quit,
}

/// Where a key is pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The list of sessions.
    List,
    /// One session in full.
    Detail,
    /// One session's log.
    Logs,
}

impl Place {
    /// What the help screen calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::List => "sessions",
            Self::Detail => "detail",
            Self::Logs => "logs",
        }
    }
}

/// A heading of the help screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Move,
    Select,
    Act,
    Logs,
    Any,
}

impl Group {
    /// In the order of the help screen.
    pub(crate) const ALL: [Self; 5] = [Self::Move, Self::Select, Self::Act, Self::Logs, Self::Any];

    /// The heading.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Move => "MOVE",
            Self::Select => "SELECT",
            Self::Act => "ACT",
            Self::Logs => "LOGS",
            Self::Any => "ANYWHERE",
        }
    }
}

/// A line of the table.
#[derive(Debug)]
pub(crate) struct Binding {
    /// What it does.
    pub(crate) command: Command,
    keys: &'static [Key],
    /// How its keys are written.
    pub(crate) shown: &'static str,
    /// What it does, in the help screen's words.
    pub(crate) words: &'static str,
    /// The same on the line of hints; empty leaves it out there.
    pub(crate) hint: &'static str,
    /// Where the help screen puts it.
    pub(crate) group: Group,
    /// Where the key means this.
    pub(crate) places: &'static [Place],
}

/// What `key` means at `place`.
pub(crate) fn lookup(place: Place, key: KeyEvent) -> Option<Command> {
    let binding = TABLE
        .iter()
        .find(|binding| binding.places.contains(&place) && binding.keys.iter().any(|k| k.is(key)))?;
    Some(binding.command)
}

/// All lines of one group, in order.
pub(crate) fn group(group: Group) -> impl Iterator<Item = &'static Binding> {
    TABLE.iter().filter(move |binding| binding.group == group)
}

/// What the line of hints offers at `place`, the most useful first.
pub(crate) fn hints(place: Place) -> impl Iterator<Item = &'static Binding> {
    TABLE.iter().filter(move |binding| !binding.hint.is_empty() && binding.places.contains(&place))
}

#[derive(Debug, Clone, Copy)]
enum Key {
    Char(char),
    Control(char),
    Code(KeyCode),
}

impl Key {
    fn is(self, key: KeyEvent) -> bool {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        match self {
            // Terminals differ in whether they report Shift beside the letter that it already changed.
            Self::Char(c) => key.code == KeyCode::Char(c) && !control && !alt,
            Self::Control(c) => key.code == KeyCode::Char(c) && control && !alt,
            Self::Code(code) => key.code == code && !control && !alt,
        }
    }
}

use Key::{Char, Code, Control};

const EVERYWHERE: &[Place] = &[Place::List, Place::Detail, Place::Logs];
const LIST: &[Place] = &[Place::List];
const LOGS: &[Place] = &[Place::Logs];
const READING: &[Place] = &[Place::Detail, Place::Logs];
const NOT_LOGS: &[Place] = &[Place::List, Place::Detail];

const fn bind(
    command: Command,
    keys: &'static [Key],
    shown: &'static str,
    words: &'static str,
    hint: &'static str,
    group: Group,
    places: &'static [Place],
) -> Binding {
    Binding { command, keys, shown, words, hint, group, places }
}

/// Every key, in the order of the help screen and of the hints.
static TABLE: &[Binding] = &[
    bind(Command::Down, &[Char('j'), Code(KeyCode::Down)], "j", "down", "", Group::Move, EVERYWHERE),
    bind(Command::Up, &[Char('k'), Code(KeyCode::Up)], "k", "up (logs: pauses)", "", Group::Move, EVERYWHERE),
    bind(Command::Top, &[Char('g'), Code(KeyCode::Home)], "g Home", "top", "", Group::Move, EVERYWHERE),
    bind(
        Command::Bottom,
        &[Char('G'), Code(KeyCode::End)],
        "G End",
        "bottom (logs: follow)",
        "",
        Group::Move,
        EVERYWHERE,
    ),
    bind(Command::HalfDown, &[Control('d')], "^d", "half a page down", "", Group::Move, EVERYWHERE),
    bind(Command::HalfUp, &[Control('u')], "^u", "half a page up", "", Group::Move, EVERYWHERE),
    bind(
        Command::PageDown,
        &[Code(KeyCode::PageDown), Control('f')],
        "PgDn",
        "page down",
        "",
        Group::Move,
        EVERYWHERE,
    ),
    bind(
        Command::PageUp,
        &[Code(KeyCode::PageUp), Control('b')],
        "PgUp",
        "page up",
        "",
        Group::Move,
        EVERYWHERE,
    ),
    bind(Command::Left, &[Code(KeyCode::Left), Char('h')], "h Left", "scroll left", "", Group::Logs, LOGS),
    bind(
        Command::Right,
        &[Code(KeyCode::Right), Char('l')],
        "l Right",
        "scroll right",
        "",
        Group::Logs,
        LOGS,
    ),
    bind(Command::Mark, &[Char(' ')], "Space", "mark", "mark", Group::Select, LIST),
    bind(Command::Open, &[Code(KeyCode::Enter)], "Enter", "open", "open", Group::Move, LIST),
    bind(Command::Back, &[Code(KeyCode::Esc)], "Esc", "back, or clear", "", Group::Move, EVERYWHERE),
    bind(Command::PreviousSession, &[Char('[')], "[", "previous session", "", Group::Move, READING),
    bind(Command::NextSession, &[Char(']')], "]", "next session", "", Group::Move, READING),
    bind(Command::Follow, &[Char('f')], "f", "follow or pause", "follow", Group::Logs, LOGS),
    bind(
        Command::Search,
        &[Char('/')],
        "/",
        "filter (logs: search)",
        "find",
        Group::Select,
        &[Place::List, Place::Logs],
    ),
    bind(Command::NextHit, &[Char('n')], "n", "next match", "next", Group::Logs, LOGS),
    bind(Command::PreviousHit, &[Char('N')], "N", "previous match", "", Group::Logs, LOGS),
    bind(Command::Level, &[Char('L')], "L", "level", "level", Group::Logs, LOGS),
    bind(Command::Times, &[Char('t')], "t", "times on or off", "times", Group::Logs, LOGS),
    bind(Command::Logs, &[Char('l')], "l", "open the log", "logs", Group::Logs, NOT_LOGS),
    bind(Command::Stop, &[Char('x')], "x", "stop and hold", "stop", Group::Act, EVERYWHERE),
    bind(Command::Force, &[Char('X')], "X", "force-stop", "", Group::Act, EVERYWHERE),
    bind(Command::Resume, &[Char('r')], "r", "resume", "resume", Group::Act, EVERYWHERE),
    bind(Command::Restart, &[Char('R')], "R", "restart", "restart", Group::Act, EVERYWHERE),
    bind(Command::Help, &[Char('?'), Code(KeyCode::F(1))], "?", "this help", "help", Group::Any, EVERYWHERE),
    bind(Command::MarkShown, &[Char('a')], "a", "mark all shown", "", Group::Select, LIST),
    bind(Command::ClearMarks, &[Char('u')], "u", "clear marks", "", Group::Select, LIST),
    bind(
        Command::ProblemsOnly,
        &[Char('!')],
        "!",
        "problems only (logs: warnings)",
        "problems",
        Group::Select,
        &[Place::List, Place::Logs],
    ),
    bind(
        Command::NextProblem,
        &[Char('e')],
        "e",
        "next problem",
        "",
        Group::Move,
        &[Place::List, Place::Logs],
    ),
    bind(
        Command::PreviousProblem,
        &[Char('E')],
        "E",
        "previous problem",
        "",
        Group::Move,
        &[Place::List, Place::Logs],
    ),
    bind(Command::Sort, &[Char('s')], "s", "sort by another column", "sort", Group::Select, LIST),
    bind(Command::Reverse, &[Char('S')], "S", "reverse the order", "", Group::Select, LIST),
    bind(Command::HoldOrder, &[Char('o')], "o", "hold the order", "", Group::Select, LIST),
    bind(Command::RetryNow, &[Char('C')], "C", "connect now", "", Group::Any, EVERYWHERE),
    bind(Command::Redraw, &[Control('l')], "^l", "draw anew", "", Group::Any, EVERYWHERE),
    bind(Command::Suspend, &[Control('z')], "^z", "suspend", "", Group::Any, EVERYWHERE),
    bind(
        Command::Quit,
        &[Char('q'), Control('c')],
        "q ^c",
        "back, at the list quit",
        "quit",
        Group::Any,
        EVERYWHERE,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_in_one_place() {
        for place in EVERYWHERE {
            let bound: Vec<_> = TABLE.iter().filter(|binding| binding.places.contains(place)).collect();
            for (at, binding) in bound.iter().enumerate() {
                for key in binding.keys {
                    let pressed = match *key {
                        Char(c) => KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE),
                        Control(c) => KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL),
                        Code(code) => KeyEvent::new(code, KeyModifiers::NONE),
                    };
                    let owners =
                        bound.iter().filter(|other| other.keys.iter().any(|k| k.is(pressed))).count();
                    assert_eq!(owners, 1, "{pressed:?} at {place:?}");
                    assert_eq!(lookup(*place, pressed), Some(bound[at].command));
                }
            }
        }
    }

    #[test]
    fn shift_beside_a_capital_letter_does_not_matter() {
        let key = KeyEvent::new(KeyCode::Char('X'), KeyModifiers::SHIFT);
        assert_eq!(lookup(Place::List, key), Some(Command::Force));
    }
}
