//! Every colour and style, and the glyphs that lines are drawn with.
//!
//! Colours are the terminal's own sixteen and never a background, so light and dark screens both stay
//! readable. Colour only repeats what a word already says: without colours nothing but colour is missing.

use ratatui::style::{Color, Modifier, Style};

use crate::condition::Word;

/// How the screen is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Theme {
    colours: Colours,
    /// What rules and frames are made of.
    pub(crate) glyphs: Glyphs,
}

/// Whether colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colours {
    /// The terminal's sixteen.
    Terminal,
    /// None: `NO_COLOR` or `--no-color`.
    Mono,
}

/// The characters of rules and frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Glyphs {
    pub(crate) across: &'static str,
    pub(crate) down: &'static str,
    pub(crate) corners: [&'static str; 4],
}

impl Glyphs {
    /// Thin lines.
    pub(crate) const LINES: Self = Self { across: "─", down: "│", corners: ["┌", "┐", "└", "┘"] };
    /// For locales that are not UTF-8.
    pub(crate) const ASCII: Self = Self { across: "-", down: "|", corners: ["+", "+", "+", "+"] };
}

impl Theme {
    /// A theme of these colours and glyphs.
    pub(crate) fn new(colours: Colours, glyphs: Glyphs) -> Self {
        Self { colours, glyphs }
    }

    /// Ordinary text.
    pub(crate) fn text(self) -> Style {
        Style::new()
    }

    /// What matters less.
    pub(crate) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// What stands out.
    pub(crate) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The line under the cursor.
    pub(crate) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Something failed, or must not be overlooked.
    pub(crate) fn alarm(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Something is not as it should be.
    pub(crate) fn caution(self) -> Style {
        self.coloured(Color::Yellow)
    }

    /// Something is as it should be.
    pub(crate) fn good(self) -> Style {
        self.coloured(Color::Green)
    }

    /// A key that may be pressed.
    pub(crate) fn key(self) -> Style {
        self.coloured(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// What a search found.
    pub(crate) fn hit(self) -> Style {
        self.coloured(Color::Yellow).add_modifier(Modifier::REVERSED)
    }

    /// A state word.
    pub(crate) fn word(self, word: Word) -> Style {
        match word {
            Word::Failed => self.alarm(),
            Word::Stalled | Word::Slow | Word::Retrying => self.caution().add_modifier(Modifier::BOLD),
            Word::Starting | Word::Held | Word::Stopping => self.caution(),
            Word::Running | Word::Ahead => self.good(),
            Word::Parked | Word::Done | Word::Ended | Word::Unknown => self.dim(),
        }
    }

    fn coloured(self, colour: Color) -> Style {
        match self.colours {
            Colours::Terminal => Style::new().fg(colour),
            Colours::Mono => Style::new(),
        }
    }
}
