//! How a screen of some size is divided.
//!
//! Drawing and moving both ask here, so that a page is what is really on the screen.

use ratatui::layout::{Rect, Size};

/// Below this only a sentence is shown.
pub(crate) const SMALLEST: Size = Size::new(40, 12);

/// How much there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Room {
    /// For a sentence.
    None,
    /// For the list and one line of why.
    Tight,
    /// For a preview under the list.
    Usual,
    /// For a large preview and what happened lately.
    Ample,
}

/// The parts of every screen, from the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    /// How the engine is, and how fresh that is.
    pub(crate) header: Rect,
    /// Where one is; empty where there is no room and nothing to warn of.
    pub(crate) tabs: Rect,
    /// The screen's own part.
    pub(crate) body: Rect,
    /// Questions, what is typed, and what was said last.
    pub(crate) notice: Rect,
    /// The keys.
    pub(crate) hints: Rect,
}

/// The parts of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListParts {
    /// The names of the columns.
    pub(crate) titles: Rect,
    /// The sessions.
    pub(crate) rows: Rect,
    /// More about the one under the cursor.
    pub(crate) preview: Rect,
    /// What happened lately.
    pub(crate) recent: Rect,
}

/// How much there is room for at this size.
pub(crate) fn room(size: Size) -> Room {
    if size.width < SMALLEST.width || size.height < SMALLEST.height {
        Room::None
    } else if size.width < 76 || size.height < 20 {
        Room::Tight
    } else if size.width < 120 || size.height < 34 {
        Room::Usual
    } else {
        Room::Ample
    }
}

/// Divides the whole screen. `warned` makes room for the banner that data is old.
pub(crate) fn parts(area: Rect, warned: bool) -> Parts {
    let mut rest = area;
    let header = top(&mut rest, 1);
    let hints = bottom(&mut rest, 1);
    let notice = bottom(&mut rest, 1);
    let has_tabs = warned || room(area.as_size()) > Room::Tight;
    let tabs = top(&mut rest, u16::from(has_tabs));
    Parts { header, tabs, body: rest, notice, hints }
}

/// Divides the list's part of a screen of `size`.
pub(crate) fn list(body: Rect, size: Size) -> ListParts {
    let (preview, recent) = match room(size) {
        Room::None | Room::Tight => (1, 0),
        Room::Usual if size.height < 24 => (3, 0),
        Room::Usual => (4, 0),
        Room::Ample => (10, 1),
    };
    let mut rest = body;
    let titles = top(&mut rest, 1);
    let recent = bottom(&mut rest, recent);
    let preview = bottom(&mut rest, preview);
    ListParts { titles, rows: rest, preview, recent }
}

/// The lines of a log, and the line under them.
pub(crate) fn log(body: Rect) -> (Rect, Rect) {
    let mut rest = body;
    let status = bottom(&mut rest, 1);
    (rest, status)
}

fn top(rest: &mut Rect, height: u16) -> Rect {
    let height = height.min(rest.height);
    let part = Rect { height, ..*rest };
    rest.y += height;
    rest.height -= height;
    part
}

fn bottom(rest: &mut Rect, height: u16) -> Rect {
    let height = height.min(rest.height);
    rest.height -= height;
    Rect { y: rest.y + rest.height, height, ..*rest }
}
