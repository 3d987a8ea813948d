//! What readers of the event stream may rely on, with a registry that a test can change at will.

use jiff::Timestamp;
use proptest::prelude::*;
use sluice_protocol::{Limits, State, Storage, Totals};

use super::*;
use crate::control::shape::tests::snapshot;
use crate::session::{self, Cause, Change, Code, Fault};

/// Longer than anything here may take; the clock is paused, so it costs nothing.
const LIMIT: Duration = Duration::from_secs(60);

/// Stands in for the registry.
#[derive(Clone)]
struct World {
    sessions: Arc<Mutex<Vec<Arc<Snapshot>>>>,
    happenings: broadcast::Sender<Arc<Happening>>,
    looks: watch::Sender<u64>,
    metrics: Arc<Metrics>,
}

impl Watched for World {
    fn subscribe(&self) -> broadcast::Receiver<Arc<Happening>> {
        self.happenings.subscribe()
    }

    fn sessions(&self) -> Vec<Arc<Snapshot>> {
        self.looks.send_modify(|looks| *looks += 1);
        lock(&self.sessions).clone()
    }

    fn engine(&self) -> Engine {
        Engine {
            version: "1.2.3".to_owned(),
            pid: 1,
            started_at: Timestamp::UNIX_EPOCH,
            uptime: 0.0,
            listen: "127.0.0.1:8088".to_owned(),
            limits: Limits { sessions: 1, runs_per_session: 1, connections: 1, history: 1 },
            totals: Totals { sessions: 0, active: 0, runs: 0, viewers: 0, started: 0, cpu: 0.0, rss: 0 },
            storage: Storage { used: 0, max: 1, free: None, held: 0, memory: 1 },
            ffmpeg: None,
            encoders: Vec::new(),
            draining: false,
        }
    }

    fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }
}

impl World {
    fn new() -> Self {
        Self {
            sessions: Arc::default(),
            happenings: broadcast::Sender::new(16),
            looks: watch::Sender::new(0),
            metrics: Arc::default(),
        }
    }

    fn add(&self) -> Id {
        let id = Uuid::new_v4();
        lock(&self.sessions).push(Arc::new(snapshot(id)));
        id
    }

    fn change(&self, id: Id, change: impl FnOnce(&mut Snapshot)) {
        let mut sessions = lock(&self.sessions);
        let session = sessions.iter_mut().find(|session| session.id == id).unwrap();
        change(Arc::make_mut(session));
    }

    fn remove(&self, id: Id) {
        lock(&self.sessions).retain(|session| session.id != id);
    }

    /// As an actor does it: first the snapshot, then the news.
    fn move_to(&self, id: Id, to: session::State, cause: Cause) {
        let mut from = to;
        self.change(id, |session| from = std::mem::replace(&mut session.state, to));
        let change = Change { from, to, cause, fault: None };
        self.tell(Happening::Changed { at: Timestamp::UNIX_EPOCH, id, change, who: None });
    }

    fn tell(&self, happening: Happening) {
        self.happenings.send(Arc::new(happening)).unwrap();
    }

    fn act(&self, result: Result<(), Code>) {
        self.tell(Happening::Acted {
            at: Timestamp::UNIX_EPOCH,
            who: "alice".into(),
            what: "stop",
            id: None,
            result,
        });
    }

    fn sessions_now(&self) -> HashMap<Id, Session> {
        lock(&self.sessions).iter().map(|snapshot| (snapshot.id, shape::session(snapshot))).collect()
    }
}

/// A console: it knows what it was told and nothing else.
struct Console {
    reader: Reader,
    sessions: HashMap<Id, Session>,
    seq: u64,
    snapshots: usize,
}

impl Console {
    fn new(feed: &Feed, after: Option<(u64, Uuid)>) -> Self {
        Self { reader: feed.reader(after), sessions: HashMap::new(), seq: 0, snapshots: 0 }
    }

    async fn next(&mut self) -> Option<Event> {
        let line = tokio::time::timeout(LIMIT, self.reader.next()).await.expect("nothing came")?;
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "a record is a line");
        let event: Event = serde_json::from_slice(&line).unwrap();
        self.learn(&event);
        Some(event)
    }

    fn learn(&mut self, event: &Event) {
        let seq = match event {
            Event::Snapshot { seq, sessions, .. } => {
                self.sessions = sessions.iter().map(|session| (session.id, session.clone())).collect();
                self.snapshots += 1;
                self.seq = *seq;
                return;
            }
            Event::State(change) => change.seq,
            Event::Action(action) => action.seq,
            Event::Tick(tick) => {
                for patch in &tick.sessions {
                    let id = patch.id().expect("a patch says whom it is about");
                    match self.sessions.get_mut(&id) {
                        Some(session) => patch.apply(session).unwrap(),
                        None => drop(self.sessions.insert(id, patch.clone().into_session().unwrap())),
                    }
                }
                for id in &tick.removed {
                    assert!(self.sessions.remove(id).is_some(), "only what was listed is removed");
                }
                tick.seq
            }
            Event::Unknown => panic!("the engine writes no record that it does not know"),
        };
        assert_eq!(seq, self.seq + 1, "no gap, no repeat");
        self.seq = seq;
    }

    async fn tick(&mut self) -> Tick {
        loop {
            if let Event::Tick(tick) = self.next().await.expect("the stream goes on") {
                return tick;
            }
        }
    }
}

fn begin() -> (World, Arc<Feed>, CancellationToken) {
    let (world, ending) = (World::new(), CancellationToken::new());
    let feed = Feed::watch(world.clone(), ending.clone());
    (world, feed, ending)
}

/// Waits until the feed has written all that was told.
async fn written(feed: &Feed, last: u64) {
    let mut news = feed.shared.news.subscribe();
    let reached = news.wait_for(|news| news.last >= last);
    drop(tokio::time::timeout(LIMIT, reached).await.expect("it is not written").unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_new_reader_gets_everything_and_then_what_changes() {
    let (world, feed, _ending) = begin();
    let (first, second) = (world.add(), world.add());
    let mut console = Console::new(&feed, None);
    let Some(Event::Snapshot { sessions, epoch, .. }) = console.next().await else { panic!("no snapshot") };
    assert_eq!(sessions.iter().map(|session| session.id).collect::<Vec<_>>(), [first, second]);
    assert_eq!(epoch, feed.shared.epoch);

    world.change(second, |session| session.produced = 4.0);
    let tick = console.tick().await;
    assert_eq!(tick.sessions.len(), 1);
    let fields: Vec<_> = tick.sessions[0].0.keys().collect();
    assert_eq!(fields, ["id", "produced"], "only what changed, with the id");

    world.remove(first);
    assert_eq!(console.tick().await.removed, [first]);
    assert_eq!(console.sessions, world.sessions_now());
}

#[tokio::test(start_paused = true)]
async fn each_change_of_state_is_told_at_once_and_on_its_own() {
    use session::State::{Ahead, Running, Stopped, Stopping};
    let (world, feed, _ending) = begin();
    let id = world.add();
    let mut console = Console::new(&feed, None);
    console.next().await;
    let before = Instant::now();
    for to in [Running, Ahead, Running, Stopping, Stopped] {
        world.move_to(id, to, Cause::Demand);
    }
    for to in [State::Running, State::Ahead, State::Running, State::Stopping, State::Stopped] {
        let Some(Event::State(change)) = console.next().await else { panic!("no change") };
        assert_eq!((change.id, change.to), (id, to));
    }
    assert_eq!(Instant::now(), before, "no change waits for a tick");
    console.tick().await;
    assert_eq!(console.sessions, world.sessions_now());
}

#[tokio::test(start_paused = true)]
async fn what_operators_do_is_told_with_its_outcome() {
    let (world, feed, _ending) = begin();
    let mut console = Console::new(&feed, None);
    console.next().await;
    world.act(Ok(()));
    world.act(Err(Code::NotResumable));
    for result in ["done", "not_resumable"] {
        let Some(Event::Action(action)) = console.next().await else { panic!("no action") };
        assert_eq!(
            (action.who.as_str(), action.what.as_str(), action.result.as_str()),
            ("alice", "stop", result)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_with_its_code_and_reason() {
    let (world, feed, _ending) = begin();
    let id = world.add();
    let mut console = Console::new(&feed, None);
    console.next().await;
    let fault = Fault::new(Code::Refused, Cause::Source, "the source answers 403");
    let change = Change {
        from: session::State::Running,
        to: session::State::Failed,
        cause: Cause::Source,
        fault: Some(fault),
    };
    world.tell(Happening::Changed { at: Timestamp::UNIX_EPOCH, id, change, who: Some("alice".into()) });
    let Some(Event::State(change)) = console.next().await else { panic!("no change") };
    assert_eq!(change.code.as_deref(), Some("input_refused"));
    assert_eq!(
        (change.reason.as_deref(), change.who.as_deref()),
        (Some("the source answers 403"), Some("alice"))
    );
}

#[tokio::test(start_paused = true)]
async fn ticks_come_no_oftener_than_promised_and_no_rarer() {
    let (world, feed, _ending) = begin();
    let id = world.add();
    let mut console = Console::new(&feed, None);
    console.next().await;
    let mut last = Instant::now();
    for round in 0..8 {
        let busy = round % 2 == 0;
        if busy {
            world.change(id, |session| session.segments += 1);
        }
        let tick = console.tick().await;
        let waited = last.elapsed();
        assert!(waited >= TICK - Duration::from_millis(1) && waited <= SIGN_OF_LIFE + TICK, "{waited:?}");
        assert_eq!(tick.sessions.len(), usize::from(busy));
        last = Instant::now();
    }
}

#[tokio::test(start_paused = true)]
async fn while_nobody_reads_nothing_is_looked_at() {
    let (world, feed, _ending) = begin();
    let id = world.add();
    world.change(id, |session| session.segments = 5);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(*world.looks.borrow(), 0);
    let mut console = Console::new(&feed, None);
    console.next().await;
    console.tick().await;
    drop(console);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let looks = *world.looks.borrow();
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(*world.looks.borrow(), looks);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_was_away_gets_what_it_missed() {
    let (world, feed, _ending) = begin();
    let id = world.add();
    let mut console = Console::new(&feed, None);
    console.next().await;
    let Console { sessions, seq, .. } = console;
    // Away: changes of state, a session more, one that moves on.
    world.move_to(id, session::State::Running, Cause::Ready);
    let second = world.add();
    world.change(id, |session| session.produced = 8.0);
    written(&feed, seq + 1).await;

    let mut console = Console { sessions, seq, ..Console::new(&feed, Some((seq, feed.shared.epoch))) };
    let Some(Event::State(change)) = console.next().await else { panic!("the change was forgotten") };
    assert_eq!(change.to, State::Running);
    console.tick().await;
    assert_eq!(console.snapshots, 0);
    assert_eq!(console.sessions, world.sessions_now());
    assert!(console.sessions.contains_key(&second));
}

#[tokio::test(start_paused = true)]
async fn a_sequence_of_another_life_or_of_the_future_means_nothing() {
    let (_world, feed, _ending) = begin();
    for after in [(0, Uuid::new_v4()), (7, feed.shared.epoch)] {
        let mut console = Console::new(&feed, Some(after));
        assert!(matches!(console.next().await, Some(Event::Snapshot { .. })), "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_too_slow_gets_a_new_snapshot_and_nothing_grows() {
    let (world, feed, _ending) = begin();
    let id = world.add();
    let mut slow = Console::new(&feed, None);
    slow.next().await;
    for n in 1..=RECORDS as u64 + 100 {
        world.act(Ok(()));
        written(&feed, slow.seq + n).await;
    }
    world.move_to(id, session::State::Running, Cause::Ready);
    written(&feed, slow.seq + RECORDS as u64 + 101).await;
    assert!(feed.shared.ring().lines.len() <= RECORDS);
    assert!(matches!(slow.next().await, Some(Event::Snapshot { .. })));
    assert_eq!(slow.sessions, world.sessions_now());
    world.change(id, |session| session.viewers = 3);
    slow.tick().await;
    assert_eq!((slow.snapshots, &slow.sessions), (2, &world.sessions_now()));
}

#[tokio::test(start_paused = true)]
async fn when_changes_were_lost_before_they_were_written_everybody_gets_a_snapshot() {
    let (world, feed, _ending) = begin();
    let id = world.add();
    let mut console = Console::new(&feed, None);
    console.next().await;
    // More than the registry's own channel holds, before the task can run once.
    for _ in 0..50 {
        world.move_to(id, session::State::Running, Cause::Ready);
    }
    assert!(matches!(console.next().await, Some(Event::Snapshot { .. })));
    assert_eq!(console.sessions, world.sessions_now());
}

#[tokio::test(start_paused = true)]
async fn the_stream_ends_with_the_token_and_tells_the_last_first() {
    let (world, feed, ending) = begin();
    let id = world.add();
    let mut console = Console::new(&feed, None);
    console.next().await;
    world.move_to(id, session::State::Stopped, Cause::Shutdown);
    ending.cancel();
    let Some(Event::State(change)) = console.next().await else { panic!("the last change is missing") };
    assert_eq!(change.to, State::Stopped);
    console.tick().await;
    assert!(console.next().await.is_none());
    assert_eq!(console.sessions, world.sessions_now());
    feed.ended().await;
    assert!(Console::new(&feed, None).next().await.is_none(), "nobody waits for what has ended");
}

#[tokio::test(start_paused = true)]
async fn the_last_that_a_reader_sees_is_the_engine_letting_go() {
    let (_world, feed, ending) = begin();
    let mut console = Console::new(&feed, None);
    console.next().await;
    ending.cancel();
    assert!(matches!(console.next().await, Some(Event::Tick(_))), "it says that it drains");
    assert!(console.next().await.is_none());
}

#[test]
fn the_ring_is_bounded_in_bytes_too() {
    let mut ring = Ring::default();
    for _ in 0..20 {
        ring.push(Bytes::from(vec![b'x'; BYTES / 8]));
    }
    assert!(ring.bytes <= BYTES && ring.lines.len() == 8);
    assert_eq!(ring.after(11), Taken::Lost);
    assert!(matches!(ring.after(12), Taken::Line(_)));
    assert_eq!(ring.after(20), Taken::Nothing);
    assert_eq!(ring.after(21), Taken::Lost);
    ring.push(Bytes::from(vec![b'x'; 2 * BYTES]));
    assert_eq!(ring.lines.len(), 1, "the newest is always there");
}

/// What may happen between two looks of a console.
#[derive(Debug, Clone)]
enum Move {
    Add,
    Remove(prop::sample::Index),
    Produce(prop::sample::Index, u8),
    Rename(prop::sample::Index, Option<String>),
    Change(prop::sample::Index, bool),
    Read(u8),
    Wait(u16),
    Return,
    Leave,
}

fn any_move() -> impl Strategy<Value = Move> {
    let which = any::<prop::sample::Index>;
    prop_oneof![
        2 => Just(Move::Add),
        1 => which().prop_map(Move::Remove),
        4 => (which(), any::<u8>()).prop_map(|(which, by)| Move::Produce(which, by)),
        2 => (which(), proptest::option::of("[a-z\"\\n]{0,5}")).prop_map(|(which, name)| Move::Rename(which, name)),
        3 => (which(), any::<bool>()).prop_map(|(which, up)| Move::Change(which, up)),
        4 => any::<u8>().prop_map(Move::Read),
        4 => (0..2000_u16).prop_map(Move::Wait),
        1 => Just(Move::Return),
        1 => Just(Move::Leave),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn who_applies_what_it_reads_knows_what_is(moves in prop::collection::vec(any_move(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play(moves));
    }
}

/// Two consoles, one of which comes and goes; in the end both know exactly what there is.
async fn play(moves: Vec<Move>) {
    let (world, feed, _ending) = begin();
    let mut steady = Console::new(&feed, None);
    steady.next().await;
    let mut restless = Console::new(&feed, None);
    let pick = |which: &prop::sample::Index| {
        let sessions = lock(&world.sessions);
        (!sessions.is_empty()).then(|| sessions[which.index(sessions.len())].id)
    };
    for happens in moves {
        match happens {
            Move::Add => {
                world.add();
            }
            Move::Remove(which) => {
                if let Some(id) = pick(&which) {
                    world.remove(id);
                }
            }
            Move::Produce(which, by) => {
                if let Some(id) = pick(&which) {
                    world.change(id, |session| session.produced += f64::from(by));
                }
            }
            Move::Rename(which, name) => {
                if let Some(id) = pick(&which) {
                    world.change(id, |session| session.title = name);
                }
            }
            Move::Change(which, up) => {
                let to = if up { session::State::Running } else { session::State::Ahead };
                if let Some(id) = pick(&which) {
                    world.move_to(id, to, Cause::Demand);
                }
                // The task keeps up with a few changes at a time; that it may not is another test.
                tokio::task::yield_now().await;
            }
            Move::Wait(millis) => tokio::time::sleep(Duration::from_millis(millis.into())).await,
            Move::Read(most) => {
                for _ in 0..most % 4 {
                    restless.next().await;
                }
            }
            Move::Leave => restless = Console::new(&feed, None),
            Move::Return => {
                let Console { sessions, seq, snapshots, .. } = restless;
                // One that never read anything has nothing to come back with.
                let after = (snapshots > 0).then_some((seq, feed.shared.epoch));
                restless = Console { sessions, seq, snapshots, ..Console::new(&feed, after) };
            }
        }
    }
    // A last mark that both must come to: what they were told before it, they have applied.
    let mark = world.add();
    for console in [&mut steady, &mut restless] {
        while !console.sessions.contains_key(&mark) {
            console.next().await;
        }
        assert_eq!(console.sessions, world.sessions_now());
    }
}
