//! Screens as pictures, at the sizes that people have.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect, Size},
    style::{Color, Modifier},
};
use sluice_protocol::{Cause, Event, Hold, Kind, Level, LogRecord, Session, State};
use uuid::Uuid;

use super::view;
use crate::{
    app::{Access, App, Overlay},
    event::{Effect, Failure, LogNews, Msg, News, Now},
    fake,
    theme::{Colours, Glyphs, Theme},
    update::update,
};

const SIZES: [Size; 3] = [Size::new(40, 12), Size::new(80, 24), Size::new(140, 40)];

/// A console with a session of each kind, at a fixed moment.
fn scene(size: Size, colours: Colours) -> App {
    let now = Now { instant: Instant::now(), wall: noon() };
    let theme = Theme::new(colours, Glyphs::LINES);
    let mut app = App::new("tc01".to_owned(), Access::Full, theme, TimeZone::UTC, now);
    update(&mut app, Msg::Resize(size));
    let sessions = sessions();
    let mut engine = fake::engine(&sessions);
    (engine.started_at, engine.uptime) = (ago(86_400), 86_400.0);
    let event = Event::Snapshot { epoch: Uuid::nil(), seq: 1, engine, sessions };
    update(&mut app, Msg::News(News::Event(Box::new(event))));
    app
}

fn noon() -> Timestamp {
    Timestamp::from_second(1_760_000_000).unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    noon() - SignedDuration::from_secs(seconds)
}

fn sessions() -> Vec<Session> {
    let titles = [
        "News 24 HD",
        "日本テレビ\u{1b}[2J",
        "Dune (2021) 4K HDR, the director's cut",
        "Kids TV",
        "Solaris",
        "Radio",
    ];
    let mut sessions: Vec<_> =
        titles.iter().zip(1..).map(|(title, number)| fake::session(number, title)).collect();
    for (session, age) in sessions.iter_mut().zip([41, 7860, 3482, 3, 5460, 255_600]) {
        (session.started_at, session.state_since, session.last_access) = (ago(age), ago(age), None);
    }
    let failed = &mut sessions[0];
    (failed.state, failed.cause, failed.restarts) = (State::Failed, Cause::Source, 4);
    failed.reason = Some("the source answered 403 Forbidden".to_owned());
    failed.runs.clear();
    sessions[1].viewers = 12;
    let film = &mut sessions[2];
    (film.kind, film.position, film.duration) = (Some(Kind::Event), Some(40.0), Some(9320.0));
    sessions[3].state = State::Starting;
    let held = &mut sessions[4];
    (held.state, held.held) = (State::Stopped, true);
    held.hold = Some(Hold { by: "ann".to_owned(), since: ago(60), until: None });
    held.runs.clear();
    sessions
}

fn wait(app: &mut App, milliseconds: u64) {
    let instant = app.now.instant + Duration::from_millis(milliseconds);
    let wall = app.now.wall + SignedDuration::from_millis(milliseconds.cast_signed());
    update(app, Msg::Clock(Now { instant, wall }));
}

fn press(app: &mut App, keys: &str) -> Option<Effect> {
    let mut effect = None;
    for c in keys.chars() {
        let code = match c {
            '\n' => KeyCode::Enter,
            c => KeyCode::Char(c),
        };
        effect = update(app, Msg::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    }
    effect
}

fn draw(app: &App) -> Buffer {
    let area = Rect::from((Position::ORIGIN, app.size));
    let mut buf = Buffer::empty(area);
    view(app, area, &mut buf);
    buf
}

fn glyphs(app: &App) -> String {
    let buf = draw(app);
    let mut text = String::new();
    for y in 0..buf.area.height {
        let mut x = 0;
        let mut row = String::new();
        while x < buf.area.width {
            let symbol = buf[(x, y)].symbol();
            row.push_str(symbol);
            x += u16::try_from(unicode_width::UnicodeWidthStr::width(symbol)).unwrap_or(1).max(1);
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// Draws at all sizes, in colour and without: what is said must be the same.
fn check(name: &str, prepare: impl Fn(&mut App)) {
    for size in SIZES {
        let mut app = scene(size, Colours::Terminal);
        prepare(&mut app);
        let coloured = glyphs(&app);
        app.theme = Theme::new(Colours::Mono, Glyphs::LINES);
        assert_eq!(glyphs(&app), coloured, "{name}: colours carry no meaning");
        let plain = draw(&app);
        let colourless = |cell: &ratatui::buffer::Cell| cell.fg == Color::Reset && cell.bg == Color::Reset;
        assert!(plain.content.iter().all(colourless), "{name}: no colours without colours");
        insta::assert_snapshot!(format!("{name}_{}x{}", size.width, size.height), coloured);
    }
}

#[test]
fn the_list() {
    check("list", |_| {});
}

#[test]
fn the_list_with_marks_and_a_filter() {
    check("marks", |app| {
        press(app, "/alice\n");
        press(app, "  ");
    });
}

#[test]
fn the_question_about_several_sessions() {
    check("question", |app| {
        press(app, " ");
        press(app, " X");
        wait(app, 300);
        press(app, "2");
    });
}

#[test]
fn the_question_about_one_session() {
    check("question_of_one", |app| {
        press(app, "jx");
    });
}

#[test]
fn the_help() {
    check("help", |app| {
        press(app, "?");
    });
}

#[test]
fn a_log_that_is_searched_while_paused() {
    check("logs", |app| {
        let Some(Effect::OpenLog { ticket, .. }) = press(app, "l") else { panic!("a log") };
        let line = |seq: u64, level, text: &str| LogRecord::Line {
            seq,
            at: ago(100) + SignedDuration::from_millis(seq.cast_signed() * 37),
            level,
            run: 1,
            text: text.to_owned(),
        };
        let mut records: Vec<_> = (1..60)
            .map(|seq| line(seq, Level::Info, &format!("[hls] opening segment {seq} for writing")))
            .collect();
        records.push(line(
            60,
            Level::Error,
            "[http] HTTP error 403 Forbidden, and more that does not fit on narrow screens at all",
        ));
        records.push(LogRecord::Gap { dropped: 212, from: 61 });
        records.push(line(273, Level::Warning, "[mpegts] packet corrupt"));
        update(app, Msg::Log(ticket, LogNews::Records(records)));
        press(app, "k/error|corrupt\n");
        update(app, Msg::Log(ticket, LogNews::Records(vec![line(274, Level::Info, "a new line")])));
    });
}

#[test]
fn the_detail_of_a_session() {
    check("detail", |app| {
        press(app, "jj");
        let Some(Effect::AskDetail { ticket, .. }) = press(app, "\n") else { panic!("a detail") };
        let id = app.subject().unwrap();
        let detail = fake::detail(app.rows[&id].session.clone());
        update(app, Msg::Detail(ticket, Ok(Box::new(detail))));
    });
}

#[test]
fn data_that_is_old_says_so_and_an_order_without_answer_too() {
    check("not_live", |app| {
        press(app, "jr");
        let ticket = app.last_ticket;
        wait(app, 2000);
        update(app, Msg::News(News::Lost("EOF".to_owned())));
        update(app, Msg::News(News::Waiting(5, Duration::from_secs(50))));
        update(app, Msg::Done(ticket, Err(Failure::Unanswered("EOF".to_owned()))));
        wait(app, 47_000);
    });
}

#[test]
fn before_the_first_data_and_in_too_small_a_window() {
    let now = Now { instant: Instant::now(), wall: noon() };
    let theme = Theme::new(Colours::Terminal, Glyphs::ASCII);
    let mut app = App::new("tc01".to_owned(), Access::ReadOnly, theme, TimeZone::UTC, now);
    update(&mut app, Msg::Resize(Size::new(80, 24)));
    assert!(glyphs(&app).contains("waiting for the engine"));
    update(&mut app, Msg::Resize(Size::new(30, 5)));
    assert!(glyphs(&app).contains("too small: 30x5, need 40x"));
}

#[test]
fn the_cursor_is_seen_without_colours() {
    let app = scene(SIZES[1], Colours::Mono);
    let buf = draw(&app);
    let row = (0..24).find(|y| buf[(0, *y)].symbol() == ">").unwrap();
    assert!((0..80).all(|x| buf[(x, row)].modifier.contains(Modifier::REVERSED)));
}

#[test]
fn a_list_of_ten_thousand_builds_only_what_is_seen() {
    let mut app = scene(SIZES[1], Colours::Terminal);
    let many = (0..10_000_u128).map(|number| {
        let mut session = fake::session(1, &format!("session {number}"));
        session.id = Uuid::from_u128(number);
        session
    });
    let event =
        Event::Snapshot { epoch: Uuid::nil(), seq: 1, engine: fake::engine(&[]), sessions: many.collect() };
    update(&mut app, Msg::News(News::Event(Box::new(event))));
    press(&mut app, "G");
    assert!(glyphs(&app).contains("session 9999"));
    assert!(matches!(app.overlay, None | Some(Overlay::Help(_))));
}
