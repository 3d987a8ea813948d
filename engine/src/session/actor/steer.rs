//! Carries out what the plan says: which runs there are, and which of them wait.

use std::time::Duration;

use tokio::time::Instant;

use super::Actor;
use crate::mux::Time;
use crate::session::cut::Axis;
use crate::session::handle::Goal;
use crate::session::plan::{self, Order, Planner, Scene, Stage, Wait};
use crate::session::run::Wish;
use crate::session::state::{Event, Kind, State};
use crate::session::viewers::Viewer;

/// A run that was held back goes on when less than this part of `sessions.ahead` is left.
const NEAR: f64 = 0.75;
/// How much a new measurement counts against those before.
const WEIGHT: f64 = 0.3;

/// How quick the runs of a session are, as measured; guessed until one was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    measured: Option<(Duration, f64)>,
}

impl Pace {
    pub(super) fn unknown() -> Self {
        Self { measured: None }
    }

    /// A run published its first segment so long after its start.
    pub(super) fn begins_after(&mut self, first: Duration) {
        let measured = self.measured.get_or_insert((first, f64::NAN));
        measured.0 = measured.0.mul_f64(1.0 - WEIGHT) + first.mul_f64(WEIGHT);
    }

    /// A run made so much film in that time.
    pub(super) fn makes(&mut self, film: Time, took: Duration) {
        // Segments that were cut from one read come at once; nobody's speed is above this.
        let speed = (film.seconds() / took.as_secs_f64().max(0.001)).min(500.0);
        if let Some((_, measured)) = &mut self.measured {
            *measured = if measured.is_nan() { speed } else { *measured * (1.0 - WEIGHT) + speed * WEIGHT };
        }
    }

    fn known(self, copied: bool) -> plan::Pace {
        let guess = if copied { (Duration::from_millis(500), 30.0) } else { (Duration::from_secs(2), 3.0) };
        let (first, speed) = self.measured.unwrap_or(guess);
        plan::Pace { first, speed: if speed.is_nan() { guess.1 } else { speed.max(0.05) } }
    }
}

impl Actor {
    /// Has those runs that are wanted, and no others.
    pub(super) fn steer(&mut self) {
        self.wake = None;
        match self.input.as_ref().map(|input| (input.kind, input.known.ranges)) {
            Some((Kind::Timeline, _)) => self.steer_timeline(),
            // What can't be continued elsewhere is never held back.
            Some((Kind::Event, true)) => self.steer_event(),
            Some((Kind::Event | Kind::Window, _)) | None => {}
        }
    }

    /// Whether enough lies ahead of the viewers, or too little.
    fn steer_event(&mut self) {
        // What was asked for last is ahead of its viewer itself.
        let most = self.world.sessions.ahead.max(self.world.segment * 3);
        let furthest = self.viewers.furthest().unwrap_or(Time::ZERO);
        let ahead = (self.shelf.end() - furthest).seconds();
        let run = self.runs.keys().next_back().copied();
        if let Some(living) = run.and_then(|run| self.runs.get(&run)) {
            living.may_come_to(furthest + Time::from(most));
        }
        let most = most.as_secs_f64();
        match (self.life.state(), run) {
            (State::Running, Some(run)) if ahead > most => self.step(Event::Enough(run)),
            (State::Ahead, run) if ahead < most * NEAR && self.take_place().is_ok() => {
                self.step(run.map_or(Event::Needed, Event::Near));
            }
            _ => {}
        }
    }

    fn steer_timeline(&mut self) {
        if !self.life.is_producing() {
            return;
        }
        let mut planner = std::mem::take(&mut self.planner);
        let now = Instant::now();
        self.cooling.retain(|_, until| *until > now);
        let decided =
            self.with_scene(|scene| (planner.decide(scene), planner.goals(scene), planner.wake(scene)));
        let (orders, goals, wake) = decided.unwrap_or_default();
        self.planner = planner;
        self.wake = wake;
        for (run, goal) in goals {
            if let Some(living) = self.runs.get(&run) {
                living.may_come_to(goal);
            }
        }
        for order in orders {
            match order {
                Order::Launch(first) => match self.take_place() {
                    Ok(()) => {
                        self.begin_at = Some(first);
                        self.step(Event::Needed);
                    }
                    Err(fault) => self.refuse_segments(&fault),
                },
                Order::Hold(run) => {
                    if let Some(living) = self.runs.get_mut(&run) {
                        living.last_published = None;
                    }
                    self.step(Event::Enough(run));
                }
                Order::Release(run) => self.step(Event::Near(run)),
                Order::End(run) => self.step(Event::Unwanted(run)),
                Order::Evict(run) => self.step(Event::InTheWay(run)),
            }
        }
        if self.runs.is_empty() {
            self.step(Event::Rests);
        }
    }

    /// Where a run begins that nobody in particular waits for.
    pub(super) fn home(&self) -> Option<u64> {
        self.with_scene(Planner::home).flatten()
    }

    fn with_scene<T>(&self, look: impl FnOnce(&Scene<'_>) -> T) -> Option<T> {
        let index = self.shelf.index();
        let (grid, input) = (index.grid.as_ref()?, self.input.as_ref()?);
        let runs = self.runs.iter().map(|(id, living)| plan::Run {
            id: *id,
            first: living.first,
            next: living.next,
            reached: living.vitals.at.unwrap_or(living.from).max(grid.start(living.next)),
            speed: living.vitals.speed,
            began: living.began,
            stage: match *living.wish.borrow() {
                Wish::Read => Stage::Working,
                Wish::Pause => Stage::Held,
                Wish::Terminate | Wish::TerminateAgain | Wish::Kill => Stage::Ending,
            },
        });
        let runs: Vec<_> = runs.collect();
        let viewers: Vec<(Viewer, u64)> =
            self.viewers.positions().into_iter().map(|(viewer, at)| (viewer, grid.at(at))).collect();
        let furthest = viewers.iter().map(|(_, position)| *position).max().unwrap_or(0);
        let waits: Vec<_> = self
            .waiting
            .iter()
            .filter_map(|wanted| match &wanted.goal {
                Goal::Segment(wait) => Some(wait.clone()),
                // Who waits for the first that can be played waits for this.
                Goal::Playable if self.made.is_empty() => {
                    // Where a viewer was before, there may be nothing any more: the beginning will do.
                    let number = if self.short.1 == 0 { furthest } else { 0 };
                    Some(Wait { id: wanted.id, number, viewer: None, since: wanted.asked })
                }
                Goal::Playable => None,
            })
            .collect();
        // Until the first run has told the composition delay of what is copied, a second could not follow it.
        let limit = match input.axis {
            Some(Axis { .. }) => self.world.sessions.runs_per_session,
            None => 1,
        };
        let copied = input.decision.video.as_ref().is_none_or(|video| video.is_copied());
        Some(look(&Scene {
            now: Instant::now(),
            grid,
            made: &self.made,
            cooling: &self.cooling,
            runs: &runs,
            waits: &waits,
            viewers: &viewers,
            limit,
            ahead: Time::from(self.world.sessions.ahead),
            pace: self.pace.known(copied),
        }))
    }
}
