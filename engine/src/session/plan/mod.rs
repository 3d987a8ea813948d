//! Which run makes which segment of a timeline. Pure: what is, goes in; what is to be done, comes out.
//!
//! A segment that exists is served. One that does not is waited for if a living run comes to it sooner than a
//! fresh run could, and else a fresh run starts there. Runs go on ahead of the viewers they serve, wait there,
//! and end where segments exist already. Where as many runs live as may, a viewer who jumps ends the run that
//! served only them; for others' runs a request waits until these are far enough ahead of their own viewers.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::grid::Grid;
use super::viewers::Viewer;
use crate::mux::Time;

/// A run that nobody waits for lives this much longer: players abort a request and ask again.
const LINGER: Duration = Duration::from_secs(15);
/// A run that is asked to make room has served its own viewers when it made so much more.
const TURN: Time = Time::from_secs(10);
/// A run that was held back goes on when less than this part of `ahead` is left: a viewer at normal speed then
/// sees it work every now and then, and not at every segment.
const NEAR: (i64, u32) = (3, 4);
/// A fresh run costs the machine more than one that goes on, so it has to be sooner by this factor, and by so many
/// seconds where a run is near.
const PATIENCE: f64 = 1.5;
const SOON: f64 = 0.5;
/// Who was promised a run stays with it, unless it becomes so much slower than a fresh one: speeds are guesses.
const LOYALTY: f64 = 3.0;

/// What there is to decide on.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub now: Instant,
    pub grid: &'a Grid,
    /// The numbers of the segments that exist, and of those that are given up.
    pub made: &'a BTreeSet<u64>,
    /// Where a run failed, and until when nobody tries again.
    pub cooling: &'a BTreeMap<u64, Instant>,
    pub runs: &'a [Run],
    pub waits: &'a [Wait],
    /// Where each viewer is: the last segment that was asked for.
    pub viewers: &'a [(Viewer, u64)],
    /// Runs that may live at the same time.
    pub limit: usize,
    /// How far a run works ahead of its viewers.
    pub ahead: Time,
    pub pace: Pace,
}

/// A living run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Run {
    pub id: u32,
    /// The segment that it began with, and the one that it makes next.
    pub first: u64,
    pub next: u64,
    /// The film time that it has come to.
    pub reached: Time,
    /// Seconds of film a second, as measured of late.
    pub speed: Option<f64>,
    pub began: Instant,
    pub stage: Stage,
}

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Working,
    /// Held back, by not reading.
    Held,
    /// Asked to end, not reaped yet.
    Ending,
}

/// A request that waits for a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wait {
    pub id: u64,
    pub number: u64,
    /// Nobody in particular, where a start waits.
    pub viewer: Option<Viewer>,
    pub since: Instant,
}

/// What a fresh run of this session takes, as measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pace {
    /// From its start to its first segment.
    pub first: Duration,
    /// Seconds of film a second.
    pub speed: f64,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// A run that begins with this segment.
    Launch(u64),
    /// It is far enough ahead: read no further.
    Hold(u32),
    /// Read on.
    Release(u32),
    /// Its work is done, or nobody wants it.
    End(u32),
    /// Its place is wanted now.
    Evict(u32),
}

/// The decisions of one session, and what they have to remember.
#[derive(Debug, Default)]
pub(super) struct Planner {
    runs: BTreeMap<u32, Memory>,
    /// Which run each waiting request was promised.
    promised: HashMap<u64, u32>,
}

#[derive(Debug)]
struct Memory {
    /// When somebody last waited for it, or watched what it makes.
    wanted: Instant,
    /// Where it was when it was asked to make room.
    yielding: Option<Time>,
    /// When it last made what a viewer waited for.
    served: HashMap<Viewer, Instant>,
}

impl Planner {
    /// What to do now.
    pub(super) fn decide(&mut self, scene: &Scene<'_>) -> Vec<Order> {
        let mut orders = Vec::new();
        self.remember(scene);
        let living: Vec<Run> = scene.runs.iter().copied().filter(|run| run.stage != Stage::Ending).collect();
        let (met, working): (Vec<Run>, Vec<Run>) = living.into_iter().partition(|run| scene.has_met(run));
        orders.extend(met.iter().map(|run| Order::End(run.id)));

        let (served, open) = self.assign(scene, &working);
        let mut free = scene.limit.saturating_sub(scene.runs.len());
        let mut leaving = scene.runs.len() - working.len();
        let mut evicted = BTreeSet::new();
        let mut fresh: Vec<u64> = Vec::new();
        if open.is_empty() {
            self.runs.values_mut().for_each(|memory| memory.yielding = None);
        }
        for wait in open {
            if fresh.iter().any(|first| scene.fresh_run_comes_to(*first, wait.number)) {
                continue;
            }
            if free > 0 {
                free -= 1;
                fresh.push(wait.number);
                orders.push(Order::Launch(wait.number));
            } else if leaving > 0 {
                // A place will be free in a moment.
                leaving -= 1;
                fresh.push(wait.number);
            } else {
                let candidates =
                    working.iter().filter(|run| !evicted.contains(&run.id) && !served.contains(&run.id));
                match self.victim(scene, candidates, wait) {
                    Some(run) => {
                        evicted.insert(run);
                        fresh.push(wait.number);
                        orders.push(Order::Evict(run));
                    }
                    None => self.ask_to_yield(&working),
                }
            }
        }
        for first in scene.wishes(&working, &fresh).into_iter().take(free) {
            orders.push(Order::Launch(first));
        }
        for run in working.iter().filter(|run| !evicted.contains(&run.id)) {
            orders.extend(self.tend(scene, run, served.contains(&run.id)));
        }
        orders
    }

    /// How far each run may come before it waits: `ahead` of the viewers that it serves, and to what is waited for.
    /// After a decision.
    pub(super) fn goals(&self, scene: &Scene<'_>) -> Vec<(u32, Time)> {
        let goal = |run: &Run| {
            let awaited = scene.waits.iter().filter(|wait| self.promised.get(&wait.id) == Some(&run.id));
            let awaited = awaited.map(|wait| scene.grid.start(wait.number)).max();
            let served = scene.lead(run).map(|lead| scene.grid.start(run.next) - lead + scene.ahead);
            Some((run.id, served.into_iter().chain(awaited).max()?))
        };
        scene.runs.iter().filter(|run| run.stage != Stage::Ending).filter_map(goal).collect()
    }

    /// When a decision may change though nothing happens.
    pub(super) fn wake(&self, scene: &Scene<'_>) -> Option<Instant> {
        let lingering = self.runs.values().map(|memory| memory.wanted + LINGER);
        let cooling = scene.cooling.values().copied();
        lingering.chain(cooling).filter(|at| *at > scene.now).min()
    }

    /// Where a run begins that nobody in particular waits for: what is missing at or after the furthest viewer,
    /// else the first that is missing at all.
    pub(super) fn home(scene: &Scene<'_>) -> Option<u64> {
        let waiting =
            scene.waits.iter().filter(|wait| scene.is_missing(wait.number)).min_by_key(|wait| wait.since);
        let furthest = scene.viewers.iter().map(|(_, position)| *position).max().unwrap_or(0);
        waiting
            .map(|wait| wait.number)
            .or_else(|| scene.missing_from(furthest))
            .or_else(|| scene.missing_from(0))
    }

    fn remember(&mut self, scene: &Scene<'_>) {
        self.runs.retain(|id, _| scene.runs.iter().any(|run| run.id == *id));
        for run in scene.runs {
            self.runs.entry(run.id).or_insert_with(|| Memory {
                wanted: scene.now,
                yielding: None,
                served: HashMap::new(),
            });
        }
        self.promised.retain(|wait, _| scene.waits.iter().any(|open| open.id == *wait));
    }

    /// A request was answered with a segment that a run made for it.
    pub(super) fn answered(&mut self, wait: &Wait, now: Instant) {
        if let (Some(run), Some(viewer)) = (self.promised.remove(&wait.id), &wait.viewer)
            && let Some(memory) = self.runs.get_mut(&run)
        {
            memory.served.insert(viewer.clone(), now);
            memory.wanted = now;
        }
    }

    /// The runs that somebody waits for, and the requests that none will come to in time, the longest waiting
    /// first.
    fn assign<'s>(&mut self, scene: &'s Scene<'_>, working: &[Run]) -> (BTreeSet<u32>, Vec<&'s Wait>) {
        let mut served = BTreeSet::new();
        let mut open = Vec::new();
        let mut waits: Vec<_> = scene.waits.iter().filter(|wait| scene.is_missing(wait.number)).collect();
        waits.sort_by_key(|wait| (wait.since, wait.id));
        for wait in waits {
            if scene.cooling.get(&wait.number).is_some_and(|until| *until > scene.now) {
                continue;
            }
            let fresh = scene.pace.first.as_secs_f64() * PATIENCE;
            let loyal = self.promised.get(&wait.id).copied();
            let best = working
                .iter()
                .filter_map(|run| {
                    let is_near = scene.grid.start(wait.number) - run.reached <= TURN;
                    let limit = if loyal == Some(run.id) { fresh * LOYALTY } else { fresh };
                    let limit = if is_near { limit + SOON } else { limit };
                    // What is being made already is never made by another one as well.
                    let in_time = |eta: &f64| run.next == wait.number || *eta <= limit;
                    scene.comes_to(run, wait.number).filter(in_time).map(|eta| (run.id, eta))
                })
                .min_by(|(_, one), (_, other)| one.total_cmp(other));
            match best {
                Some((run, _)) => {
                    self.promised.insert(wait.id, run);
                    served.insert(run);
                    if let Some(memory) = self.runs.get_mut(&run) {
                        memory.wanted = scene.now;
                    }
                }
                None => {
                    self.promised.remove(&wait.id);
                    open.push(wait);
                }
            }
        }
        (served, open)
    }

    /// The run that makes room for a request, if one may be made to: of those that nobody waits for, first one
    /// that serves nobody, then one that serves only the viewer who asks, then one that has had its turn.
    fn victim<'r>(
        &self,
        scene: &Scene<'_>,
        candidates: impl Iterator<Item = &'r Run>,
        wait: &Wait,
    ) -> Option<u32> {
        candidates
            .filter_map(|run| {
                let memory = self.runs.get(&run.id)?;
                let viewers = scene.viewers_of(run);
                let only_theirs = viewers.iter().all(|viewer| Some(*viewer) == wait.viewer.as_ref());
                // Who was served by it after this was asked for asks for pieces out of order, and does not jump.
                let in_use = wait.viewer.as_ref().and_then(|viewer| memory.served.get(viewer));
                let in_use = in_use.is_some_and(|at| *at >= wait.since);
                let rank = if in_use || !only_theirs {
                    let turn = memory.yielding.is_some_and(|from| run.reached - from >= TURN);
                    let had = turn || run.stage == Stage::Held || scene.is_ahead(run);
                    had.then_some(2)?
                } else {
                    i32::from(!viewers.is_empty())
                };
                Some((rank, memory.wanted, run.id))
            })
            .min()
            .map(|(_, _, run)| run)
    }

    fn ask_to_yield(&mut self, working: &[Run]) {
        for run in working {
            if let Some(memory) = self.runs.get_mut(&run.id) {
                memory.yielding.get_or_insert(run.reached);
            }
        }
    }

    /// Whether a run goes on, waits or ends.
    fn tend(&mut self, scene: &Scene<'_>, run: &Run, awaited: bool) -> Option<Order> {
        let memory = self.runs.get_mut(&run.id)?;
        let has_viewers = !scene.viewers_of(run).is_empty();
        if awaited || has_viewers {
            memory.wanted = scene.now;
        }
        let begun = run.next > run.first;
        if !awaited && !has_viewers && begun && scene.now >= memory.wanted + LINGER {
            return Some(Order::End(run.id));
        }
        let lead = scene.lead(run);
        match run.stage {
            // What nobody watches at the moment costs nothing while it is not read.
            Stage::Working if !awaited && begun && lead.is_none_or(|lead| lead > scene.ahead) => {
                Some(Order::Hold(run.id))
            }
            Stage::Held if awaited || lead.is_some_and(|lead| lead < scene.near()) => {
                Some(Order::Release(run.id))
            }
            Stage::Working | Stage::Held | Stage::Ending => None,
        }
    }
}

impl Scene<'_> {
    fn is_missing(&self, number: u64) -> bool {
        number < self.grid.count() && !self.made.contains(&number)
    }

    /// The first segment from `number` on that does not exist.
    fn missing_from(&self, number: u64) -> Option<u64> {
        let mut missing = number;
        for made in self.made.range(number..) {
            if *made != missing {
                break;
            }
            missing += 1;
        }
        (missing < self.grid.count()).then_some(missing)
    }

    /// Whether a run has nothing left to make: what comes next exists, or a fresher run is at it.
    fn has_met(&self, run: &Run) -> bool {
        self.made.contains(&run.next)
            || self
                .others(run)
                .any(|other| other.next == run.next && (other.first, other.id) > (run.first, run.id))
    }

    fn others<'s>(&'s self, run: &'s Run) -> impl Iterator<Item = &'s Run> {
        self.runs.iter().filter(move |other| other.id != run.id && other.stage != Stage::Ending)
    }

    /// The first segment after the next one that a run will not make.
    fn stop(&self, run: &Run) -> u64 {
        let made = self.made.range(run.next + 1..).next().copied();
        let claimed = self.others(run).map(|other| other.next).filter(|next| *next > run.next).min();
        made.into_iter().chain(claimed).min().unwrap_or(u64::MAX)
    }

    /// The seconds until a run has made a segment, if it will.
    fn comes_to(&self, run: &Run, number: u64) -> Option<f64> {
        if number < run.next || number >= self.stop(run) {
            return None;
        }
        let goal = self.grid.start(number + 1);
        if run.next == run.first {
            let age = self.now.saturating_duration_since(run.began);
            let ready = self.pace.first.saturating_sub(age).as_secs_f64();
            let rest = goal - self.grid.start(run.first + 1);
            return Some(ready + rest.seconds() / self.pace.speed);
        }
        let speed = run.speed.filter(|_| run.stage == Stage::Working).unwrap_or(self.pace.speed);
        Some(((goal - run.reached).seconds() / speed.max(0.01)).max(0.0))
    }

    /// Whether a run that is about to start will come to a segment sooner than another one.
    fn fresh_run_comes_to(&self, first: u64, number: u64) -> bool {
        let rest = (self.grid.start(number + 1) - self.grid.start(first + 1)).seconds();
        number >= first
            && self.made.range(first..number).next().is_none()
            && rest / self.pace.speed <= self.pace.first.as_secs_f64()
    }

    /// The viewers who come to what a run makes before anything else that does not exist.
    fn viewers_of<'s>(&'s self, run: &'s Run) -> Vec<&'s Viewer> {
        self.served_by(run).map(|(viewer, _)| viewer).collect()
    }

    fn served_by<'s>(&'s self, run: &'s Run) -> impl Iterator<Item = &'s (Viewer, u64)> {
        let stop = self.stop(run);
        self.viewers.iter().filter(move |(_, position)| {
            self.missing_from(*position).is_some_and(|missing| {
                run.next <= missing
                    && missing < stop
                    && self.grid.start(missing) - self.grid.start(run.next) <= TURN
            })
        })
    }

    /// How far a run is in front of the viewers it serves, if there are any; a session without viewers is
    /// watched from its beginning.
    fn lead(&self, run: &Run) -> Option<Time> {
        let nearest = self.served_by(run).map(|(_, position)| *position).max();
        let nearest = nearest.or_else(|| self.viewers.is_empty().then_some(run.first));
        nearest.map(|position| self.grid.start(run.next) - self.grid.start(position))
    }

    fn is_ahead(&self, run: &Run) -> bool {
        self.lead(run).is_none_or(|lead| lead > self.ahead)
    }

    fn near(&self) -> Time {
        Time::new(self.ahead.ticks_in(1_000) * NEAR.0, 1_000 * NEAR.1)
    }

    /// Segments that viewers will come to soon, and nobody makes: the nearest first.
    fn wishes(&self, working: &[Run], fresh: &[u64]) -> Vec<u64> {
        let mut wishes: Vec<(Time, u64)> = Vec::new();
        for (_, position) in self.viewers {
            let Some(missing) = self.missing_from(*position) else { continue };
            let lead = self.grid.start(missing) - self.grid.start(*position);
            let made = working.iter().any(|run| run.next <= missing && missing < self.stop(run))
                || fresh.iter().any(|first| *first <= missing && self.fresh_run_comes_to(*first, missing));
            let cooling = self.cooling.get(&missing).is_some_and(|until| *until > self.now);
            if !made && !cooling && lead < self.near() && !wishes.iter().any(|(_, wish)| *wish == missing) {
                wishes.push((lead, missing));
            }
        }
        wishes.sort();
        wishes.into_iter().map(|(_, number)| number).collect()
    }
}
