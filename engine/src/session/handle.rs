//! What others hold of a session: ask for something, watch what happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_128;

use super::actor::Request;
use super::cut::Rendition;
use super::log::Log;
use super::plan::Wait;
use super::registry::{World, moment};
use super::shelf::{Index, Missing, Served, Shelf};
use super::state::{Cause, Force, Kind, State};
use super::viewers::{Seen, Viewer, Viewers};
use super::{Code, Fault, Hold, Id};
use crate::metrics::Metrics;
use crate::mux::{Time, ts};

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
    pub pinned: bool,
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

impl Snapshot {
    /// The seconds that can be asked for: of a timeline every moment, whether its segment exists or not.
    pub fn playable(&self) -> f64 {
        let whole = self.duration.filter(|_| self.kind == Some(Kind::Timeline));
        whole.unwrap_or(self.produced)
    }
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
    pub cause: Cause,
    pub code: Option<Code>,
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
    metrics: Arc<Metrics>,
    asked: AtomicU64,
}

/// Somebody wants it to be playable, or a segment of it, and waits.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Tells it from the others.
    pub id: u64,
    pub cause: Cause,
    pub goal: Goal,
    /// When it was asked.
    pub asked: Instant,
    /// What a start asked for, if it was one: it counts where the session begins anew.
    pub request: Option<Box<Request>>,
    pub reply: oneshot::Sender<Result<(), Fault>>,
}

/// What is waited for.
#[derive(Debug)]
pub(super) enum Goal {
    /// Anything that can be played.
    Playable,
    /// A segment of a timeline.
    Segment(Wait),
}

/// Why there is no segment to send.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unserved {
    /// There is none, or it can't be read.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// It can't be made, or not now.
    #[error(transparent)]
    Refused(#[from] Fault),
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
    /// It goes on whether anybody watches or not, or no longer does.
    Pin(bool),
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
/// A transport stream has room before its first clock reference.
const TS_LEAD: Time = Time::from_secs(10);
/// Cues come a moment after the pictures beside them.
const TEXT_LAG: Duration = Duration::from_secs(1);
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
        world: &World,
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
            Self(Arc::new(Inner {
                id,
                snapshot,
                wishes,
                orders,
                shelf,
                log,
                viewers,
                dismissed,
                patience: world.patience(),
                metrics: world.metrics.clone(),
                asked: AtomicU64::new(0),
            })),
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

    /// A viewer asked for something, and will go on at that moment.
    pub(super) fn heard_at(&self, viewer: &Viewer, moment: Option<Time>) {
        self.0.viewers.heard(viewer, moment);
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
        self.wanted(cause, Goal::Playable, request).await
    }

    async fn wanted(
        &self,
        cause: Cause,
        goal: Goal,
        request: Option<Request>,
    ) -> Result<Arc<Snapshot>, Fault> {
        let _waiting = self.0.viewers.waiting();
        let (reply, answer) = oneshot::channel();
        let request = request.map(Box::new);
        let wanted = Wanted { id: self.next_id(), cause, goal, asked: Instant::now(), request, reply };
        self.0.wishes.try_send(wanted).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Fault::refusal(Code::Busy, "the session has too much to do; ask again in a moment")
            }
            mpsc::error::TrySendError::Closed(_) => gone(),
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
                    .map_or_else(|| "what was asked for did not come".to_owned(), |fault| fault.reason);
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
            id: self.next_id(),
            cause: Cause::Demand,
            goal: Goal::Playable,
            asked: Instant::now(),
            request: None,
            reply,
        }));
    }

    fn next_id(&self) -> u64 {
        self.0.asked.fetch_add(1, Ordering::Relaxed)
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

    /// A segment for a viewer. One of a timeline that does not exist yet is waited for. On a stopped session
    /// what exists is served, and wakes nothing; what does not makes it go on.
    pub async fn segment(
        &self,
        viewer: &Viewer,
        rendition: Rendition,
        number: u64,
    ) -> Result<Served, Unserved> {
        self.0.viewers.heard(viewer, self.0.shelf.start_of(number));
        // One look decides: what is published after it is found when it is waited for.
        if Self::can_be_made(&self.0.shelf.index(), rendition, number) {
            self.made(viewer, number).await?;
        }
        match self.0.shelf.segment(rendition, number).await {
            Err(Missing::Absent) => {
                if self.0.shelf.start_of(number).is_none() && self.snapshot().state == State::Stopped {
                    self.nudge();
                }
                Err(Missing::Absent.into())
            }
            served => Ok(served?),
        }
    }

    /// The subtitles beside a segment, as WebVTT. Where that segment does not exist yet it is waited for like the
    /// picture; but players read subtitles well before they are shown, so it says nothing of where a viewer is.
    pub async fn subtitle_segment(
        &self,
        viewer: &Viewer,
        track: u8,
        number: u64,
    ) -> Result<Served, Unserved> {
        self.0.viewers.heard(viewer, None);
        let shelf = &self.0.shelf;
        let main = shelf.index().shapes.first().map_or(Rendition::Video, |shape| shape.rendition);
        if shelf.index().has_subtitle(track) == Some(false) {
            return Err(Missing::Absent.into());
        }
        if Self::can_be_made(&shelf.index(), main, number) {
            self.made(viewer, number).await?;
        }
        let index = shelf.index();
        let segment = index.get(number).ok_or(Missing::Absent)?;
        let (track, from, to) = (usize::from(track), segment.start, segment.start + segment.length);
        // Where nobody reads it any more, what is known has to do.
        drop(tokio::time::timeout(TEXT_LAG, index.cues.until_covered(track, from, to)).await);
        Ok(text(index.cues.segment(track, from, to, index.delay)))
    }

    /// All that is known of a subtitle track by now, as WebVTT; `None` if there is no such track.
    pub fn subtitles(&self, viewer: &Viewer, track: u8) -> Option<Served> {
        self.0.viewers.heard(viewer, None);
        let index = self.0.shelf.index();
        let known = index.has_subtitle(track).unwrap_or(self.snapshot().state != State::Ended);
        known.then(|| text(index.cues.whole(usize::from(track), index.delay)))
    }

    /// A segment as muxed MPEG-TS: the picture with the first sound, made of what is on the shelf.
    pub async fn transport_stream(&self, viewer: &Viewer, number: u64) -> Result<Served, Unserved> {
        let renditions: Vec<_> = self.0.shelf.index().shapes.iter().map(|shape| shape.rendition).collect();
        let main = renditions.first().copied().unwrap_or(Rendition::Video);
        // What is waited for, and who was heard, is the same for both.
        drop(self.segment(viewer, main, number).await?);
        let (mut video, mut audio) = (None, None);
        for (rendition, piece) in [(Rendition::Video, &mut video), (Rendition::Audio(0), &mut audio)] {
            match self.0.shelf.piece(rendition, number).await {
                Ok(found) => *piece = Some(found),
                // Sound may begin late and end early; that there is some, each segment says all the same.
                Err(Missing::Absent) => {
                    *piece = self.0.shelf.track(rendition).map(|track| (track, Bytes::new()));
                }
                Err(Missing::Lost) => return Err(Missing::Lost.into()),
            }
        }
        let muxed = tokio::task::spawn_blocking(move || {
            let video = video.as_ref().map(|(track, bytes)| (&**track, bytes));
            let audio = audio.as_ref().map(|(track, bytes)| (&**track, bytes));
            ts::remux(video, audio, TS_LEAD)
        });
        let failed = |reason: String| Fault::new(Code::Internal, Cause::Internal, reason);
        let muxed = muxed.await.map_err(|_| failed("writing a transport stream panicked".to_owned()))?;
        let bytes = muxed.map_err(|error| {
            Fault::refusal(Code::Unsupported, format!("this can't be had as MPEG-TS: {error}"))
        })?;
        Ok(Served { etag: format!("\"{:032x}\"", xxh3_128(&bytes)), bytes })
    }

    /// Prepares a moment of a timeline, in seconds: answers the number of its segment when that exists.
    pub async fn seek(&self, viewer: &Viewer, seconds: f64) -> Result<u64, Fault> {
        if self.snapshot().kind != Some(Kind::Timeline) {
            return Err(Fault::refusal(Code::NotSeekable, "this session is no timeline"));
        }
        if self.0.shelf.index().grid.is_none() {
            self.playable(Cause::Demand).await?;
        }
        let index = self.0.shelf.index();
        let Some(grid) = &index.grid else {
            return Err(Fault::refusal(Code::NotSeekable, "this session is no timeline any more"));
        };
        let number = grid.at(moment(seconds));
        self.0.viewers.heard(viewer, Some(grid.start(number)));
        if index.get(number).is_none() {
            self.made(viewer, number).await?;
        }
        Ok(number)
    }

    /// Waits until a segment of a timeline exists, or can't.
    async fn made(&self, viewer: &Viewer, number: u64) -> Result<(), Fault> {
        let wait = Wait { id: self.next_id(), number, viewer: Some(viewer.clone()), since: Instant::now() };
        // It counts until this is dropped, also by a client that goes away.
        let _waiting = self.0.metrics.waiting();
        self.wanted(Cause::Demand, Goal::Segment(wait), None).await.map(drop)
    }

    /// Whether a segment that does not exist is one of a timeline. Of one that was cleared nobody knows yet.
    fn can_be_made(index: &Index, rendition: Rendition, number: u64) -> bool {
        let offered =
            index.shapes.is_empty() || index.shapes.iter().any(|shape| shape.rendition == rendition);
        let planned = index.grid.as_ref().is_none_or(|grid| number < grid.count());
        index.kind == Kind::Timeline && offered && planned && index.get(number).is_none()
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

fn text(text: String) -> Served {
    Served { etag: format!("\"{:032x}\"", xxh3_128(text.as_bytes())), bytes: text.into() }
}

fn gone() -> Fault {
    Fault::refusal(Code::NoSession, "the session is gone")
}
