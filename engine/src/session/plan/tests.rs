//! The planner against a small world of runs and viewers, in steps of a tenth of a second.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::mux::Rate;

const TICK: Duration = Duration::from_millis(100);
const SEGMENTS: u64 = 150;

fn grid() -> Grid {
    // The first two segments are a second long.
    let end = Time::from_secs(2 * SEGMENTS as i64 - 2);
    let grid = Grid::encoded(Rate { num: 25, den: 1 }, Time::from_secs(2), end);
    grid.expect("a film of five minutes has a grid")
}

fn viewer(n: u8) -> Viewer {
    Viewer { address: IpAddr::from([10, 0, 0, n]), user_agent: None }
}

/// Runs that make segments at a speed, and viewers who ask for them.
struct World {
    grid: Grid,
    now: Instant,
    began: Instant,
    made: BTreeSet<u64>,
    /// Segments that were made, again and again counted.
    work: u64,
    runs: Vec<Run>,
    next_run: u32,
    launched: Vec<u64>,
    waits: Vec<Wait>,
    next_wait: u64,
    viewers: Vec<(Viewer, u64)>,
    limit: usize,
    pace: Pace,
    planner: Planner,
    longest: Duration,
}

impl World {
    fn new(limit: usize, first: Duration, speed: f64) -> Self {
        let now = Instant::now();
        Self {
            grid: grid(),
            now,
            began: now,
            made: BTreeSet::new(),
            work: 0,
            runs: Vec::new(),
            next_run: 1,
            launched: Vec::new(),
            waits: Vec::new(),
            next_wait: 0,
            viewers: Vec::new(),
            limit,
            pace: Pace { first, speed },
            planner: Planner::default(),
            longest: Duration::ZERO,
        }
    }

    /// A viewer asks for a segment, at once answered if it exists.
    fn ask(&mut self, who: u8, number: u64) {
        let viewer = viewer(who);
        self.viewers.retain(|(other, _)| *other != viewer);
        self.viewers.push((viewer.clone(), number));
        if !self.made.contains(&number) {
            let wait = Wait { id: self.next_wait, number, viewer: Some(viewer), since: self.now };
            self.next_wait += 1;
            self.waits.push(wait);
        }
        self.decide();
    }

    /// A player that jumps gives up what it asked for.
    fn jump(&mut self, who: u8, number: u64) {
        self.waits.retain(|wait| wait.viewer != Some(viewer(who)));
        self.ask(who, number);
    }

    fn is_waiting(&self, who: u8) -> bool {
        self.waits.iter().any(|wait| wait.viewer == Some(viewer(who)))
    }

    fn decide(&mut self) {
        let scene = Scene {
            now: self.now,
            grid: &self.grid,
            made: &self.made,
            cooling: &BTreeMap::new(),
            runs: &self.runs,
            waits: &self.waits,
            viewers: &self.viewers,
            limit: self.limit,
            ahead: Time::from_secs(60),
            pace: self.pace,
        };
        for order in self.planner.decide(&scene) {
            let stage = |world: &mut Self, id: u32, stage: Stage| {
                world.runs.iter_mut().filter(|run| run.id == id).for_each(|run| run.stage = stage);
            };
            match order {
                Order::Launch(first) => {
                    let (id, began) = (self.next_run, self.now);
                    let reached = self.grid.start(first);
                    let run =
                        Run { id, first, next: first, reached, speed: None, began, stage: Stage::Working };
                    self.runs.push(run);
                    self.next_run += 1;
                    self.launched.push(first);
                }
                Order::Hold(id) => stage(self, id, Stage::Held),
                Order::Release(id) => stage(self, id, Stage::Working),
                Order::End(id) | Order::Evict(id) => stage(self, id, Stage::Ending),
            }
        }
        assert!(self.runs.len() <= self.limit, "{} runs live, {} may", self.runs.len(), self.limit);
    }

    fn tick(&mut self) {
        self.now += TICK;
        self.runs.retain(|run| run.stage != Stage::Ending);
        let mut made = Vec::new();
        for run in self.runs.iter_mut().filter(|run| run.stage == Stage::Working) {
            let age = self.now - run.began;
            if age < self.pace.first {
                continue;
            }
            if run.next == run.first {
                run.reached = self.grid.start(run.first + 1);
            } else {
                run.reached += Time::from_millis((self.pace.speed * 100.0) as i64);
            }
            run.speed = Some(self.pace.speed);
            while run.next < self.grid.count() && self.grid.start(run.next + 1) <= run.reached {
                if self.made.contains(&run.next) {
                    break;
                }
                made.push(run.next);
                self.made.insert(run.next);
                run.next += 1;
            }
            if run.next >= self.grid.count() || self.made.contains(&run.next) {
                run.stage = Stage::Ending;
            }
        }
        self.work += made.len() as u64;
        for wait in std::mem::take(&mut self.waits) {
            if self.made.contains(&wait.number) {
                self.longest = self.longest.max(self.now - wait.since);
                self.planner.answered(&wait, self.now);
            } else {
                self.waits.push(wait);
            }
        }
        self.decide();
    }

    fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            let waits: Vec<_> = self.waits.iter().map(|wait| wait.number).collect();
            assert!(self.now < end, "after {limit:?} these are waited for: {waits:?}, runs {:?}", self.runs);
            self.tick();
        }
    }

    /// A player at normal speed with a buffer of ten seconds.
    fn watch(&mut self, who: u8, from: u64, segments: u64) {
        for number in from..from + segments {
            self.ask(who, number);
            self.run_until(Duration::from_secs(60), |world| !world.is_waiting(who));
        }
    }
}

const FIRST: Duration = Duration::from_millis(500);

#[test]
fn requests_for_one_missing_segment_start_one_run() {
    let mut world = World::new(2, FIRST, 4.0);
    for who in 0..20 {
        world.ask(who, 50);
    }
    world.run_until(Duration::from_secs(5), |world| world.waits.is_empty());
    assert_eq!(world.launched, [50]);
}

#[test]
fn what_a_run_comes_to_soon_is_waited_for_and_what_is_far_gets_a_run() {
    let mut world = World::new(2, Duration::from_secs(2), 4.0);
    world.watch(1, 0, 3);
    world.ask(1, 6);
    world.run_until(Duration::from_secs(5), |world| world.waits.is_empty());
    assert_eq!(world.launched, [0]);
    world.jump(1, 100);
    world.run_until(Duration::from_secs(5), |world| world.waits.is_empty());
    assert_eq!(world.launched, [0, 100]);
}

#[test]
fn a_run_slower_than_real_time_is_never_given_up_for_a_fresh_one() {
    let mut world = World::new(2, Duration::from_secs(2), 0.7);
    world.watch(1, 0, 20);
    assert_eq!(world.launched, [0]);
}

#[test]
fn a_run_ends_where_segments_exist_and_no_segment_is_made_twice() {
    let mut world = World::new(2, FIRST, 8.0);
    for number in [120, 60, 0, 90, 30] {
        world.jump(1, number);
        world.run_until(Duration::from_secs(5), |world| !world.is_waiting(1));
    }
    world.watch(1, 0, SEGMENTS);
    assert_eq!((world.work, world.made.len() as u64), (SEGMENTS, SEGMENTS));
}

#[test]
fn a_run_is_held_back_ahead_of_its_viewer_and_goes_on_when_the_viewer_comes_near() {
    let mut world = World::new(2, FIRST, 50.0);
    world.ask(1, 0);
    world.run_until(Duration::from_secs(5), |world| world.runs.iter().any(|run| run.stage == Stage::Held));
    let held = world.runs[0].next;
    assert!(world.grid.start(held) > Time::from_secs(60) && held < 45, "held back at {held}");
    world.watch(1, 0, 8);
    assert_eq!(world.runs[0].stage, Stage::Held);
    world.watch(1, 8, 12);
    world.run_until(Duration::from_secs(5), |world| world.runs[0].next > held);
    assert_eq!(world.launched, [0]);
}

#[test]
fn a_run_that_nobody_waits_for_lingers_and_then_ends() {
    let mut world = World::new(2, FIRST, 2.0);
    world.watch(1, 0, 2);
    world.jump(1, 100);
    world.run_until(Duration::from_secs(5), |world| !world.is_waiting(1));
    let since = world.now;
    world.run_until(Duration::from_secs(30), |world| world.runs.iter().all(|run| run.first != 0));
    assert!(world.now - since >= LINGER - Duration::from_secs(2), "it ended after {:?}", world.now - since);
}

#[test]
fn where_one_run_may_live_a_jump_ends_the_old_one_at_once() {
    let mut world = World::new(1, FIRST, 4.0);
    world.watch(1, 0, 3);
    let asked = world.now;
    world.jump(1, 100);
    world.run_until(Duration::from_secs(5), |world| !world.is_waiting(1));
    assert!(world.now - asked < Duration::from_secs(1), "it took {:?}", world.now - asked);
    assert_eq!(world.launched, [0, 100]);
}

#[test]
fn two_viewers_share_the_only_run_and_neither_waits_long() {
    let mut world = World::new(1, FIRST, 50.0);
    let mut places = [(1, 0_u64), (2, 75_u64)];
    let film = Duration::from_secs(120);
    // Each asks for its next segment every two seconds, as players do.
    let mut next = world.now;
    while world.now - world.began < film {
        if world.now >= next {
            next = world.now + Duration::from_secs(2);
            for (who, place) in &mut places {
                if !world.is_waiting(*who) && *place + 1 < SEGMENTS {
                    world.ask(*who, *place);
                    *place += 1;
                }
            }
        }
        world.tick();
    }
    assert!(world.longest < Duration::from_secs(5), "somebody waited {:?}", world.longest);
    assert!(places[0].1 > 50 && places[1].1 > 120, "{places:?}");
    assert!(world.launched.len() < 12, "runs were started at {:?}", world.launched);
}

#[test]
fn a_player_that_asks_out_of_order_does_not_make_runs_chase_each_other() {
    let mut world = World::new(1, FIRST, 4.0);
    for number in 0..10 {
        world.ask(1, number + 30);
        world.ask(1, number);
        world.tick();
    }
    world.run_until(Duration::from_secs(60), |world| world.waits.is_empty());
    assert!(world.launched.len() <= 4, "runs were started at {:?}", world.launched);
}

#[test]
fn a_place_where_a_run_failed_is_left_alone_for_a_while() {
    let mut world = World::new(2, FIRST, 4.0);
    world.waits.push(Wait { id: 0, number: 7, viewer: Some(viewer(1)), since: world.now });
    let cooling = BTreeMap::from([(7, world.now + Duration::from_secs(4))]);
    let scene = |now| Scene {
        now,
        grid: &world.grid,
        made: &world.made,
        cooling: &cooling,
        runs: &[],
        waits: &world.waits,
        viewers: &[],
        limit: 2,
        ahead: Time::from_secs(60),
        pace: world.pace,
    };
    let mut planner = Planner::default();
    assert_eq!(planner.decide(&scene(world.now)), []);
    assert_eq!(planner.wake(&scene(world.now)), Some(world.now + Duration::from_secs(4)));
    assert_eq!(planner.decide(&scene(world.now + Duration::from_secs(4))), [Order::Launch(7)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever viewers do: never more runs than may live, no segment twice, and everybody is served.
    #[test]
    fn everybody_is_served_whatever_they_ask_for(
        limit in 1_usize..4,
        speed in prop::sample::select(vec![0.8, 2.0, 10.0, 60.0]),
        asks in prop::collection::vec((0_u8..5, 0_u64..SEGMENTS, any::<bool>(), 0_u32..30), 1..60),
    ) {
        let mut world = World::new(limit, Duration::from_millis(700), speed);
        for (who, number, jumps, pause) in asks {
            if jumps { world.jump(who, number) } else { world.ask(who, number) }
            for _ in 0..pause {
                world.tick();
            }
        }
        world.run_until(Duration::from_secs(3_000), |world| world.waits.is_empty());
        prop_assert_eq!(world.work, world.made.len() as u64);
        // Nobody asks any more: what is left of the runs waits or ends.
        world.run_until(Duration::from_secs(300), |world| {
            world.runs.iter().all(|run| run.stage != Stage::Working)
        });
    }
}
