//! An event changes the app and may ask for one effect. Nothing here waits, writes or reads a clock.

mod act;
mod keys;
mod list;
mod news;
mod prompt;
mod reading;

#[cfg(test)]
mod tests;

use std::time::Duration;

use ratatui::layout::{Position, Rect, Size};

use crate::{
    app::{App, Overlay, Redraw, Tone},
    event::{Effect, Msg, Now},
    layout::{self, Room},
};

/// How long something said stays on the screen.
const SAID_FOR: Duration = Duration::from_secs(8);
/// How often an open detail is asked for anew.
const DETAIL_EVERY: Duration = Duration::from_secs(2);

/// Takes in what happened.
pub(crate) fn update(app: &mut App, msg: Msg) -> Option<Effect> {
    let effect = match msg {
        Msg::Clock(now) => return tick(app, now),
        Msg::Key(key) => {
            app.redraw = Redraw::Now;
            keys::press(app, key)
        }
        Msg::Paste(text) => prompt::paste(app, &text),
        Msg::Resize(size) => resize(app, size),
        Msg::News(news) => {
            app.redraw = app.redraw.max(Redraw::Soon);
            news::hear(app, news)
        }
        Msg::Log(ticket, news) => {
            reading::log_news(app, ticket, news);
            None
        }
        Msg::Detail(ticket, answer) => {
            act::look_answer(app, ticket, &answer);
            reading::detail_answer(app, ticket, answer);
            None
        }
        Msg::Done(ticket, result) => {
            app.redraw = app.redraw.max(Redraw::Soon);
            act::done(app, ticket, result)
        }
    };
    list::settle(app);
    effect
}

/// The size of the log's part of the screen.
fn log_height(app: &App) -> usize {
    let parts = layout::parts(Rect::from((Position::ORIGIN, app.size)), warned(app));
    usize::from(layout::log(parts.body).0.height)
}

/// Whether the banner that data is old takes a line.
fn warned(app: &App) -> bool {
    !app.is_live()
}

fn tick(app: &mut App, now: Now) -> Option<Effect> {
    let second = |app: &App, now: Now| now.instant.saturating_duration_since(app.started.instant).as_secs();
    let new_second = second(app, now) != second(app, app.now);
    app.now = now;
    if !new_second {
        return None;
    }
    app.redraw = app.redraw.max(Redraw::Soon);
    if app
        .notice
        .as_ref()
        .is_some_and(|notice| now.instant.saturating_duration_since(notice.since) > SAID_FOR)
    {
        app.notice = None;
    }
    // Words that are found by watching change without any news, and held rows are let go.
    app.list.stale = true;
    list::settle(app);
    reading::refresh_detail(app, DETAIL_EVERY)
}

fn resize(app: &mut App, size: Size) -> Option<Effect> {
    app.size = size;
    app.redraw = Redraw::Now;
    if layout::room(size) == Room::None && matches!(app.overlay, Some(Overlay::Confirm(_))) {
        app.overlay = None;
        app.say(Tone::Bad, "the screen became too small for the question: nothing was done");
    }
    Some(Effect::Repaint)
}
