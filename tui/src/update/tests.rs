//! Messages in, facts and effects out. Time is what the test says it is.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::{Timestamp, tz::TimeZone};
use proptest::prelude::*;
use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect, Size},
};
use sluice_protocol::{Cause, Event, LogRecord, Patch, Session, State, StateChange, Tick};
use uuid::Uuid;

use super::update;
use crate::{
    app::{Access, App, Link, Overlay, Screen},
    condition::Word,
    dialog::{Focus, Form},
    event::{Act, Effect, Failure, LogNews, Msg, News, Now, Order},
    fake,
    theme::{Colours, Glyphs, Theme},
};

/// A console and a clock.
struct Console {
    app: App,
    now: Now,
    effects: Vec<Effect>,
}

impl Console {
    fn new() -> Self {
        let now = Now { instant: Instant::now(), wall: Timestamp::UNIX_EPOCH };
        let theme = Theme::new(Colours::Terminal, Glyphs::LINES);
        let app = App::new("node".to_owned(), Access::Full, theme, TimeZone::UTC, now);
        Self { app, now, effects: Vec::new() }
    }

    /// Connected, with these sessions.
    fn with(sessions: Vec<Session>) -> Self {
        let mut console = Self::new();
        console.tell(snapshot(sessions));
        console
    }

    fn send(&mut self, msg: Msg) {
        self.effects.extend(update(&mut self.app, msg));
    }

    fn tell(&mut self, event: Event) {
        self.send(Msg::News(News::Event(Box::new(event))));
    }

    fn wait(&mut self, milliseconds: u64) {
        self.now.instant += Duration::from_millis(milliseconds);
        self.send(Msg::Clock(self.now));
    }

    fn press(&mut self, keys: &str) {
        for c in keys.chars() {
            let code = match c {
                '\n' => KeyCode::Enter,
                '\t' => KeyCode::Tab,
                '\u{1b}' => KeyCode::Esc,
                c => KeyCode::Char(c),
            };
            self.send(Msg::Key(KeyEvent::new(code, KeyModifiers::NONE)));
        }
    }

    /// Presses keys once they count.
    fn answer(&mut self, keys: &str) {
        self.wait(300);
        self.press(keys);
    }

    fn change(&mut self, number: u8, to: State) {
        let id = id(number);
        let from = self.app.rows[&id].session.state;
        self.tell(Event::State(StateChange {
            seq: 1,
            at: Timestamp::UNIX_EPOCH,
            id,
            from,
            to,
            cause: Cause::Exit,
            code: None,
            reason: None,
            who: None,
        }));
    }

    fn patch(&mut self, number: u8, change: impl FnOnce(&mut Session)) {
        let before = self.app.rows[&id(number)].session.clone();
        let mut after = before.clone();
        change(&mut after);
        self.tick(Patch::between(Some(&before), &after).into_iter().collect(), Vec::new());
    }

    fn remove(&mut self, number: u8) {
        self.tick(Vec::new(), vec![id(number)]);
    }

    fn tick(&mut self, sessions: Vec<Patch>, removed: Vec<Uuid>) {
        let engine = fake::engine(&[]);
        self.tell(Event::Tick(Tick { seq: 1, sessions, removed, engine }));
    }

    fn cursor_on(&mut self, number: u8) {
        self.press("g");
        while self.app.list.cursor != Some(id(number)) {
            self.press("j");
        }
    }

    fn orders(&self) -> Vec<Order> {
        let acts = self.effects.iter().filter_map(|effect| match effect {
            Effect::Act(orders) => Some(orders.clone()),
            _ => None,
        });
        acts.flatten().collect()
    }

    fn said(&self) -> &str {
        self.app.notice.as_ref().map_or("", |notice| &notice.text)
    }
}

fn id(number: u8) -> Uuid {
    Uuid::from_bytes([number; 16])
}

fn snapshot(sessions: Vec<Session>) -> Event {
    Event::Snapshot { epoch: Uuid::nil(), seq: 1, engine: fake::engine(&sessions), sessions }
}

fn some(count: u8) -> Vec<Session> {
    (1..=count).map(|number| fake::session(number, &format!("session {number:02}"))).collect()
}

#[test]
fn data_never_moves_the_cursor_to_another_session() {
    let mut console = Console::with(some(20));
    console.cursor_on(7);
    console.wait(10_000);
    // It goes to the top of the list, others come and go around it.
    console.change(7, State::Failed);
    console.change(9, State::Failed);
    console.remove(3);
    console.tick(vec![Patch::between(None, &fake::session(99, "a new one")).unwrap()], Vec::new());
    assert_eq!(console.app.list.cursor, Some(id(7)));
    assert!(console.app.list.order[..2].contains(&id(7)), "sorted by problem");
}

#[test]
fn a_cursor_whose_session_went_does_not_act_on_its_neighbour() {
    let mut console = Console::with(some(3));
    console.cursor_on(2);
    console.remove(2);
    assert_eq!(console.app.list.cursor, Some(id(3)));
    assert!(console.said().contains("gone"), "{}", console.said());
    console.press("r");
    console.press("x");
    assert_eq!(console.orders(), []);
    assert!(console.app.overlay.is_none());
    // Once it has been on the screen for a moment, it was meant.
    console.wait(1000);
    console.press("r");
    assert_eq!(console.orders()[0].id, id(3));
}

#[test]
fn rows_keep_their_places_while_the_operator_moves() {
    let mut console = Console::with(some(5));
    console.wait(5000);
    console.press("j");
    let before = console.app.list.order.clone();
    console.change(5, State::Failed);
    assert_eq!(console.app.list.order, before);
    console.wait(4000);
    assert_eq!(console.app.list.order[0], id(5));
}

#[test]
fn one_session_that_nobody_watches_takes_a_y_and_enter_alone_confirms_nothing() {
    let mut console = Console::with(some(2));
    console.cursor_on(1);
    console.press("x");
    console.answer("\n");
    assert_eq!(console.orders(), []);
    console.press("x");
    console.answer("y");
    let order = console.orders()[0];
    assert_eq!((order.act, order.id, order.generation), (Act::Stop, id(1), 3));
    assert_eq!(console.app.pending.len(), 1);
}

#[test]
fn keys_of_the_first_quarter_second_answer_nothing() {
    let mut console = Console::with(some(1));
    console.press("xy");
    console.wait(200);
    console.press("y");
    assert_eq!(console.orders(), []);
    console.answer("y");
    assert_eq!(console.orders().len(), 1);
}

#[test]
fn several_or_watched_sessions_take_their_number() {
    let check = |keys: &str, expected: usize| {
        let mut console = Console::with(some(3));
        console.patch(1, |session| session.viewers = 4);
        console.press("a");
        console.press("X");
        console.answer(keys);
        assert_eq!(console.orders().len(), expected, "{keys:?}");
    };
    check("\n", 0);
    check("y", 0);
    check("2\n", 0);
    check("\t\t\n", 0);
    check("3\n", 3);
    check("3\t\n", 3);
    check("3\t\t\n", 0);
    check("n", 0);
    check("g3\n", 3);

    let mut console = Console::with(some(1));
    console.patch(1, |session| session.viewers = 4);
    console.press("x");
    console.answer("y");
    assert_eq!(console.orders(), []);
    console.press("1\n");
    assert_eq!(console.orders().len(), 1);
}

#[test]
fn a_target_that_ends_while_the_question_is_open_is_left_out() {
    let mut console = Console::with(some(3));
    console.press("a");
    console.press("x");
    console.answer("3");
    console.remove(2);
    let Some(Overlay::Confirm(question)) = &console.app.overlay else { panic!("still open") };
    assert_eq!(question.form, Form::Count { typed: String::new(), focus: Focus::Cancel }, "typed anew");
    console.answer("2\n");
    let orders = console.orders();
    assert_eq!(orders.len(), 2);
    assert!(orders.iter().all(|order| order.id != id(2)));
}

#[test]
fn a_question_without_targets_closes_by_itself() {
    let mut console = Console::with(some(2));
    console.cursor_on(1);
    console.press("x");
    console.remove(1);
    assert!(console.app.overlay.is_none());
    console.answer("y");
    assert_eq!(console.orders(), []);
}

#[test]
fn a_change_while_the_question_is_open_must_be_seen_before_it_is_answered() {
    let mut console = Console::with(some(2));
    console.cursor_on(1);
    console.press("x");
    console.wait(300);
    console.change(1, State::Failed);
    console.press("y");
    assert_eq!(console.orders(), [], "it was typed before the change could be read");
    console.answer("y");
    assert_eq!(console.orders()[0].generation, 4);
}

#[test]
fn a_resume_of_one_session_asks_nothing_and_of_several_does() {
    let mut console = Console::with(some(2));
    console.press("r");
    assert_eq!(console.orders().len(), 1);
    console.press("ar");
    assert_eq!(console.orders().len(), 1);
    console.answer("2\n");
    assert_eq!(console.orders().len(), 3);
}

#[test]
fn a_stop_without_an_answer_is_unknown_until_the_sessions_are_seen_again() {
    let check = |after: State, held: bool, generation: u64, words: &str| {
        let mut console = Console::with(some(1));
        console.press("x");
        console.answer("y");
        let ticket = console.orders()[0].ticket;
        console.send(Msg::News(News::Lost("EOF".to_owned())));
        assert!(console.app.pending[0].unknown);
        console.send(Msg::Done(ticket, Err(Failure::Unanswered("EOF".to_owned()))));
        assert_eq!(console.app.pending.len(), 1, "still unknown while not connected");
        let mut session = fake::session(1, "session 01");
        (session.state, session.held, session.generation) = (after, held, generation);
        console.tell(snapshot(vec![session]));
        assert_eq!(console.app.pending, []);
        assert!(console.said().contains(words), "{}", console.said());
    };
    check(State::Stopped, true, 5, "HELD now");
    check(State::Running, false, 3, "did not happen");
    check(State::Failed, false, 4, "FAIL now");
}

#[test]
fn nothing_acts_while_not_connected_or_read_only() {
    let mut console = Console::with(some(2));
    console.press("x");
    console.send(Msg::News(News::Lost("EOF".to_owned())));
    assert!(console.app.overlay.is_none(), "the question is closed");
    console.answer("yxXrR");
    assert_eq!(console.orders(), []);
    assert!(console.said().contains("not connected"));

    let mut console = Console::with(some(2));
    console.app.access = Access::ReadOnly;
    console.press("xXrR");
    console.answer("y");
    assert_eq!(console.orders(), []);
    assert!(console.said().contains("read-only"));
}

#[test]
fn the_last_data_stays_while_not_connected_and_its_age_is_kept() {
    let mut console = Console::with(some(2));
    console.wait(1000);
    console.send(Msg::News(News::Lost("EOF".to_owned())));
    console.send(Msg::News(News::Waiting(0, Duration::from_millis(250))));
    let before = console.app.engine_now();
    console.wait(60_000);
    assert_eq!(console.app.rows.len(), 2);
    assert_eq!(console.app.engine_now(), before, "ages stand still");
    let row = &console.app.rows[&id(1)];
    assert_eq!(console.app.word(row), Word::Running, "silence is ours, not the session's");
    console.press("C");
    assert!(console.effects.contains(&Effect::RetryNow));
    console.tell(snapshot(some(1)));
    assert_eq!((&console.app.link, console.app.rows.len()), (&Link::Live, 1));
}

#[test]
fn a_refusal_is_said_in_the_engines_words() {
    let mut console = Console::with(some(1));
    console.press("r");
    let ticket = console.orders()[0].ticket;
    let refused = Failure::Refused("not_resumable".to_owned(), "the session is running".to_owned());
    console.send(Msg::Done(ticket, Err(refused)));
    assert!(console.said().contains("the session is running"));
    assert_eq!(console.app.pending, []);
}

#[test]
fn an_order_that_came_too_late_makes_us_look_again() {
    let mut console = Console::with(some(1));
    console.press("r");
    let ticket = console.orders()[0].ticket;
    let refused = Failure::Refused("changed".to_owned(), "the session changed".to_owned());
    console.send(Msg::Done(ticket, Err(refused)));
    let Some(Effect::AskDetail { ticket, .. }) = console.effects.last().cloned() else { panic!("it looks") };
    let mut session = fake::session(1, "session 01");
    session.generation = 9;
    console.send(Msg::Detail(ticket, Ok(Box::new(fake::detail(session)))));
    console.press("r");
    assert_eq!(console.orders()[1].generation, 9);
}

#[test]
fn a_change_that_the_snapshot_had_already_counts_once() {
    let mut console = Console::with(some(1));
    console.change(1, State::Failed);
    console.change(1, State::Failed);
    assert_eq!(console.app.rows[&id(1)].session.generation, 4);
}

#[test]
fn a_run_that_makes_nothing_stalls_and_one_too_slow_is_slow() {
    let mut console = Console::with(some(2));
    console.patch(2, |session| session.speed = Some(0.7));
    for second in 0..30 {
        console.wait(1000);
        console.patch(2, |session| session.segments += 1);
        let word = console.app.word(&console.app.rows[&id(1)]);
        assert_eq!(word == Word::Stalled, second >= 18, "after {} s", second + 1);
    }
    assert_eq!(console.app.word(&console.app.rows[&id(2)]), Word::Slow);
    console.patch(2, |session| session.speed = Some(1.2));
    assert_eq!(console.app.word(&console.app.rows[&id(2)]), Word::Running);
}

#[test]
fn a_filter_applies_as_it_is_typed_and_escape_goes_back() {
    let mut console = Console::with(some(20));
    console.press("/session");
    assert_eq!(console.app.list.order.len(), 20);
    console.press(" title:15");
    assert_eq!(console.app.list.order, [id(15)]);
    assert_eq!(console.app.list.cursor, Some(id(15)));
    console.press("\u{1b}");
    assert_eq!(console.app.list.order.len(), 20);
    console.press("/state:fail\n");
    assert_eq!((console.app.list.order.len(), console.app.list.cursor), (0, None));
    console.press("x");
    assert!(console.app.overlay.is_none());
    console.press("\u{1b}");
    assert_eq!(console.app.list.order.len(), 20);
}

#[test]
fn pasted_text_is_typed_into_a_line_and_is_never_a_key() {
    let mut console = Console::with(some(2));
    console.send(Msg::Paste("xXrRq".to_owned()));
    assert!(console.app.overlay.is_none() && console.effects.is_empty());
    console.press("/");
    console.send(Msg::Paste("02\nq".to_owned()));
    assert_eq!(console.app.list.order, [id(2)]);
}

#[test]
fn a_log_opens_follows_and_is_left() {
    let mut console = Console::with(some(1));
    console.press("l");
    let Some(Effect::OpenLog { ticket, id: of }) = console.effects.last().cloned() else { panic!("a log") };
    assert_eq!(of, id(1));
    let line = |seq| LogRecord::Line {
        seq,
        at: Timestamp::UNIX_EPOCH,
        level: sluice_protocol::Level::Info,
        run: 1,
        text: format!("line \u{1b}[31m{seq}"),
    };
    console.send(Msg::Log(ticket, LogNews::Records((1..=100).map(line).collect())));
    console.send(Msg::Log(ticket + 1, LogNews::Records(vec![line(900)])));
    assert_eq!(console.app.log().unwrap().len(), 100, "another log's lines are dropped");
    console.press("k");
    assert!(!console.app.log().unwrap().follows());
    console.press("G");
    assert!(console.app.log().unwrap().follows());
    console.press("/line 5\n");
    assert_eq!(console.app.log().unwrap().search.as_ref().unwrap().count(), 11);
    console.press("q");
    assert!(console.app.screens.is_empty());
    assert_eq!(console.effects.last(), Some(&Effect::CloseLog));
    console.press("q");
    assert_eq!(console.effects.last(), Some(&Effect::Quit));
}

#[test]
fn a_log_of_a_restarted_engine_is_opened_anew() {
    let mut console = Console::with(some(1));
    console.press("l");
    console.send(Msg::News(News::Lost("EOF".to_owned())));
    let Event::Snapshot { seq, engine, sessions, .. } = snapshot(some(1)) else { unreachable!() };
    console.tell(Event::Snapshot { epoch: Uuid::from_u128(7), seq, engine, sessions });
    assert!(matches!(console.effects.last(), Some(Effect::OpenLog { .. })));
}

#[test]
fn a_screen_that_becomes_too_small_for_a_question_answers_it_with_no() {
    let mut console = Console::with(some(1));
    console.press("x");
    console.send(Msg::Resize(Size::new(20, 5)));
    console.answer("y");
    assert_eq!(console.orders(), []);
}

#[derive(Debug, Clone)]
enum Step {
    Key(KeyEvent),
    Paste(String),
    Resize(u16, u16),
    Wait(u64),
    Change(u8, State),
    Grow(u8, u64, f64),
    Add(u8, String),
    Remove(u8),
    Snapshot(u8),
    Lost,
    Waiting(u32),
    Log(Vec<String>),
    Done(u64, bool),
}

fn steps() -> impl Strategy<Value = Step> {
    let special = prop::sample::select(vec![
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Tab,
        KeyCode::BackTab,
        KeyCode::Backspace,
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::PageUp,
        KeyCode::PageDown,
        KeyCode::Home,
        KeyCode::End,
    ]);
    let letter = prop::sample::select("jkgGxXrRyn123 aulfLt/nN!eEsSo?[]Cqh".chars().collect::<Vec<_>>());
    let states = prop::sample::select(vec![
        State::Starting,
        State::Running,
        State::Backoff,
        State::Stopped,
        State::Failed,
        State::Ended,
        State::Unknown,
    ]);
    prop_oneof![
        8 => letter.prop_map(|c| Step::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE))),
        4 => special.prop_map(|code| Step::Key(KeyEvent::new(code, KeyModifiers::NONE))),
        1 => any::<char>().prop_map(|c| Step::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL))),
        1 => ".{0,12}".prop_map(Step::Paste),
        2 => (0..=200_u16, 0..=80_u16).prop_map(|(w, h)| Step::Resize(w, h)),
        3 => (0..4000_u64).prop_map(Step::Wait),
        3 => (1..12_u8, states).prop_map(|(number, state)| Step::Change(number, state)),
        2 => (1..12_u8, any::<u64>(), any::<f64>()).prop_map(|(n, s, p)| Step::Grow(n, s, p)),
        1 => (1..12_u8, any::<String>()).prop_map(|(number, title)| Step::Add(number, title)),
        1 => (1..12_u8).prop_map(Step::Remove),
        1 => (0..12_u8).prop_map(Step::Snapshot),
        1 => Just(Step::Lost),
        1 => (0..9_u32).prop_map(Step::Waiting),
        2 => prop::collection::vec(".{0,300}", 0..60).prop_map(Step::Log),
        1 => (0..9_u64, any::<bool>()).prop_map(|(ticket, ok)| Step::Done(ticket, ok)),
    ]
}

fn take(console: &mut Console, step: Step) {
    let known = |console: &Console, number| console.app.rows.contains_key(&id(number));
    match step {
        Step::Key(key) => console.send(Msg::Key(key)),
        Step::Paste(text) => console.send(Msg::Paste(text)),
        Step::Resize(width, height) => console.send(Msg::Resize(Size::new(width, height))),
        Step::Wait(milliseconds) => console.wait(milliseconds),
        Step::Change(number, state) if known(console, number) => console.change(number, state),
        Step::Grow(number, segments, produced) if known(console, number) => {
            console.patch(number, |session| {
                (session.segments, session.produced, session.viewers) = (segments, produced, segments as u32);
                session.speed = Some(produced);
                session.position = Some(-produced);
            });
        }
        Step::Change(..) | Step::Grow(..) => {}
        Step::Add(number, title) => {
            let patch = Patch::between(None, &fake::session(number, &title));
            console.tick(patch.into_iter().collect(), Vec::new());
        }
        Step::Remove(number) => console.remove(number),
        Step::Snapshot(count) => console.tell(snapshot(some(count))),
        Step::Lost => console.send(Msg::News(News::Lost("EOF".to_owned()))),
        Step::Waiting(attempt) => {
            console.send(Msg::News(News::Waiting(attempt, Duration::from_secs(u64::from(attempt)))));
        }
        Step::Log(lines) => {
            let records = lines.into_iter().zip(1..).map(|(text, seq)| LogRecord::Line {
                seq: console.app.last_ticket * 100 + seq,
                at: Timestamp::UNIX_EPOCH,
                level: sluice_protocol::Level::Error,
                run: 1,
                text,
            });
            let records = records.collect();
            console.send(Msg::Log(console.app.last_ticket, LogNews::Records(records)));
        }
        Step::Done(ticket, true) => {
            console.send(Msg::Done(ticket, Ok(Box::new(fake::session(1, "done")))));
        }
        Step::Done(ticket, false) => {
            console.send(Msg::Done(ticket, Err(Failure::Unanswered("EOF".to_owned()))));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_sequence_of_messages_at_any_size_panics_or_acts_unasked(steps in prop::collection::vec(steps(), 1..80)) {
        let mut console = Console::with(some(8));
        for step in steps {
            let asked = matches!(console.app.overlay, Some(Overlay::Confirm(_)));
            let resumes = matches!(&step, Step::Key(key) if key.code == KeyCode::Char('r'));
            let before = console.orders().len();
            take(&mut console, step);
            prop_assert!(console.orders().len() == before || asked || resumes);
            let list = &console.app.list;
            match list.cursor {
                Some(cursor) => prop_assert!(list.order.contains(&cursor)),
                None => prop_assert!(list.order.is_empty()),
            }
            prop_assert!(list.marks.iter().all(|id| console.app.rows.contains_key(id)));
            let area = Rect::from((Position::ORIGIN, console.app.size));
            crate::view::view(&console.app, area, &mut Buffer::empty(area));
        }
    }
}

#[test]
fn leaving_a_detail_goes_back_to_the_list() {
    let mut console = Console::with(some(3));
    console.press("\n");
    assert!(matches!(console.app.screens.last(), Some(Screen::Detail(_))));
    assert!(matches!(console.effects.last(), Some(Effect::AskDetail { .. })));
    console.press("]");
    assert_eq!(console.app.subject(), Some(console.app.list.order[1]));
    console.press("\u{1b}");
    assert!(console.app.screens.is_empty());
}
