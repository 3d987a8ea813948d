//! Who exists: id to handle, address to id; admission, operators' orders, history and orderly shutdown.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::actor::{Actor, Request};
use super::handle::{self, Handle, Snapshot};
use super::inputs::{Inputs, address_fault};
use super::log::Log;
use super::shelf::Shelf;
use super::state::{Cause, Change, Force, Life, Policy, State};
use super::store::Store;
use super::viewers::{Viewer, Viewers};
use super::{Code, Fault, Id};
use crate::address::{Address, Rules};
use crate::config;
use crate::ffmpeg;
use crate::metrics::{self, Lease, Metrics, Readings};
use crate::mux::Time;
use crate::process::Launcher;

/// News that a slow reader may fall behind by, before it has to look at everything again.
const FEED: usize = 4_096;
/// A title, a user's name or an id is no longer than this.
const LONGEST_LABEL: usize = 512;
/// After its last ffmpeg is reaped, a session has nothing more to wait for.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Requests wait for this much longer than the looks and the start they wait for.
const GRACE: Duration = Duration::from_secs(10);

/// What every session works with.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct World {
    pub sessions: config::Sessions,
    pub segment: Duration,
    pub live_dvr: Duration,
    /// What a decision goes by, but for what a start says.
    pub settings: ffmpeg::Settings,
    pub ffmpeg: PathBuf,
    pub rules: Arc<Rules>,
    pub inputs: Inputs,
    pub launcher: Launcher,
    pub store: Arc<Store>,
    pub shutdown: CancellationToken,
    /// The tasks of all runs.
    pub runs: TaskTracker,
    pub metrics: Arc<Metrics>,
    places: Arc<Semaphore>,
    feed: broadcast::Sender<Arc<Happening>>,
}

/// Something that operators are told.
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "the contract's words, explained where they travel: `sluice_protocol::Event`"
)]
pub enum Happening {
    Changed { at: Timestamp, id: Id, change: Change, who: Option<Arc<str>> },
    Acted { at: Timestamp, who: Arc<str>, what: &'static str, id: Option<Id>, result: Result<(), Code> },
    Removed(Id),
}

/// What a start asks for.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the contract's words")]
pub struct Start {
    pub url: String,
    pub content_type: Option<String>,
    pub title: Option<String>,
    pub source_id: Option<String>,
    pub user: Option<String>,
    pub deinterlace_fallback: bool,
    /// A hint where a timeline is entered.
    pub start_at: Option<f64>,
    /// It goes on with nobody watching.
    pub pinned: bool,
    /// The operator who starts it.
    pub by: Option<Arc<str>>,
}

/// A started session.
#[derive(Debug)]
pub struct Started {
    /// The session.
    pub handle: Handle,
    /// How it was when it became playable.
    pub snapshot: Arc<Snapshot>,
}

/// An operator's stop.
#[derive(Debug, Clone, Copy)]
pub struct Stop {
    /// Whether it is killed and its segments deleted.
    pub force: Force,
    /// How long it is held; `None` is until resumed.
    pub hold_for: Option<Duration>,
}

/// How an operator makes it go again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumption {
    /// Lift the hold, go on.
    Resume,
    /// Its ffmpeg anew.
    Restart,
}

/// Sums over all sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[expect(
    missing_docs,
    reason = "the contract's words, explained where they travel: `sluice_protocol::Totals`"
)]
pub struct Totals {
    pub sessions: u64,
    pub active: u64,
    pub runs: u64,
    pub viewers: u64,
    pub started: u64,
    pub cpu: f64,
    pub rss: u64,
}

/// All sessions of the engine.
#[derive(Debug)]
pub struct Registry {
    world: Arc<World>,
    inner: Mutex<Inner>,
    actors: TaskTracker,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<Id, Entry>,
    keys: HashMap<Key, Id>,
    started: u64,
}

#[derive(Debug)]
struct Entry {
    handle: Handle,
    key: Key,
}

/// What makes two starts one session: the address, and all that changes the output.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    address: String,
    deinterlace_fallback: bool,
}

/// Seconds as they were asked for, to the microsecond.
pub(super) fn moment(seconds: f64) -> Time {
    Time::new((seconds * 1e6).round() as i64, 1_000_000)
}

impl World {
    /// `settings` are those of a start that says nothing.
    pub fn new(
        config: &config::Config,
        settings: ffmpeg::Settings,
        rules: Arc<Rules>,
        inputs: Inputs,
        launcher: Launcher,
        store: Arc<Store>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            sessions: config.sessions.clone(),
            segment: config.transcode.segment_duration,
            live_dvr: config.transcode.live_dvr,
            settings,
            ffmpeg: config.ffmpeg.path.clone(),
            rules,
            inputs,
            launcher,
            store,
            shutdown,
            runs: TaskTracker::new(),
            metrics: Arc::default(),
            places: Arc::new(Semaphore::new(config.sessions.max)),
            feed: broadcast::Sender::new(FEED),
        }
    }

    pub(super) fn tell(&self, happening: Happening) {
        // Nobody listens at times.
        drop(self.feed.send(Arc::new(happening)));
    }

    /// How long a request may wait for media.
    pub(super) fn patience(&self) -> Duration {
        self.sessions.probe_timeout + self.sessions.start_timeout + GRACE
    }

    /// A place among the sessions that are active; it is free again when it is dropped.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, Fault> {
        self.places.clone().try_acquire_owned().map_err(|_| {
            let reason = format!("{} sessions are active, as many as sessions.max allows", self.sessions.max);
            let mut fault = Fault::refusal(Code::AtCapacity, reason);
            fault.retry_after = Some(Duration::from_secs(10));
            fault
        })
    }
}

impl Registry {
    /// No sessions yet.
    pub fn new(world: World) -> Arc<Self> {
        Arc::new(Self { world: Arc::new(world), inner: Mutex::default(), actors: TaskTracker::new() })
    }

    /// What all sessions work with.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// What happens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Happening>> {
        self.world.feed.subscribe()
    }

    /// Starts a session, or joins the one that there is; answers when it is playable.
    pub async fn start(&self, start: Start, viewer: Option<&Viewer>, cause: Cause) -> Result<Started, Fault> {
        let content_type = content_type(start.content_type.as_deref())?;
        for label in [&start.title, &start.source_id, &start.user].into_iter().flatten() {
            if label.len() > LONGEST_LABEL {
                return Err(Fault::refusal(
                    Code::BadRequest,
                    format!("a title, a user or a source_id may have {LONGEST_LABEL} bytes"),
                ));
            }
        }
        let address = self.address(start.url).await?;
        let source = self.world.rules.source_for(&address, start.source_id.as_deref()).cloned();
        let settings =
            ffmpeg::Settings { deinterlace_fallback: start.deinterlace_fallback, ..self.world.settings };
        let key =
            Key { address: address.as_ffmpeg().to_owned(), deinterlace_fallback: start.deinterlace_fallback };
        let clean = |text: Option<String>| text.map(|text| ffmpeg::clean(&text).into_owned());
        let request = Request {
            address,
            source_id: source.as_ref().map(|source| source.id.clone()).or(clean(start.source_id)),
            source,
            content_type,
            title: clean(start.title),
            user: clean(start.user),
            by: start.by,
            pinned: start.pinned,
            settings,
        };
        let source = request.source_id.clone().filter(|_| request.source.is_some());
        let (handle, request) = self.join(key, request)?;
        if let Some(viewer) = viewer {
            handle.heard_at(viewer, start.start_at.map(moment));
            self.hurry(viewer, source.as_deref(), handle.id());
        }
        let snapshot = handle.started(cause, Some(request)).await?;
        Ok(Started { handle, snapshot })
    }

    /// Reads an address; for a file that asks the file system, which may take its time.
    async fn address(&self, text: String) -> Result<Address, Fault> {
        let rules = self.world.rules.clone();
        let parsed = tokio::task::spawn_blocking(move || Address::parse(&text, &rules)).await;
        let panicked = |_| Fault::new(Code::Internal, Cause::Internal, "reading the address panicked");
        parsed.map_err(panicked)?.map_err(|error| address_fault(&error))
    }

    /// The session of a key, which may have to be made.
    fn join(&self, key: Key, request: Request) -> Result<(Handle, Request), Fault> {
        if self.world.shutdown.is_cancelled() {
            return Err(Fault::refusal(Code::ShuttingDown, "the engine is shutting down"));
        }
        let mut inner = self.lock();
        if let Some(entry) = inner.keys.get(&key).and_then(|id| inner.sessions.get(id)) {
            return Ok((entry.handle.clone(), request));
        }
        let place = self.world.place()?;
        let id = Uuid::new_v4();
        let handle = self.create(id, request.clone(), place);
        inner.started += 1;
        inner.keys.insert(key.clone(), id);
        inner.sessions.insert(id, Entry { handle: handle.clone(), key });
        self.forget_oldest(&mut inner);
        Ok((handle, request))
    }

    /// A viewer who leaves one address of a source for another does not think better of it: the slot is
    /// wanted now.
    fn hurry(&self, viewer: &Viewer, source: Option<&str>, besides: Id) {
        let Some(source) = source else { return };
        let handles: Vec<_> = self.lock().sessions.values().map(|entry| entry.handle.clone()).collect();
        for handle in handles {
            if handle.id() != besides && handle.snapshot().source_id.as_deref() == Some(source) {
                handle.left_for_another(viewer);
            }
        }
    }

    fn create(&self, id: Id, request: Request, place: OwnedSemaphorePermit) -> Handle {
        let world = &self.world;
        let sessions = &world.sessions;
        let policy = Policy {
            idle_timeout: sessions.idle_timeout,
            vod_cache: sessions.vod_cache,
            live_cache: sessions.live_cache,
            ahead_timeout: sessions.ahead_timeout,
            probe_timeout: sessions.probe_timeout,
            noise: f64::from(id.as_bytes()[0]) / 255.0,
        };
        let shelf = Shelf::new(id, world.store.clone(), world.live_dvr, world.segment);
        let log = Arc::new(Log::default());
        let viewers = Arc::new(Viewers::new(sessions.idle_timeout));
        let first = first_snapshot(id, &request);
        let (handle, ends) = Handle::new(first, shelf.clone(), log.clone(), viewers.clone(), world);
        let life = Life::new(policy, tokio::time::Instant::now());
        let actor = Actor::new(id, request, world.clone(), life, (shelf, log, viewers), ends, place);
        self.actors.spawn(actor.live());
        handle
    }

    /// A session by its id.
    pub fn get(&self, id: Id) -> Result<Handle, Fault> {
        let entry = self.lock().sessions.get(&id).map(|entry| entry.handle.clone());
        entry.ok_or_else(|| Fault::refusal(Code::NoSession, format!("no session has the id {id}")))
    }

    /// All sessions, in the order of their start; those in history too if they are held or asked for.
    pub fn list(&self, history: bool) -> Vec<Handle> {
        let mut handles: Vec<_> = self.lock().sessions.values().map(|entry| entry.handle.clone()).collect();
        handles.retain(|handle| {
            let snapshot = handle.snapshot();
            history || snapshot.state != State::Ended || snapshot.hold.is_some()
        });
        handles.sort_by_cached_key(|handle| (handle.snapshot().started_at, handle.id()));
        handles
    }

    /// Sums over all sessions.
    pub fn totals(&self) -> Totals {
        let (handles, started) = {
            let inner = self.lock();
            (inner.sessions.values().map(|entry| entry.handle.clone()).collect::<Vec<_>>(), inner.started)
        };
        let mut totals = Totals { started, ..Totals::default() };
        for snapshot in handles.iter().map(Handle::snapshot) {
            totals.sessions += u64::from(snapshot.state != State::Ended);
            totals.active += u64::from(snapshot.active);
            totals.viewers += u64::from(snapshot.viewers);
            totals.runs += snapshot.runs.len() as u64;
            totals.cpu += snapshot.runs.iter().filter_map(|run| run.cpu).sum::<f64>();
            totals.rss += snapshot.runs.iter().filter_map(|run| run.rss).sum::<u64>();
        }
        totals
    }

    /// All metrics, for whoever scrapes them.
    pub async fn scrape(self: &Arc<Self>, format: metrics::Format) -> Result<metrics::Exposition, Fault> {
        let registry = self.clone();
        // It asks the file system, which may take its time.
        let read =
            tokio::task::spawn_blocking(move || registry.world.metrics.expose(&registry.readings(), format));
        read.await.map_err(|_| Fault::new(Code::Internal, Cause::Internal, "reading the metrics panicked"))
    }

    /// How things are, for the gauges.
    fn readings(&self) -> Readings {
        let handles: Vec<_> = self.lock().sessions.values().map(|entry| entry.handle.clone()).collect();
        let mut sessions = State::ALL.map(|state| (state.name(), 0));
        let (store, most) = (&self.world.store, self.world.sessions.max);
        let totals = self.totals();
        for handle in handles {
            sessions[handle.snapshot().state as usize].1 += 1;
        }
        Readings {
            sessions: sessions.to_vec(),
            runs: totals.runs,
            viewers: totals.viewers,
            ffmpeg_memory: totals.rss,
            storage_bytes: store.used(),
            storage_free: store.free().ok(),
            segment_memory: store.held(),
            segment_memory_limit: store.memory(),
            leases: vec![Lease {
                kind: "engine",
                name: String::new(),
                taken: most.saturating_sub(self.world.places.available_permits()) as u64,
                limit: Some(most as u64),
            }],
            own: metrics::Own::read(),
        }
    }

    /// An operator stops a session, which holds it.
    pub async fn stop(
        &self,
        id: Id,
        stop: Stop,
        who: Arc<str>,
        generation: Option<u64>,
    ) -> Result<Arc<Snapshot>, Fault> {
        let what = if stop.force == Force::Yes { "force" } else { "stop" };
        let order = handle::Order::Stop { force: stop.force, hold_for: stop.hold_for };
        self.order(id, order, what, who, generation).await
    }

    /// An operator makes a session go again.
    pub async fn resume(
        &self,
        id: Id,
        how: Resumption,
        who: Arc<str>,
        generation: Option<u64>,
    ) -> Result<Arc<Snapshot>, Fault> {
        let (order, what) = match how {
            Resumption::Resume => (handle::Order::Resume, "resume"),
            Resumption::Restart => (handle::Order::Restart, "restart"),
        };
        self.order(id, order, what, who, generation).await
    }

    /// An operator wants a session to go on with nobody watching, or no longer does.
    pub async fn pin(&self, id: Id, pinned: bool, who: Arc<str>) -> Result<Arc<Snapshot>, Fault> {
        let what = if pinned { "pin" } else { "unpin" };
        self.order(id, handle::Order::Pin(pinned), what, who, None).await
    }

    /// An operator forgets an ended or held session: its address may be started again.
    pub async fn forget(&self, id: Id, who: Arc<str>) -> Result<Arc<Snapshot>, Fault> {
        let forgotten = match self.get(id) {
            Ok(handle) => self.forget_at_rest(&handle).await,
            Err(fault) => Err(fault),
        };
        let result = forgotten.as_ref().map(|_| ()).map_err(|fault| fault.code);
        self.acted(who, "forget", Some(id), result);
        forgotten
    }

    async fn forget_at_rest(&self, handle: &Handle) -> Result<Arc<Snapshot>, Fault> {
        // A held session that is still ending has what it takes in a moment.
        let snapshot = handle.stopping_over().await;
        let resting = snapshot.state == State::Ended || (snapshot.hold.is_some() && snapshot.runs.is_empty());
        if !resting {
            let reason = format!("the session is {}: stop it first, then forget it", snapshot.state.name());
            return Err(Fault::refusal(Code::Changed, reason));
        }
        self.remove(&mut self.lock(), handle.id());
        Ok(snapshot)
    }

    /// Tells operators what one of them did that is no order to a session.
    pub fn acted(&self, who: Arc<str>, what: &'static str, id: Option<Id>, result: Result<(), Code>) {
        self.world.tell(Happening::Acted { at: Timestamp::now(), who, what, id, result });
    }

    /// A viewer has the session of an address removed: the one that was, if nobody else watches it.
    pub async fn clear(&self, url: &str, viewer: &Viewer) -> Result<Option<Id>, Fault> {
        let address = self.address(url.to_owned()).await?;
        let address = address.as_ffmpeg().to_owned();
        let handles: Vec<_> = [false, true]
            .into_iter()
            .filter_map(|deinterlace_fallback| {
                let inner = self.lock();
                let id = inner.keys.get(&Key { address: address.clone(), deinterlace_fallback })?;
                inner.sessions.get(id).map(|entry| entry.handle.clone())
            })
            .collect();
        let mut cleared = None;
        for handle in handles {
            cleared = Some(handle.id());
            let snapshot = handle.snapshot();
            if snapshot.hold.is_some() || snapshot.pinned {
                // An operator's word is not a viewer's to take back.
                continue;
            }
            if handle.is_alone(viewer) {
                handle.order(handle::Order::Clear, Arc::from("viewer"), None).await?;
            } else {
                handle.leave(viewer);
            }
        }
        Ok(cleared)
    }

    /// Ends every session; returns when the last ffmpeg is reaped, or at the deadline.
    pub async fn shut_down(&self, limit: Duration) {
        self.world.shutdown.cancel();
        self.world.runs.close();
        if tokio::time::timeout(limit, self.world.runs.wait()).await.is_err() {
            tracing::warn!(runs = self.world.runs.len(), "some ffmpeg did not end in time; they are killed");
        }
        // What they leave behind is deleted by the store, which is closed next.
        let handles: Vec<_> = self.lock().sessions.values().map(|entry| entry.handle.clone()).collect();
        let ended = async {
            for handle in handles {
                handle.ended().await;
            }
        };
        if tokio::time::timeout(LAST_WORDS, ended).await.is_err() {
            tracing::warn!("some sessions did not reach their end in time");
        }
    }

    async fn order(
        &self,
        id: Id,
        order: handle::Order,
        what: &'static str,
        who: Arc<str>,
        generation: Option<u64>,
    ) -> Result<Arc<Snapshot>, Fault> {
        let outcome = match self.get(id) {
            Ok(handle) => handle.order(order, who.clone(), generation).await,
            Err(fault) => Err(fault),
        };
        self.acted(who, what, Some(id), outcome.as_ref().map(|_| ()).map_err(|fault| fault.code));
        outcome
    }

    /// History is bounded; what is held never falls out of it.
    fn forget_oldest(&self, inner: &mut Inner) {
        let ended = inner.sessions.values().map(|entry| entry.handle.snapshot());
        let mut ended: Vec<_> =
            ended.filter(|snapshot| snapshot.state == State::Ended && snapshot.hold.is_none()).collect();
        ended.sort_by_key(|snapshot| snapshot.state_since);
        let surplus = ended.len().saturating_sub(self.world.sessions.history);
        for snapshot in &ended[..surplus] {
            self.remove(inner, snapshot.id);
        }
    }

    fn remove(&self, inner: &mut Inner, id: Id) {
        if let Some(entry) = inner.sessions.remove(&id) {
            inner.keys.remove(&entry.key);
            entry.handle.dismiss();
            // Who follows the log of a held session would wait for ever.
            entry.handle.log().set_over(true);
            self.world.tell(Happening::Removed(id));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn content_type(asked: Option<&str>) -> Result<&'static str, Fault> {
    match asked {
        None | Some("" | "live") => Ok("live"),
        Some("auto") => Ok("auto"),
        Some("movie") => Ok("movie"),
        Some("series") => Ok("series"),
        Some(_) => {
            Err(Fault::refusal(Code::BadRequest, "content_type is one of auto, live, movie and series"))
        }
    }
}

fn first_snapshot(id: Id, request: &Request) -> Snapshot {
    let now = Timestamp::now();
    Snapshot {
        id,
        generation: 0,
        state: State::Starting,
        state_since: now,
        cause: Cause::Viewer,
        fault: None,
        kind: None,
        url: request.address.masked(),
        title: request.title.clone(),
        content_type: request.content_type,
        source_id: request.source_id.clone(),
        user: request.user.clone(),
        hold: None,
        pinned: false,
        runs: Vec::new(),
        started_at: now,
        last_access: None,
        viewers: 0,
        duration: None,
        position: None,
        produced: Time::ZERO.seconds(),
        segments: 0,
        bytes: 0,
        bitrate: None,
        frames_dropped: None,
        video: None,
        audio: None,
        restarts: 0,
        retry_at: None,
        warnings: Vec::new(),
        revivable: false,
        active: true,
        argv: Vec::new(),
        probe: None,
        past_runs: Vec::new(),
    }
}
