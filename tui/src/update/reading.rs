//! The screens that show one session: its detail and its log.

use std::time::Duration;

use sluice_protocol::{Detail, Level};
use uuid::Uuid;

use super::{
    keys::{back, direction},
    list, log_height,
};
use crate::{
    app::{App, DetailScreen, Redraw, Screen, Tone},
    clean,
    event::{Effect, LogNews},
    keymap::Command,
    logbook::{Feed, Logbook},
};

/// Columns that one key scrolls a log sideways.
const SIDEWAYS: usize = 8;
/// No log line is wider than this, as far as scrolling is concerned.
const WIDEST: usize = 4096;
/// No detail is longer than this; the view stops at its last line.
const DETAIL_LINES: usize = 2000;

/// Opens the session under the cursor.
pub(super) fn open_detail(app: &mut App) -> Option<Effect> {
    let id = app.subject()?;
    let ticket = app.ticket();
    let asked = app.now.instant;
    app.screens.push(Screen::Detail(DetailScreen { id, ticket, asked, detail: None, problem: None, top: 0 }));
    Some(Effect::AskDetail { ticket, id })
}

/// Opens the log of the session here.
pub(super) fn open_log(app: &mut App) -> Option<Effect> {
    let id = app.subject()?;
    let ticket = app.ticket();
    app.screens.push(Screen::Logs(Box::new(Logbook::new(id, ticket))));
    Some(Effect::OpenLog { ticket, id })
}

/// A key on the detail screen.
pub(super) fn on_detail(app: &mut App, command: Command) -> Option<Effect> {
    let page = usize::from(app.size.height).saturating_sub(4).max(1);
    if matches!(command, Command::PreviousSession | Command::NextSession) {
        let id = list::step(app, command)?;
        let ticket = app.ticket();
        let asked = app.now.instant;
        let screen = DetailScreen { id, ticket, asked, detail: None, problem: None, top: 0 };
        *app.screens.last_mut()? = Screen::Detail(screen);
        return Some(Effect::AskDetail { ticket, id });
    }
    if command == Command::Back {
        return back(app);
    }
    let Some(Screen::Detail(screen)) = app.screens.last_mut() else { return None };
    screen.top = match command {
        Command::Down => screen.top + 1,
        Command::Up => screen.top.saturating_sub(1),
        Command::HalfDown => screen.top + page / 2,
        Command::HalfUp => screen.top.saturating_sub(page / 2),
        Command::PageDown => screen.top + page,
        Command::PageUp => screen.top.saturating_sub(page),
        Command::Top => 0,
        Command::Bottom => DETAIL_LINES,
        _ => screen.top,
    }
    .min(DETAIL_LINES);
    None
}

/// A key on the log screen.
pub(super) fn on_log(app: &mut App, command: Command) -> Option<Effect> {
    let height = log_height(app);
    if matches!(command, Command::PreviousSession | Command::NextSession) {
        let id = list::step(app, command)?;
        let ticket = app.ticket();
        *app.screens.last_mut()? = Screen::Logs(Box::new(Logbook::new(id, ticket)));
        return Some(Effect::OpenLog { ticket, id });
    }
    let log = app.log()?;
    let page = height.max(1).cast_signed();
    match command {
        Command::Up => log.scroll(-1, height),
        Command::Down => log.scroll(1, height),
        Command::HalfUp => log.scroll(-(page / 2).max(1), height),
        Command::HalfDown => log.scroll((page / 2).max(1), height),
        Command::PageUp => log.scroll(-page, height),
        Command::PageDown => log.scroll(page, height),
        Command::Top => log.go_to_top(height),
        Command::Bottom => log.follow(),
        Command::Follow if log.follows() => log.pause(height),
        Command::Follow => log.follow(),
        Command::Left => log.across = log.across.saturating_sub(SIDEWAYS),
        Command::Right => log.across = (log.across + SIDEWAYS).min(WIDEST),
        Command::NextHit | Command::PreviousHit if log.search.is_some() => {
            log.go_to_hit(direction(command), height);
        }
        Command::NextHit | Command::PreviousHit => app.say(Tone::Plain, "nothing is searched for: / begins"),
        Command::NextProblem | Command::PreviousProblem => {
            let found = log.go_to_problem(direction(command), height);
            if !found {
                app.say(Tone::Plain, "no other warning or error that way");
            }
        }
        Command::Level => log.cycle_level(height),
        Command::ProblemsOnly => {
            let level = if log.level() == Some(Level::Warning) { None } else { Some(Level::Warning) };
            log.set_level(level, height);
        }
        Command::Times => log.times = !log.times,
        Command::Back if log.search.is_some() => log.search = None,
        Command::Back => return back(app),
        _ => {}
    }
    None
}

/// Takes lines of the open log; those of one that was left are dropped.
pub(super) fn log_news(app: &mut App, ticket: u64, news: LogNews) {
    let Some(log) = app.log().filter(|log| log.ticket == ticket) else { return };
    match news {
        LogNews::Records(records) => {
            if records.is_empty() {
                log.feed = Feed::Open;
            }
            for mut record in records {
                clean::record(&mut record);
                log.take(record);
            }
        }
        LogNews::Lost(reason) => log.feed = Feed::Lost(clean::clean(&reason).into_owned()),
        LogNews::Refused(reason) => log.feed = Feed::Refused(clean::clean(&reason).into_owned()),
    }
    app.redraw = app.redraw.max(Redraw::Soon);
}

/// Takes the detail that was asked for last; older answers are dropped.
pub(super) fn detail_answer(app: &mut App, ticket: u64, answer: Result<Box<Detail>, String>) {
    let Some(Screen::Detail(screen)) = app.screens.last_mut() else { return };
    if screen.ticket != ticket {
        return;
    }
    match answer {
        Ok(mut detail) => {
            clean::detail(&mut detail);
            (screen.detail, screen.problem) = (Some(detail), None);
        }
        Err(problem) => screen.problem = Some(clean::clean(&problem).into_owned()),
    }
    app.redraw = app.redraw.max(Redraw::Soon);
}

/// Asks for the open detail anew once it is old.
pub(super) fn refresh_detail(app: &mut App, every: Duration) -> Option<Effect> {
    if !app.is_live() {
        return None;
    }
    let now = app.now.instant;
    let Some(Screen::Detail(screen)) = app.screens.last_mut() else { return None };
    if now.saturating_duration_since(screen.asked) < every {
        return None;
    }
    screen.asked = now;
    let id = screen.id;
    ask_again(app, id)
}

/// The connection is back.
pub(super) fn connected(app: &mut App, restarted: bool) -> Option<Effect> {
    match app.screens.last() {
        Some(Screen::Logs(log)) if restarted => {
            let id = log.id;
            let ticket = app.ticket();
            app.log()?.reopen(ticket);
            Some(Effect::OpenLog { ticket, id })
        }
        Some(Screen::Detail(screen)) => {
            let id = screen.id;
            ask_again(app, id)
        }
        _ => None,
    }
}

/// The connection broke.
pub(super) fn cut_off(app: &mut App) {
    if let Some(log) = app.log()
        && matches!(log.feed, Feed::Open | Feed::Opening)
    {
        log.feed = Feed::Lost("not connected".to_owned());
    }
}

fn ask_again(app: &mut App, id: Uuid) -> Option<Effect> {
    let ticket = app.ticket();
    let Some(Screen::Detail(screen)) = app.screens.last_mut() else { return None };
    screen.ticket = ticket;
    Some(Effect::AskDetail { ticket, id })
}
