//! Who watches, since when, where. An estimate: a viewer is a client address with a user agent.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::mux::Time;

/// A viewer's stop takes effect after this, so that a reload or a second tab can think better of it.
const SECOND_THOUGHTS: Duration = Duration::from_secs(5);
/// More viewers than this of one session are no longer told apart.
const MOST: usize = 10_000;

/// A playback client, as far as requests tell one from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Viewer {
    /// Where it asks from.
    pub address: IpAddr,
    /// The user agent that it sends, cut to a sane length.
    pub user_agent: Option<String>,
}

/// When and where a viewer was last.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Who.
    pub viewer: Viewer,
    /// When it asked first.
    pub since: Timestamp,
    /// When it asked last.
    pub last: Timestamp,
    /// The start of the last segment it asked for, in film time.
    pub position: Option<Time>,
}

/// The viewers of one session.
#[derive(Debug)]
pub(super) struct Viewers {
    inner: Mutex<Inner>,
    /// Told when the furthest position moved or a viewer left.
    moved: Notify,
    window: Duration,
}

#[derive(Debug)]
struct Inner {
    seen: HashMap<Viewer, Record>,
    last_access: Instant,
    waiting: usize,
    /// Who left last, and when that takes effect.
    leaving: Option<(Viewer, Instant)>,
}

#[derive(Debug)]
struct Record {
    since: Timestamp,
    last: Timestamp,
    at: Instant,
    position: Option<Time>,
    left: bool,
}

/// A request that is waiting: it keeps its session awake for as long as it lives.
#[derive(Debug)]
pub(super) struct Waiting<'a>(&'a Viewers);

impl Viewers {
    /// A viewer that sends nothing for `window` no longer counts.
    pub(super) fn new(window: Duration) -> Self {
        let inner = Inner { seen: HashMap::new(), last_access: Instant::now(), waiting: 0, leaving: None };
        Self { inner: Mutex::new(inner), moved: Notify::new(), window }
    }

    /// A viewer asked for something, perhaps for the segment that starts at `position`.
    pub(super) fn heard(&self, viewer: &Viewer, position: Option<Time>) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.last_access = now;
        inner.leaving = None;
        let wall = Timestamp::now();
        if !inner.seen.contains_key(viewer) {
            if inner.seen.len() >= MOST {
                inner.seen.retain(|_, record| now.duration_since(record.at) < self.window);
            }
            if inner.seen.len() >= MOST {
                return;
            }
            let fresh = Record { since: wall, last: wall, at: now, position: None, left: false };
            inner.seen.insert(viewer.clone(), fresh);
        }
        let Some(record) = inner.seen.get_mut(viewer) else { return };
        record.last = wall;
        record.at = now;
        record.left = false;
        if position.is_some() && record.position != position {
            record.position = position;
            drop(inner);
            self.moved.notify_one();
        }
    }

    /// A viewer says that it leaves: true if nobody else is there, and the time for second thoughts runs.
    pub(super) fn leave(&self, viewer: &Viewer) -> bool {
        let now = Instant::now();
        let mut inner = self.lock();
        if let Some(record) = inner.seen.get_mut(viewer) {
            record.left = true;
        }
        let window = self.window;
        let others = inner
            .seen
            .iter()
            .any(|(other, record)| other != viewer && !record.left && now.duration_since(record.at) < window);
        if !others {
            inner.leaving = Some((viewer.clone(), now + SECOND_THOUGHTS));
        }
        drop(inner);
        self.moved.notify_one();
        !others
    }

    /// When everybody will have left for good, if nobody asks for anything until then.
    pub(super) fn leaving(&self) -> Option<Instant> {
        self.lock().leaving.as_ref().map(|(_, at)| *at)
    }

    /// A viewer who is leaving began something else: it does not think better of it.
    pub(super) fn left_for_another(&self, viewer: &Viewer) {
        if let Some((_, at)) = self.lock().leaving.as_mut().filter(|(leaving, _)| leaving == viewer) {
            *at = Instant::now();
        } else {
            return;
        }
        self.moved.notify_one();
    }

    /// Takes note that they have left, or that somebody wants it all the same.
    pub(super) fn left(&self) {
        self.lock().leaving = None;
    }

    /// Marks a request that waits.
    pub(super) fn waiting(&self) -> Waiting<'_> {
        self.lock().waiting += 1;
        Waiting(self)
    }

    /// When anything was last asked for: now, while a request waits.
    pub(super) fn last_access(&self) -> Instant {
        let inner = self.lock();
        if inner.waiting > 0 { Instant::now() } else { inner.last_access }
    }

    /// The last time somebody asked, on the wall clock.
    pub(super) fn last_seen(&self) -> Option<Timestamp> {
        self.lock().seen.values().map(|record| record.last).max()
    }

    /// The furthest position of those who watch.
    pub(super) fn furthest(&self) -> Option<Time> {
        self.active(&self.lock()).filter_map(|(_, record)| record.position).max()
    }

    /// Where each of those who watch is. Who has asked for nothing yet is at the beginning.
    pub(super) fn positions(&self) -> Vec<(Viewer, Time)> {
        let inner = self.lock();
        let positions = self.active(&inner);
        positions.map(|(viewer, record)| (viewer.clone(), record.position.unwrap_or(Time::ZERO))).collect()
    }

    /// How many watch.
    pub(super) fn count(&self) -> usize {
        self.active(&self.lock()).count()
    }

    /// Those who watch.
    pub(super) fn list(&self) -> Vec<Seen> {
        let inner = self.lock();
        let mut list: Vec<_> = self
            .active(&inner)
            .map(|(viewer, record)| Seen {
                viewer: viewer.clone(),
                since: record.since,
                last: record.last,
                position: record.position,
            })
            .collect();
        list.sort_by_key(|seen| seen.since);
        list
    }

    /// Those who have not left, and asked for something of late.
    fn active<'i>(&self, inner: &'i Inner) -> impl Iterator<Item = (&'i Viewer, &'i Record)> {
        let (now, window) = (Instant::now(), self.window);
        inner.seen.iter().filter(move |(_, record)| !record.left && now.duration_since(record.at) < window)
    }

    /// Waits until somebody moved or left.
    pub(super) async fn moved(&self) {
        self.moved.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.waiting -= 1;
        inner.last_access = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn viewer(n: u8) -> Viewer {
        Viewer { address: IpAddr::from([10, 0, 0, n]), user_agent: None }
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_two_viewers_may_leave_without_taking_the_session_along() {
        let viewers = Viewers::new(Duration::from_secs(30));
        viewers.heard(&viewer(1), None);
        viewers.heard(&viewer(2), None);
        assert!(!viewers.leave(&viewer(1)));
        assert_eq!(viewers.leaving(), None);
        assert!(viewers.leave(&viewer(2)));
        assert!(viewers.leaving().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_after_the_stop_takes_it_back() {
        let viewers = Viewers::new(Duration::from_secs(30));
        viewers.heard(&viewer(1), None);
        viewers.leave(&viewer(1));
        viewers.heard(&viewer(1), None);
        assert_eq!((viewers.leaving(), viewers.list().len()), (None, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_for_long_no_longer_counts() {
        let viewers = Viewers::new(Duration::from_secs(30));
        viewers.heard(&viewer(1), Some(Time::from_secs(100)));
        viewers.heard(&viewer(2), Some(Time::from_secs(10)));
        assert_eq!(viewers.furthest(), Some(Time::from_secs(100)));
        tokio::time::advance(Duration::from_secs(20)).await;
        viewers.heard(&viewer(2), Some(Time::from_secs(20)));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(viewers.furthest(), Some(Time::from_secs(20)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_request_keeps_the_session_awake() {
        let viewers = Viewers::new(Duration::from_secs(30));
        let waiting = viewers.waiting();
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(viewers.last_access(), Instant::now());
        drop(waiting);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(viewers.last_access() + Duration::from_secs(5), Instant::now());
    }
}
