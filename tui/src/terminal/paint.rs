//! Turns a screen into few bytes: one vector a frame, and none where nothing changed.
//!
//! It compares whole screens itself rather than being a backend of ratatui's terminal: that one leaves out
//! cells that a wide character had covered, and has habits (queries, cursor moves, two flushes a frame) that
//! a console over SSH can't afford. It remembers where the terminal's cursor and pen are, so that it only
//! says what differs, and never asks anything: an answer would arrive among the keys.

use std::io::Write as _;

use ratatui::{
    buffer::{Buffer, Cell},
    layout::{Position, Rect, Size},
    style::{Color, Modifier},
};
use unicode_width::UnicodeWidthStr;

/// Terminals that know it show a frame at once; others ignore it.
const BEGIN: &[u8] = b"\x1b[?2026h";
const END: &[u8] = b"\x1b[?2026l";

/// What a terminal shows, and how to make it show something else.
#[derive(Debug)]
pub(crate) struct Painter {
    out: Vec<u8>,
    /// What is on the screen.
    shown: Buffer,
    /// What is on the screen is not known: it is cleared before the next frame.
    unsure: bool,
    /// Where the cursor is, if that is certain.
    at: Option<Position>,
    pen: Pen,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Pen {
    front: Color,
    back: Color,
    modifier: Modifier,
}

impl Painter {
    /// A terminal of this size, showing nobody knows what.
    pub(crate) fn new(size: Size) -> Self {
        let shown = Buffer::empty(Rect::from((Position::ORIGIN, size)));
        Self { out: Vec::new(), shown, unsure: true, at: None, pen: Pen::default() }
    }

    /// The part that can be painted: all of it.
    pub(crate) fn area(&self) -> Rect {
        self.shown.area
    }

    /// The terminal has another size, and with it another content.
    pub(crate) fn resize(&mut self, size: Size) {
        self.shown = Buffer::empty(Rect::from((Position::ORIGIN, size)));
        self.unsure = true;
    }

    /// Paints every cell anew with the next frame.
    pub(crate) fn repaint(&mut self) {
        self.unsure = true;
    }

    /// The bytes that make the terminal show `next`; none where it does already.
    pub(crate) fn frame(&mut self, next: Buffer) -> Vec<u8> {
        if self.unsure {
            self.unsure = false;
            self.shown.reset();
            self.out.extend_from_slice(b"\x1b[m\x1b[2J");
            (self.at, self.pen) = (None, Pen::default());
        }
        let shown = std::mem::replace(&mut self.shown, Buffer::empty(Rect::ZERO));
        let width = usize::from(shown.area.width).max(1);
        let rows = shown.content.chunks(width).zip(next.content.chunks(width));
        for (y, (before, after)) in (0..).zip(rows) {
            if before != after {
                self.row(y, before, after);
            }
        }
        self.shown = next;
        match std::mem::take(&mut self.out) {
            body if body.is_empty() => body,
            body => [BEGIN, &body, END].concat(),
        }
    }

    /// A row with wide characters is written whole: what a terminal does with half of one that is written
    /// over is its own affair.
    fn row(&mut self, y: u16, before: &[Cell], after: &[Cell]) {
        let is_wide = |cell: &Cell| width(cell) > 1;
        let whole = before.iter().any(is_wide) || after.iter().any(is_wide);
        let mut covered = 0;
        for (x, (old, cell)) in before.iter().zip(after).enumerate() {
            if covered > 0 {
                covered -= 1;
                continue;
            }
            covered = width(cell) - 1;
            if whole || old != cell {
                let last = x + covered + 1 >= after.len();
                self.cell(u16::try_from(x).unwrap_or(u16::MAX), y, cell, last);
            }
        }
    }

    fn cell(&mut self, x: u16, y: u16, cell: &Cell, last: bool) {
        self.go_to(x, y);
        self.set_pen(Pen { front: cell.fg, back: cell.bg, modifier: cell.modifier });
        self.out.extend_from_slice(cell.symbol().as_bytes());
        // After a wide character terminals differ, and after the last column the cursor hangs between two
        // rows.
        let certain = width(cell) == 1 && !last;
        self.at = certain.then_some(Position::new(x + 1, y));
    }

    fn go_to(&mut self, x: u16, y: u16) {
        let to = Position::new(x, y);
        match self.at {
            Some(at) if at == to => {}
            Some(at) if at.y == y && at.x < x => match x - at.x {
                1 => self.say(format_args!("\x1b[C")),
                n => self.say(format_args!("\x1b[{n}C")),
            },
            Some(at) if at.y + 1 == y && x == 0 => self.say(format_args!("\r\n")),
            _ if x == 0 => self.say(format_args!("\x1b[{}H", y + 1)),
            _ => self.say(format_args!("\x1b[{};{}H", y + 1, x + 1)),
        }
    }

    fn set_pen(&mut self, pen: Pen) {
        if pen == self.pen {
            return;
        }
        let mut codes: Vec<u8> = Vec::new();
        let mut from = self.pen;
        // Most modifiers can't be taken back alone on all terminals: begin anew.
        if !pen.modifier.contains(from.modifier) || pen.front == Color::Reset || pen.back == Color::Reset {
            let back_to_default = pen.front == Color::Reset && from.front != Color::Reset
                || pen.back == Color::Reset && from.back != Color::Reset;
            if back_to_default || !pen.modifier.contains(from.modifier) {
                codes.push(b'0');
                from = Pen::default();
            }
        }
        for (modifier, code) in MODIFIERS {
            if pen.modifier.contains(modifier) && !from.modifier.contains(modifier) {
                separate(&mut codes);
                codes.push(code);
            }
        }
        if pen.front != from.front {
            separate(&mut codes);
            colour(&mut codes, pen.front, 30);
        }
        if pen.back != from.back {
            separate(&mut codes);
            colour(&mut codes, pen.back, 40);
        }
        // `CSI m` is a reset, one byte shorter than `CSI 0m`.
        let codes = if codes == b"0" { &[][..] } else { &codes };
        self.out.extend_from_slice(b"\x1b[");
        self.out.extend_from_slice(codes);
        self.out.push(b'm');
        self.pen = pen;
    }

    fn say(&mut self, words: std::fmt::Arguments<'_>) {
        // Writing to a vector can't fail.
        self.out.write_fmt(words).unwrap_or_default();
    }
}

const MODIFIERS: [(Modifier, u8); 5] = [
    (Modifier::BOLD, b'1'),
    (Modifier::DIM, b'2'),
    (Modifier::ITALIC, b'3'),
    (Modifier::UNDERLINED, b'4'),
    (Modifier::REVERSED, b'7'),
];

/// In columns; at least one, since every cell has its place.
fn width(cell: &Cell) -> usize {
    cell.symbol().width().max(1)
}

fn separate(codes: &mut Vec<u8>) {
    if !codes.is_empty() {
        codes.push(b';');
    }
}

/// The shortest code of a colour; `base` is 30 for the front and 40 for the back.
fn colour(codes: &mut Vec<u8>, colour: Color, base: u8) {
    let named = |n: u8| (base + n).to_string();
    let bright = |n: u8| (base + 60 + n).to_string();
    let text = match colour {
        Color::Reset => named(9),
        Color::Black => named(0),
        Color::Red => named(1),
        Color::Green => named(2),
        Color::Yellow => named(3),
        Color::Blue => named(4),
        Color::Magenta => named(5),
        Color::Cyan => named(6),
        Color::Gray => named(7),
        Color::DarkGray => bright(0),
        Color::LightRed => bright(1),
        Color::LightGreen => bright(2),
        Color::LightYellow => bright(3),
        Color::LightBlue => bright(4),
        Color::LightMagenta => bright(5),
        Color::LightCyan => bright(6),
        Color::White => bright(7),
        Color::Indexed(index) => format!("{};5;{index}", base + 8),
        Color::Rgb(red, green, blue) => format!("{};2;{red};{green};{blue}", base + 8),
    };
    codes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use proptest::prelude::*;
    use ratatui::style::Style;

    use super::*;

    const SIZE: Size = Size::new(24, 6);

    fn nonzero(length: u16) -> NonZero<u16> {
        NonZero::new(length).unwrap()
    }

    /// A screen of ours, and what a terminal made of its bytes.
    struct Pair {
        ours: Painter,
        theirs: vt100::Parser,
    }

    impl Pair {
        fn new() -> Self {
            let ours = Painter::new(SIZE);
            Self { ours, theirs: vt100::Parser::new(nonzero(SIZE.height), nonzero(SIZE.width), 0) }
        }

        /// Draws, and gives how many bytes it took.
        fn draw(&mut self, content: &Buffer) -> usize {
            let bytes = self.ours.frame(content.clone());
            self.theirs.process(&bytes);
            bytes.len()
        }

        fn check(&self, expected: &Buffer) {
            for y in 0..SIZE.height {
                for x in 0..SIZE.width {
                    let (ours, theirs) = (&expected[(x, y)], self.theirs.screen().cell(y, x).unwrap());
                    if theirs.is_wide_continuation() {
                        continue;
                    }
                    let text = if theirs.has_contents() { theirs.contents() } else { " " };
                    assert_eq!(text, ours.symbol(), "at {x},{y}");
                    assert_eq!(theirs.bold(), ours.modifier.contains(Modifier::BOLD), "bold at {x},{y}");
                    assert_eq!(
                        theirs.inverse(),
                        ours.modifier.contains(Modifier::REVERSED),
                        "reverse at {x},{y}"
                    );
                    let front = match ours.fg {
                        Color::Red => vt100::Color::Idx(1),
                        Color::LightBlue => vt100::Color::Idx(12),
                        Color::Indexed(index) => vt100::Color::Idx(index),
                        Color::Rgb(r, g, b) => vt100::Color::Rgb(r, g, b),
                        _ => vt100::Color::Default,
                    };
                    assert_eq!(theirs.fgcolor(), front, "colour at {x},{y}");
                }
            }
        }
    }

    fn text() -> impl Strategy<Value = (u16, u16, String, Style)> {
        let colours =
            vec![Color::Reset, Color::Red, Color::LightBlue, Color::Indexed(99), Color::Rgb(1, 2, 3)];
        let modifiers =
            vec![Modifier::empty(), Modifier::BOLD, Modifier::REVERSED, Modifier::BOLD | Modifier::REVERSED];
        let style = (prop::sample::select(colours), prop::sample::select(modifiers))
            .prop_map(|(colour, modifier)| Style::new().fg(colour).add_modifier(modifier));
        (0..SIZE.width, 0..SIZE.height, "[a-z 日本é─]{1,12}", style)
    }

    fn screen() -> impl Strategy<Value = Buffer> {
        prop::collection::vec(text(), 0..8).prop_map(|texts| {
            let mut buf = Buffer::empty(Rect::new(0, 0, SIZE.width, SIZE.height));
            texts.into_iter().for_each(|(x, y, text, style)| {
                buf.set_string(x, y, text, style);
            });
            buf
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn a_terminal_shows_what_was_drawn(screens in prop::collection::vec(screen(), 1..6)) {
            let mut pair = Pair::new();
            for content in &screens {
                pair.draw(content);
                pair.check(content);
            }
        }
    }

    #[test]
    fn a_frame_that_changes_nothing_is_no_bytes() {
        let mut content = Buffer::empty(Rect::new(0, 0, SIZE.width, SIZE.height));
        content.set_string(2, 2, "News 24", Style::new().fg(Color::Red));
        let mut pair = Pair::new();
        assert!(pair.draw(&content) > 0);
        assert_eq!(pair.draw(&content), 0);
        content.set_string(2, 2, "Mews 24", Style::new().fg(Color::Red));
        let bytes = pair.draw(&content);
        assert!(bytes <= BEGIN.len() + END.len() + 16, "one changed character took {bytes} bytes");
    }
}
