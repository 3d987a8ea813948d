//! One session's log as it is read: what is kept, what is shown, where the reader is.
//!
//! Lines have numbers of their own, since gaps and remarks have no sequence of the engine's. The reader's
//! place is such a number, so nothing that arrives or is dropped moves the text under their eyes.

use std::collections::VecDeque;

use jiff::Timestamp;
use regex::Regex;
use sluice_protocol::{Level, LogRecord};
use uuid::Uuid;

/// Lines that are kept; the oldest go first.
const KEPT_LINES: usize = 20_000;
/// The same in bytes, because a line may be long.
const KEPT_BYTES: usize = 16 * 1024 * 1024;
/// A pattern may not compile to more than this: it is typed by hand, and matched against every line.
const PATTERN_LIMIT: usize = 1 << 20;

/// One session's log.
#[derive(Debug)]
pub(crate) struct Logbook {
    /// Whose.
    pub(crate) id: Uuid,
    /// The stream that it listens to.
    pub(crate) ticket: u64,
    /// What that stream is doing.
    pub(crate) feed: Feed,
    /// Whether times are shown.
    pub(crate) times: bool,
    /// Columns scrolled to the right.
    pub(crate) across: usize,
    /// What is searched for.
    pub(crate) search: Option<Search>,
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The number of the first entry that is kept.
    first: u64,
    level: Option<Level>,
    /// The numbers of the entries that the level lets through.
    shown: VecDeque<u64>,
    place: Place,
    last_seq: u64,
}

/// What the stream is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Feed {
    /// It was asked for.
    Opening,
    /// It brings lines as they come.
    Open,
    /// It broke and is tried again.
    Lost(String),
    /// The engine won't give it.
    Refused(String),
    /// The session failed or ended: nothing more will come.
    Ended,
}

/// A line, or what is shown in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// What ffmpeg or the engine said.
    Line {
        /// When.
        at: Timestamp,
        /// How grave.
        level: Level,
        /// By which run.
        run: u32,
        /// What.
        text: String,
    },
    /// A remark of ours: a loss, the end.
    Remark(String),
}

/// What is searched for.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    /// As typed.
    pub(crate) text: String,
    /// The entry that the reader was led to last.
    pub(crate) current: Option<u64>,
    pattern: Regex,
    hits: VecDeque<u64>,
}

/// Where the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the end, wherever that is.
    Following,
    /// With this entry on top; nothing after `seen` has been on the screen.
    Paused { top: u64, seen: u64 },
}

impl Logbook {
    /// An empty log that follows.
    pub(crate) fn new(id: Uuid, ticket: u64) -> Self {
        Self {
            id,
            ticket,
            feed: Feed::Opening,
            times: true,
            across: 0,
            search: None,
            entries: VecDeque::new(),
            bytes: 0,
            first: 0,
            level: None,
            shown: VecDeque::new(),
            place: Place::Following,
            last_seq: 0,
        }
    }

    /// Takes a record. One that came before, as after a reconnect, is left out.
    pub(crate) fn take(&mut self, record: LogRecord) {
        self.feed = Feed::Open;
        match record {
            LogRecord::Line { seq, .. } if seq <= self.last_seq => {}
            LogRecord::Line { seq, at, level, run, text } => {
                self.last_seq = seq;
                self.push(Entry::Line { at, level, run, text });
            }
            LogRecord::Gap { dropped, from } => {
                self.last_seq = self.last_seq.max(from.saturating_add(dropped).saturating_sub(1));
                self.remark(format!("{} lost: the log moved on faster than it was read", lines(dropped)));
            }
            LogRecord::End => {
                self.feed = Feed::Ended;
                self.remark("end: the session failed or ended".to_owned());
            }
            LogRecord::Unknown => {}
        }
    }

    /// Puts a remark of ours between the lines.
    pub(crate) fn remark(&mut self, text: String) {
        self.push(Entry::Remark(text));
    }

    /// Begins to listen to another stream that counts from 1 again: the engine was restarted.
    pub(crate) fn reopen(&mut self, ticket: u64) {
        self.ticket = ticket;
        self.last_seq = 0;
        self.feed = Feed::Opening;
        self.remark("the engine was restarted".to_owned());
    }

    /// The entries on a screen of `height` rows, with their numbers.
    pub(crate) fn window(&self, height: usize) -> impl Iterator<Item = (u64, &Entry)> {
        let start = self.start(height);
        self.shown
            .range(start..(start + height).min(self.shown.len()))
            .map(|number| (*number, self.entry(*number)))
    }

    /// How many entries are shown at this level.
    pub(crate) fn len(&self) -> usize {
        self.shown.len()
    }

    /// The 1-based place of the last row on the screen.
    pub(crate) fn position(&self, height: usize) -> usize {
        (self.start(height) + height).min(self.shown.len())
    }

    /// Whether new lines move the text.
    pub(crate) fn follows(&self) -> bool {
        self.place == Place::Following
    }

    /// Lines that arrived since the reader paused and were not on the screen.
    pub(crate) fn unseen(&self) -> usize {
        match self.place {
            Place::Following => 0,
            Place::Paused { seen, .. } => self.shown.len() - self.after(seen),
        }
    }

    /// The least grave level shown.
    pub(crate) fn level(&self) -> Option<Level> {
        self.level
    }

    /// Goes to the end and stays there.
    pub(crate) fn follow(&mut self) {
        self.place = Place::Following;
    }

    /// Stays where the reader is.
    pub(crate) fn pause(&mut self, height: usize) {
        if self.follows() {
            let start = self.start(height);
            self.stay(start, height);
        }
    }

    /// Moves by rows: any move up pauses, and reaching the end does not resume, so that reading the last
    /// line is not interrupted by the next.
    pub(crate) fn scroll(&mut self, rows: isize, height: usize) {
        if self.follows() && rows >= 0 {
            return;
        }
        let last = self.shown.len().saturating_sub(height);
        let start = self.start(height).saturating_add_signed(rows).min(last);
        self.stay(start, height);
    }

    /// Goes to the first line.
    pub(crate) fn go_to_top(&mut self, height: usize) {
        self.stay(0, height);
    }

    /// Shows what is at least this grave.
    pub(crate) fn set_level(&mut self, level: Option<Level>, height: usize) {
        let anchor = self.window(height).next().map(|(number, _)| number);
        self.level = level;
        let numbers = (self.first..).zip(&self.entries);
        self.shown = numbers.filter(|(_, entry)| passes(level, entry)).map(|(number, _)| number).collect();
        self.find_hits();
        if let (Place::Paused { seen, .. }, Some(anchor)) = (self.place, anchor) {
            let start = self.shown.partition_point(|number| *number < anchor);
            self.place = Place::Paused { top: self.shown.get(start).copied().unwrap_or(anchor), seen };
        }
    }

    /// The next of: all, info, warnings, errors.
    pub(crate) fn cycle_level(&mut self, height: usize) {
        let next = match self.level {
            None | Some(Level::Debug) => Some(Level::Info),
            Some(Level::Info) => Some(Level::Warning),
            Some(Level::Warning) => Some(Level::Error),
            Some(Level::Error | Level::Fatal) => None,
        };
        self.set_level(next, height);
    }

    /// Searches for a pattern, lower case for either case. An empty one ends the search.
    pub(crate) fn search_for(&mut self, text: &str) -> Result<(), String> {
        if text.is_empty() {
            self.search = None;
            return Ok(());
        }
        let pattern = regex::RegexBuilder::new(text)
            .case_insensitive(!text.chars().any(char::is_uppercase))
            .size_limit(PATTERN_LIMIT)
            .build()
            .map_err(|error| fault(&error))?;
        self.search = Some(Search { text: text.to_owned(), pattern, hits: VecDeque::new(), current: None });
        self.find_hits();
        Ok(())
    }

    /// Goes to a match: the next after the current one, or the one before; without a current one the next
    /// from the top of the screen. Past either end it starts again at the other.
    pub(crate) fn go_to_hit(&mut self, direction: Direction, height: usize) {
        let top = self.window(height).next().map_or(0, |(number, _)| number);
        let Some(search) = &mut self.search else { return };
        let hits = &search.hits;
        let next = match (direction, search.current) {
            (Direction::Down, Some(current)) => hits.partition_point(|hit| *hit <= current),
            (Direction::Down, None) => hits.partition_point(|hit| *hit < top),
            (Direction::Up, from) => {
                let before = hits.partition_point(|hit| *hit < from.unwrap_or(top));
                before.checked_sub(1).unwrap_or(hits.len().saturating_sub(1))
            }
        };
        let Some(hit) = hits.get(next).or_else(|| hits.front()).copied() else { return };
        search.current = Some(hit);
        self.show(hit, height);
    }

    /// Goes to the next or previous warning or worse.
    pub(crate) fn go_to_problem(&mut self, direction: Direction, height: usize) -> bool {
        let rows = self.window(height).next().map_or(0, |(number, _)| number);
        let is_problem = |number: &&u64| matches!(self.entry(**number), Entry::Line { level, .. } if *level >= Level::Warning);
        let found = match direction {
            Direction::Down => self.shown.iter().find(|number| **number > rows && is_problem(number)),
            Direction::Up => self.shown.iter().rev().find(|number| **number < rows && is_problem(number)),
        };
        let Some(number) = found.copied() else { return false };
        let start = self.after(number).saturating_sub(1);
        self.stay(start, height);
        true
    }

    fn show(&mut self, number: u64, height: usize) {
        let row = self.shown.partition_point(|shown| *shown < number);
        let start = self.start(height);
        if (start..start + height).contains(&row) {
            self.pause(height);
        } else {
            let last = self.shown.len().saturating_sub(height);
            self.stay(row.saturating_sub(height / 3).min(last), height);
        }
    }

    fn stay(&mut self, start: usize, height: usize) {
        let Some(top) = self.shown.get(start).copied() else { return };
        let bottom = self.shown.get((start + height).min(self.shown.len()) - 1).copied().unwrap_or(top);
        let seen = match self.place {
            Place::Following => self.shown.back().copied().unwrap_or(top),
            Place::Paused { seen, .. } => seen.max(bottom),
        };
        self.place = Place::Paused { top, seen };
    }

    fn start(&self, height: usize) -> usize {
        let last = self.shown.len().saturating_sub(height);
        match self.place {
            Place::Following => last,
            Place::Paused { top, .. } => {
                self.shown.partition_point(|number| *number < top).min(self.shown.len().saturating_sub(1))
            }
        }
    }

    /// How many shown entries are not after `number`.
    fn after(&self, number: u64) -> usize {
        self.shown.partition_point(|shown| *shown <= number)
    }

    fn entry(&self, number: u64) -> &Entry {
        &self.entries[(number - self.first) as usize]
    }

    fn push(&mut self, entry: Entry) {
        let number = self.first + self.entries.len() as u64;
        self.bytes += weight(&entry);
        if passes(self.level, &entry) {
            if let Some(search) = &mut self.search
                && search.pattern.is_match(text(&entry))
            {
                search.hits.push_back(number);
            }
            self.shown.push_back(number);
        }
        self.entries.push_back(entry);
        while self.entries.len() > KEPT_LINES || self.bytes > KEPT_BYTES {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.bytes -= weight(&entry);
        self.first += 1;
        let first = self.first;
        while self.shown.pop_front_if(|number| *number < first).is_some() {}
        if let Some(search) = &mut self.search {
            while search.hits.pop_front_if(|number| *number < first).is_some() {}
        }
    }

    fn find_hits(&mut self) {
        let Some(search) = &self.search else { return };
        let matches = |number: &&u64| search.pattern.is_match(text(self.entry(**number)));
        let hits = self.shown.iter().filter(matches).copied().collect();
        if let Some(search) = &mut self.search {
            search.hits = hits;
        }
    }
}

/// Which way to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Up,
    Down,
}

impl Search {
    /// How many entries match.
    pub(crate) fn count(&self) -> usize {
        self.hits.len()
    }

    /// Which of them the reader was led to, from 1.
    pub(crate) fn position(&self) -> Option<usize> {
        Some(self.hits.binary_search(&self.current?).ok()? + 1)
    }

    /// Where `text` matches, in bytes.
    pub(crate) fn ranges(&self, text: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
        self.pattern.find_iter(text).map(|hit| hit.range()).filter(|range| !range.is_empty())
    }
}

/// What an entry says.
pub(crate) fn text(entry: &Entry) -> &str {
    match entry {
        Entry::Line { text, .. } | Entry::Remark(text) => text,
    }
}

fn passes(level: Option<Level>, entry: &Entry) -> bool {
    match (level, entry) {
        // A loss is never hidden: what is missing might have been what is looked for.
        (None, _) | (_, Entry::Remark(_)) => true,
        (Some(least), Entry::Line { level, .. }) => *level >= least,
    }
}

fn weight(entry: &Entry) -> usize {
    text(entry).len() + size_of::<Entry>()
}

fn lines(count: u64) -> String {
    if count == 1 { "1 line".to_owned() } else { format!("{count} lines") }
}

/// The last line of a pattern's fault: the ones before it repeat the pattern.
fn fault(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEIGHT: usize = 10;

    fn line(seq: u64, level: Level, text: &str) -> LogRecord {
        LogRecord::Line { seq, at: Timestamp::UNIX_EPOCH, level, run: 1, text: text.to_owned() }
    }

    fn book(count: u64) -> Logbook {
        let mut book = Logbook::new(Uuid::nil(), 1);
        (1..=count).for_each(|seq| book.take(line(seq, Level::Info, &format!("line {seq}"))));
        book
    }

    fn on_screen(book: &Logbook) -> Vec<&str> {
        book.window(HEIGHT).map(|(_, entry)| text(entry)).collect()
    }

    #[test]
    fn following_shows_the_newest_and_a_move_up_holds_the_text_still() {
        let mut book = book(30);
        assert_eq!(on_screen(&book).last(), Some(&"line 30"));
        book.scroll(-1, HEIGHT);
        assert!(!book.follows());
        let before: Vec<_> = on_screen(&book).into_iter().map(str::to_owned).collect();
        assert_eq!(before.last().map(String::as_str), Some("line 29"));
        (31..=40).for_each(|seq| book.take(line(seq, Level::Info, "new")));
        assert_eq!(on_screen(&book), before);
        assert_eq!(book.unseen(), 10);
        book.follow();
        assert_eq!((book.unseen(), on_screen(&book).len()), (0, HEIGHT));
        assert_eq!(on_screen(&book).last(), Some(&"new"));
    }

    #[test]
    fn text_stays_where_it_is_while_old_lines_are_dropped() {
        let mut book = book(KEPT_LINES as u64);
        book.scroll(-5000, HEIGHT);
        let before: Vec<_> = on_screen(&book).into_iter().map(str::to_owned).collect();
        let next = KEPT_LINES as u64 + 1;
        (next..next + 3000).for_each(|seq| book.take(line(seq, Level::Info, "new")));
        assert_eq!(on_screen(&book), before);
        assert_eq!(book.entries.len(), KEPT_LINES);
        assert_eq!(book.len(), KEPT_LINES);
    }

    #[test]
    fn what_came_before_a_reconnect_is_not_shown_twice_and_a_loss_is_said() {
        let mut book = book(3);
        book.take(line(2, Level::Info, "line 2"));
        book.take(LogRecord::Gap { dropped: 212, from: 4 });
        book.take(line(216, Level::Info, "line 216"));
        let shown = on_screen(&book);
        assert_eq!(shown.len(), 5);
        assert!(shown[3].starts_with("212 lines lost"), "{shown:?}");
        assert_eq!(shown[4], "line 216");
    }

    #[test]
    fn a_search_counts_goes_round_and_takes_in_new_lines() {
        let mut book = book(30);
        book.search_for("LINE").unwrap();
        assert_eq!(book.search.as_ref().unwrap().count(), 0, "a capital letter means itself");
        book.search_for("line 1.$").unwrap();
        assert_eq!(book.search.as_ref().unwrap().count(), 10);
        book.go_to_hit(Direction::Down, HEIGHT);
        assert_eq!(book.search.as_ref().unwrap().position(), Some(1), "none below: starts at the top");
        assert!(on_screen(&book).contains(&"line 10"));
        book.go_to_hit(Direction::Up, HEIGHT);
        assert_eq!(book.search.as_ref().unwrap().position(), Some(10));
        book.take(line(31, Level::Info, "line 1x"));
        assert_eq!(book.search.as_ref().unwrap().count(), 11);
        assert!(book.search_for("(").is_err());
        assert_eq!(book.search.as_ref().unwrap().count(), 11, "the last good pattern stays");
    }

    #[test]
    fn a_level_hides_lines_but_never_a_loss() {
        let mut book = book(5);
        book.take(line(6, Level::Error, "bad"));
        book.take(LogRecord::Gap { dropped: 1, from: 7 });
        book.set_level(Some(Level::Warning), HEIGHT);
        assert_eq!(on_screen(&book), ["bad", "1 line lost: the log moved on faster than it was read"]);
        book.set_level(None, HEIGHT);
        assert_eq!(book.len(), 7);
    }
}
