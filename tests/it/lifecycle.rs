//! The life of a session: it starts once however many ask, ends when nobody or an operator wants it, and nothing
//! of it is left behind.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use sluice_protocol::{Cause, Event, Started, State, code};
use sluice_tests::engine::{LIMIT, decoded};
use sluice_tests::stand_in::{Script, Step};
use sluice_tests::wait::becomes_true;
use sluice_tests::{Engine, Origin, Setup, leftovers, wait_for};
use tokio::time::Instant;

/// A viewer's stop takes effect after so long, if nobody changes their mind.
const POLITE: Duration = Duration::from_secs(5);

async fn playing_channel(origin: &Origin, engine: &Engine) -> Started {
    let started = engine.play(&origin.url("/live/channel.ts?burst=6"), "live").await;
    engine.until_state(started.session_id, State::Running).await;
    started
}

#[tokio::test]
async fn a_hundred_starts_at_once_are_one_ffmpeg() {
    let origin = Origin::start().await;
    let engine = Setup::default().with_stand_in().start().await;
    let script = Script::new([Step::gate("all-asked"), Step::Rest, Step::Exit(0)]);
    let address = origin.script("many", "/files/film.mp4", script);
    let starts = join_all((0..100).map(|_| engine.play(&address, "movie")));
    let (started, ()) = tokio::join!(starts, async {
        wait_for(LIMIT, "ffmpeg", || async { (origin.waiting_at("all-asked") > 0).then_some(()) }).await;
        origin.open_gate("all-asked");
    });
    let ids: HashSet<_> = started.iter().map(|started| started.session_id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(origin.runs("many").len(), 1);
    assert_eq!(engine.all_sessions().await.len(), 1);
}

#[tokio::test]
async fn a_hundred_viewers_of_a_channel_are_one_connection_to_its_source() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let address = origin.url("/live/channel.ts?burst=6");
    let started = join_all((0..100).map(|_| engine.play(&address, "live"))).await;
    assert_eq!(started.iter().map(|started| started.session_id).collect::<HashSet<_>>().len(), 1);
    assert_eq!(engine.ffmpegs().len(), 1, "{:?}", engine.ffmpegs());
    assert_eq!(origin.watching(), 1);
}

#[tokio::test]
async fn another_kind_of_content_joins_and_is_told_so() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let address = origin.url("/files/film.mp4");
    let (first, second) = (engine.play(&address, "movie").await, engine.play(&address, "live").await);
    assert_eq!(first.session_id, second.session_id);
    assert!(!engine.detail(first.session_id).await.session.warnings.is_empty());
}

#[tokio::test]
async fn a_viewer_who_leaves_ends_what_nobody_else_watches() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = playing_channel(&origin, &engine).await;
    let answer: Value =
        decoded(engine.ask(Method::DELETE, &format!("transcode/{}", started.session_id), None).await)
            .await
            .unwrap();
    assert_eq!(answer, json!({"status": "stopped"}));
    let session = engine.until_state(started.session_id, State::Ended).await;
    assert_eq!(session.cause, Cause::Viewer);
    engine.until_no_ffmpeg().await;
    wait_for(LIMIT, "the source to be left", || async { (origin.watching() == 0).then_some(()) }).await;
    assert_eq!(engine.session_directories(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_viewer_who_comes_back_in_time_has_not_left() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = playing_channel(&origin, &engine).await;
    engine.ask(Method::POST, &format!("transcode/{}/stop", started.session_id), None).await;
    let end = Instant::now() + POLITE + Duration::from_secs(2);
    while Instant::now() < end {
        assert!(engine.get(&started.playlist).await.status().is_success());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let session = engine.detail(started.session_id).await.session;
    assert_eq!((session.state, session.restarts), (State::Running, 0));
}

#[tokio::test]
async fn a_viewer_who_leaves_does_not_end_it_for_others() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = playing_channel(&origin, &engine).await;
    let other = sluice_tests::client::builder().user_agent("another player").build().unwrap();
    let watch = async || other.get(engine.url(&started.playlist)).send().await.unwrap().status();
    assert!(watch().await.is_success());
    engine.ask(Method::DELETE, &format!("transcode/{}", started.session_id), None).await;
    let end = Instant::now() + POLITE + Duration::from_secs(2);
    while Instant::now() < end {
        assert!(watch().await.is_success());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(engine.detail(started.session_id).await.session.state, State::Running);
}

#[tokio::test]
async fn leaving_what_nobody_knows_is_no_error() {
    let engine = Engine::start().await;
    let unknown = uuid::Uuid::new_v4();
    assert_eq!(
        engine.ask(Method::DELETE, &format!("transcode/{unknown}"), None).await.status(),
        StatusCode::OK
    );
    let cleared = engine.ask(Method::DELETE, "transcode-clear?url=http://127.0.0.1/none", None).await;
    assert_eq!(cleared.status(), StatusCode::OK);
}

#[tokio::test]
async fn clearing_removes_the_callers_session_for_an_address() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = playing_channel(&origin, &engine).await;
    let address = origin.url("/live/channel.ts?burst=6");
    let clear = engine.client().delete(engine.url("transcode-clear")).query(&[("url", &address)]);
    let answer: Value = decoded(clear.send().await.unwrap()).await.unwrap();
    assert_eq!(answer, json!({"status": "cleared", "session_id": started.session_id}));
    engine.until_state(started.session_id, State::Ended).await;
    let gone = decoded::<Value>(engine.get(&started.playlist).await).await.unwrap_err();
    assert_eq!((gone.status, gone.problem.code.as_str()), (StatusCode::GONE, code::SESSION_ENDED));
}

#[tokio::test]
async fn a_channel_nobody_watches_ends_and_a_playlist_request_brings_it_back() {
    let origin = Origin::start().await;
    let engine = Setup::default().set("sessions.idle_timeout", "\"2s\"").start().await;
    let started = playing_channel(&origin, &engine).await;
    let mut video = engine.stream(&started).await.video().await;
    video.reload().await;
    let last_sequence = *video.segments.keys().next_back().unwrap();
    let session = engine.until_state(started.session_id, State::Ended).await;
    assert_eq!(session.cause, Cause::Idle);
    engine.until_no_ffmpeg().await;

    let again = engine.stream(&started).await.video().await;
    assert!(again.list().media_sequence > last_sequence, "the media sequence goes on");
    assert!(again.list().discontinuity_sequence >= 1 || again.list().segments[0].discontinuity);
    assert_eq!(engine.detail(started.session_id).await.session.id, started.session_id);
}

#[tokio::test]
async fn a_film_nobody_watches_stops_and_keeps_what_was_made() {
    let origin = Origin::start().await;
    let engine = Setup::default().set("sessions.idle_timeout", "\"2s\"").start().await;
    let started = engine.play(&origin.url("/slow/film.mp4?rate=150000"), "movie").await;
    let session = engine.until_state(started.session_id, State::Stopped).await;
    assert_eq!(session.cause, Cause::Idle);
    engine.until_no_ffmpeg().await;
    let video = engine.stream(&started).await.video().await;
    assert!(!video.fetch(0).await.is_empty());
}

#[tokio::test]
async fn an_operators_stop_stays_until_it_is_resumed() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = playing_channel(&origin, &engine).await;
    let id = started.session_id;
    let session = engine.operate(id, "stop", json!({})).await;
    assert!(
        session.held && session.hold.as_ref().is_some_and(|hold| hold.until.is_none() && !hold.by.is_empty())
    );
    let session = engine.until_state(id, State::Stopped).await;
    assert_eq!(session.cause, Cause::Operator);
    engine.until_no_ffmpeg().await;

    let refused = engine.get(&started.playlist).await;
    assert!(refused.headers().contains_key("retry-after"));
    let refused = decoded::<Value>(refused).await.unwrap_err();
    assert_eq!(
        (refused.status, refused.problem.code.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, code::HELD)
    );
    let address = origin.url("/live/channel.ts?burst=6");
    let refused = engine.try_start(&address, "live").await.unwrap_err();
    assert_eq!(refused.problem.code, code::HELD);
    let body = json!({"url": address, "content_type": "live"});
    let refused = engine.refused_order(Method::POST, "sessions", Some(body)).await;
    assert_eq!(
        (refused.status, refused.problem.code.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, code::HELD)
    );
    assert!(refused.problem.detail.contains("sluice resume"), "{}", refused.problem.detail);
    assert!(engine.ffmpegs().is_empty());

    let session = engine.operate(id, "resume", json!({})).await;
    assert!(!session.held);
    engine.until_state(id, State::Running).await;
    assert!(engine.get(&started.playlist).await.status().is_success());
}

#[tokio::test]
async fn a_hold_with_an_end_runs_out() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = playing_channel(&origin, &engine).await;
    let session = engine.operate(started.session_id, "stop", json!({"hold_for": 1})).await;
    assert!(session.hold.unwrap().until.is_some());
    engine.until(started.session_id, "the hold to run out", |session| !session.held).await;
    let again = engine.play(&origin.url("/live/channel.ts?burst=6"), "live").await;
    assert_eq!(again.session_id, started.session_id);
}

#[tokio::test]
async fn force_kills_deletes_and_leaves_a_record() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = playing_channel(&origin, &engine).await;
    let id = started.session_id;
    engine.operate(id, "stop", json!({"force": true})).await;
    let session = engine.until_state(id, State::Ended).await;
    assert!(session.held && session.cause == Cause::Operator);
    engine.until_no_ffmpeg().await;
    wait_for(LIMIT, "the segments to go", || async { engine.session_directories().is_empty().then_some(()) })
        .await;
    assert!(engine.sessions().await.iter().any(|session| session.id == id), "a held session stays listed");

    let forgotten = engine.control(Method::DELETE, &format!("sessions/{id}"), None).await;
    assert!(forgotten.status().is_success());
    assert!(!engine.all_sessions().await.iter().any(|session| session.id == id));
    playing_channel(&origin, &engine).await;
}

#[tokio::test]
async fn restart_is_a_new_run_of_the_same_session_without_a_hold() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = playing_channel(&origin, &engine).await;
    let before = engine.detail(started.session_id).await.session;
    let pid = before.runs[0].pid;
    engine.operate(started.session_id, "restart", json!({})).await;
    let after = engine
        .until(started.session_id, "another run", |session| {
            session.state == State::Running
                && session.runs.iter().any(|run| run.pid.is_some() && run.pid != pid)
        })
        .await;
    assert!(!after.held && after.generation > before.generation);
    assert_eq!(engine.ffmpegs().len(), 1);
}

#[tokio::test]
async fn an_order_about_what_has_changed_meanwhile_is_refused() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = playing_channel(&origin, &engine).await;
    let id = started.session_id;
    let generation = engine.detail(id).await.session.generation;
    let stale = json!({"generation": generation - 1});
    let refused = engine.refused_order(Method::POST, &format!("sessions/{id}/stop"), Some(stale)).await;
    assert_eq!((refused.status, refused.problem.code.as_str()), (StatusCode::CONFLICT, code::CHANGED));
    let refused = engine.refused_order(Method::POST, &format!("sessions/{id}/resume"), None).await;
    assert_eq!((refused.status, refused.problem.code.as_str()), (StatusCode::CONFLICT, code::NOT_RESUMABLE));
    assert_eq!(engine.detail(id).await.session.state, State::Running);
    engine.operate(id, "stop", json!({"generation": generation})).await;
}

#[tokio::test]
async fn what_ended_is_in_the_history_with_its_reason() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = playing_channel(&origin, &engine).await;
    engine.ask(Method::DELETE, &format!("transcode/{}", started.session_id), None).await;
    engine.until_state(started.session_id, State::Ended).await;
    assert!(engine.sessions().await.is_empty());
    let detail = engine.detail(started.session_id).await;
    assert_eq!(detail.past_runs.len(), 1, "{:?}", detail.past_runs);
    assert_eq!(engine.all_sessions().await.len(), 1);
}

#[tokio::test]
async fn no_ffmpeg_outlives_an_engine_that_was_killed() {
    let origin = Origin::start().await;
    let mut engine = Engine::start().await;
    let addresses: Vec<_> =
        (0..10).map(|number| origin.url(&format!("/live/channel.ts?burst=6&n={number}"))).collect();
    join_all(addresses.iter().map(|address| engine.play(address, "live"))).await;
    assert_eq!(engine.ffmpegs().len(), 10);
    let mark = engine.mark();
    engine.signal(Signal::KILL);
    engine.ended().await;
    assert!(
        becomes_true(Duration::from_secs(1), || leftovers::of(&mark).is_empty()),
        "alive a second later: {:?}",
        leftovers::of(&mark)
    );
}

#[tokio::test]
async fn a_polite_end_leaves_nothing_and_is_no_failure() {
    let origin = Origin::start().await;
    for signal in [Signal::TERM, Signal::INT] {
        let mut engine = Engine::start().await;
        playing_channel(&origin, &engine).await;
        engine.signal(signal);
        assert_eq!(engine.ended().await.code(), Some(0), "{}", engine.said());
        assert!(leftovers::of(&engine.mark()).is_empty());
        assert!(!engine.socket().exists(), "the socket is removed");
    }
}

#[tokio::test]
async fn a_new_engine_takes_over_where_one_was_killed() {
    let origin = Origin::start().await;
    let place = tempfile::tempdir().unwrap();
    let (socket, storage) = (place.path().join("control.sock"), place.path().join("storage"));
    let setup = Setup::default().socket(&socket).storage(&storage);
    let mut first = setup.clone().start().await;
    playing_channel(&origin, &first).await;
    std::fs::write(storage.join("not-ours.txt"), "keep me").unwrap();
    first.signal(Signal::KILL);
    first.ended().await;
    assert!(socket.exists());
    let second = setup.start().await;
    assert!(second.session_directories().is_empty(), "what was left of the first is cleared away");
    assert!(storage.join("not-ours.txt").exists(), "what is not ours is never touched");
    playing_channel(&origin, &second).await;
}

#[tokio::test]
async fn a_pinned_session_outlives_its_viewers_and_comes_back_by_itself_after_a_hold() {
    let origin = Origin::start().await;
    let engine = Setup::default().set("sessions.idle_timeout", "\"1s\"").start().await;
    let order =
        json!({"url": origin.url("/live/channel.ts?burst=6"), "content_type": "live", "pinned": true});
    let started: Started = engine.order(Method::POST, "sessions", Some(order)).await;
    let unwatched = engine.play(&origin.url("/live/channel.ts?burst=5"), "live").await;
    // The other one, which began later and nobody watches either, has idled out before this is looked at.
    engine.until_state(unwatched.session_id, State::Ended).await;
    let session = engine.detail(started.session_id).await.session;
    assert!(session.pinned && matches!(session.state, State::Running | State::Starting), "{session:?}");

    let mut events = engine.events().await;
    let held = engine.operate(started.session_id, "stop", json!({"hold_for": 1})).await;
    assert!(held.held && held.pinned);
    let by = held.hold.map(|hold| hold.by);
    let again = loop {
        match events.next(LIMIT).await.expect("the events go on") {
            Event::State(change) if change.to == State::Starting => break change,
            _ => {}
        }
    };
    assert_eq!((again.cause, again.who), (Cause::Operator, by));
    engine.until_state(started.session_id, State::Running).await;

    let free = engine.operate(started.session_id, "pin", json!({"pinned": false})).await;
    assert!(!free.pinned);
    let ended = engine.until_state(started.session_id, State::Ended).await;
    assert_eq!(ended.cause, Cause::Idle);
    engine.until_no_ffmpeg().await;
}

#[tokio::test]
async fn a_start_that_is_refused_pins_nothing() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = playing_channel(&origin, &engine).await;
    engine.operate(started.session_id, "stop", json!({})).await;
    let order =
        json!({"url": origin.url("/live/channel.ts?burst=6"), "content_type": "live", "pinned": true});
    let refused = engine.refused_order(Method::POST, "sessions", Some(order)).await;
    assert_eq!(refused.problem.code, code::HELD);
    assert!(!engine.detail(started.session_id).await.session.pinned);
}
