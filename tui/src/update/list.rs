//! The list: which sessions are shown, in which order, and where the cursor is.

use std::{cmp::Ordering, time::Duration};

use ratatui::layout::{Position, Rect};
use sluice_protocol::Session;
use uuid::Uuid;

use super::warned;
use crate::{
    app::{App, Overlay, Row, Sort, Tone},
    condition::{self, Word},
    keymap::Command,
    layout,
};

/// Rows keep their places this long after the operator moved.
const HELD_AFTER_MOVE: Duration = Duration::from_secs(3);

/// How many sessions fit on the screen.
pub(super) fn height(app: &App) -> usize {
    let parts = layout::parts(Rect::from((Position::ORIGIN, app.size)), warned(app));
    usize::from(layout::list(parts.body, app.size).rows.height)
}

/// Moves the cursor, and holds the order so that rows don't move under it.
pub(super) fn travel(app: &mut App, command: Command) {
    let page = height(app).max(1);
    let last = app.list.order.len().saturating_sub(1);
    let Some(at) = cursor_row(app) else { return };
    let row = match command {
        Command::Up => at.saturating_sub(1),
        Command::Down => at + 1,
        Command::Top => 0,
        Command::Bottom => last,
        Command::HalfUp => at.saturating_sub((page / 2).max(1)),
        Command::HalfDown => at + (page / 2).max(1),
        Command::PageUp => at.saturating_sub(page),
        Command::PageDown => at + page,
        _ => at,
    };
    go_to(app, row.min(last));
}

/// Puts the cursor on the next row with a problem, or the one before.
pub(super) fn to_problem(app: &mut App, command: Command) {
    let Some(at) = cursor_row(app) else { return };
    let is_problem =
        |row: &usize| app.rows.get(&app.list.order[*row]).is_some_and(|r| app.word(r).is_problem());
    let found = match command {
        Command::NextProblem => (at + 1..app.list.order.len()).find(is_problem),
        _ => (0..at).rev().find(is_problem),
    };
    match found {
        Some(row) => go_to(app, row),
        None => app.say(Tone::Plain, "no other problem that way"),
    }
}

/// Steps to a neighbour on the list, for the screens that show one session.
pub(super) fn step(app: &mut App, command: Command) -> Option<Uuid> {
    let at = app.subject().and_then(|id| app.list.order.iter().position(|other| *other == id))?;
    let row = if command == Command::NextSession { at + 1 } else { at.checked_sub(1)? };
    let id = *app.list.order.get(row)?;
    app.list.cursor = Some(id);
    Some(id)
}

/// Marks the session under the cursor, or takes the mark back, and goes on to the next.
pub(super) fn mark(app: &mut App) {
    let Some(id) = app.list.cursor else { return };
    if !app.list.marks.remove(&id) {
        app.list.marks.insert(id);
    }
    travel(app, Command::Down);
}

/// Sorts anew even where the order is held: the operator asked for it.
pub(super) fn sort_anew(app: &mut App) {
    app.list.held_until = None;
    app.list.stale = true;
    rebuild(app);
}

/// Brings order, cursor and first row in line with the data. Runs after every message.
pub(super) fn settle(app: &mut App) {
    if app.list.stale {
        rebuild(app);
    }
    follow_cursor(app);
}

/// Takes note that a session is gone: the cursor goes to the row that took its place.
pub(super) fn remove(app: &mut App, id: Uuid) {
    let title = app.title_of(id);
    if app.rows.remove(&id).is_none() {
        return;
    }
    app.list.marks.remove(&id);
    app.list.stale = true;
    let Some(row) = app.list.order.iter().position(|other| *other == id) else { return };
    app.list.order.remove(row);
    if app.list.cursor == Some(id) {
        app.list.cursor = app.list.order.get(row).or_else(|| app.list.order.last()).copied();
        app.list.moved_alone = Some(app.now.instant);
        app.say(Tone::Plain, format!("{title} is gone from the list; the cursor is on its neighbour"));
    }
}

fn rebuild(app: &mut App) {
    app.list.stale = false;
    let held = is_held(app);
    let shown: Vec<Uuid> = app.rows.iter().filter(|(_, row)| passes(app, row)).map(|(id, _)| *id).collect();
    let mut order = if held {
        // Rows keep their places; what is new comes last.
        let old: Vec<Uuid> = app
            .list
            .order
            .iter()
            .filter(|id| app.rows.get(id).is_some_and(|row| passes(app, row)))
            .copied()
            .collect();
        let known: std::collections::HashSet<Uuid> = old.iter().copied().collect();
        let mut new: Vec<Uuid> = shown.into_iter().filter(|id| !known.contains(id)).collect();
        sort(app, &mut new);
        [old, new].concat()
    } else {
        let mut order = shown;
        sort(app, &mut order);
        order
    };
    std::mem::swap(&mut app.list.order, &mut order);
    keep_cursor(app, &order);
}

/// The cursor stays on its session. If that is no longer shown, it goes to the nearest one that is.
fn keep_cursor(app: &mut App, before: &[Uuid]) {
    let shown: std::collections::HashSet<Uuid> = app.list.order.iter().copied().collect();
    match app.list.cursor {
        Some(id) if shown.contains(&id) => {}
        None => app.list.cursor = app.list.order.first().copied(),
        Some(id) => {
            let at = before.iter().position(|other| *other == id).unwrap_or(0);
            let (above, below) = before.split_at(at.min(before.len()));
            let nearest = below.iter().chain(above.iter().rev()).find(|other| shown.contains(other)).copied();
            app.list.cursor = nearest.or_else(|| app.list.order.first().copied());
            app.list.moved_alone = Some(app.now.instant);
        }
    }
}

fn is_held(app: &App) -> bool {
    app.list.order_held
        || matches!(app.overlay, Some(Overlay::Confirm(_)))
        || app.list.held_until.is_some_and(|until| app.now.instant < until)
}

fn passes(app: &App, row: &Row) -> bool {
    let word = app.word(row);
    (!app.list.problems_only || word.is_problem()) && app.list.filter.matches(&row.session, word)
}

fn sort(app: &App, ids: &mut [Uuid]) {
    let list = &app.list;
    let key = |id: &Uuid| app.rows.get(id).map(|row| (row, app.word(row)));
    ids.sort_by(|a, b| {
        let (Some((a, a_word)), Some((b, b_word))) = (key(a), key(b)) else { return Ordering::Equal };
        let (a, b) = (&a.session, &b.session);
        let order = compare(list.sort, (a, a_word), (b, b_word));
        let order = if list.reversed { order.reverse() } else { order };
        // Never a coin toss: equal rows must not change places from one second to the next.
        order.then_with(|| condition::title(a).cmp(condition::title(b))).then_with(|| a.id.cmp(&b.id))
    });
}

fn compare(sort: Sort, (a, a_word): (&Session, Word), (b, b_word): (&Session, Word)) -> Ordering {
    let most = |a: Option<f64>, b: Option<f64>| b.unwrap_or(-1.0).total_cmp(&a.unwrap_or(-1.0));
    match sort {
        // The gravest first, and of these the one that has been so for longest.
        Sort::Problem => a_word.cmp(&b_word).then(a.state_since.cmp(&b.state_since)),
        Sort::Title => condition::title(a).to_lowercase().cmp(&condition::title(b).to_lowercase()),
        Sort::User => a.user.cmp(&b.user),
        Sort::Viewers => b.viewers.cmp(&a.viewers),
        // The slowest first: that is who needs help.
        Sort::Speed => a.speed.unwrap_or(f64::MAX).total_cmp(&b.speed.unwrap_or(f64::MAX)),
        Sort::Rate => b.bitrate.cmp(&a.bitrate),
        Sort::Cpu => most(a.cpu, b.cpu),
        Sort::Age => a.started_at.cmp(&b.started_at),
    }
}

fn cursor_row(app: &App) -> Option<usize> {
    let cursor = app.list.cursor?;
    app.list.order.iter().position(|id| *id == cursor)
}

fn go_to(app: &mut App, row: usize) {
    app.list.cursor = app.list.order.get(row).copied();
    app.list.moved_alone = None;
    app.list.held_until = Some(app.now.instant + HELD_AFTER_MOVE);
}

fn follow_cursor(app: &mut App) {
    let page = height(app).max(1);
    let row = cursor_row(app).unwrap_or(0);
    let last = app.list.order.len().saturating_sub(page);
    app.list.top = app.list.top.min(row).max((row + 1).saturating_sub(page)).min(last);
}
