//! One task per session: gathers events, calls `step`, carries out the actions, and says how it is.

mod input;
mod orders;
mod runs;
mod snapshot;
mod steer;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use self::input::Opened;
use self::runs::Living;
use self::steer::Pace;
use super::cut::Silence;
use super::handle::{Ends, PastRun, Wanted};
use super::inputs::Known;
use super::log::Log;
use super::plan::Planner;
use super::registry::{Happening, World};
use super::run::{Report, Wish};
use super::shelf::Shelf;
use super::state::{Action, Cause, Change, Event, Life, State};
use super::viewers::Viewers;
use super::{Code, Fault, Hold, Id};
use crate::address::Address;
use crate::config::Source;
use crate::ffmpeg::{self, Level};

/// Reports of the runs that wait.
const REPORTS: usize = 64;
/// Warnings that are kept.
const WARNINGS: usize = 8;

/// What a session was asked for.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub address: Address,
    pub source: Option<Source>,
    pub source_id: Option<String>,
    pub content_type: &'static str,
    pub title: Option<String>,
    pub user: Option<String>,
    /// The operator who asks.
    pub by: Option<Arc<str>>,
    /// It goes on with nobody watching.
    pub pinned: bool,
    pub settings: ffmpeg::Settings,
}

pub(super) struct Actor {
    id: Id,
    request: Request,
    world: Arc<World>,
    life: Life,
    shelf: Arc<Shelf>,
    log: Arc<Log>,
    viewers: Arc<Viewers>,
    ends: Ends,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
    opening: Option<JoinHandle<Result<Arc<Known>, Fault>>>,
    input: Option<Opened>,
    runs: BTreeMap<u32, Living>,
    past: VecDeque<PastRun>,
    waiting: Vec<Wanted>,
    hold: Option<Hold>,
    /// Whose order the next change of state follows.
    who: Option<Arc<str>>,
    generation: u64,
    since: Timestamp,
    cause: Cause,
    fault: Option<Fault>,
    started_at: Timestamp,
    restarts: u64,
    warnings: Vec<String>,
    /// Its key frames were found too far apart to cut at: its picture is encoded, however often it is looked at.
    long_gop: bool,
    /// It had failed before it was started again.
    anew: bool,
    /// Its seat among the sessions that are active.
    seat: Option<OwnedSemaphorePermit>,
    /// It was told that the engine shuts down.
    closing: bool,
    /// Its index of key frames proved wrong: its picture is encoded.
    index_lies: bool,
    /// Where sound tracks have nothing, rising for each.
    silences: Vec<Silence>,
    /// The place that did not fit, and how often.
    misfits: (u64, u32),
    /// The place where the input ended too early, and how often.
    short: (u64, u32),
    /// The segments of a timeline that exist, or were given up.
    made: BTreeSet<u64>,
    /// Where a run of a timeline failed, how often, and until when nobody tries again.
    failures: BTreeMap<u64, u32>,
    cooling: BTreeMap<u64, Instant>,
    /// Where the next run of a timeline begins.
    begin_at: Option<u64>,
    planner: Planner,
    pace: Pace,
    /// When the plan may be another though nothing happens.
    wake: Option<Instant>,
}

impl Actor {
    pub(super) fn new(
        id: Id,
        request: Request,
        world: Arc<World>,
        life: Life,
        parts: (Arc<Shelf>, Arc<Log>, Arc<Viewers>),
        ends: Ends,
        seat: OwnedSemaphorePermit,
    ) -> Self {
        let (shelf, log, viewers) = parts;
        let now = Timestamp::now();
        Self {
            id,
            request,
            world,
            life,
            shelf,
            log,
            viewers,
            ends,
            reports: mpsc::channel(REPORTS),
            opening: None,
            input: None,
            runs: BTreeMap::new(),
            past: VecDeque::new(),
            waiting: Vec::new(),
            hold: None,
            who: None,
            generation: 0,
            since: now,
            cause: Cause::Viewer,
            fault: None,
            started_at: now,
            restarts: 0,
            warnings: Vec::new(),
            long_gop: false,
            anew: false,
            seat: Some(seat),
            closing: false,
            index_lies: false,
            silences: Vec::new(),
            misfits: (0, 0),
            short: (0, 0),
            made: BTreeSet::new(),
            failures: BTreeMap::new(),
            cooling: BTreeMap::new(),
            begin_at: None,
            planner: Planner::default(),
            pace: Pace::unknown(),
            wake: None,
        }
    }

    /// Lives until it is dismissed.
    pub(super) async fn live(mut self) {
        let mut trouble = self.shelf.trouble();
        loop {
            let patient =
                self.waiting.iter().map(|wanted| wanted.asked + self.world.sessions.start_timeout).min();
            let patient = patient.filter(|_| self.life.state() == State::Backoff);
            let deadline = self
                .life
                .deadline()
                .into_iter()
                .chain(self.viewers.leaving())
                .chain(patient)
                .chain(self.wake)
                .min();
            let deadline = deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            let shutdown = self.world.shutdown.clone();
            let viewers = self.viewers.clone();
            tokio::select! { biased;
                () = self.ends.dismissed.cancelled() => break,
                () = shutdown.cancelled(), if !self.closing => {
                    self.closing = true;
                    self.step(Event::Shutdown);
                }
                Some(command) = self.ends.orders.recv() => self.obey(command),
                Some(report) = self.reports.1.recv() => self.hear(report),
                looked = looked(&mut self.opening) => self.opened(looked),
                Some(wanted) = self.ends.wishes.recv() => self.want(wanted),
                Ok(()) = trouble.changed() => {
                    let fault = trouble.borrow_and_update().clone();
                    if let Some(fault) = fault {
                        self.in_trouble(fault);
                    }
                }
                () = viewers.moved() => {}
                () = sleep_until(deadline) => self.tick(),
            }
            self.settle();
        }
        // Dismissed sessions have no run; should one be left, its task ends it.
        for (_, living) in std::mem::take(&mut self.runs) {
            living.wish.send_replace(Wish::Kill);
            drop(living.task.await);
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.life.heard(self.viewers.last_access());
        if self.viewers.leaving().is_some_and(|at| at <= now) {
            self.viewers.left();
            self.step(Event::Left);
        }
        self.step(Event::Tick);
    }

    /// What follows from where things are now: back-pressure, answers to those who wait, the snapshot.
    fn settle(&mut self) {
        self.life.heard(self.viewers.last_access());
        self.answer();
        self.steer();
        // What was steered may be what somebody waits for.
        self.answer();
        if !self.life.is_opening()
            && let Some(opening) = self.opening.take()
        {
            // Nobody wants to know any more, and it holds a connection to the source.
            opening.abort();
        }
        if !self.life.is_active() {
            self.seat = None;
        }
        let snapshot = Arc::new(self.snapshot());
        self.ends.snapshot.send_replace(snapshot);
    }

    fn step(&mut self, event: Event) {
        let now = Instant::now();
        for action in self.life.step(event, now) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Open => self.open(),
            Action::Launch(run) => self.launch(run),
            Action::Pause(run) => self.wish(run, Wish::Pause),
            Action::Unpause(run) => self.wish(run, Wish::Read),
            Action::Terminate(run) => self.wish(run, Wish::Terminate),
            Action::TerminateAgain(run) => self.wish(run, Wish::TerminateAgain),
            Action::Kill(run) => self.wish(run, Wish::Kill),
            Action::DropSegments => self.drop_segments(),
            Action::Announce(change) => self.announce(change),
            Action::HoldOver => {
                // What follows is that operator's doing.
                self.who = self.hold.take().map(|hold| hold.by);
            }
        }
    }

    fn wish(&mut self, run: u32, wish: Wish) {
        if let Some(living) = self.runs.get(&run) {
            living.wish.send_replace(wish);
        }
    }

    /// Only so many sessions may be active.
    fn take_place(&mut self) -> Result<(), Fault> {
        if self.seat.is_none() {
            self.seat = Some(self.world.place()?);
        }
        Ok(())
    }

    fn in_trouble(&mut self, fault: Fault) {
        self.warn(fault.reason.clone());
        // What plays goes on from memory, as long as there is any: a window's segments leave it again, a film's
        // have nowhere else to stay.
        let full = self.world.store.held() >= self.world.store.memory();
        if full && self.input.as_ref().is_some_and(|input| input.kind.is_film()) {
            self.step(Event::Lost(fault));
        }
    }

    fn drop_segments(&mut self) {
        self.shelf.clear();
        // Nothing is left that the next segments would have to fit to.
        self.input = None;
        self.misfits = (0, 0);
        self.short = (0, 0);
        self.silences.clear();
        self.made.clear();
        self.failures.clear();
        self.cooling.clear();
    }

    fn announce(&mut self, change: Change) {
        self.generation += 1;
        self.since = Timestamp::now();
        self.cause = change.cause;
        match (&change.fault, change.to) {
            (Some(fault), _) => self.fault = Some(fault.clone()),
            (None, State::Running | State::Ahead | State::Complete | State::Stopped) => self.fault = None,
            // Why it came to this stays readable.
            (None, State::Starting | State::Backoff | State::Stopping | State::Failed | State::Ended) => {}
        }
        if change.from == State::Ended {
            self.started_at = self.since;
            self.warnings.clear();
        }
        if change.to == State::Starting {
            self.anew = matches!(change.from, State::Failed | State::Ended);
        }
        self.log.set_over(matches!(change.to, State::Failed | State::Ended));
        self.world.metrics.session_changed(change.to.name(), change.cause.name());
        let who = self.who.clone().filter(|_| change.cause == Cause::Operator);
        if change.to != State::Stopping {
            self.who = None;
        }
        let reason = change.fault.as_ref().map(|fault| fault.reason.as_str());
        tracing::info!(
            session = %self.id,
            from = change.from.name(),
            to = change.to.name(),
            cause = change.cause.name(),
            reason,
            who = who.as_deref(),
            "session changed"
        );
        self.log.extend(
            self.runs.keys().next_back().copied().unwrap_or(0),
            [(
                if change.fault.is_some() { Level::Warning } else { Level::Info },
                format!(
                    "-- {} -> {} ({}){}",
                    change.from.name(),
                    change.to.name(),
                    change.cause.name(),
                    reason.map_or_else(String::new, |reason| format!(": {reason}"))
                ),
            )],
        );
        // Readers of the feed see the snapshot that belongs to the change.
        self.ends.snapshot.send_replace(Arc::new(self.snapshot()));
        self.world.tell(Happening::Changed { at: self.since, id: self.id, change, who });
    }

    fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
            if self.warnings.len() > WARNINGS {
                self.warnings.remove(0);
            }
        }
    }
}

/// Waits for the look at the input, if one is under way.
async fn looked(opening: &mut Option<JoinHandle<Result<Arc<Known>, Fault>>>) -> Result<Arc<Known>, Fault> {
    match opening {
        Some(task) => task.await.unwrap_or_else(|_| {
            Err(Fault::new(Code::Internal, Cause::Internal, "looking at the input panicked"))
        }),
        None => std::future::pending().await,
    }
}

/// The refusal that a held session gives.
pub(super) fn held(hold: Option<&Hold>, id: Id) -> Fault {
    let by = hold.map_or("an operator", |hold| &*hold.by);
    let left = hold.and_then(|hold| hold.until).map(|until| until.duration_since(Timestamp::now()));
    let left = left.and_then(|left| Duration::try_from(left).ok());
    let mut fault = Fault::refusal(
        Code::Held,
        format!("{by} stopped this session; an operator can lift that: sluice resume {id}"),
    );
    fault.retry_after = Some(left.unwrap_or(Duration::from_secs(30)).max(Duration::from_secs(1)));
    fault
}
