//! The help screen: printed from the table of keys, so that it can't be wrong.

use ratatui::{buffer::Buffer, layout::Rect};

use super::widgets::{Pen, Side, boxed, row};
use crate::{
    app::{Access, App},
    condition::Word,
    keymap::{self, Group},
};

/// Draws it over the screen, scrolled down by `top` lines.
pub(super) fn draw(app: &App, top: usize, area: Rect, buf: &mut Buffer) {
    let theme = app.theme;
    let width = area.width.saturating_sub(2).min(100);
    let columns = if width >= 72 { 2 } else { 1 };
    let lines = lines();
    let per_column = lines.len().div_ceil(columns);
    let height = u16::try_from(per_column + 3).unwrap_or(u16::MAX).min(area.height.saturating_sub(2));
    let outer =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    let inner = boxed(theme, outer, &format!("help - {}", app.place().name()), "Esc close", buf);
    let room = usize::from(inner.height.saturating_sub(1));
    let top = top.min(per_column.saturating_sub(room));
    let column_width = inner.width / u16::try_from(columns).unwrap_or(1);
    for column in 0..columns {
        let x = inner.x + column_width * u16::try_from(column).unwrap_or(0);
        let part = Rect { x, width: column_width, ..inner };
        let from = column * per_column;
        let shown = lines.iter().skip(from).take(per_column).skip(top).take(room);
        shown.enumerate().for_each(|(at, line)| draw_line(app, line, row(part, at), buf));
    }
    let more = if per_column > room { "j k scroll   " } else { "" };
    let why = match (app.access, app.is_live()) {
        (Access::ReadOnly, _) => "x X r R are off: read-only",
        (Access::Full, false) => "x X r R are off: not connected",
        (Access::Full, true) => "",
    };
    Pen::new(buf, row(inner, usize::from(inner.height) - 1))
        .put(" ", theme.text())
        .put(more, theme.dim())
        .put(why, theme.caution());
}

enum Line {
    Blank,
    Heading(&'static str),
    Entry { key: &'static str, words: &'static str, acts: bool },
    Word(Word, &'static str),
}

fn lines() -> Vec<Line> {
    let mut lines = Vec::new();
    for group in Group::ALL {
        if !lines.is_empty() {
            lines.push(Line::Blank);
        }
        lines.push(Line::Heading(group.title()));
        for binding in keymap::group(group) {
            lines.push(Line::Entry { key: binding.shown, words: binding.words, acts: group == Group::Act });
        }
    }
    lines.push(Line::Blank);
    lines.push(Line::Heading("STATES"));
    lines.extend(WORDS.map(|(word, words)| Line::Word(word, words)));
    lines
}

const WORDS: [(Word, &str); 12] = [
    (Word::Failed, "can't be played"),
    (Word::Stalled, "alive, no new segment"),
    (Word::Slow, "slower than watched"),
    (Word::Retrying, "run died, tries again"),
    (Word::Starting, "nothing playable yet"),
    (Word::Held, "stopped by an operator"),
    (Word::Parked, "stopped, nobody watched"),
    (Word::Ahead, "enough is ready"),
    (Word::Stopping, "being ended"),
    (Word::Running, "playable, producing"),
    (Word::Done, "the whole film exists"),
    (Word::Ended, "in history"),
];

fn draw_line(app: &App, line: &Line, area: Rect, buf: &mut Buffer) {
    let theme = app.theme;
    let mut pen = Pen::new(buf, area);
    pen.put(" ", theme.text());
    match line {
        Line::Blank => {}
        Line::Heading(title) => {
            pen.put(title, theme.strong());
        }
        Line::Entry { key, words, acts } => {
            let off = *acts && (app.access == Access::ReadOnly || !app.is_live());
            let (key_style, style) =
                if off { (theme.dim(), theme.dim()) } else { (theme.key(), theme.text()) };
            pen.column(key, 8, Side::Left, key_style).put(words, style);
        }
        Line::Word(word, words) => {
            pen.column(word.text(), 8, Side::Left, theme.word(*word)).put(words, theme.text());
        }
    }
}
