//! One task per session: gathers events, calls `step`, carries out the actions, and says how it is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::cut::{Axis, Flow, Misfit, Plan, Rendition};
use super::handle::{Command, Ends, Order, PastRun, RunSnapshot, Snapshot, Wanted};
use super::inputs::Known;
use super::log::Log;
use super::plan::{AFTER_END, expected, grid, padded};
use super::registry::{Happening, World};
use super::run::{self, Launch, Pace, Report, Vitals, What, Wish};
use super::shelf::Shelf;
use super::state::{Action, Admission, Cause, Change, Event, Exit, Kind, Life, State};
use super::viewers::Viewers;
use super::{Code, Fault, Heals, Hold, Id};
use crate::address::Address;
use crate::config::Source;
use crate::ffmpeg::{self, Decision, Film, Job, Level, Place, Preroll, Reason};
use crate::mux::{Time, Track};

/// Reports of the runs that wait.
const REPORTS: usize = 64;
/// Runs that ended, as far as they are remembered.
const PAST_RUNS: usize = 20;
/// Warnings that are kept.
const WARNINGS: usize = 8;
/// A run that was held back goes on when less than this part of `sessions.ahead` is left: a viewer at normal
/// speed then sees it work every now and then, and not at every segment.
const NEAR: f64 = 0.75;
/// The bit rate is that of this many segments.
const RATE_SEGMENTS: usize = 5;

/// What a session was asked for.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub address: Address,
    pub source: Option<Source>,
    pub source_id: Option<String>,
    pub content_type: &'static str,
    pub title: Option<String>,
    pub user: Option<String>,
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
    /// Its place among the sessions that are active.
    place: Option<OwnedSemaphorePermit>,
    /// It was told that the engine shuts down.
    closing: bool,
    /// The place that did not fit, and how often.
    misfits: (u64, u32),
    /// The end that came too early, and how often.
    short: (Time, u32),
}

/// What is known of the input and frozen for the session's life.
struct Opened {
    known: Arc<Known>,
    kind: Kind,
    decision: Decision,
    axis: Option<Axis>,
    tracks: Vec<(Rendition, Arc<Track>)>,
}

struct Living {
    wish: watch::Sender<Wish>,
    task: JoinHandle<()>,
    pid: Option<u32>,
    argv: Vec<String>,
    from: Time,
    vitals: Vitals,
    published: u64,
    started_at: Timestamp,
}

impl Actor {
    pub(super) fn new(
        id: Id,
        request: Request,
        world: Arc<World>,
        life: Life,
        parts: (Arc<Shelf>, Arc<Log>, Arc<Viewers>),
        ends: Ends,
        place: OwnedSemaphorePermit,
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
            place: Some(place),
            closing: false,
            misfits: (0, 0),
            short: (Time::ZERO, 0),
        }
    }

    /// Lives until it is dismissed.
    pub(super) async fn live(mut self) {
        let mut trouble = self.shelf.trouble();
        loop {
            let patient =
                self.waiting.iter().map(|wanted| wanted.asked + self.world.sessions.start_timeout).min();
            let patient = patient.filter(|_| self.life.state() == State::Backoff);
            let deadline =
                self.life.deadline().into_iter().chain(self.viewers.leaving()).chain(patient).min();
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
        self.weigh();
        self.answer();
        if !self.life.is_opening()
            && let Some(opening) = self.opening.take()
        {
            // Nobody wants to know any more, and it holds a connection to the source.
            opening.abort();
        }
        if !self.life.is_active() {
            self.place = None;
        }
        let snapshot = Arc::new(self.snapshot());
        self.ends.snapshot.send_replace(snapshot);
    }

    /// Whether enough lies ahead of the viewers, or too little.
    fn weigh(&mut self) {
        // What can't be continued elsewhere is never held back.
        if !self.input.as_ref().is_some_and(|input| input.kind.is_film() && input.known.ranges) {
            return;
        }
        let most = self.world.sessions.ahead.as_secs_f64();
        let ahead = (self.shelf.end() - self.viewers.furthest().unwrap_or(Time::ZERO)).seconds();
        match self.life.state() {
            State::Running if ahead > most => self.step(Event::Enough),
            State::Ahead if ahead < most * NEAR && self.take_place().is_ok() => self.step(Event::Near),
            _ => {}
        }
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
            Action::HoldOver => self.hold = None,
        }
    }

    fn wish(&mut self, run: u32, wish: Wish) {
        if let Some(living) = self.runs.get(&run) {
            living.wish.send_replace(wish);
        }
    }

    /// Only so many sessions may be active.
    fn take_place(&mut self) -> Result<(), Fault> {
        if self.place.is_none() {
            self.place = Some(self.world.place()?);
        }
        Ok(())
    }

    fn open(&mut self) {
        if let Some(opening) = self.opening.take() {
            opening.abort();
        }
        let (world, address, source) =
            (self.world.clone(), self.request.address.clone(), self.request.source.clone());
        self.opening = Some(tokio::spawn(async move {
            world.store.admit().await?;
            world.inputs.look(&address, source.as_ref()).await
        }));
    }

    fn opened(&mut self, looked: Result<Arc<Known>, Fault>) {
        self.opening = None;
        match looked {
            Ok(known) => {
                let kind = self.kind(&known);
                let mut opened = Event::Opened(kind);
                if kind.is_film() && !known.ranges && self.shelf.next() > 0 {
                    if !self.anew {
                        let reason = "the server of the input can't continue where it was left (no Range)";
                        let fault = Fault::new(Code::Truncated, Cause::Source, reason).heals(Heals::Never);
                        return self.step(Event::OpenFailed(fault));
                    }
                    // It failed, and is wanted again: all there is to offer is its beginning.
                    self.drop_segments();
                    opened = Event::OpenedAnew(kind);
                }
                // What was decided for a film is frozen: all its segments must fit together.
                if self
                    .input
                    .as_ref()
                    .is_none_or(|input| input.kind != kind || kind == Kind::Window || self.shelf.next() == 0)
                {
                    let film = if kind == Kind::Window { ffmpeg::Kind::Live } else { ffmpeg::Kind::Film };
                    let mut decision = ffmpeg::decide(Some(&known.probe), film, &self.request.settings);
                    if self.long_gop {
                        decision.encode_video(Reason::KeyFrames);
                    }
                    self.input = Some(Opened { known, kind, decision, axis: None, tracks: Vec::new() });
                }
                self.step(opened);
            }
            Err(fault) => self.step(Event::OpenFailed(fault)),
        }
    }

    fn kind(&mut self, known: &Known) -> Kind {
        let finite = known.probe.duration.is_some();
        match self.request.content_type {
            "live" if finite && known.bounded => {
                self.warn("asked for as live, but it has an end: it is played as a movie".to_owned());
                Kind::Event
            }
            "live" => Kind::Window,
            "auto" if !finite && !known.bounded => Kind::Window,
            _ => Kind::Event,
        }
    }

    fn launch(&mut self, run: u32) {
        let Some(input) = self.input.as_ref() else {
            let fault = Fault::new(
                Code::Internal,
                Cause::Internal,
                "a run was launched for an input that nobody knows",
            );
            return self.step(Event::Exited(run, Exit::Failed(fault)));
        };
        let launch = self.plan(run, input);
        if run > 1 {
            self.restarts += 1;
        }
        let from = launch.plan.from;
        let (wish, wishes) = watch::channel(Wish::Read);
        let drive = run::drive(
            launch,
            self.world.launcher.clone(),
            self.shelf.clone(),
            self.log.clone(),
            wishes,
            self.reports.0.clone(),
        );
        let living = Living {
            wish,
            task: self.world.runs.spawn(drive),
            pid: None,
            argv: Vec::new(),
            from,
            vitals: Vitals::default(),
            published: 0,
            started_at: Timestamp::now(),
        };
        self.runs.insert(run, living);
    }

    fn plan(&self, run: u32, input: &Opened) -> Launch {
        let (known, decision) = (&input.known, &input.decision);
        let next = self.shelf.next();
        let segment = Time::from(self.world.segment);
        let window = input.kind == Kind::Window;
        let from = if window { Time::ZERO } else { self.shelf.end() };
        let axis = input.axis.filter(|_| !window);
        let expected = if window { None } else { expected(known) };
        let origin = known.probe.origin().unwrap_or(Time::ZERO);
        let video = decision.video.as_ref().map(|track| match track.is_copied() {
            true => Flow::Copied { start: None, coarse: false },
            false => Flow::Encoded { rate: Some(track.encode.rate) },
        });
        // Matroska counts milliseconds: its packets jitter from run to run, and one could change sides.
        let coarse = known.probe.container() == Some(ffmpeg::Container::Matroska);
        let start = |stream| known.probe.stream(stream)?.start.map(|start| start - origin);
        let audio = decision.audio.iter().map(|track| match track.is_copied() {
            true => Flow::Copied { start: track.stream.and_then(start), coarse },
            false => Flow::Encoded { rate: None },
        });
        let rate = decision.video.as_ref().filter(|track| !track.is_copied()).map(|track| track.encode.rate);
        let cuts = match (window, rate) {
            (false, Some(rate)) => grid(from, segment, rate, expected.map(|end| end.max(from) + AFTER_END)),
            _ => Vec::new(),
        };
        let misfit = (self.misfits.0 == next && self.misfits.1 > 0).then_some(self.misfits.1);
        let place = if window {
            Place::Live
        } else {
            // The frame at `from` needs a key frame as well: a run's first frame always is one.
            let key_frames = std::iter::once(from).chain(cuts.iter().copied()).collect();
            let preroll = if misfit.is_some() { Preroll::Tripled } else { Preroll::Usual };
            // ffmpeg's own film time, which a copied film's first key frame may lie after.
            let from = from + input.axis.map_or(Time::ZERO, |axis| axis.origin);
            Place::Film(Film { from, preroll, until: padded(known, decision, segment), key_frames })
        };
        Launch {
            session: self.id,
            run,
            program: self.world.ffmpeg.clone(),
            job: Job {
                input: known.input.clone(),
                probe: Some(known.probe.clone()),
                decision: decision.clone(),
                place,
                subtitles: false,
            },
            plan: Plan {
                kind: input.kind,
                first: next,
                until: None,
                from,
                origin: axis.map(|axis| axis.origin),
                delay: axis.map(|axis| axis.delay),
                video,
                audio: audio.collect(),
                segment,
                cuts,
                lenient: misfit.filter(|count| *count > 1).map(|_| next),
            },
            expected,
            accept_short: self.short.0 == self.shelf.end() && self.short.1 >= 2 && known.ranges,
            pace: match input.kind {
                Kind::Window => Pace::Clock(self.world.live_dvr),
                Kind::Timeline | Kind::Event if known.ranges => Pace::Wish,
                Kind::Timeline | Kind::Event => Pace::Never,
            },
            stall: self.world.sessions.stall_timeout,
            tracks: input.tracks.clone(),
            discontinuity: window && next > 0,
            mask: self.request.address.mask(),
        }
    }

    fn hear(&mut self, Report { run, what }: Report) {
        match what {
            What::Launched { pid, argv } => {
                if let Some(living) = self.runs.get_mut(&run) {
                    living.pid = Some(pid);
                    living.argv = argv;
                }
            }
            What::Began { axis, tracks } => {
                if let Some(input) = &mut self.input {
                    input.axis.get_or_insert(axis);
                    input.tracks = tracks;
                }
            }
            What::Published => {
                if let Some(living) = self.runs.get_mut(&run) {
                    living.published += 1;
                }
                self.step(Event::Published(run));
            }
            What::Vitals(vitals) => {
                if let Some(living) = self.runs.get_mut(&run) {
                    living.vitals = vitals;
                }
            }
            What::Made => self.step(Event::Made(run)),
            What::Misfit(misfit) => self.misfit(run, &misfit),
            What::Stalled(fault) => self.step(Event::Broken(run, fault)),
            What::Exited { exit, process, reached, warning } => {
                if let Some(warning) = warning {
                    self.warn(warning);
                }
                self.exited(run, exit, process, reached);
            }
        }
    }

    fn misfit(&mut self, run: u32, misfit: &Misfit) {
        let next = self.shelf.next();
        if let Misfit::LongGop { .. } = misfit {
            // Nothing is published yet, so nothing is frozen.
            self.long_gop = true;
        } else {
            self.misfits = if self.misfits.0 == next { (next, self.misfits.1 + 1) } else { (next, 1) };
            if self.misfits.1 > 1 {
                self.warn(format!("segment {next} did not fit: {misfit}"));
            }
        }
        self.step(Event::Broken(run, run::misfit_fault(misfit)));
    }

    fn exited(&mut self, run: u32, exit: Exit, process: Option<crate::process::Exit>, reached: Time) {
        let Some(living) = self.runs.remove(&run) else { return };
        let reason = match &exit {
            Exit::Failed(fault) => Some(fault.reason.clone()),
            Exit::Finished | Exit::Asked => None,
        };
        self.past.push_back(PastRun {
            run,
            from: living.from.seconds(),
            to: (living.published > 0).then(|| reached.seconds()),
            started_at: living.started_at,
            ended_at: Timestamp::now(),
            exit: process.map_or_else(|| "not started".to_owned(), |exit| exit.to_string()),
            reason,
        });
        if self.past.len() > PAST_RUNS {
            self.past.pop_front();
        }
        let exit = self.appraise(exit, living.published);
        if exit == Exit::Finished && self.input.as_ref().is_some_and(|input| input.kind.is_film()) {
            self.shelf.complete();
        }
        self.step(Event::Exited(run, exit));
    }

    /// What a failure means for what comes next.
    fn appraise(&mut self, exit: Exit, published: u64) -> Exit {
        let Exit::Failed(mut fault) = exit else { return exit };
        if published == 0 {
            // What was believed of the input may be what is wrong.
            self.world.inputs.forget(&self.request.address);
        }
        let Some(input) = self.input.as_ref() else { return Exit::Failed(fault) };
        if fault.code == Code::Truncated {
            let end = self.shelf.end();
            self.short = if self.short.0 == end { (end, self.short.1 + 1) } else { (end, 1) };
        }
        if input.kind.is_film() && !input.known.ranges && self.shelf.next() > 0 {
            let reason = format!(
                "the input broke off, and its server can't continue where it was left (no Range): {}",
                fault.reason
            );
            fault = Fault::new(Code::Truncated, Cause::Source, reason).heals(Heals::Never);
        }
        Exit::Failed(fault)
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

    fn want(&mut self, mut wanted: Wanted) {
        if wanted.request.is_some() {
            // Whoever left before, somebody wants it now.
            self.viewers.left();
        }
        if self.life.would_go(wanted.cause, Instant::now()) {
            if let Err(fault) = self.take_place() {
                // Who no longer waits needs no answer.
                drop(wanted.reply.send(Err(fault)));
                return;
            }
            let begins = matches!(self.life.state(), State::Failed | State::Ended);
            if let Some(request) = wanted.request.take().filter(|_| begins) {
                self.request = *request;
            }
        }
        if let Some(asked) = wanted.request.take().map(|request| request.content_type)
            && asked != self.request.content_type
        {
            self.warn(format!(
                "a start asked for it as {asked}; it was started as {}",
                self.request.content_type
            ));
        }
        self.step(Event::Wanted(wanted.cause));
        self.waiting.push(wanted);
    }

    /// Answers those who wait, as soon as there is an answer.
    fn answer(&mut self) {
        self.waiting.retain(|wanted| !wanted.reply.is_closed());
        if self.waiting.is_empty() {
            return;
        }
        if self.life.state() == State::Backoff {
            self.answer_the_patient();
        }
        let answer = if self.world.shutdown.is_cancelled() {
            Err(Fault::refusal(Code::ShuttingDown, "the engine is shutting down"))
        } else {
            match self.life.admission(Instant::now()) {
                Admission::Wait => return,
                Admission::Ready => Ok(()),
                Admission::Refuse(fault) => Err(fault),
                Admission::Held => Err(held(self.hold.as_ref(), self.id)),
                // It came to rest while they waited.
                Admission::Go => Err(self.fault.clone().unwrap_or_else(|| {
                    Fault::refusal(Code::Ended, "the session ended while it was waited for")
                })),
            }
        };
        for wanted in self.waiting.drain(..) {
            // Who no longer waits needs no answer.
            drop(wanted.reply.send(answer.clone()));
        }
    }

    /// Who has waited for `start_timeout` does not wait for the next try as well.
    fn answer_the_patient(&mut self) {
        let limit = self.world.sessions.start_timeout;
        let why = self.fault.as_ref().map_or("nothing playable came", |fault| &fault.reason);
        let reason = format!("not playable after {} s: {why}", limit.as_secs());
        let (late, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|wanted: &Wanted| wanted.asked.elapsed() >= limit);
        self.waiting = waiting;
        let late: Vec<Wanted> = late;
        for wanted in late {
            // Who no longer waits needs no answer.
            drop(wanted.reply.send(Err(Fault::refusal(Code::TimedOut, reason.clone()))));
        }
    }

    fn obey(&mut self, command: Command) {
        let Command { order, who, generation, reply } = command;
        let answer = match generation {
            Some(expected) if expected != self.generation => {
                let reason = format!("the session is {} by now: look again", self.life.state().name());
                Err(Fault::refusal(Code::Changed, reason))
            }
            _ => self.carry_out(order, who),
        };
        self.settle();
        drop(reply.send(answer.map(|()| Arc::new(self.snapshot()))));
    }

    fn carry_out(&mut self, order: Order, who: Arc<str>) -> Result<(), Fault> {
        let state = self.life.state();
        let nothing = |what: &str| {
            let reason = format!("there is nothing to {what}: the session is {}", state.name());
            Err(Fault::refusal(Code::NotResumable, reason))
        };
        let event = match order {
            Order::Stop { force, hold_for } => {
                let until = hold_for.map(|wait| Instant::now() + wait);
                let until_wall = hold_for.and_then(|wait| Timestamp::now().checked_add(wait).ok());
                self.hold = Some(Hold { by: who.clone(), since: Timestamp::now(), until: until_wall });
                Event::Stop { force, until }
            }
            Order::Resume => match state {
                State::Stopped | State::Stopping | State::Backoff | State::Failed | State::Ended => {
                    Event::Resume
                }
                _ if self.hold.is_some() => Event::Resume,
                State::Starting | State::Running | State::Ahead | State::Complete => {
                    return nothing("resume");
                }
            },
            Order::Restart => match state {
                State::Complete | State::Ended => return nothing("restart"),
                _ if self.hold.is_some() => return Err(held(self.hold.as_ref(), self.id)),
                State::Starting
                | State::Running
                | State::Ahead
                | State::Backoff
                | State::Stopping
                | State::Stopped
                | State::Failed => Event::Restart,
            },
            Order::Clear => Event::Clear,
        };
        if matches!(event, Event::Resume | Event::Restart) {
            if self.closing {
                return Err(Fault::refusal(Code::ShuttingDown, "the engine is shutting down"));
            }
            self.take_place()?;
        }
        if matches!(event, Event::Resume) {
            self.hold = None;
        }
        self.who = Some(who);
        self.step(event);
        Ok(())
    }

    fn drop_segments(&mut self) {
        self.shelf.clear();
        // Nothing is left that the next segments would have to fit to.
        self.input = None;
        self.misfits = (0, 0);
        self.short = (Time::ZERO, 0);
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

    fn snapshot(&self) -> Snapshot {
        let index = self.shelf.index();
        let state = self.life.state();
        let input = self.input.as_ref();
        let window = self.life.kind() == Some(Kind::Window);
        let retry_at = self
            .life
            .retry_at()
            .and_then(|at| Timestamp::now().checked_add(at.saturating_duration_since(Instant::now())).ok());
        Snapshot {
            id: self.id,
            generation: self.generation,
            state,
            state_since: self.since,
            cause: self.cause,
            fault: self.fault.clone(),
            kind: self.life.kind(),
            url: self.request.address.masked(),
            title: self.request.title.clone(),
            content_type: self.request.content_type,
            source_id: self.request.source_id.clone(),
            user: self.request.user.clone(),
            hold: self.hold.clone(),
            runs: self.runs.iter().map(|(run, living)| living.snapshot(*run, state)).collect(),
            started_at: self.started_at,
            last_access: self.viewers.last_seen(),
            viewers: u32::try_from(self.viewers.count()).unwrap_or(u32::MAX),
            duration: input.filter(|_| !window).and_then(|input| expected(&input.known)).map(Time::seconds),
            position: if window { None } else { self.viewers.furthest().map(Time::seconds) },
            produced: index.seconds(),
            segments: index.segments.len() as u64,
            bytes: self.shelf.bytes(),
            bitrate: index.bitrate(RATE_SEGMENTS),
            frames_dropped: self
                .runs
                .values()
                .filter_map(|living| living.vitals.dropped)
                .reduce(|a, b| a + b),
            video: input.and_then(|input| input.decision.video.as_ref()).map(ToString::to_string),
            audio: input.and_then(|input| in_words(&input.decision)),
            restarts: self.restarts,
            retry_at,
            warnings: self.warnings.clone(),
            revivable: self.life.is_revivable(),
            active: self.life.is_active(),
            argv: self.runs.values().map(|living| living.argv.clone()).collect(),
            probe: input.map(|input| Arc::new(input.known.probe.clone())),
            past_runs: self.past.iter().cloned().collect(),
        }
    }
}

impl Living {
    fn snapshot(&self, run: u32, state: State) -> RunSnapshot {
        let wish = *self.wish.borrow();
        let own = match wish {
            Wish::Terminate | Wish::TerminateAgain | Wish::Kill => State::Stopping,
            Wish::Pause => State::Ahead,
            Wish::Read if self.published == 0 => State::Starting,
            Wish::Read if state == State::Ahead => State::Ahead,
            Wish::Read => State::Running,
        };
        RunSnapshot {
            run,
            pid: self.pid,
            from: self.from.seconds(),
            at: self.vitals.at.map(Time::seconds),
            state: own,
            speed: self.vitals.speed,
            fps: self.vitals.fps,
            cpu: self.vitals.cpu,
            rss: self.vitals.rss,
        }
    }
}

/// What becomes of the sound tracks.
fn in_words(decision: &Decision) -> Option<String> {
    let tracks: Vec<_> = decision.audio.iter().map(ToString::to_string).collect();
    (!tracks.is_empty()).then(|| tracks.join(", "))
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
