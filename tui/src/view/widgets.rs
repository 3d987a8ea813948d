//! Shapes that several screens share. All text is cut by its width on the screen, never by bytes.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::theme::Theme;

/// On which side of its column a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// A pen that writes one row from left to right and stops at its end.
#[derive(Debug)]
pub(crate) struct Pen<'b> {
    buf: &'b mut Buffer,
    row: Rect,
    x: u16,
}

impl<'b> Pen<'b> {
    /// A pen at the beginning of the first row of `area`.
    pub(crate) fn new(buf: &'b mut Buffer, area: Rect) -> Self {
        let row = Rect { height: area.height.min(1), ..area }.intersection(buf.area);
        Self { buf, row, x: row.x }
    }

    /// Writes as much as fits, and says so with a `~` where it was cut.
    pub(crate) fn put(&mut self, text: &str, style: Style) -> &mut Self {
        let room = usize::from(self.room());
        if room > 0 && self.row.height > 0 {
            let text = cut(text, room);
            let (x, _) = self.buf.set_stringn(self.x, self.row.y, &text, room, style);
            self.x = x.min(self.row.right());
        }
        self
    }

    /// Writes in a column of `width`.
    pub(crate) fn column(&mut self, text: &str, width: usize, side: Side, style: Style) -> &mut Self {
        let text = cut(text, width);
        let pad = " ".repeat(width.saturating_sub(text.width()));
        match side {
            Side::Left => self.put(&text, style).put(&pad, style),
            Side::Right => self.put(&pad, style).put(&text, style),
        }
    }

    /// Writes at the right end, if it fits beside what is there.
    pub(crate) fn end(&mut self, text: &str, style: Style) {
        let width = u16::try_from(text.width()).unwrap_or(u16::MAX);
        if width <= self.room() && self.row.height > 0 {
            self.buf.set_stringn(self.row.right() - width, self.row.y, text, usize::from(width), style);
        }
    }

    /// Columns that are left.
    pub(crate) fn room(&self) -> u16 {
        self.row.right().saturating_sub(self.x)
    }
}

/// `text` in at most `width` columns; a `~` says that more would follow.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 0;
    for grapheme in text.graphemes(true) {
        let next = grapheme.width();
        if used + next + 1 > width {
            break;
        }
        used += next;
        kept.push_str(grapheme);
    }
    if width > 0 {
        kept.push('~');
    }
    kept
}

/// `text` without its first `columns` columns, and how many bytes that left out.
pub(crate) fn skip(text: &str, columns: usize) -> (usize, &str) {
    let mut used = 0;
    for (at, grapheme) in text.grapheme_indices(true) {
        if used >= columns {
            return (at, &text[at..]);
        }
        used += grapheme.width();
    }
    (text.len(), "")
}

/// `text` in rows of at most `width` columns, broken at spaces where there are any.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    let mut used = 0;
    for word in text.split_inclusive(' ') {
        if used > 0 && used + word.trim_end().width() > width {
            rows.push(String::new());
            used = 0;
        }
        for grapheme in word.graphemes(true) {
            let next = grapheme.width();
            if used + next > width && used > 0 && grapheme != " " {
                rows.push(String::new());
                used = 0;
            }
            if let Some(row) = rows.last_mut() {
                row.push_str(grapheme);
            }
            used += next;
        }
    }
    rows.iter_mut().for_each(|row| row.truncate(row.trim_end().len()));
    rows
}

/// A line across, with words in it.
pub(crate) fn rule(theme: Theme, area: Rect, left: &str, right: &str, buf: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let dim = theme.dim();
    let across = theme.glyphs.across;
    let width = usize::from(area.width);
    Pen::new(buf, area).put(&across.repeat(width), dim);
    let right = if right.is_empty() { String::new() } else { format!(" {right} ") };
    let room = width.saturating_sub(4 + right.width() + 2);
    let inner = Rect { x: area.x + 2.min(area.width), width: area.width.saturating_sub(2), ..area };
    if !left.is_empty() && room > 4 {
        let left = cut(left, room.saturating_sub(2));
        Pen::new(buf, inner).put(" ", dim).put(&left, theme.strong()).put(" ", dim);
    }
    let right_width = u16::try_from(right.width()).unwrap_or(u16::MAX);
    if !right.is_empty() && right_width + 4 <= area.width {
        let at = Rect { x: area.right() - right_width - 2, width: right_width, ..area };
        Pen::new(buf, at).put(&right, theme.text());
    }
}

/// A frame with words in its upper edge, empty inside. Gives the inside.
pub(crate) fn boxed(theme: Theme, area: Rect, left: &str, right: &str, buf: &mut Buffer) -> Rect {
    let area = area.intersection(buf.area);
    if area.width < 2 || area.height < 2 {
        return Rect { width: 0, height: 0, ..area };
    }
    ratatui::widgets::Widget::render(ratatui::widgets::Clear, area, buf);
    let edge = theme.text();
    let [upper_left, upper_right, lower_left, lower_right] = theme.glyphs.corners;
    let across = theme.glyphs.across.repeat(usize::from(area.width - 2));
    let row = |y: u16| Rect { y, height: 1, ..area };
    Pen::new(buf, row(area.y)).put(upper_left, edge).put(&across, edge).put(upper_right, edge);
    Pen::new(buf, row(area.bottom() - 1)).put(lower_left, edge).put(&across, edge).put(lower_right, edge);
    for y in area.y + 1..area.bottom() - 1 {
        Pen::new(buf, row(y)).put(theme.glyphs.down, edge);
        Pen::new(buf, Rect { x: area.right() - 1, width: 1, ..row(y) }).put(theme.glyphs.down, edge);
    }
    let title = Rect { x: area.x + 2, width: area.width.saturating_sub(4), ..row(area.y) };
    if title.width > 4 {
        let left = format!(" {} ", cut(left, usize::from(title.width) - 2));
        let mut pen = Pen::new(buf, title);
        pen.put(&left, theme.strong());
        if !right.is_empty() {
            pen.end(&format!(" {right} "), theme.strong());
        }
    }
    Rect { x: area.x + 1, y: area.y + 1, width: area.width - 2, height: area.height - 2 }
}

/// The `row`th row of `area`; empty past its end.
pub(crate) fn row(area: Rect, row: usize) -> Rect {
    let row = u16::try_from(row).unwrap_or(u16::MAX);
    if row >= area.height {
        return Rect { height: 0, ..area };
    }
    Rect { y: area.y + row, height: 1, ..area }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_as_people_see_them() {
        let check = |text: &str, width, expected: &str| assert_eq!(cut(text, width), expected);
        check("Dune", 4, "Dune");
        check("Dune (2021)", 6, "Dune ~");
        check("日本テレビ", 5, "日本~");
        check("日本テレビ", 4, "日~");
        check("e\u{301}e\u{301}e\u{301}", 2, "e\u{301}~");
        check("x", 0, "");
    }

    #[test]
    fn a_scrolled_line_begins_on_a_character() {
        assert_eq!(skip("日本x", 2), (3, "本x"));
        assert_eq!(skip("abc", 9), (3, ""));
    }

    #[test]
    fn long_text_breaks_at_spaces_and_long_words_anywhere() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
