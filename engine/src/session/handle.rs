//! What others hold of a session: ask for something, watch what happens.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::actor::Request;
use super::cut::Rendition;
use super::log::Log;
use super::shelf::{Missing, Served, Shelf};
use super::state::{Cause, Force, Kind, State};
use super::viewers::{Seen, Viewer, Viewers};
use super::{Code, Fault, Hold, Id};

/// Everything that can be said of a session without asking it.
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "the contract's words, explained where they travel: `sluice_protocol::Session`"
)]
pub struct Snapshot {
    pub id: Id,
    pub generation: u64,
    pub state: State,
    pub state_since: Timestamp,
    pub cause: Cause,
    pub fault: Option<Fault>,
    pub kind: Option<Kind>,
    /// The address, masked.
    pub url: String,
    pub title: Option<String>,
    pub content_type: &'static str,
    pub source_id: Option<String>,
    pub user: Option<String>,
    pub hold: Option<Hold>,
    pub runs: Vec<RunSnapshot>,
    pub started_at: Timestamp,
    pub last_access: Option<Timestamp>,
    pub viewers: u32,
    pub duration: Option<f64>,
    pub position: Option<f64>,
    pub produced: f64,
    pub segments: u64,
    pub bytes: u64,
    pub bitrate: Option<u64>,
    pub frames_dropped: Option<u64>,
    pub video: Option<String>,
    pub audio: Option<String>,
    pub restarts: u64,
    pub retry_at: Option<Timestamp>,
    pub warnings: Vec<String>,
    /// Ended, it comes back when its playlist is asked for.
    pub revivable: bool,
    /// Whether it counts against the limit of active sessions.
    pub active: bool,
    pub argv: Vec<Vec<String>>,
    pub probe: Option<Arc<crate::ffmpeg::Probe>>,
    pub past_runs: Vec<PastRun>,
}

/// A living run.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the contract's words, explained where they travel: `sluice_protocol::Run`")]
pub struct RunSnapshot {
    pub run: u32,
    pub pid: Option<u32>,
    pub from: f64,
    pub at: Option<f64>,
    pub state: State,
    pub speed: Option<f64>,
    pub fps: Option<f64>,
    pub cpu: Option<f64>,
    pub rss: Option<u64>,
}

/// A run that ended.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    missing_docs,
    reason = "the contract's words, explained where they travel: `sluice_protocol::PastRun`"
)]
pub struct PastRun {
    pub run: u32,
    pub from: f64,
    pub to: Option<f64>,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    pub exit: String,
    pub reason: Option<String>,
}

/// A session, from outside. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: Id,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    wishes: mpsc::Sender<Wanted>,
    orders: mpsc::Sender<Command>,
    shelf: Arc<Shelf>,
    log: Arc<Log>,
    viewers: Arc<Viewers>,
    dismissed: CancellationToken,
    patience: Duration,
}

/// Somebody wants it to be playable, and waits.
#[derive(Debug)]
pub(super) struct Wanted {
    pub cause: Cause,
    /// When it was asked.
    pub asked: Instant,
    /// What a start asked for, if it was one: it counts where the session begins anew.
    pub request: Option<Box<Request>>,
    pub reply: oneshot::Sender<Result<(), Fault>>,
}

/// What an operator, or the registry, wants of it.
#[derive(Debug)]
pub(super) struct Command {
    pub order: Order,
    pub who: Arc<str>,
    /// Only if the session is still at this generation.
    pub generation: Option<u64>,
    pub reply: oneshot::Sender<Result<Arc<Snapshot>, Fault>>,
}

/// The orders.
#[derive(Debug)]
pub(super) enum Order {
    Stop {
        force: Force,
        hold_for: Option<Duration>,
    },
    Resume,
    Restart,
    /// A viewer's `clear`: ended at once, without a hold.
    Clear,
}

/// The session's ends of what a handle holds.
pub(super) struct Ends {
    pub snapshot: watch::Sender<Arc<Snapshot>>,
    pub wishes: mpsc::Receiver<Wanted>,
    pub orders: mpsc::Receiver<Command>,
    pub dismissed: CancellationToken,
}

/// The ladder of an end takes no longer.
const STOPPING: Duration = Duration::from_secs(6);
/// Joins that wait at the same time; the hundred of a family that opens one channel fit easily.
const WISHES: usize = 1_024;
/// Orders that wait at the same time.
const ORDERS: usize = 16;

impl Handle {
    pub(super) fn new(
        first: Snapshot,
        shelf: Arc<Shelf>,
        log: Arc<Log>,
        viewers: Arc<Viewers>,
        patience: Duration,
    ) -> (Self, Ends) {
        let id = first.id;
        let (snapshot_to, snapshot) = watch::channel(Arc::new(first));
        let (wishes, wishes_from) = mpsc::channel(WISHES);
        let (orders, orders_from) = mpsc::channel(ORDERS);
        let dismissed = CancellationToken::new();
        let ends = Ends {
            snapshot: snapshot_to,
            wishes: wishes_from,
            orders: orders_from,
            dismissed: dismissed.clone(),
        };
        (
            Self(Arc::new(Inner { id, snapshot, wishes, orders, shelf, log, viewers, dismissed, patience })),
            ends,
        )
    }

    /// Its id.
    pub fn id(&self) -> Id {
        self.0.id
    }

    /// How it is.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.borrow().clone()
    }

    /// Its segments.
    pub fn shelf(&self) -> &Arc<Shelf> {
        &self.0.shelf
    }

    /// What its runs say.
    pub fn log(&self) -> &Arc<Log> {
        &self.0.log
    }

    /// Who watches.
    pub fn viewers(&self) -> Vec<Seen> {
        self.0.viewers.list()
    }

    /// A viewer asked for something.
    pub fn heard(&self, viewer: &Viewer) {
        self.0.viewers.heard(viewer, None);
    }

    /// A viewer leaves; what follows from it comes a little later, if nobody thinks better of it.
    pub fn leave(&self, viewer: &Viewer) {
        self.0.viewers.leave(viewer);
    }

    /// The refusal that viewers get while an operator holds it.
    pub fn held(&self) -> Option<Fault> {
        let snapshot = self.snapshot();
        snapshot.hold.as_ref().map(|hold| super::actor::held(Some(hold), self.0.id))
    }

    /// Whether nobody but `viewer` watches.
    pub fn is_alone(&self, viewer: &Viewer) -> bool {
        self.viewers().iter().all(|seen| seen.viewer == *viewer)
    }

    /// Makes it go if it rests, and waits until it is playable.
    pub async fn playable(&self, cause: Cause) -> Result<Arc<Snapshot>, Fault> {
        self.started(cause, None).await
    }

    pub(super) async fn started(
        &self,
        cause: Cause,
        request: Option<Request>,
    ) -> Result<Arc<Snapshot>, Fault> {
        let _waiting = self.0.viewers.waiting();
        let (reply, answer) = oneshot::channel();
        let busy = || Fault::refusal(Code::Busy, "the session has too much to do; ask again in a moment");
        let request = request.map(Box::new);
        self.0.wishes.try_send(Wanted { cause, asked: Instant::now(), request, reply }).map_err(|error| {
            match error {
                mpsc::error::TrySendError::Full(_) => busy(),
                mpsc::error::TrySendError::Closed(_) => gone(),
            }
        })?;
        let patience = self.0.patience;
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(Ok(()))) => Ok(self.snapshot()),
            Ok(Ok(Err(fault))) => Err(fault),
            Ok(Err(_)) => Err(gone()),
            Err(_) => {
                let why = self
                    .snapshot()
                    .fault
                    .clone()
                    .map_or_else(|| "nothing playable came".to_owned(), |fault| fault.reason);
                let reason = format!("not playable after {} s: {why}", patience.as_secs());
                Err(Fault::refusal(Code::TimedOut, reason))
            }
        }
    }

    /// Makes it go on if it rests, without waiting for it.
    pub fn nudge(&self) {
        let (reply, _) = oneshot::channel();
        // A session with a full inbox is awake.
        drop(self.0.wishes.try_send(Wanted {
            cause: Cause::Demand,
            asked: Instant::now(),
            request: None,
            reply,
        }));
    }

    /// A viewer who is leaving this session began another one of the same source.
    pub(super) fn left_for_another(&self, viewer: &Viewer) {
        self.0.viewers.left_for_another(viewer);
    }

    /// How it is once it no longer is being stopped, or after as long as that can take.
    pub(super) async fn stopping_over(&self) -> Arc<Snapshot> {
        let mut snapshot = self.0.snapshot.clone();
        let over = snapshot.wait_for(|snapshot| snapshot.state != State::Stopping);
        // Either way the answer is how it is now.
        drop(tokio::time::timeout(STOPPING, over).await);
        self.snapshot()
    }

    /// Waits until it is in history.
    pub(super) async fn ended(&self) {
        let mut snapshot = self.0.snapshot.clone();
        // An error means that its task is gone, which is as ended as can be.
        drop(snapshot.wait_for(|snapshot| snapshot.state == State::Ended).await);
    }

    /// A segment for a viewer, if it exists. On a stopped session it is served, and wakes nothing; what does
    /// not exist makes it go on.
    pub async fn segment(
        &self,
        viewer: &Viewer,
        rendition: Rendition,
        number: u64,
    ) -> Result<Served, Missing> {
        let at = self.0.shelf.start_of(number);
        self.0.viewers.heard(viewer, at);
        if at.is_none() && self.snapshot().state == State::Stopped {
            self.nudge();
        }
        self.0.shelf.segment(rendition, number).await
    }

    pub(super) async fn order(
        &self,
        order: Order,
        who: Arc<str>,
        generation: Option<u64>,
    ) -> Result<Arc<Snapshot>, Fault> {
        let (reply, answer) = oneshot::channel();
        self.0.orders.send(Command { order, who, generation, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Ends its task; only for what has no run left.
    pub(super) fn dismiss(&self) {
        self.0.dismissed.cancel();
    }
}

fn gone() -> Fault {
    Fault::refusal(Code::NoSession, "the session is gone")
}
