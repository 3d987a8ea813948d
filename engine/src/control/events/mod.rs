//! What happens, encoded once, for any number of readers.
//!
//! One task writes: each change of state and each operator's action at once, and what else changed in ticks.
//! Its lines go into a bounded ring, each with its sequence; a reader holds the sequence that it has, and
//! takes the next line when its connection has room. One that falls behind the ring, like one that is new,
//! asks the task for a snapshot, so no reader costs more than its own cursor.
//!
//! Who applies each tick to a snapshot with a smaller sequence has what the registry lists, nothing twice:
//! the task answers with snapshots only in the moment of a tick, and ticks are differences to the last one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use sluice_protocol::{Action, Engine, Event, Patch, Session, StateChange, Tick};
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use warp::reply::{Reply as _, Response};

use super::logs::{ndjson, write};
use super::{Facts, shape};
use crate::metrics::Metrics;
use crate::problem::word;
use crate::session::{Handle, Happening, Id, Registry, Snapshot};

/// There is at most one tick in this time.
const TICK: Duration = Duration::from_millis(250);
/// And at least one in this, so that a reader knows that the engine lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// Lines that a reader may be behind.
const RECORDS: usize = 1_024;
/// Bytes that the same lines may have: with a thousand sessions a tick is large.
const BYTES: usize = 8 * 1024 * 1024;
/// Readers that wait for a snapshot at the same time; more of them wait in front.
const ASKS: usize = 256;
/// A tick looks again while news comes in, but not for ever.
const LOOKS: usize = 4;

/// The stream of events, as its readers hold it. The task that writes it ends with the token that it was
/// started with, and so do its readers.
#[derive(Debug)]
pub struct Feed {
    shared: Arc<Shared>,
    asks: mpsc::Sender<oneshot::Sender<Whole>>,
    ending: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What the task and the readers share.
#[derive(Debug)]
struct Shared {
    /// Names this life of the engine.
    epoch: Uuid,
    ring: Mutex<Ring>,
    /// Each reader holds a receiver: that is also how the task knows whether anybody reads.
    news: watch::Sender<News>,
    joined: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct News {
    last: u64,
    over: bool,
}

/// The newest lines.
#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Bytes>,
    bytes: usize,
    /// The sequence of the last line.
    last: u64,
}

/// A snapshot, encoded.
#[derive(Debug, Clone)]
struct Whole {
    seq: u64,
    line: Bytes,
}

#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Line(Bytes),
    Nothing,
    /// The reader is too far behind.
    Lost,
}

/// What the task looks at: the registry, or what a test puts in its place.
trait Watched: Send + 'static {
    fn subscribe(&self) -> broadcast::Receiver<Arc<Happening>>;
    fn sessions(&self) -> Vec<Arc<Snapshot>>;
    fn engine(&self) -> Engine;
    fn metrics(&self) -> Arc<Metrics>;
}

struct Live {
    registry: Arc<Registry>,
    facts: Arc<Facts>,
}

impl Watched for Live {
    fn subscribe(&self) -> broadcast::Receiver<Arc<Happening>> {
        self.registry.subscribe()
    }

    fn sessions(&self) -> Vec<Arc<Snapshot>> {
        self.registry.list(false).iter().map(Handle::snapshot).collect()
    }

    fn engine(&self) -> Engine {
        shape::engine(&self.registry, &self.facts)
    }

    fn metrics(&self) -> Arc<Metrics> {
        self.registry.world().metrics.clone()
    }
}

impl Feed {
    /// Starts the task that writes; what happened before is not told.
    pub fn start(registry: Arc<Registry>, facts: Arc<Facts>, shutdown: CancellationToken) -> Arc<Self> {
        Self::watch(Live { registry, facts }, shutdown)
    }

    /// Waits until the task has ended, which it does after the token is cancelled.
    pub async fn ended(&self) {
        let task = lock(&self.task).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the task that writes events panicked");
        }
    }

    /// Cancelled when long answers have to end.
    pub(super) fn ending(&self) -> CancellationToken {
        self.ending.clone()
    }

    /// The answer to a reader: what came after `after`, if that is a sequence of this life and everything
    /// since is still there, else a snapshot; then what happens.
    pub(super) fn follow(&self, after: Option<(u64, Uuid)>) -> Response {
        let lines = stream::unfold(self.reader(after), async |mut reader| {
            let line = reader.next().await?;
            Some((Ok::<_, Infallible>(line), reader))
        });
        ndjson(warp::reply::stream(lines).into_response())
    }

    fn watch(watched: impl Watched, ending: CancellationToken) -> Arc<Self> {
        let shared = Arc::new(Shared {
            epoch: Uuid::new_v4(),
            ring: Mutex::default(),
            news: watch::Sender::new(News { last: 0, over: false }),
            joined: Notify::new(),
            metrics: watched.metrics(),
        });
        let (asks, asked) = mpsc::channel(ASKS);
        let now = Instant::now();
        let writer = Writer {
            happenings: watched.subscribe(),
            watched,
            shared: shared.clone(),
            shown: HashMap::new(),
            asked,
            waiting: Vec::new(),
            looked: now,
            told: now,
        };
        let task = tokio::spawn(writer.write(ending.clone()));
        Arc::new(Self { shared, asks, ending, task: Mutex::new(Some(task)) })
    }

    fn reader(&self, after: Option<(u64, Uuid)>) -> Reader {
        let news = self.shared.news.subscribe();
        self.shared.joined.notify_one();
        let known =
            after.filter(|(after, epoch)| *epoch == self.shared.epoch && *after <= news.borrow().last);
        Reader {
            shared: self.shared.clone(),
            asks: self.asks.clone(),
            news,
            at: known.map(|(after, _)| after),
        }
    }
}

/// One that reads.
struct Reader {
    shared: Arc<Shared>,
    asks: mpsc::Sender<oneshot::Sender<Whole>>,
    news: watch::Receiver<News>,
    /// The sequence of the last line that it has; without one it needs a snapshot.
    at: Option<u64>,
}

impl Reader {
    /// The next line; `None` when the stream is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let Some(at) = self.at else {
                let (reply, answer) = oneshot::channel();
                self.asks.send(reply).await.ok()?;
                let whole = answer.await.ok()?;
                self.at = Some(whole.seq);
                return Some(whole.line);
            };
            // Marked as seen before looking: what comes in between wakes it again.
            let news = *self.news.borrow_and_update();
            let taken = self.shared.ring().after(at);
            match taken {
                Taken::Line(line) => {
                    self.at = Some(at + 1);
                    return Some(line);
                }
                Taken::Lost => {
                    self.shared.metrics.stream_reset();
                    self.at = None;
                }
                Taken::Nothing if news.over => return None,
                Taken::Nothing => self.news.changed().await.ok()?,
            }
        }
    }
}

impl Shared {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        lock(&self.ring)
    }
}

impl Ring {
    fn push(&mut self, line: Bytes) {
        self.last += 1;
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > RECORDS || (self.bytes > BYTES && self.lines.len() > 1) {
            let line = self.lines.pop_front().expect("the loop runs while there are lines");
            self.bytes -= line.len();
        }
    }

    /// Forgets everything, so that each reader asks for a snapshot.
    fn reset(&mut self) {
        self.lines.clear();
        self.bytes = 0;
        self.last += 1;
    }

    /// The line after the one with that sequence.
    fn after(&self, seq: u64) -> Taken {
        let Some(behind) = self.last.checked_sub(seq) else { return Taken::Lost };
        if behind == 0 {
            return Taken::Nothing;
        }
        let line = usize::try_from(behind).ok().and_then(|behind| self.lines.len().checked_sub(behind));
        line.and_then(|index| self.lines.get(index)).map_or(Taken::Lost, |line| Taken::Line(line.clone()))
    }
}

/// The one that writes.
struct Writer<W> {
    watched: W,
    happenings: broadcast::Receiver<Arc<Happening>>,
    shared: Arc<Shared>,
    /// What readers know who have the last tick.
    shown: HashMap<Id, Shown>,
    asked: mpsc::Receiver<oneshot::Sender<Whole>>,
    waiting: Vec<oneshot::Sender<Whole>>,
    looked: Instant,
    told: Instant,
}

struct Shown {
    snapshot: Arc<Snapshot>,
    session: Session,
}

impl<W: Watched> Writer<W> {
    async fn write(mut self, ending: CancellationToken) {
        let shared = self.shared.clone();
        loop {
            let due = self.due();
            let tick = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = ending.cancelled() => break,
                happening = self.happenings.recv() => match happening {
                    Ok(happening) => self.tell(&happening),
                    Err(broadcast::error::RecvError::Lagged(lost)) => self.begin_anew(lost),
                    // Without a registry nothing will ever happen.
                    Err(broadcast::error::RecvError::Closed) => break,
                },
                ask = self.asked.recv(), if self.waiting.len() < ASKS => match ask {
                    Some(ask) => self.waiting.push(ask),
                    // No feed and no reader is left.
                    None => break,
                },
                // Somebody reads from now on: there is a tick to wait for.
                () = shared.joined.notified() => {}
                () = tick => self.tick(SIGN_OF_LIFE),
            }
        }
        // The last that readers see is how things were when the engine let go of them.
        if self.is_read() || !self.waiting.is_empty() {
            self.tick(Duration::ZERO);
        }
        self.shared.news.send_modify(|news| news.over = true);
    }

    fn is_read(&self) -> bool {
        self.shared.news.receiver_count() > 0
    }

    /// When to look at what changed: not at all while nobody reads.
    fn due(&self) -> Option<Instant> {
        (self.is_read() || !self.waiting.is_empty()).then(|| self.looked + TICK)
    }

    /// Tells what happened at once, and on its own.
    fn tell(&self, happening: &Happening) {
        let seq = self.next_seq();
        let event = match happening {
            Happening::Changed { at, id, change, who } => Event::State(StateChange {
                seq,
                at: *at,
                id: *id,
                from: shape::state(change.from),
                to: shape::state(change.to),
                cause: shape::cause(change.cause),
                code: change.fault.as_ref().map(|fault| word(fault.code).to_owned()),
                reason: change.fault.as_ref().map(|fault| fault.reason.clone()),
                who: who.as_deref().map(str::to_owned),
            }),
            Happening::Acted { at, who, what, id, result } => Event::Action(Action {
                seq,
                at: *at,
                who: who.to_string(),
                what: (*what).to_owned(),
                id: *id,
                result: result.map_or_else(word, |()| "done").to_owned(),
            }),
            // The next tick says which sessions are no longer listed.
            Happening::Removed(_) => return,
        };
        self.push(encode(&event));
    }

    /// Changes of state were lost, and none may be left out: everybody gets a snapshot instead.
    fn begin_anew(&self, lost: u64) {
        tracing::warn!(lost, "events came faster than they could be written; readers get a snapshot");
        self.shared.metrics.events_dropped(lost);
        self.shared.ring().reset();
        self.told_news();
    }

    /// Tells what else changed, or after this much silence that nothing did, and answers those who wait for a
    /// snapshot.
    fn tick(&mut self, silence: Duration) {
        let now = Instant::now();
        self.looked = now;
        let sessions = self.look();
        let (patches, removed) = self.differences(&sessions);
        let engine = self.watched.engine();
        let is_due = self.is_read() && now - self.told >= silence;
        if is_due || !patches.is_empty() || !removed.is_empty() {
            self.told = now;
            let tick = Tick { seq: self.next_seq(), sessions: patches, removed, engine: engine.clone() };
            self.push(encode(&Event::Tick(tick)));
        }
        if self.waiting.is_empty() {
            return;
        }
        let listed = sessions.iter().filter_map(|snapshot| self.shown.get(&snapshot.id));
        let sessions = listed.map(|shown| shown.session.clone()).collect();
        let seq = self.shared.ring().last;
        let snapshot = Event::Snapshot { epoch: self.shared.epoch, seq, engine, sessions };
        let whole = Whole { seq, line: encode(&snapshot) };
        for reply in self.waiting.drain(..) {
            // A reader that has gone needs none.
            drop(reply.send(whole.clone()));
        }
    }

    /// The sessions as they are, after everything that made them so was told: a change that a snapshot
    /// contains must not follow it.
    fn look(&mut self) -> Vec<Arc<Snapshot>> {
        for _ in 0..LOOKS {
            self.catch_up();
            let sessions = self.watched.sessions();
            if self.happenings.is_empty() {
                return sessions;
            }
        }
        self.catch_up();
        self.watched.sessions()
    }

    fn catch_up(&mut self) {
        loop {
            match self.happenings.try_recv() {
                Ok(happening) => self.tell(&happening),
                Err(broadcast::error::TryRecvError::Lagged(lost)) => self.begin_anew(lost),
                Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => return,
            }
        }
    }

    /// What changed since the last look, which is what readers know from now on.
    fn differences(&mut self, sessions: &[Arc<Snapshot>]) -> (Vec<Patch>, Vec<Id>) {
        let mut patches = Vec::new();
        for snapshot in sessions {
            let before = self.shown.get(&snapshot.id);
            if before.is_some_and(|before| Arc::ptr_eq(&before.snapshot, snapshot)) {
                continue;
            }
            let session = shape::session(snapshot);
            patches.extend(Patch::between(before.map(|before| &before.session), &session));
            self.shown.insert(snapshot.id, Shown { snapshot: snapshot.clone(), session });
        }
        let mut removed = Vec::new();
        if self.shown.len() > sessions.len() {
            let listed: HashSet<_> = sessions.iter().map(|snapshot| snapshot.id).collect();
            removed.extend(self.shown.keys().filter(|id| !listed.contains(*id)));
            self.shown.retain(|id, _| listed.contains(id));
        }
        (patches, removed)
    }

    fn next_seq(&self) -> u64 {
        self.shared.ring().last + 1
    }

    fn push(&self, line: Bytes) {
        self.shared.ring().push(line);
        self.told_news();
    }

    fn told_news(&self) {
        let last = self.shared.ring().last;
        self.shared.news.send_modify(|news| news.last = last);
    }
}

fn encode(event: &Event) -> Bytes {
    let mut line = Vec::with_capacity(256);
    write(event, &mut line);
    line.into()
}

/// Nothing here panics while it holds a lock; should it, what the lock guards is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
