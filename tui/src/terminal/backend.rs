//! Turns changed cells into few bytes: one vector a frame, and none where nothing changed.
//!
//! It remembers where the terminal's cursor and pen are, so that it only says what differs, and it never
//! asks the terminal anything: an answer would arrive among the keys.

use std::{convert::Infallible, io::Write as _};

use ratatui::{
    backend::{Backend, ClearType, WindowSize},
    buffer::Cell,
    layout::{Position, Size},
    style::{Color, Modifier},
};
use unicode_width::UnicodeWidthStr;

/// Terminals that know it show a frame at once; others ignore it.
const BEGIN: &[u8] = b"\x1b[?2026h";
const END: &[u8] = b"\x1b[?2026l";

/// A terminal, as bytes.
#[derive(Debug)]
pub(crate) struct Lean {
    out: Vec<u8>,
    size: Size,
    /// Where the cursor is, if that is certain.
    at: Option<Position>,
    pen: Pen,
    /// Where characters of two columns begin.
    wide: Vec<bool>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Pen {
    front: Color,
    back: Color,
    modifier: Modifier,
}

impl Lean {
    /// A terminal of this size, with its pen at rest.
    pub(crate) fn new(size: Size) -> Self {
        Self { out: Vec::new(), size, at: None, pen: Pen::default(), wide: vec![false; size.area() as usize] }
    }

    /// Takes a size that the terminal told.
    pub(crate) fn set_size(&mut self, size: Size) {
        self.size = size;
        self.wide = vec![false; size.area() as usize];
    }

    /// The size.
    pub(crate) fn dimensions(&self) -> Size {
        self.size
    }

    /// The bytes of the frame just drawn; none where nothing changed.
    pub(crate) fn frame(&mut self) -> Vec<u8> {
        if self.out.is_empty() {
            return Vec::new();
        }
        let body = std::mem::take(&mut self.out);
        [BEGIN, &body, END].concat()
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

    /// Writing over the first half of a wide character leaves its second half to the terminal, which blanks it
    /// with whatever pen it has, while ratatui takes it for blank already. So it is blanked as that thinks.
    fn make_room(&mut self, x: u16, y: u16, width: u16) {
        let row = usize::from(y) * usize::from(self.size.width);
        for column in x..x.saturating_add(width).min(self.size.width) {
            let was_wide = std::mem::take(&mut self.wide[row + usize::from(column)]);
            if was_wide && column + 1 >= x + width {
                self.go_to(column, y);
                self.set_pen(Pen::default());
                self.out.extend_from_slice(b"  ");
                self.at = None;
            }
        }
        self.wide[row + usize::from(x)] = width > 1;
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

impl Backend for Lean {
    type Error = Infallible;

    fn draw<'a, I>(&mut self, content: I) -> Result<(), Infallible>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        for (x, y, cell) in content {
            if x >= self.size.width || y >= self.size.height {
                continue;
            }
            let width = u16::try_from(cell.symbol().width()).unwrap_or(1).max(1);
            self.make_room(x, y, width);
            self.go_to(x, y);
            self.set_pen(Pen { front: cell.fg, back: cell.bg, modifier: cell.modifier });
            self.out.extend_from_slice(cell.symbol().as_bytes());
            // After a wide character terminals differ, and after the last column the cursor hangs between
            // two rows.
            let next = x + 1;
            let certain = width == 1 && next < self.size.width;
            self.at = certain.then_some(Position::new(next, y));
        }
        Ok(())
    }

    fn hide_cursor(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn show_cursor(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn get_cursor_position(&mut self) -> Result<Position, Infallible> {
        Ok(self.at.unwrap_or(Position::ORIGIN))
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, _: P) -> Result<(), Infallible> {
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Infallible> {
        self.out.extend_from_slice(b"\x1b[m\x1b[2J");
        (self.at, self.pen) = (None, Pen::default());
        self.wide.fill(false);
        Ok(())
    }

    fn clear_region(&mut self, _: ClearType) -> Result<(), Infallible> {
        self.clear()
    }

    fn size(&self) -> Result<Size, Infallible> {
        Ok(self.size)
    }

    fn window_size(&mut self) -> Result<WindowSize, Infallible> {
        Ok(WindowSize { columns_rows: self.size, pixels: Size::ZERO })
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

const MODIFIERS: [(Modifier, u8); 5] = [
    (Modifier::BOLD, b'1'),
    (Modifier::DIM, b'2'),
    (Modifier::ITALIC, b'3'),
    (Modifier::UNDERLINED, b'4'),
    (Modifier::REVERSED, b'7'),
];

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
    use ratatui::{Terminal, buffer::Buffer, layout::Rect, style::Style};

    use super::*;

    const SIZE: Size = Size::new(24, 6);

    fn nonzero(length: u16) -> NonZero<u16> {
        NonZero::new(length).unwrap()
    }

    /// A screen of ours, and what a terminal made of its bytes.
    struct Pair {
        ours: Terminal<Lean>,
        theirs: vt100::Parser,
    }

    impl Pair {
        fn new() -> Self {
            let ours = Terminal::new(Lean::new(SIZE)).unwrap();
            Self { ours, theirs: vt100::Parser::new(nonzero(SIZE.height), nonzero(SIZE.width), 0) }
        }

        /// Draws, and gives how many bytes it took.
        fn draw(&mut self, content: &Buffer) -> usize {
            self.ours.draw(|frame| frame.buffer_mut().merge(content)).unwrap();
            let bytes = self.ours.backend_mut().frame();
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
