//! Everything the console knows, as plain data.
//!
//! The cursor, the marks and the dialog name sessions by id, never by row: rows move whenever data arrives.
//! Nothing here reads a clock; `now` is told from outside.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use ratatui::layout::Size;
use sluice_protocol::{Detail, Engine, Session, State};
use uuid::Uuid;

use crate::{
    condition::{self, Word},
    dialog::Dialog,
    event::{Act, Now},
    filter::Filter,
    keymap::Place,
    logbook::Logbook,
    theme::Theme,
};

/// A run counts as silent after this many segments' time without a new one.
const SILENT_SEGMENTS: f64 = 3.0;
/// A segment's length while too few exist to tell.
const USUAL_SEGMENT: f64 = 6.0;
/// A run that keeps up makes at least this much media per wall time.
const KEEPS_UP: f64 = 0.95;
/// Slower than that is worth a word only after this long.
const SLOW_AFTER: Duration = Duration::from_secs(10);
/// What `recent` keeps.
const RECENT: usize = 50;

/// The console.
#[derive(Debug)]
pub(crate) struct App {
    /// The name of this machine.
    pub(crate) node: String,
    /// Whether this console may act.
    pub(crate) access: Access,
    /// How to draw.
    pub(crate) theme: Theme,
    /// The zone that times are shown in.
    pub(crate) zone: TimeZone,
    /// When this console was started.
    pub(crate) started: Now,
    /// The time, as last told.
    pub(crate) now: Now,
    /// The terminal's size, as last told.
    pub(crate) size: Size,
    /// The connection to the engine.
    pub(crate) link: Link,
    /// When the engine was heard last.
    pub(crate) heard: Option<Now>,
    /// The engine, as it last described itself.
    pub(crate) engine: Option<Engine>,
    /// Which life of the engine the data is from.
    pub(crate) epoch: Option<Uuid>,
    /// All sessions.
    pub(crate) rows: HashMap<Uuid, Row>,
    /// The list's own state.
    pub(crate) list: List,
    /// What lies over the list, the topmost last.
    pub(crate) screens: Vec<Screen>,
    /// What lies over that and takes the keys.
    pub(crate) overlay: Option<Overlay>,
    /// Orders without a certain outcome.
    pub(crate) pending: Vec<Pending>,
    /// The request, and the session, whose answer replaces what we took for true.
    pub(crate) looked_at: Option<(u64, Uuid)>,
    /// The last thing worth saying.
    pub(crate) notice: Option<Notice>,
    /// What happened lately, the newest last.
    pub(crate) recent: VecDeque<(Timestamp, String)>,
    /// What must be drawn.
    pub(crate) redraw: Redraw,
    /// Numbers orders, log streams and detail requests.
    pub(crate) last_ticket: u64,
    /// The engine's clock and ours at the same moment.
    clock: Option<(Timestamp, Instant)>,
}

/// Whether this console may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// It may.
    Full,
    /// It was started with `--read-only`.
    ReadOnly,
}

/// The connection to the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Link {
    /// What is on the screen is so now.
    Live,
    /// It is not.
    Down {
        /// Since when.
        since: Instant,
        /// What ended it; `None` before the first snapshot.
        reason: Option<String>,
        /// How many tries were made.
        attempt: u32,
        /// When the next will be; `None` while one is under way.
        retry_at: Option<Instant>,
    },
}

/// How soon the screen must follow the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Redraw {
    /// Nothing changed.
    No,
    /// Data changed: with the next frame.
    Soon,
    /// A key was pressed: at once.
    Now,
}

/// A session on the list, and what watching it showed.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// As the engine describes it.
    pub(crate) session: Session,
    /// When the engine last said something about it.
    pub(crate) heard: Instant,
    /// When it last made a segment, as far as we saw.
    grew: Instant,
    /// Since when it is too slow.
    slow_since: Option<Instant>,
}

/// The list's own state.
#[derive(Debug, Default)]
pub(crate) struct List {
    /// The sessions shown, in order.
    pub(crate) order: Vec<Uuid>,
    /// The session that keys act on.
    pub(crate) cursor: Option<Uuid>,
    /// The first row on the screen.
    pub(crate) top: usize,
    /// Marked sessions: keys act on them instead, where there are any.
    pub(crate) marks: BTreeSet<Uuid>,
    /// What the list is sorted by.
    pub(crate) sort: Sort,
    /// The other way round.
    pub(crate) reversed: bool,
    /// Only what an operator should look at.
    pub(crate) problems_only: bool,
    /// Only what matches.
    pub(crate) filter: Filter,
    /// Rows keep their places until then: the operator is moving.
    pub(crate) held_until: Option<Instant>,
    /// Rows keep their places until told otherwise.
    pub(crate) order_held: bool,
    /// Rows may be in the wrong order.
    pub(crate) stale: bool,
    /// When the cursor last moved without a key, because its session went.
    pub(crate) moved_alone: Option<Instant>,
}

/// What the list is sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    #[default]
    Problem,
    Title,
    User,
    Viewers,
    Speed,
    Rate,
    Cpu,
    Age,
}

/// A screen over the list.
#[derive(Debug)]
pub(crate) enum Screen {
    /// One session in full.
    Detail(DetailScreen),
    /// One session's log.
    Logs(Box<Logbook>),
}

/// One session in full.
#[derive(Debug)]
pub(crate) struct DetailScreen {
    /// Which.
    pub(crate) id: Uuid,
    /// The request whose answer is awaited.
    pub(crate) ticket: u64,
    /// When it was asked for.
    pub(crate) asked: Instant,
    /// What the engine answered.
    pub(crate) detail: Option<Box<Detail>>,
    /// Why it did not.
    pub(crate) problem: Option<String>,
    /// The first line shown.
    pub(crate) top: usize,
}

/// What takes the keys before any screen does.
#[derive(Debug)]
pub(crate) enum Overlay {
    /// The help screen, scrolled by this much.
    Help(usize),
    /// A question before an act.
    Confirm(Dialog),
    /// A line being typed: a filter on the list, a search in a log.
    Prompt(Prompt),
}

/// A line being typed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// What was typed.
    pub(crate) text: String,
    /// What to go back to.
    pub(crate) before: String,
    /// Why what was typed can't be used.
    pub(crate) fault: Option<String>,
}

/// An order without a certain outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    /// Its number.
    pub(crate) ticket: u64,
    /// What was asked for.
    pub(crate) act: Act,
    /// Of which session.
    pub(crate) id: Uuid,
    /// What that session was called then.
    pub(crate) title: String,
    /// How often its state had changed then.
    pub(crate) generation: u64,
    /// When.
    pub(crate) sent: Now,
    /// Whether an answer may still come.
    pub(crate) in_flight: bool,
    /// The connection broke before the answer came.
    pub(crate) unknown: bool,
}

/// Something worth saying on the line above the hints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// The words.
    pub(crate) text: String,
    /// How grave.
    pub(crate) tone: Tone,
    /// When it was said.
    pub(crate) since: Instant,
}

/// How grave a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Bad,
}

impl App {
    /// A console that has heard nothing yet.
    pub(crate) fn new(node: String, access: Access, theme: Theme, zone: TimeZone, now: Now) -> Self {
        Self {
            node,
            access,
            theme,
            zone,
            started: now,
            now,
            size: Size::new(80, 24),
            link: Link::Down { since: now.instant, reason: None, attempt: 0, retry_at: None },
            heard: None,
            engine: None,
            epoch: None,
            rows: HashMap::new(),
            list: List::default(),
            screens: Vec::new(),
            overlay: None,
            pending: Vec::new(),
            looked_at: None,
            notice: None,
            recent: VecDeque::new(),
            redraw: Redraw::Now,
            last_ticket: 0,
            clock: None,
        }
    }

    /// Where keys are pressed now.
    pub(crate) fn place(&self) -> Place {
        match self.screens.last() {
            None => Place::List,
            Some(Screen::Detail(_)) => Place::Detail,
            Some(Screen::Logs(_)) => Place::Logs,
        }
    }

    /// The session that keys act on here.
    pub(crate) fn subject(&self) -> Option<Uuid> {
        match self.screens.last() {
            None => self.list.cursor,
            Some(Screen::Detail(screen)) => Some(screen.id),
            Some(Screen::Logs(log)) => Some(log.id),
        }
    }

    /// The topmost log, if one is open.
    pub(crate) fn log(&mut self) -> Option<&mut Logbook> {
        match self.screens.last_mut() {
            Some(Screen::Logs(log)) => Some(log),
            _ => None,
        }
    }

    /// Whether what is on the screen is so now.
    pub(crate) fn is_live(&self) -> bool {
        self.link == Link::Live
    }

    /// The moment that the data speaks of: now, or when the engine was heard last.
    pub(crate) fn data_instant(&self) -> Instant {
        match (self.is_live(), self.heard) {
            (false, Some(heard)) => heard.instant,
            _ => self.now.instant,
        }
    }

    /// The same by the engine's clock.
    pub(crate) fn engine_now(&self) -> Timestamp {
        let Some((engine, ours)) = self.clock else { return self.now.wall };
        let passed = self.data_instant().saturating_duration_since(ours);
        SignedDuration::try_from(passed).ok().and_then(|d| engine.checked_add(d).ok()).unwrap_or(engine)
    }

    /// Takes the engine's word for how it is, and sets the clock by it.
    pub(crate) fn set_engine(&mut self, engine: Engine) {
        let uptime = if engine.uptime.is_finite() { engine.uptime.clamp(0.0, 1e9) } else { 0.0 };
        let uptime = SignedDuration::from_secs_f64(uptime);
        let now = engine.started_at.checked_add(uptime).unwrap_or(engine.started_at);
        self.clock = Some((now, self.now.instant));
        self.engine = Some(engine);
    }

    /// A session's state word.
    pub(crate) fn word(&self, row: &Row) -> Word {
        row.word(self.data_instant())
    }

    /// A number that was not given out before.
    pub(crate) fn ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// Says something on the line above the hints.
    pub(crate) fn say(&mut self, tone: Tone, text: impl Into<String>) {
        self.notice = Some(Notice { text: text.into(), tone, since: self.now.instant });
        self.redraw = self.redraw.max(Redraw::Soon);
    }

    /// Remembers that something happened.
    pub(crate) fn remember(&mut self, at: Timestamp, what: String) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((at, what));
    }

    /// What people call a session, also when it is gone.
    pub(crate) fn title_of(&self, id: Uuid) -> String {
        match self.rows.get(&id) {
            Some(row) => condition::title(&row.session).to_owned(),
            None => crate::format::short(id),
        }
    }
}

impl Row {
    /// A session that was just heard of.
    pub(crate) fn new(session: Session, now: Instant) -> Self {
        let mut row = Self { session, heard: now, grew: now, slow_since: None };
        row.watch(now);
        row
    }

    /// Takes a newer description.
    pub(crate) fn replace(&mut self, session: Session, now: Instant) {
        let restarted = session.state != self.session.state && session.state == State::Running;
        if session.segments != self.session.segments || restarted {
            self.grew = now;
        }
        self.session = session;
        self.heard = now;
        self.watch(now);
    }

    /// The state word, with what watching showed.
    pub(crate) fn word(&self, at: Instant) -> Word {
        let word = Word::of(&self.session);
        if word != Word::Running || self.session.runs.is_empty() {
            return word;
        }
        let limit = Duration::from_secs_f64(SILENT_SEGMENTS * self.segment_length());
        if at.saturating_duration_since(self.grew) > limit {
            return Word::Stalled;
        }
        match self.slow_since {
            Some(since) if at.saturating_duration_since(since) >= SLOW_AFTER => Word::Slow,
            _ => word,
        }
    }

    fn watch(&mut self, now: Instant) {
        let slow = self.session.state == State::Running && self.session.speed.is_some_and(|s| s < KEEPS_UP);
        self.slow_since = slow.then(|| self.slow_since.unwrap_or(now));
    }

    fn segment_length(&self) -> f64 {
        let session = &self.session;
        let mean = session.produced / session.segments.max(1) as f64;
        if session.segments >= 3 && mean.is_finite() { mean.clamp(1.0, 60.0) } else { USUAL_SEGMENT }
    }
}

impl Sort {
    /// The next column, in the order that `s` goes through them.
    pub(crate) fn next(self) -> Self {
        match self {
            Self::Problem => Self::Title,
            Self::Title => Self::User,
            Self::User => Self::Viewers,
            Self::Viewers => Self::Speed,
            Self::Speed => Self::Rate,
            Self::Rate => Self::Cpu,
            Self::Cpu => Self::Age,
            Self::Age => Self::Problem,
        }
    }

    /// What the list calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Title => "title",
            Self::User => "user",
            Self::Viewers => "viewers",
            Self::Speed => "speed",
            Self::Rate => "rate",
            Self::Cpu => "cpu",
            Self::Age => "age",
        }
    }
}
