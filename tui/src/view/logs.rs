//! A log: lines, the reader's place among them, and what is searched for.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};
use sluice_protocol::Level;
use unicode_width::UnicodeWidthStr;

use super::widgets::{Pen, row, rule, skip};
use crate::{
    app::App,
    format, layout,
    logbook::{Entry, Feed, Logbook, text},
};

/// Draws the log's part of the screen.
pub(super) fn draw(app: &App, log: &Logbook, body: Rect, buf: &mut Buffer) {
    let (lines, status) = layout::log(body);
    let height = usize::from(lines.height);
    for (at, (number, entry)) in log.window(height).enumerate() {
        let current = log.search.as_ref().is_some_and(|search| search.current == Some(number));
        line(app, log, entry, current, row(lines, at), buf);
    }
    if log.len() == 0 {
        let words = match &log.feed {
            Feed::Opening => "waiting for the engine".to_owned(),
            Feed::Refused(reason) => format!("the engine won't give this log: {reason}"),
            Feed::Lost(reason) => format!("no log: {reason}"),
            Feed::Open | Feed::Ended => "nothing was logged at this level".to_owned(),
        };
        Pen::new(buf, lines).put(" ", app.theme.text()).put(&words, app.theme.dim());
    }
    let feed = match &log.feed {
        Feed::Opening => "  opening".to_owned(),
        Feed::Open => String::new(),
        Feed::Lost(reason) => format!("  NOT LIVE: {reason}"),
        Feed::Refused(reason) => format!("  refused: {reason}"),
        Feed::Ended => "  ended".to_owned(),
    };
    let place = format!("{}/{}", log.position(height), log.len());
    let left = match (log.follows(), log.unseen()) {
        (true, _) => format!("FOLLOW {place}{feed}"),
        (false, 0) => format!("PAUSED {place}  G follows{feed}"),
        (false, new) => format!("PAUSED {place}  {new} new, G follows{feed}"),
    };
    let level = log.level().map_or("all", Level::name);
    let across = if log.across > 0 { format!("  +{} columns", log.across) } else { String::new() };
    rule(app.theme, status, &left, &format!("level:{level}{across}"), buf);
}

fn line(app: &App, log: &Logbook, entry: &Entry, current: bool, area: Rect, buf: &mut Buffer) {
    let theme = app.theme;
    let mut pen = Pen::new(buf, area);
    pen.put(if current { ">" } else { " " }, theme.key());
    match entry {
        Entry::Line { at, level, .. } => {
            if log.times {
                pen.put(&format::exact_time_of_day(*at, &app.zone), theme.dim()).put(" ", theme.text());
            }
            let (letter, style) = match level {
                Level::Debug => ("D", theme.dim()),
                Level::Info => ("I", theme.text()),
                Level::Warning => ("W", theme.caution()),
                Level::Error => ("E", theme.alarm()),
                Level::Fatal => ("F", theme.alarm()),
            };
            pen.put(letter, style).put(" ", theme.text());
            words(app, log, entry, style, &mut pen);
        }
        Entry::Remark(_) => {
            pen.put("---- ", theme.caution());
            words(app, log, entry, theme.caution(), &mut pen);
            pen.put(" ----", theme.caution());
        }
    }
}

/// Writes an entry's text from the scrolled column on, with what the search found in it marked.
fn words(app: &App, log: &Logbook, entry: &Entry, style: Style, pen: &mut Pen<'_>) {
    let whole = text(entry);
    let (hidden, shown) = skip(whole, log.across);
    let hits: Vec<_> = match &log.search {
        Some(search) => search.ranges(whole).collect(),
        None => Vec::new(),
    };
    if hits.is_empty() || shown.width() > usize::from(pen.room()) && hits.iter().all(|hit| hit.end <= hidden)
    {
        pen.put(shown, style);
        return;
    }
    let mut at = hidden;
    for hit in hits {
        let (start, end) = (hit.start.max(at), hit.end.max(at));
        pen.put(&whole[at..start], style).put(&whole[start..end], app.theme.hit());
        at = end;
    }
    pen.put(&whole[at..], style);
}
