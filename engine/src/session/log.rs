//! What the runs of a session say: a bounded ring, and readers that hold a cursor.
//!
//! Nobody who reads costs the writer anything: a reader that is too slow loses lines and is told how many.

use std::collections::VecDeque;
use std::sync::Mutex;

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::ffmpeg::Level;

/// The most lines that are kept of one run.
const RUN_LINES: usize = 1_000;
/// The most bytes that are kept of one run.
const RUN_BYTES: usize = 128 * 1024;
/// The most that is kept in all: the runs before the last are shortened first.
const RUNS_KEPT: usize = 4;

/// One line, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Counts from 1 within the session.
    pub seq: u64,
    /// When it was read.
    pub at: Timestamp,
    /// How grave it is.
    pub level: Level,
    /// Which run said it.
    pub run: u32,
    /// The text.
    pub text: String,
}

/// The log of a session.
#[derive(Debug, Default)]
pub struct Log {
    ring: Mutex<Ring>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
    last: u64,
    over: bool,
}

/// Where a reader is: the sequence of the last line it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(u64);

/// What a reader gets at once.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// The lines after the cursor; `dropped` of them, from `first` on, are lost.
    Lines {
        /// How many lines the reader was too late for.
        dropped: u64,
        /// The sequence of the first of these.
        first: u64,
        /// The lines that are left.
        entries: Vec<Entry>,
    },
    /// Nothing new yet.
    Nothing,
    /// Nothing new, and nothing will come.
    Over,
}

impl Log {
    /// Adds what a run said. All lines of one read go in under one lock.
    pub fn extend(&self, run: u32, lines: impl IntoIterator<Item = (Level, String)>) {
        let at = Timestamp::now();
        {
            let mut ring = self.lock();
            for (level, text) in lines {
                ring.last += 1;
                ring.bytes += text.len();
                let seq = ring.last;
                ring.entries.push_back(Entry { seq, at, level, run, text });
            }
            ring.trim(run);
        }
        self.more.notify_waiters();
    }

    /// Says whether more may come: a session that failed or ended says no more until it is started again.
    pub fn set_over(&self, over: bool) {
        self.lock().over = over;
        self.more.notify_waiters();
    }

    /// A cursor before the last `lines` lines.
    pub fn tail(&self, lines: usize) -> Cursor {
        let ring = self.lock();
        let kept = ring.entries.len();
        match ring.entries.get(kept.saturating_sub(lines)) {
            Some(entry) if lines > 0 => Cursor(entry.seq - 1),
            _ => Cursor(ring.last),
        }
    }

    /// A cursor after the line with that sequence.
    pub fn after(&self, seq: u64) -> Cursor {
        Cursor(seq.min(self.lock().last))
    }

    /// What came after the cursor, which moves on.
    pub fn read(&self, cursor: &mut Cursor) -> Read {
        let ring = self.lock();
        if cursor.0 >= ring.last {
            return if ring.over { Read::Over } else { Read::Nothing };
        }
        let first = cursor.0 + 1;
        let oldest = ring.entries.front().map_or(ring.last + 1, |entry| entry.seq);
        let start = ring.entries.partition_point(|entry| entry.seq < first);
        let entries = ring.entries.range(start..).cloned().collect();
        cursor.0 = ring.last;
        Read::Lines { dropped: oldest.saturating_sub(first), first, entries }
    }

    /// Waits until there is something after the cursor.
    pub async fn wait(&self, cursor: Cursor) {
        loop {
            let more = self.more.notified();
            tokio::pin!(more);
            // Enabled before looking: a line that comes in between would wake nobody otherwise.
            more.as_mut().enable();
            {
                let ring = self.lock();
                if ring.last > cursor.0 || ring.over {
                    return;
                }
            }
            more.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Ring {
    fn trim(&mut self, run: u32) {
        let oldest_kept = run.saturating_sub(RUNS_KEPT as u32 - 1);
        let mut of_run = self.entries.iter().filter(|entry| entry.run == run).count();
        while let Some(front) = self.entries.front() {
            let over_all = self.bytes > RUN_BYTES * RUNS_KEPT || self.entries.len() > RUN_LINES * RUNS_KEPT;
            let over_run = front.run == run && (of_run > RUN_LINES || self.bytes > RUN_BYTES);
            if !(front.run < oldest_kept || over_all || over_run) {
                break;
            }
            of_run -= usize::from(front.run == run);
            self.bytes -= front.text.len();
            self.entries.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(log: &Log, run: u32, lines: usize) {
        log.extend(run, (0..lines).map(|n| (Level::Info, format!("line {n}"))));
    }

    #[test]
    fn a_reader_gets_each_line_once_and_in_order() {
        let log = Log::default();
        let mut cursor = log.tail(0);
        say(&log, 1, 3);
        let Read::Lines { dropped: 0, entries, .. } = log.read(&mut cursor) else { panic!("no lines") };
        assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(log.read(&mut cursor), Read::Nothing);
        log.set_over(true);
        assert_eq!(log.read(&mut cursor), Read::Over);
    }

    #[test]
    fn kept_and_dropped_add_up_to_what_was_written() {
        let log = Log::default();
        let mut cursor = log.tail(0);
        say(&log, 1, 5_000);
        let Read::Lines { dropped, first, entries } = log.read(&mut cursor) else { panic!("no lines") };
        assert_eq!((first, dropped + entries.len() as u64), (1, 5_000));
        assert_eq!(entries.len(), RUN_LINES);
    }

    #[test]
    fn a_new_run_does_not_push_out_the_last_words_of_the_one_before() {
        let log = Log::default();
        say(&log, 1, 10);
        say(&log, 2, 10);
        let Read::Lines { entries, .. } = log.read(&mut log.tail(100)) else { panic!("no lines") };
        assert_eq!(entries.len(), 20);
    }

    #[test]
    fn a_tail_starts_before_the_last_lines() {
        let log = Log::default();
        say(&log, 1, 10);
        let Read::Lines { entries, .. } = log.read(&mut log.tail(2)) else { panic!("no lines") };
        assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [9, 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_follower_is_woken_by_the_next_line() {
        let log = std::sync::Arc::new(Log::default());
        let follower = tokio::spawn({
            let log = log.clone();
            async move { log.wait(log.tail(0)).await }
        });
        tokio::task::yield_now().await;
        say(&log, 1, 1);
        follower.await.expect("the follower ends");
    }
}
