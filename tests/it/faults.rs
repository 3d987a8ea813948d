//! ffmpeg may do anything: end early, fall silent, babble, refuse to die. Nothing wrong is published, nobody waits
//! for ever and nothing is left.

use std::time::Duration;

use serde_json::json;
use sluice_protocol::{Cause, LogRecord, Started, State};
use sluice_tests::engine::LIMIT;
use sluice_tests::frames::{assert_gapless, beeps, numbers};
use sluice_tests::media::{FILM, RATE};
use sluice_tests::stand_in::{Script, Step};
use sluice_tests::{Engine, Origin, Setup, wait_for};

/// Fragments that make the first segments of the film and no more.
const SOME: usize = 60;

struct Stage {
    origin: Origin,
    engine: Engine,
}

impl Stage {
    async fn set() -> Self {
        Self::with(Setup::default()).await
    }

    async fn with(setup: Setup) -> Self {
        Self { origin: Origin::start().await, engine: setup.with_stand_in().start().await }
    }

    /// Plays the film by this script.
    async fn film(&self, script: Script) -> Started {
        self.engine.play(&self.origin.script("film", "/files/film.mp4", script), "movie").await
    }

    /// Asserts that the film is there, whole and right, however it came about.
    async fn assert_whole(&self, started: &Started) {
        self.engine.until_state(started.session_id, State::Complete).await;
        let stream = self.engine.stream(started).await;
        let (mut video, mut audio) = (stream.video().await, stream.audio().await);
        let (pictures, sound) =
            (video.until_ended(LIMIT).await.whole().await, audio.until_ended(LIMIT).await.whole().await);
        assert_eq!(numbers(&pictures[..]).await, (0..(FILM * RATE) as u16).collect::<Vec<_>>());
        assert_eq!(beeps(&sound[..]).await.len(), FILM as usize);
    }

    /// Asserts that what was published is the beginning of the film.
    async fn assert_nothing_wrong_published(&self, started: &Started) {
        let video = self.engine.stream(started).await.video().await;
        let found = numbers(&video.whole().await[..]).await;
        assert_eq!(found[0], 0);
        assert_gapless(&found);
    }
}

#[tokio::test]
async fn an_ffmpeg_that_does_its_work_is_believed() {
    let stage = Stage::set().await;
    let started = stage.film(Script::new([Step::Rest, Step::Exit(0)])).await;
    stage.assert_whole(&started).await;
    assert_eq!(stage.origin.runs("film").len(), 1);
}

#[tokio::test]
async fn the_order_of_the_pipes_does_not_matter() {
    let stage = Stage::set().await;
    let all = usize::MAX;
    for (name, first, second) in [("video first", 0, 1), ("audio first", 1, 0)] {
        let script =
            Script::new([Step::FragmentsOf(first, all), Step::FragmentsOf(second, all), Step::Exit(0)]);
        let name = name.replace(' ', "-");
        let started =
            stage.engine.play(&stage.origin.script(&name, "/files/film.mp4", script), "movie").await;
        stage.assert_whole(&started).await;
    }
}

#[tokio::test]
async fn an_end_in_the_middle_is_continued_exactly_where_it_was() {
    for end in [Step::Exit(0), Step::Exit(1), Step::Die(6)] {
        let stage = Stage::set().await;
        let script = Script::new([Step::Fragments(SOME), end]).then([Step::Rest, Step::Exit(0)]);
        let started = stage.film(script).await;
        stage.assert_whole(&started).await;
        assert_eq!(stage.origin.runs("film").len(), 2);
        let detail = stage.engine.detail(started.session_id).await;
        assert_eq!(detail.session.restarts, 1);
        assert_eq!(detail.past_runs.len(), 2);
    }
}

#[tokio::test]
async fn a_fragment_torn_in_the_middle_is_never_published() {
    let stage = Stage::set().await;
    let script =
        Script::new([Step::Fragments(SOME), Step::Torn, Step::Exit(1)]).then([Step::Rest, Step::Exit(0)]);
    let started = stage.film(script).await;
    stage.assert_whole(&started).await;
}

#[tokio::test]
async fn a_hole_in_what_ffmpeg_sent_is_noticed() {
    let stage = Stage::set().await;
    let script = Script::new([Step::Fragments(SOME), Step::Skip(20), Step::Rest, Step::Exit(0)])
        .then([Step::Rest, Step::Exit(0)]);
    let started = stage.film(script).await;
    stage.assert_whole(&started).await;
    assert!(stage.origin.runs("film").len() >= 2);
}

#[tokio::test]
async fn bytes_that_are_no_media_end_the_run_and_not_the_session() {
    let stage = Stage::set().await;
    let script = Script::new([Step::Fragments(SOME), Step::Garbage(vec![0xff; 4096]), Step::Hang])
        .then([Step::Rest, Step::Exit(0)]);
    let started = stage.film(script).await;
    stage.assert_whole(&started).await;
}

#[tokio::test]
async fn an_exit_code_of_zero_alone_completes_nothing() {
    let stage = Stage::set().await;
    let started = stage.film(Script::new([Step::Fragments(SOME), Step::Exit(0)]).then([Step::Exit(0)])).await;
    // A file that is cut short looks the same: what there is of it is played, and the playlist says so.
    let session = stage.engine.until_state(started.session_id, State::Complete).await;
    assert!(session.warnings.iter().any(|warning| warning.contains("ends before")), "{:?}", session.warnings);
    assert!(session.segments > 0 && session.duration.is_some_and(|duration| duration < f64::from(FILM)));
    stage.assert_nothing_wrong_published(&started).await;
    assert_eq!(stage.origin.runs("film").len(), 2, "it was tried again before it was believed");
}

#[tokio::test]
async fn an_ffmpeg_that_fails_at_once_fails_the_start_with_its_words() {
    let stage = Stage::with(Setup::default().set("sessions.start_timeout", "\"20s\"")).await;
    let script = Script::new([Step::say("[fatal] out of cheese"), Step::Exit(1)]);
    let address = stage.origin.script("film", "/files/film.mp4", script);
    let refused = stage.engine.try_start(&address, "movie").await.unwrap_err();
    assert!(refused.status.is_server_error(), "{refused:?}");
    let sessions = stage.engine.all_sessions().await;
    let mut log = stage.engine.logs(sessions[0].id, "tail=50").await;
    let cheese =
        |record| matches!(record, LogRecord::Line { text, .. } if text.contains("cheese")).then_some(());
    log.until(LIMIT, cheese).await;
}

#[tokio::test]
async fn silence_is_a_stall_and_the_next_run_goes_on() {
    for silence in [Step::Hang, Step::Freeze] {
        let stage = Stage::with(Setup::default().set("sessions.stall_timeout", "\"2s\"")).await;
        let mut events = stage.engine.events().await;
        let script = Script::new([Step::Fragments(SOME), silence]).then([Step::Rest, Step::Exit(0)]);
        let started = stage.film(script).await;
        let stalled = |event| match event {
            sluice_protocol::Event::State(change) if change.cause == Cause::Stall => Some(change),
            _ => None,
        };
        let change = events.until(LIMIT, stalled).await;
        assert_eq!(change.id, started.session_id);
        stage.assert_whole(&started).await;
    }
}

#[tokio::test]
async fn progress_that_stands_still_is_no_stall_while_media_comes() {
    let stage = Stage::with(Setup::default().set("sessions.stall_timeout", "\"1s\"")).await;
    let mut steps = vec![];
    for _ in 0..12 {
        steps.extend([
            Step::Fragments(40),
            Step::Progress { position: 40_000, end: false },
            Step::Pause(Duration::from_millis(300)),
        ]);
    }
    steps.extend([Step::Rest, Step::Exit(0)]);
    let started = stage.film(Script::new(steps)).await;
    stage.assert_whole(&started).await;
    assert_eq!(stage.origin.runs("film").len(), 1);
}

#[tokio::test]
async fn an_ffmpeg_that_does_not_hear_is_killed() {
    let stage = Stage::set().await;
    let script = Script::new([Step::IgnoreTerm, Step::Fragments(SOME), Step::Hang]);
    let started = stage.film(script).await;
    stage.engine.operate(started.session_id, "stop", json!({})).await;
    stage.engine.until_state(started.session_id, State::Stopped).await;
    assert!(stage.engine.processes().is_empty(), "{:?}", stage.engine.processes());
    stage.assert_kept(&started).await;
}

#[tokio::test]
async fn a_frozen_ffmpeg_can_be_stopped() {
    let stage = Stage::set().await;
    let started = stage.film(Script::new([Step::Fragments(SOME), Step::Freeze])).await;
    wait_for(LIMIT, "ffmpeg to be frozen", || async {
        stage.engine.ffmpegs().iter().any(|process| process.state == 'T').then_some(())
    })
    .await;
    stage.engine.operate(started.session_id, "stop", json!({})).await;
    stage.engine.until_state(started.session_id, State::Stopped).await;
    assert!(stage.engine.processes().is_empty());
}

#[tokio::test]
async fn a_child_that_ffmpeg_left_behind_holds_nothing_up() {
    let stage = Stage::set().await;
    let started = stage.film(Script::new([Step::Rest, Step::Sleeper, Step::Exit(0)])).await;
    stage.assert_whole(&started).await;
    wait_for(LIMIT, "the stray child to go", || async { stage.engine.processes().is_empty().then_some(()) })
        .await;
}

#[tokio::test]
async fn a_flood_on_standard_error_neither_blocks_nor_fills_the_memory() {
    let stage = Stage::set().await;
    let before = resident(stage.engine.pid());
    let script = Script::new([
        // 64 MB without an end of line, then half a million lines, then bytes that are no text.
        Step::Stderr(vec![b'x'; 1 << 20], 64),
        Step::Stderr(b"[warning] again\r".to_vec(), 500_000),
        Step::Stderr(vec![0xff, 0xfe, 0x00, 0x1b, b'\n'], 1000),
        Step::Rest,
        Step::Exit(0),
    ]);
    let started = stage.film(script).await;
    stage.assert_whole(&started).await;
    let grown = resident(stage.engine.pid()).saturating_sub(before);
    assert!(grown < 48 << 20, "the engine grew by {grown} bytes");
}

#[tokio::test]
async fn one_session_in_trouble_leaves_others_alone() {
    let stage = Stage::set().await;
    let channel = stage.engine.play(&stage.origin.url("/live/channel.ts?burst=6"), "live").await;
    let script = Script::new([Step::IgnoreTerm, Step::Stderr(vec![b'y'; 1 << 20], 32), Step::Exit(1)]);
    let bad = stage.origin.script("bad", "/files/film.mp4", script);
    let mut video = stage.engine.stream(&channel).await.video().await;
    let (_, seen) = tokio::join!(stage.engine.try_start(&bad, "movie"), async {
        video.until_segments(LIMIT, 6).await;
        video.whole().await
    });
    assert_gapless(&numbers(&seen[..]).await);
    assert_eq!(stage.engine.detail(channel.session_id).await.session.restarts, 0);
}

impl Stage {
    /// Asserts that a stopped session still has its segments on the books.
    async fn assert_kept(&self, started: &Started) {
        assert!(self.engine.detail(started.session_id).await.session.segments > 0);
    }
}

/// The resident memory of a process, in bytes.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
