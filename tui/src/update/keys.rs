//! A key goes to what lies on top: a question, a line being typed, the help, or the screen.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{act, list, prompt, reading};
use crate::{
    app::{App, Link, Overlay, Redraw, Screen, Tone},
    dialog::Answer,
    event::{Act, Effect},
    filter::Filter,
    keymap::{self, Command, Place},
    logbook::Direction,
};

/// What is said stays at least so long, however fast somebody types.
const READ_BY: Duration = Duration::from_secs(1);

/// Takes a key.
pub(super) fn press(app: &mut App, key: KeyEvent) -> Option<Effect> {
    // Whoever presses a key has read what was said before.
    if app.notice.as_ref().is_some_and(|said| app.now.instant.saturating_duration_since(said.since) > READ_BY)
    {
        app.notice = None;
    }
    // These must work whatever is on the screen.
    match keymap::lookup(app.place(), key) {
        Some(Command::Suspend) => return Some(Effect::Suspend),
        Some(Command::Redraw) => return Some(Effect::Repaint),
        _ => {}
    }
    match &app.overlay {
        Some(Overlay::Confirm(_)) => act::answer(app, answer(key)),
        Some(Overlay::Prompt(_)) => prompt::press(app, key),
        Some(Overlay::Help(_)) => help(app, key),
        None => match keymap::lookup(app.place(), key) {
            Some(command) => carry_out(app, command),
            None => None,
        },
    }
}

fn carry_out(app: &mut App, command: Command) -> Option<Effect> {
    match command {
        Command::Stop => act::ask(app, Act::Stop),
        Command::Force => act::ask(app, Act::Force),
        Command::Resume => act::ask(app, Act::Resume),
        Command::Restart => act::ask(app, Act::Restart),
        Command::Help => {
            app.overlay = Some(Overlay::Help(0));
            None
        }
        Command::Search => {
            prompt::open(app);
            None
        }
        Command::Quit => match app.screens.is_empty() {
            true => Some(Effect::Quit),
            false => back(app),
        },
        Command::RetryNow => match app.link {
            Link::Live => {
                app.say(Tone::Plain, "connected");
                None
            }
            Link::Down { .. } => Some(Effect::RetryNow),
        },
        Command::Logs => reading::open_log(app),
        Command::Suspend => Some(Effect::Suspend),
        Command::Redraw => Some(Effect::Repaint),
        _ => match app.place() {
            Place::List => on_list(app, command),
            Place::Detail => reading::on_detail(app, command),
            Place::Logs => reading::on_log(app, command),
        },
    }
}

fn on_list(app: &mut App, command: Command) -> Option<Effect> {
    match command {
        Command::Open => return reading::open_detail(app),
        Command::Mark => list::mark(app),
        Command::MarkShown => app.list.marks.extend(app.list.order.iter().copied()),
        Command::ClearMarks => app.list.marks.clear(),
        Command::NextProblem | Command::PreviousProblem => list::to_problem(app, command),
        Command::ProblemsOnly => {
            app.list.problems_only = !app.list.problems_only;
            list::sort_anew(app);
        }
        Command::Sort => {
            app.list.sort = app.list.sort.next();
            list::sort_anew(app);
        }
        Command::Reverse => {
            app.list.reversed = !app.list.reversed;
            list::sort_anew(app);
        }
        Command::HoldOrder => {
            app.list.order_held = !app.list.order_held;
            let words =
                if app.list.order_held { "rows keep their places" } else { "rows are sorted as they change" };
            app.say(Tone::Plain, words);
            list::sort_anew(app);
        }
        Command::Back => clear(app),
        _ => list::travel(app, command),
    }
    None
}

/// One step out: the filter first, then the marks.
fn clear(app: &mut App) {
    if !app.list.filter.is_empty() || app.list.problems_only {
        app.list.filter = Filter::default();
        app.list.problems_only = false;
        list::sort_anew(app);
    } else {
        app.list.marks.clear();
    }
}

/// Leaves the topmost screen.
pub(super) fn back(app: &mut App) -> Option<Effect> {
    match app.screens.pop() {
        Some(Screen::Logs(_)) => Some(Effect::CloseLog),
        Some(Screen::Detail(_)) | None => None,
    }
}

fn help(app: &mut App, key: KeyEvent) -> Option<Effect> {
    let Some(Overlay::Help(top)) = &mut app.overlay else { return None };
    let page = usize::from(app.size.height / 2).max(1);
    match keymap::lookup(Place::Detail, key) {
        Some(Command::Down) => *top += 1,
        Some(Command::Up) => *top = top.saturating_sub(1),
        Some(Command::PageDown | Command::HalfDown) => *top += page,
        Some(Command::PageUp | Command::HalfUp) => *top = top.saturating_sub(page),
        Some(Command::Top) => *top = 0,
        Some(Command::Back | Command::Help | Command::Quit) => app.overlay = None,
        _ => {}
    }
    if let Some(Overlay::Help(top)) = &mut app.overlay {
        *top = (*top).min(HELP_LINES);
    }
    app.redraw = Redraw::Now;
    None
}

/// No help is longer than this; the view stops at its last line.
const HELP_LINES: usize = 100;

/// A key as questions understand keys. Control and Alt make it none of them.
fn answer(key: KeyEvent) -> Answer {
    let plain = (key.modifiers - KeyModifiers::SHIFT).is_empty();
    match key.code {
        KeyCode::Char('c') if key.modifiers == KeyModifiers::CONTROL => Answer::Escape,
        _ if !plain => Answer::Other,
        KeyCode::Char(c) => Answer::Letter(c),
        KeyCode::Backspace => Answer::Erase,
        KeyCode::Enter => Answer::Enter,
        KeyCode::Esc => Answer::Escape,
        KeyCode::Tab | KeyCode::Right => Answer::NextField,
        KeyCode::BackTab | KeyCode::Left => Answer::PreviousField,
        _ => Answer::Other,
    }
}

/// Which way a command looks.
pub(super) fn direction(command: Command) -> Direction {
    match command {
        Command::PreviousHit | Command::PreviousProblem => Direction::Up,
        _ => Direction::Down,
    }
}
