//! The states of a session and `step`, the one function that moves between them.
//!
//! It does no I/O and reads no clock: events go in with the time they happened, actions come out. What a
//! session shows (`State`) is a function of its phase and of its runs.

mod names;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

pub use self::names::{Cause, Kind, State};
use super::{Code, Fault, Heals, retry};

/// The durations that `step` goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    pub idle_timeout: Duration,
    pub vod_cache: Duration,
    pub live_cache: Duration,
    pub ahead_timeout: Duration,
    pub probe_timeout: Duration,
    /// Between 0 and 1: spreads the retries of sessions that failed together.
    pub noise: f64,
}

/// A second ask follows the first TERM by this: an ffmpeg waiting for its source hears only that one.
const SECOND_TERM: Duration = Duration::from_millis(250);
/// Then the group is killed.
const KILL: Duration = Duration::from_millis(750);
/// What lives longer than this after the first ask can't be killed at all.
const UNKILLABLE: Duration = Duration::from_secs(5);
/// A start less than this after a failure gets the same answer.
const SAME_ANSWER: Duration = Duration::from_secs(5);
/// Looking at an input keeps its own time; this much later something is wrong with us.
const OPENING_GRACE: Duration = Duration::from_secs(5);
/// A failed channel is kept this long: its window is worth little, its reason is.
const FAILED_LIVE: Duration = Duration::from_secs(5 * 60);
/// What is pinned is tried again this long after it failed.
const PINNED_AGAIN: Duration = Duration::from_secs(5 * 60);

/// The state machine of one session.
#[derive(Debug, Clone)]
pub(super) struct Life {
    policy: Policy,
    /// Known once the input was looked at.
    kind: Option<Kind>,
    phase: Phase,
    runs: Vec<Run>,
    next_run: u32,
    /// Whether a segment exists that was made since the last (re)launch of a window, or at all for a film.
    playable: bool,
    /// Failures in a row at the same place.
    failures: u32,
    /// When output began that has not failed since.
    stable_since: Option<Instant>,
    last_heard: Instant,
    hold: Option<Held>,
    /// An operator wants it to go on whether anybody watches or not.
    pinned: bool,
    /// It came to its end by itself, and not because somebody wanted it gone.
    ended_by_itself: bool,
    /// Something was published since it was new or in history: what it is of is media, whatever comes now.
    played: bool,
    /// Every segment of the film exists.
    whole: bool,
    /// A run was ended to make room for the next one, which somebody waits for.
    making_room: bool,
    /// The engine shuts down: nothing goes again.
    closing: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    /// Asked for, nothing begun: the state of a session that was just created.
    New,
    /// The input is being looked at; no ffmpeg yet.
    Opening {
        by: Instant,
    },
    /// Runs are alive.
    Producing,
    /// Enough is there, and no run is left.
    Rested,
    Backoff {
        until: Instant,
    },
    /// Runs are being ended for `cause`, then comes `rest`.
    Stopping {
        rest: Rest,
        cause: Cause,
    },
    Stopped {
        until: Option<Instant>,
    },
    Complete,
    Failed {
        fault: Fault,
        since: Instant,
        until: Option<Instant>,
    },
    Ended,
}

/// What follows when the last run is reaped.
#[derive(Debug, Clone, PartialEq)]
enum Rest {
    Stopped,
    Ended,
    /// It goes on, with what was made or anew.
    Again(Segments),
    Failed(Fault),
    Retry(Fault),
}

/// What becomes of the segments that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segments {
    Keep,
    Drop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    until: Option<Instant>,
}

/// One run, as far as the session's life depends on it.
#[derive(Debug, Clone, PartialEq)]
struct Run {
    id: u32,
    stage: Stage,
    /// It made all that there was to make; that it is being ended is no rest of the session.
    finished: bool,
    /// Why it was asked to end, if it was.
    ended_for: Option<Cause>,
}

#[derive(Debug, Clone, PartialEq)]
enum Stage {
    Starting,
    Producing,
    /// Held back by not reading.
    Ahead {
        until: Instant,
    },
    Ending {
        asked: Instant,
        rung: Rung,
    },
}

/// How hard a run is being asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rung {
    Term,
    TermAgain,
    Kill,
    GivenUp,
}

/// What happened.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// Somebody wants what does not exist: a start, or a request for a playlist or a segment.
    Wanted(Cause),
    /// The input was looked at.
    Opened(Kind),
    /// The input was looked at, and what was made of it before is gone: it begins anew.
    OpenedAnew(Kind),
    /// The input can't be played, or not now.
    OpenFailed(Fault),
    /// A run published a segment.
    Published(u32),
    /// More than enough lies ahead of the viewers of a run.
    Enough(u32),
    /// A viewer came near to what a run makes that was held back.
    Near(u32),
    /// What viewers come to, or wait for, needs a run of its own.
    Needed,
    /// A run made all it was to make: what comes next exists, or the film has ended.
    Made(u32),
    /// Nobody wants a run any more.
    Unwanted(u32),
    /// The place of a run is wanted for another one.
    InTheWay(u32),
    /// Nothing is to be made for now, and no run is left.
    Rests,
    /// Every segment of the film exists.
    Whole,
    /// A run sent what was not planned, or nothing: it is to be ended.
    Broken(u32, Fault),
    /// A run was reaped.
    Exited(u32, Exit),
    /// The last viewer left, and the time for second thoughts is over.
    Left,
    /// An operator stops it; the hold ends at that time, if at any.
    Stop { force: Force, until: Option<Instant> },
    /// A viewer has it removed.
    Clear,
    /// An operator wants it to go on whether anybody watches or not, or no longer does.
    Pin(bool),
    /// An operator lifts the hold and wants it to go on.
    Resume,
    /// An operator wants its ffmpeg anew.
    Restart,
    /// The engine shuts down.
    Shutdown,
    /// Storage was lost under it.
    Lost(Fault),
    /// A deadline may have passed.
    Tick,
}

/// Whether an operator's stop kills at once and deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Ask first, keep the segments.
    No,
    /// Kill, delete the segments, move to history.
    Yes,
}

/// How a run ended, in the session's terms.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Exit {
    /// All of the input was played.
    Finished,
    /// It ended for a reason of its own.
    Failed(Fault),
    /// It failed at one place of a timeline of which other places can be played. That place is tried again
    /// then, or is given up.
    FailedHere(Fault, Option<Instant>),
    /// We had asked it to.
    Asked,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// Look at the input.
    Open,
    /// Start a run with this number where the segments end.
    Launch(u32),
    /// Stop reading the media of a run.
    Pause(u32),
    /// Read on.
    Unpause(u32),
    /// Ask it to end: TERM, and drop the readers.
    Terminate(u32),
    /// Ask again.
    TerminateAgain(u32),
    /// Kill its group.
    Kill(u32),
    /// Delete all segments.
    DropSegments,
    /// The state changed.
    Announce(Change),
    /// The hold ran out.
    HoldOver,
}

/// A change of state.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// Why.
    pub cause: Cause,
    /// What went wrong, where something did.
    pub fault: Option<Fault>,
}

/// What a start (or another wish for media) meets.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Admission {
    /// Answer at once.
    Ready,
    /// It will be playable, or fail: wait.
    Wait,
    /// Make it go, then wait.
    Go,
    /// The same failure as a moment ago.
    Refuse(Fault),
    /// An operator holds it.
    Held,
}

impl Life {
    /// A session that nobody has asked anything of yet.
    pub(super) fn new(policy: Policy, now: Instant) -> Self {
        Self {
            policy,
            kind: None,
            phase: Phase::New,
            runs: Vec::new(),
            next_run: 1,
            playable: false,
            failures: 0,
            stable_since: None,
            last_heard: now,
            hold: None,
            pinned: false,
            ended_by_itself: false,
            played: false,
            whole: false,
            making_room: false,
            closing: false,
        }
    }

    /// What the world sees.
    pub(super) fn state(&self) -> State {
        match &self.phase {
            Phase::New | Phase::Opening { .. } => State::Starting,
            Phase::Producing if !self.playable => State::Starting,
            Phase::Producing
                if self.making_room || self.runs.iter().any(|run| run.finished || run.is_working()) =>
            {
                State::Running
            }
            Phase::Producing | Phase::Rested => State::Ahead,
            Phase::Backoff { .. } => State::Backoff,
            Phase::Stopping { .. } => State::Stopping,
            Phase::Stopped { .. } => State::Stopped,
            Phase::Complete => State::Complete,
            Phase::Failed { .. } => State::Failed,
            Phase::Ended => State::Ended,
        }
    }

    /// How it is served, once known.
    pub(super) fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Why a run was asked to end, if it was.
    pub(super) fn ended_for(&self, id: u32) -> Option<Cause> {
        self.runs.iter().find(|run| run.id == id)?.ended_for
    }

    /// When the next try is due.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Backoff { until } => Some(until),
            _ => None,
        }
    }

    /// Whether runs may be started, held back and ended as viewers want it.
    pub(super) fn is_producing(&self) -> bool {
        matches!(self.phase, Phase::Producing | Phase::Rested)
    }

    /// Whether it counts against the number of sessions that may be active.
    pub(super) fn is_active(&self) -> bool {
        match self.phase {
            Phase::New
            | Phase::Opening { .. }
            | Phase::Producing
            | Phase::Backoff { .. }
            | Phase::Stopping { .. } => true,
            Phase::Rested | Phase::Stopped { .. } | Phase::Complete | Phase::Failed { .. } | Phase::Ended => {
                false
            }
        }
    }

    /// Whether a playlist request brings it back from history: what ended by itself and can be had again.
    pub(super) fn is_revivable(&self) -> bool {
        let again = matches!(self.kind, Some(Kind::Window | Kind::Timeline));
        self.phase == Phase::Ended && again && self.ended_by_itself
    }

    /// Whether an operator wants it to go on whether anybody watches or not.
    pub(super) fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// Whether the input is being looked at.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self.phase, Phase::Opening { .. })
    }

    /// Whether a wish of that cause would make it go, and so take a place among the active.
    pub(super) fn would_go(&self, cause: Cause, now: Instant) -> bool {
        let resting = match self.phase {
            Phase::Failed { .. } => cause != Cause::Demand,
            Phase::Ended => cause != Cause::Demand || self.is_revivable(),
            _ => true,
        };
        resting && !self.closing && self.admission(now) == Admission::Go
    }

    /// Somebody asked for something: the idle time begins anew.
    pub(super) fn heard(&mut self, at: Instant) {
        self.last_heard = self.last_heard.max(at);
    }

    /// What a wish for media meets now.
    pub(super) fn admission(&self, now: Instant) -> Admission {
        if self.hold.is_some() {
            return Admission::Held;
        }
        match &self.phase {
            Phase::New | Phase::Stopped { .. } | Phase::Ended => Admission::Go,
            Phase::Opening { .. } | Phase::Stopping { .. } | Phase::Backoff { .. } => Admission::Wait,
            Phase::Producing if self.playable => Admission::Ready,
            Phase::Producing => Admission::Wait,
            Phase::Rested | Phase::Complete => Admission::Ready,
            Phase::Failed { fault, since, .. } if now.duration_since(*since) < SAME_ANSWER => {
                Admission::Refuse(fault.clone())
            }
            Phase::Failed { .. } => Admission::Go,
        }
    }

    /// When `Event::Tick` is next due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Opening { by } => Some(by),
            Phase::Backoff { until } => Some(until),
            Phase::Failed { since, .. } if self.is_kept_going() => Some(since + PINNED_AGAIN),
            Phase::Stopped { until } | Phase::Failed { until, .. } => until,
            Phase::Complete if self.pinned => None,
            Phase::Complete => Some(self.complete_until()),
            Phase::New | Phase::Producing | Phase::Rested | Phase::Stopping { .. } | Phase::Ended => None,
        };
        let runs = self.runs.iter().filter_map(|run| run.stage.deadline());
        let hold = self.hold.and_then(|hold| hold.until);
        runs.chain(phase).chain(hold).chain(self.idle_at()).min()
    }

    /// Moves on. The only place where anything about a session's life changes.
    pub(super) fn step(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let before = self.state();
        let mut actions = Vec::new();
        let (cause, fault) = self.advance(event, now, &mut actions);
        for run in self.runs.iter_mut().filter(|run| matches!(run.stage, Stage::Ending { .. })) {
            // The first reason is the one; that it is asked harder later changes nothing of it.
            run.ended_for.get_or_insert(cause);
        }
        let after = self.state();
        if before != after {
            actions.push(Action::Announce(Change { from: before, to: after, cause, fault }));
        }
        actions
    }

    /// The table of moves: what an event does to each phase. Answers the cause of what changed.
    fn advance(&mut self, event: Event, now: Instant, actions: &mut Vec<Action>) -> (Cause, Option<Fault>) {
        match event {
            Event::Wanted(cause) => self.wanted(cause, now, actions),
            Event::OpenedAnew(kind) => {
                self.playable = false;
                self.advance(Event::Opened(kind), now, actions)
            }
            Event::Opened(kind) => match self.phase {
                Phase::Opening { .. } => {
                    self.kind = Some(kind);
                    self.launch(actions);
                    (Cause::Ready, None)
                }
                // It was stopped while the input was being looked at.
                Phase::New
                | Phase::Producing
                | Phase::Rested
                | Phase::Backoff { .. }
                | Phase::Stopping { .. }
                | Phase::Stopped { .. }
                | Phase::Complete
                | Phase::Failed { .. }
                | Phase::Ended => (Cause::Ready, None),
            },
            Event::OpenFailed(fault) => match self.phase {
                Phase::Opening { .. } => {
                    let mut fault = fault;
                    let unsure = matches!(fault.code, Code::NotMedia | Code::Unsupported);
                    if self.played && self.kind == Some(Kind::Window) && unsure {
                        // A channel that has played is one; its source has a bad moment.
                        fault.heals = Heals::Soon;
                    }
                    self.fail(fault, now, actions)
                }
                Phase::New
                | Phase::Producing
                | Phase::Rested
                | Phase::Backoff { .. }
                | Phase::Stopping { .. }
                | Phase::Stopped { .. }
                | Phase::Complete
                | Phase::Failed { .. }
                | Phase::Ended => (fault.cause, None),
            },
            Event::Published(id) => {
                if let Some(run) = self.run(id) {
                    if run.stage == Stage::Starting {
                        run.stage = Stage::Producing;
                    }
                    self.playable = true;
                    self.played = true;
                    self.stable_since.get_or_insert(now);
                    if self.kind != Some(Kind::Window) {
                        self.failures = 0;
                    }
                }
                (Cause::Ready, None)
            }
            Event::Enough(id) => {
                let until = now + self.policy.ahead_timeout;
                if let Some(run) = self.run(id).filter(|run| run.stage == Stage::Producing) {
                    run.stage = Stage::Ahead { until };
                    actions.push(Action::Pause(id));
                }
                (Cause::Ahead, None)
            }
            Event::Near(id) => {
                if let Some(run) = self.run(id).filter(|run| matches!(run.stage, Stage::Ahead { .. })) {
                    run.stage = Stage::Producing;
                    actions.push(Action::Unpause(id));
                }
                (Cause::Demand, None)
            }
            Event::Needed => {
                match self.phase {
                    Phase::Producing | Phase::Rested => self.launch(actions),
                    Phase::New
                    | Phase::Opening { .. }
                    | Phase::Backoff { .. }
                    | Phase::Stopping { .. }
                    | Phase::Stopped { .. }
                    | Phase::Complete
                    | Phase::Failed { .. }
                    | Phase::Ended => {}
                }
                (Cause::Demand, None)
            }
            Event::Made(id) => {
                self.end_run(id, Rung::Term, true, now, actions);
                (Cause::Finished, None)
            }
            Event::Unwanted(id) => {
                self.end_run(id, Rung::Term, false, now, actions);
                (Cause::Ahead, None)
            }
            Event::InTheWay(id) => {
                self.making_room = true;
                self.end_run(id, Rung::Kill, true, now, actions);
                (Cause::Demand, None)
            }
            Event::Rests => {
                if self.phase == Phase::Producing && self.runs.is_empty() {
                    self.rest_or_complete();
                }
                (Cause::Ahead, None)
            }
            Event::Whole => {
                self.whole = true;
                let ids: Vec<_> = self.runs.iter().map(|run| run.id).collect();
                for id in ids {
                    self.end_run(id, Rung::Term, true, now, actions);
                }
                if matches!(self.phase, Phase::Producing | Phase::Rested) && self.runs.is_empty() {
                    self.rest_or_complete();
                }
                (Cause::Finished, None)
            }
            Event::Broken(id, fault) => {
                let cause = fault.cause;
                let known = self.run(id).is_some_and(|run| !matches!(run.stage, Stage::Ending { .. }));
                if known && self.phase == Phase::Producing {
                    if self.kind == Some(Kind::Timeline) && self.playable {
                        // Only its own place is in doubt.
                        self.end_run(id, Rung::Term, true, now, actions);
                        return (cause, None);
                    }
                    self.end_runs(Rung::Term, Rest::Retry(fault.clone()), cause, now, actions);
                    return (cause, Some(fault));
                }
                (cause, None)
            }
            Event::Exited(id, exit) => self.exited(id, exit, now, actions),
            Event::Left if self.pinned => (Cause::Viewer, None),
            Event::Left => match self.phase {
                Phase::Producing | Phase::Opening { .. } | Phase::Rested | Phase::Backoff { .. } => {
                    let rest = self.at_rest();
                    self.end_runs(Rung::Term, rest, Cause::Viewer, now, actions);
                    (Cause::Viewer, None)
                }
                Phase::New
                | Phase::Stopping { .. }
                | Phase::Stopped { .. }
                | Phase::Complete
                | Phase::Failed { .. }
                | Phase::Ended => (Cause::Viewer, None),
            },
            Event::Clear if self.pinned => (Cause::Viewer, None),
            Event::Clear => match self.phase {
                Phase::Ended => (Cause::Viewer, None),
                Phase::New
                | Phase::Opening { .. }
                | Phase::Producing
                | Phase::Rested
                | Phase::Backoff { .. }
                | Phase::Stopping { .. }
                | Phase::Stopped { .. }
                | Phase::Complete
                | Phase::Failed { .. } => {
                    self.ended_by_itself = false;
                    self.end_runs(Rung::Kill, Rest::Ended, Cause::Viewer, now, actions);
                    (Cause::Viewer, None)
                }
            },
            Event::Stop { force, until } => {
                self.hold = Some(Held { until });
                match force {
                    Force::Yes => {
                        self.ended_by_itself = false;
                        self.end_runs(Rung::Kill, Rest::Ended, Cause::Operator, now, actions);
                    }
                    Force::No => match self.phase {
                        // What is over stays where it is, and what is to be deleted will be; only the hold is new.
                        Phase::Ended | Phase::Stopping { rest: Rest::Ended, .. } => {}
                        Phase::New
                        | Phase::Opening { .. }
                        | Phase::Producing
                        | Phase::Rested
                        | Phase::Backoff { .. }
                        | Phase::Stopping { .. }
                        | Phase::Stopped { .. }
                        | Phase::Complete
                        | Phase::Failed { .. } => {
                            self.end_runs(Rung::Term, Rest::Stopped, Cause::Operator, now, actions);
                        }
                    },
                }
                (Cause::Operator, None)
            }
            Event::Pin(pinned) => {
                self.pinned = pinned;
                // Once it may idle out again, its time begins now.
                self.heard(now);
                if self.is_kept_going() {
                    self.keep_going(now, actions);
                }
                (Cause::Operator, None)
            }
            Event::Resume | Event::Restart if self.closing => (Cause::Shutdown, None),
            Event::Resume => {
                self.hold = None;
                self.failures = 0;
                match self.phase {
                    Phase::New
                    | Phase::Backoff { .. }
                    | Phase::Stopped { .. }
                    | Phase::Failed { .. }
                    | Phase::Ended => self.open(now, actions),
                    Phase::Stopping { .. } => self.go_on_after_stopping(Cause::Operator),
                    Phase::Opening { .. } | Phase::Producing | Phase::Rested | Phase::Complete => {}
                }
                self.heard(now);
                (Cause::Operator, None)
            }
            Event::Restart => {
                self.failures = 0;
                self.heard(now);
                match self.phase {
                    Phase::Producing => {
                        let again = Rest::Again(Segments::Keep);
                        self.end_runs(Rung::Term, again, Cause::Operator, now, actions);
                    }
                    Phase::Stopping { .. } => self.go_on_after_stopping(Cause::Operator),
                    Phase::New
                    | Phase::Opening { .. }
                    | Phase::Rested
                    | Phase::Backoff { .. }
                    | Phase::Stopped { .. }
                    | Phase::Failed { .. } => self.open(now, actions),
                    Phase::Complete | Phase::Ended => {}
                }
                (Cause::Operator, None)
            }
            Event::Shutdown => {
                self.closing = true;
                match self.phase {
                    Phase::Ended => {}
                    Phase::New
                    | Phase::Opening { .. }
                    | Phase::Producing
                    | Phase::Rested
                    | Phase::Backoff { .. }
                    | Phase::Stopping { .. }
                    | Phase::Stopped { .. }
                    | Phase::Complete
                    | Phase::Failed { .. } => {
                        self.end_runs(Rung::Term, Rest::Ended, Cause::Shutdown, now, actions);
                    }
                }
                (Cause::Shutdown, None)
            }
            Event::Lost(fault) => match self.phase {
                Phase::Opening { .. } | Phase::Producing | Phase::Rested | Phase::Backoff { .. } => {
                    self.end_runs(Rung::Term, Rest::Failed(fault.clone()), Cause::Storage, now, actions);
                    (Cause::Storage, Some(fault))
                }
                Phase::New
                | Phase::Stopping { .. }
                | Phase::Stopped { .. }
                | Phase::Complete
                | Phase::Failed { .. }
                | Phase::Ended => (Cause::Storage, None),
            },
            Event::Tick => self.tick(now, actions),
        }
    }

    fn wanted(&mut self, cause: Cause, now: Instant, actions: &mut Vec<Action>) -> (Cause, Option<Fault>) {
        if self.closing {
            return (Cause::Shutdown, None);
        }
        self.heard(now);
        match (self.admission(now), &self.phase) {
            // A start while it ends waits for the end, and then goes on.
            (Admission::Wait, Phase::Stopping { rest: Rest::Stopped | Rest::Ended, .. }) => {
                self.go_on_after_stopping(cause);
            }
            // A player that asks again and again is no reason to ask the source again.
            (Admission::Go, Phase::Failed { .. }) if cause == Cause::Demand => {}
            (Admission::Go, Phase::Ended) if cause == Cause::Demand && !self.is_revivable() => {}
            (Admission::Go, Phase::Failed { .. } | Phase::Ended) => {
                self.failures = 0;
                self.open(now, actions);
            }
            (Admission::Go, _) => self.open(now, actions),
            (Admission::Ready | Admission::Wait | Admission::Refuse(_) | Admission::Held, _) => {}
        }
        (cause, None)
    }

    fn exited(
        &mut self,
        id: u32,
        exit: Exit,
        now: Instant,
        actions: &mut Vec<Action>,
    ) -> (Cause, Option<Fault>) {
        let Some(place) = self.runs.iter().position(|run| run.id == id) else { return (Cause::Exit, None) };
        let run = self.runs.remove(place);
        if let Phase::Stopping { rest, cause } = &self.phase {
            if !self.runs.is_empty() {
                return (Cause::Exit, None);
            }
            let (mut rest, cause) = (rest.clone(), *cause);
            match (&mut rest, exit) {
                // The session judged the end when it had all of it before it.
                (Rest::Retry(fault), Exit::Failed(judged) | Exit::FailedHere(judged, _)) => *fault = judged,
                // It was whole in the moment that it was stopped.
                (Rest::Stopped | Rest::Again(Segments::Keep), Exit::Finished)
                    if self.hold.is_none() && (self.kind == Some(Kind::Event) || self.whole) =>
                {
                    self.complete();
                    return (Cause::Finished, None);
                }
                _ => {}
            }
            let fault = self.rest(rest, now, actions);
            return (fault.as_ref().map_or(cause, |fault| fault.cause), fault);
        }
        if !self.runs.is_empty() || self.phase != Phase::Producing {
            // Should the others rest, that is because enough is there.
            return (Cause::Ahead, None);
        }
        if self.making_room && !matches!(exit, Exit::Failed(_) | Exit::FailedHere(..)) {
            // The next one is about to begin.
            return (Cause::Demand, None);
        }
        match (exit, run.stage) {
            (Exit::Finished, _) if self.kind == Some(Kind::Event) || self.whole => {
                self.complete();
                (Cause::Finished, None)
            }
            (Exit::Finished, _) if self.kind == Some(Kind::Timeline) => {
                self.rest_or_complete();
                (Cause::Ahead, None)
            }
            (Exit::Finished, _) => {
                let fault = Fault::new(Code::Unreachable, Cause::Source, "the source ended the stream");
                self.fail(fault, now, actions)
            }
            (Exit::Asked, Stage::Ending { .. }) => {
                self.rest_or_complete();
                (if self.whole { Cause::Finished } else { Cause::Ahead }, None)
            }
            (Exit::Asked, _) => {
                let fault = Fault::new(Code::Transcode, Cause::Exit, "ffmpeg ended without being asked to");
                self.fail(fault, now, actions)
            }
            (Exit::Failed(fault), _) => self.fail(fault, now, actions),
            (Exit::FailedHere(fault, Some(again)), _) => {
                self.making_room = false;
                self.phase = Phase::Backoff { until: again };
                (fault.cause, Some(fault))
            }
            (Exit::FailedHere(..), _) => {
                self.rest_or_complete();
                (Cause::Ahead, None)
            }
        }
    }

    /// No run is left, and nothing went wrong.
    fn rest_or_complete(&mut self) {
        self.making_room = false;
        if self.whole {
            self.complete();
        } else {
            self.phase = Phase::Rested;
        }
    }

    /// What follows the end of the last run that was asked to end; answers what went wrong, if anything.
    fn rest(&mut self, rest: Rest, now: Instant, actions: &mut Vec<Action>) -> Option<Fault> {
        match rest {
            Rest::Stopped => {
                let cache = if self.kind == Some(Kind::Window) {
                    self.policy.live_cache
                } else {
                    self.policy.vod_cache
                };
                self.phase = Phase::Stopped { until: Some(now + cache) };
                None
            }
            Rest::Ended => {
                self.end(actions);
                None
            }
            Rest::Again(segments) => {
                if segments == Segments::Drop {
                    self.drop_segments(actions);
                }
                self.open(now, actions);
                None
            }
            Rest::Failed(fault) => self.give_up(fault, now).1,
            Rest::Retry(fault) => self.fail(fault, now, actions).1,
        }
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) -> (Cause, Option<Fault>) {
        if self.hold.and_then(|hold| hold.until).is_some_and(|until| until <= now) {
            self.hold = None;
            actions.push(Action::HoldOver);
            if self.is_kept_going() {
                self.keep_going(now, actions);
                return (Cause::Operator, None);
            }
            if self.phase == (Phase::Stopped { until: None }) {
                // Its cache time was over long ago; only the hold kept it on the list.
                self.end(actions);
                return (Cause::Operator, None);
            }
        }
        if self.idle_at().is_some_and(|at| at <= now) {
            let rest = self.at_rest();
            self.end_runs(Rung::Term, rest, Cause::Idle, now, actions);
            return (Cause::Idle, None);
        }
        if let Some(outcome) = self.climb(now, actions) {
            return outcome;
        }
        match &self.phase {
            Phase::Backoff { until } if *until <= now => {
                // The input is looked at again: it may have changed, and what was allowed then may not be now.
                // What is still known of it is not asked for twice.
                self.open(now, actions);
                (Cause::Retry, None)
            }
            Phase::Opening { by } if *by <= now => {
                let fault = Fault::new(
                    Code::TimedOut,
                    Cause::Source,
                    "looking at the input took longer than sessions.probe_timeout allows",
                );
                self.fail(fault, now, actions)
            }
            Phase::Stopped { until: Some(until) } if *until <= now => {
                self.drop_segments(actions);
                if self.hold.is_some() {
                    self.phase = Phase::Stopped { until: None };
                } else {
                    self.end(actions);
                }
                (Cause::Idle, None)
            }
            Phase::Failed { since, fault, .. } if self.is_kept_going() => {
                if *since + PINNED_AGAIN <= now {
                    let fault = fault.clone();
                    self.open(now, actions);
                    if matches!(self.phase, Phase::Failed { .. }) {
                        // Its old ffmpeg is still there.
                        self.give_up(fault, now);
                    }
                }
                (Cause::Retry, None)
            }
            Phase::Failed { until: Some(until), .. } if *until <= now => {
                self.end(actions);
                (Cause::Idle, None)
            }
            Phase::Complete if !self.pinned && self.complete_until() <= now => {
                self.end(actions);
                (Cause::Idle, None)
            }
            Phase::New
            | Phase::Opening { .. }
            | Phase::Producing
            | Phase::Rested
            | Phase::Backoff { .. }
            | Phase::Stopping { .. }
            | Phase::Stopped { .. }
            | Phase::Complete
            | Phase::Failed { .. }
            | Phase::Ended => (Cause::Internal, None),
        }
    }

    /// The deadlines of runs: ready in time, ahead too long, and the ladder of an end.
    fn climb(&mut self, now: Instant, actions: &mut Vec<Action>) -> Option<(Cause, Option<Fault>)> {
        let mut rested = Vec::new();
        let mut unkillable = None;
        for run in &mut self.runs {
            match &mut run.stage {
                Stage::Ahead { until } if *until <= now => rested.push(run.id),
                Stage::Ending { asked, rung } => {
                    let since = now.duration_since(*asked);
                    if *rung == Rung::Term && since >= SECOND_TERM {
                        *rung = Rung::TermAgain;
                        actions.push(Action::TerminateAgain(run.id));
                    }
                    if *rung == Rung::TermAgain && since >= KILL {
                        *rung = Rung::Kill;
                        actions.push(Action::Kill(run.id));
                    }
                    if *rung == Rung::Kill && since >= UNKILLABLE {
                        *rung = Rung::GivenUp;
                        unkillable = Some(run.id);
                    }
                }
                Stage::Starting | Stage::Producing | Stage::Ahead { .. } => {}
            }
        }
        if let Some(id) = unkillable {
            let fault = Fault::new(
                Code::Unkillable,
                Cause::Internal,
                format!("the ffmpeg of run {id} does not end, even when killed; its slot stays taken"),
            );
            let outcome = self.give_up(fault.heals(Heals::Never), now);
            return Some(outcome);
        }
        // Only these runs end; the session stays `ahead`, and goes on when a viewer comes near.
        for id in &rested {
            self.end_run(*id, Rung::Term, false, now, actions);
        }
        (!rested.is_empty()).then_some((Cause::Ahead, None))
    }

    /// Whether it is to go on whoever watches: a hold beats a pin.
    fn is_kept_going(&self) -> bool {
        self.pinned && self.hold.is_none() && !self.closing
    }

    /// Makes go what rests.
    fn keep_going(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Stopped { .. } | Phase::Failed { .. } | Phase::Ended => {
                self.failures = 0;
                self.open(now, actions);
            }
            Phase::Stopping { .. } => self.go_on_after_stopping(Cause::Operator),
            Phase::New
            | Phase::Opening { .. }
            | Phase::Producing
            | Phase::Rested
            | Phase::Backoff { .. }
            | Phase::Complete => {}
        }
    }

    fn open(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.runs.iter().any(|run| matches!(run.stage, Stage::Ending { rung: Rung::GivenUp, .. })) {
            return;
        }
        if self.whole {
            // There is nothing left to make.
            self.phase = Phase::Complete;
            return;
        }
        self.ended_by_itself = true;
        self.phase = Phase::Opening { by: now + self.policy.probe_timeout + OPENING_GRACE };
        self.heard(now);
        actions.push(Action::Open);
    }

    fn complete(&mut self) {
        self.whole = true;
        self.phase = Phase::Complete;
    }

    /// The segments are deleted, and with them what they made true.
    fn drop_segments(&mut self, actions: &mut Vec<Action>) {
        self.playable = false;
        self.whole = false;
        if !actions.contains(&Action::DropSegments) {
            actions.push(Action::DropSegments);
        }
    }

    /// It was to end, and is wanted again: what was to be deleted is deleted first.
    fn go_on_after_stopping(&mut self, cause: Cause) {
        if let Phase::Stopping { rest, .. } = &self.phase {
            let segments = match rest {
                Rest::Ended | Rest::Again(Segments::Drop) => Segments::Drop,
                Rest::Stopped | Rest::Again(Segments::Keep) | Rest::Failed(_) | Rest::Retry(_) => {
                    Segments::Keep
                }
            };
            self.phase = Phase::Stopping { rest: Rest::Again(segments), cause };
        }
    }

    fn launch(&mut self, actions: &mut Vec<Action>) {
        let id = self.next_run;
        self.next_run += 1;
        self.runs.push(Run { id, stage: Stage::Starting, finished: false, ended_for: None });
        self.making_room = false;
        if self.kind == Some(Kind::Window) {
            self.playable = false;
        }
        self.stable_since = None;
        self.phase = Phase::Producing;
        actions.push(Action::Launch(id));
    }

    /// Asks one run to end. While a `finished` one ends, the session does not count as resting.
    fn end_run(&mut self, id: u32, rung: Rung, finished: bool, now: Instant, actions: &mut Vec<Action>) {
        if let Some(run) = self.run(id).filter(|run| !matches!(run.stage, Stage::Ending { .. })) {
            run.finished = finished && run.is_working();
            run.stage = Stage::Ending { asked: now, rung };
            actions.push(if rung == Rung::Kill { Action::Kill(id) } else { Action::Terminate(id) });
        }
    }

    /// Asks all runs to end; `rest` follows at once where there are none.
    fn end_runs(&mut self, rung: Rung, rest: Rest, cause: Cause, now: Instant, actions: &mut Vec<Action>) {
        self.ask_runs(rung, now, actions);
        self.making_room = false;
        self.phase = Phase::Stopping { rest: rest.clone(), cause };
        if self.runs.is_empty() {
            self.rest(rest, now, actions);
        }
    }

    fn ask_runs(&mut self, rung: Rung, now: Instant, actions: &mut Vec<Action>) {
        for run in &mut self.runs {
            match &mut run.stage {
                Stage::Ending { rung: reached, .. } if *reached >= rung => {}
                Stage::Ending { rung: reached, .. } => {
                    *reached = rung;
                    actions.push(Action::Kill(run.id));
                }
                stage => {
                    *stage = Stage::Ending { asked: now, rung };
                    actions.push(if rung == Rung::Kill {
                        Action::Kill(run.id)
                    } else {
                        Action::Terminate(run.id)
                    });
                }
            }
        }
    }

    fn fail(&mut self, fault: Fault, now: Instant, actions: &mut Vec<Action>) -> (Cause, Option<Fault>) {
        let stable = self.stable_since.take().is_some_and(|since| now.duration_since(since) >= retry::STABLE);
        self.failures = if stable { 1 } else { self.failures + 1 };
        match retry::next(self.kind, &fault, self.failures, self.policy.noise) {
            Some(wait) => {
                let cause = fault.cause;
                self.phase = Phase::Backoff { until: now + wait };
                (cause, Some(fault))
            }
            None if self.runs.is_empty() => self.give_up(fault, now),
            None => {
                let cause = fault.cause;
                self.end_runs(Rung::Term, Rest::Failed(fault.clone()), cause, now, actions);
                (cause, Some(fault))
            }
        }
    }

    fn give_up(&mut self, fault: Fault, now: Instant) -> (Cause, Option<Fault>) {
        let cache = if self.kind.is_some_and(Kind::is_film) { self.policy.vod_cache } else { FAILED_LIVE };
        self.ended_by_itself = false;
        self.phase = Phase::Failed { fault: fault.clone(), since: now, until: Some(now + cache) };
        (fault.cause, Some(fault))
    }

    fn end(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Ended;
        self.played = false;
        self.failures = 0;
        self.drop_segments(actions);
    }

    /// Where a session goes that nobody wants any more.
    fn at_rest(&self) -> Rest {
        let cache = match self.kind {
            Some(Kind::Window) => self.policy.live_cache,
            Some(Kind::Timeline | Kind::Event) => self.policy.vod_cache,
            // Nothing is known of it yet, so nothing was made.
            None => Duration::ZERO,
        };
        if cache.is_zero() { Rest::Ended } else { Rest::Stopped }
    }

    fn idle_at(&self) -> Option<Instant> {
        match self.phase {
            _ if self.pinned => None,
            Phase::Opening { .. } | Phase::Producing | Phase::Rested | Phase::Backoff { .. } => {
                Some(self.last_heard + self.policy.idle_timeout)
            }
            _ => None,
        }
    }

    /// A complete film stays through idleness; its cache time counts from the last heartbeat.
    fn complete_until(&self) -> Instant {
        self.last_heard + self.policy.vod_cache
    }

    fn run(&mut self, id: u32) -> Option<&mut Run> {
        self.runs.iter_mut().find(|run| run.id == id)
    }
}

impl Run {
    /// Whether it makes segments, or is about to.
    fn is_working(&self) -> bool {
        matches!(self.stage, Stage::Starting | Stage::Producing)
    }
}

impl Stage {
    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Starting | Self::Producing => None,
            Self::Ahead { until } => Some(*until),
            Self::Ending { asked, rung } => match rung {
                Rung::Term => Some(*asked + SECOND_TERM),
                Rung::TermAgain => Some(*asked + KILL),
                Rung::Kill => Some(*asked + UNKILLABLE),
                Rung::GivenUp => None,
            },
        }
    }
}
