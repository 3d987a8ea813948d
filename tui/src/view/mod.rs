//! Draws the console: one file per screen, drawing `&App`, deciding nothing.

mod detail;
mod dialog;
mod frame;
mod help;
mod list;
mod logs;
mod widgets;

#[cfg(test)]
mod tests;

use ratatui::{buffer::Buffer, layout::Rect};

use crate::{
    app::{App, Overlay, Screen},
    dialog::Form,
    layout::{self, Room},
};

/// Draws everything.
pub(crate) fn view(app: &App, area: Rect, buf: &mut Buffer) {
    if layout::room(area.as_size()) == Room::None {
        frame::too_small(app, area, buf);
        return;
    }
    let parts = layout::parts(area, !app.is_live());
    frame::draw(app, &parts, buf);
    match app.screens.last() {
        None => list::draw(app, parts.body, area.as_size(), buf),
        Some(Screen::Detail(screen)) => detail::draw(app, screen, parts.body, buf),
        Some(Screen::Logs(log)) => logs::draw(app, log, parts.body, buf),
    }
    match &app.overlay {
        Some(Overlay::Help(top)) => help::draw(app, *top, area, buf),
        Some(Overlay::Confirm(question)) if question.form != Form::YesNo => {
            dialog::draw(app, question, area, buf);
        }
        _ => {}
    }
}
