//! The control socket: every route answers, streams keep up or say what they lost, and it is ours alone.

#![expect(clippy::disallowed_methods, reason = "the rule is the engine's; a test may run curl")]

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice_protocol::{Cause, Event, LogRecord, Started, State, code};
use sluice_tests::engine::{LIMIT, decoded};
use sluice_tests::stand_in::{Script, Step};
use sluice_tests::{Engine, Origin, Setup};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

async fn playing_channel(origin: &Origin, engine: &Engine) -> Started {
    let started = engine.play(&origin.url("/live/channel.ts?burst=6"), "live").await;
    engine.until_state(started.session_id, State::Running).await;
    started
}

#[tokio::test]
async fn the_engine_tells_about_itself() {
    let engine = Engine::start().await;
    let facts = engine.facts().await;
    assert_eq!(facts.pid as i32, engine.pid());
    assert!(facts.ffmpeg.is_some() && facts.encoders.iter().any(|encoder| encoder == "libx264"));
    assert!(facts.storage.free.is_some_and(|free| free > 0));
    assert!(engine.get("healthz").await.status().is_success());
    assert!(engine.get("readyz").await.status().is_success());
}

#[tokio::test]
async fn an_operator_starts_sees_stops_and_forgets_a_session() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let order = json!({
        "url": origin.url("/live/channel.ts?burst=6&password=secret"), "content_type": "live", "title": "News",
        "user": "alice",
    });
    let started: Started = engine.order(Method::POST, "sessions", Some(order)).await;
    let id = started.session_id;
    engine.until_state(id, State::Running).await;
    let detail = engine.detail(id).await;
    assert_eq!(detail.session.title.as_deref(), Some("News"));
    assert_eq!(detail.session.user.as_deref(), Some("alice"));
    assert_eq!(detail.argv.len(), 1);
    let argv = detail.argv[0].join(" ");
    assert!(argv.contains("-progress") && argv.contains("pipe:"), "{argv}");
    assert!(!argv.contains("secret") && !detail.session.url.contains("secret"), "secrets are masked: {argv}");
    assert!(detail.probe.is_some());
    assert!(!detail.segment_map.is_empty());
    assert!(!engine.said().contains("secret"), "secrets are masked in the engine's log too");

    engine.operate(id, "stop", json!({})).await;
    engine.until_state(id, State::Stopped).await;
    let gone = engine.control(Method::DELETE, &format!("sessions/{id}"), None).await;
    assert!(gone.status().is_success());
    let unknown = engine.refused_order(Method::GET, &format!("sessions/{id}"), None).await;
    assert_eq!(
        (unknown.status, unknown.problem.code.as_str()),
        (StatusCode::NOT_FOUND, code::SESSION_NOT_FOUND)
    );
}

#[tokio::test]
async fn a_session_shows_what_it_costs_and_how_it_moves() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = playing_channel(&origin, &engine).await;
    let known = |session: &sluice_protocol::Session| {
        session.produced > 4.0
            && session.speed.is_some()
            && session.bitrate.is_some()
            && session.cpu.is_some()
            && session.rss.is_some_and(|rss| rss > 1 << 20)
            && session.viewers >= 1
    };
    let session = engine.until(started.session_id, "its figures", known).await;
    assert_eq!(session.runs.len(), 1);
    assert!(session.bytes > 0 && session.segments > 0);
    let later =
        engine.until(started.session_id, "it to move", |later| later.segments > session.segments).await;
    assert!(later.produced > session.produced);
}

#[tokio::test]
async fn what_comes_in_a_later_version_says_so() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = playing_channel(&origin, &engine).await;
    for (method, target) in [(Method::GET, "probes"), (Method::DELETE, "probes"), (Method::POST, "reload")] {
        let refused = engine.refused_order(method, target, None).await;
        assert!(refused.problem.detail.contains("version"), "{target}: {}", refused.problem.detail);
    }
    let part = engine.get(&format!("transcode/{}/video/0.1.m4s", started.session_id)).await;
    let refused = decoded::<Value>(part).await.unwrap_err();
    assert!(refused.problem.detail.contains("version"), "{}", refused.problem.detail);
}

#[tokio::test]
async fn a_scrape_tells_what_plays() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = playing_channel(&origin, &engine).await;
    let answer = engine.get("metrics").await;
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text().await.unwrap();
    for line in [
        "sluice_sessions{state=\"running\"} 1",
        "sluice_sessions{state=\"failed\"} 0",
        "sluice_session_changes_total{to=\"running\",cause=\"ready\"} 1",
        "sluice_session_starts_total{result=\"ok\"} 1",
        "sluice_runs 1",
        "sluice_runs_started_total 1",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains(&started.session_id.to_string()));
}

#[tokio::test]
async fn curl_speaks_to_the_socket() {
    let engine = Engine::start().await;
    let curl = async |arguments: &[&str]| {
        let asked = tokio::process::Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "10", "--unix-socket"])
            .arg(engine.socket())
            .args(arguments)
            .output();
        let answer = asked.await.expect("`just setup` installs curl");
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        serde_json::from_slice::<Value>(&answer.stdout).unwrap()
    };
    assert_eq!(curl(&["http://sluice/v1/sessions"]).await, json!({"sessions": []}));
    assert_eq!(curl(&["http://sluice/v1/engine"]).await["pid"], engine.pid());
    let refused = curl(&["-X", "POST", "http://sluice/v1/sessions", "-d", "{\"url\":\"nonsense\"}"]).await;
    assert_eq!(refused["type"], "about:blank");
}

#[tokio::test]
async fn only_its_owner_may_open_the_socket() {
    let engine = Engine::start().await;
    let mode = std::fs::metadata(engine.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
}

#[tokio::test]
async fn the_event_stream_begins_with_everything_and_goes_on_with_what_changes() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let mut events = engine.events().await;
    let Some(Event::Snapshot { sessions, engine: facts, .. }) = events.next(LIMIT).await else {
        panic!("the first record is a snapshot")
    };
    assert!(sessions.is_empty());
    assert_eq!(facts.pid as i32, engine.pid());

    let started = playing_channel(&origin, &engine).await;
    let id = started.session_id;
    let to_running = |event| match event {
        Event::State(change) if change.id == id && change.to == State::Running => Some(change),
        _ => None,
    };
    let change = events.until(LIMIT, to_running).await;
    assert_eq!((change.from, change.cause), (State::Starting, Cause::Ready));
    let patch = events
        .until(LIMIT, |event| match event {
            Event::Tick(tick) => tick
                .sessions
                .into_iter()
                .find(|patch| patch.id() == Some(id) && patch.0.contains_key("produced")),
            _ => None,
        })
        .await;
    assert!(patch.0["produced"].as_f64().is_some());

    engine.operate(id, "stop", json!({})).await;
    let mut stopped = None;
    let mut acted = None;
    events
        .until(LIMIT, |event| {
            match event {
                Event::State(change) if change.to == State::Stopped => stopped = Some(change),
                Event::Action(action) if action.what == "stop" => acted = Some(action),
                _ => {}
            }
            (stopped.is_some() && acted.is_some()).then_some(())
        })
        .await;
    let (stopped, acted) = (stopped.unwrap(), acted.unwrap());
    assert_eq!((stopped.id, stopped.cause), (id, Cause::Operator));
    assert!(stopped.who.is_some());
    assert_eq!((acted.id, acted.result.as_str()), (Some(id), "done"));
}

#[tokio::test]
async fn an_idle_engine_ticks_so_that_a_reader_knows_it_lives() {
    let engine = Engine::start().await;
    let mut events = engine.events().await;
    for _ in 0..3 {
        // Well above the promised second: this shows that ticks come by themselves, not how fast.
        events.until(Duration::from_secs(5), |event| matches!(event, Event::Tick(_)).then_some(())).await;
    }
}

#[tokio::test]
async fn sequences_rise_and_no_change_of_state_is_left_out() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let mut events = engine.events().await;
    let started = playing_channel(&origin, &engine).await;
    engine.operate(started.session_id, "restart", json!({})).await;
    engine.until_state(started.session_id, State::Running).await;
    engine.operate(started.session_id, "stop", json!({"force": true})).await;
    let mut states = vec![];
    let mut last = 0;
    events
        .until(LIMIT, |event| {
            let seq = match &event {
                Event::Snapshot { seq, .. } => *seq,
                Event::State(change) => change.seq,
                Event::Tick(tick) => tick.seq,
                Event::Action(action) => action.seq,
                Event::Unknown => panic!("this engine's console knows all its records"),
            };
            assert!(seq > last || matches!(event, Event::Snapshot { .. }), "{seq} after {last}");
            last = seq;
            if let Event::State(change) = event {
                states.push((change.from, change.to));
            }
            states.last().is_some_and(|(_, to)| *to == State::Ended).then_some(())
        })
        .await;
    for pair in states.windows(2) {
        assert_eq!(pair[0].1, pair[1].0, "each change begins where the one before ended: {states:?}");
    }
}

#[tokio::test]
async fn a_reader_that_comes_back_gets_what_it_missed() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let mut events = engine.events().await;
    let Some(Event::Snapshot { epoch, seq, .. }) = events.next(LIMIT).await else {
        panic!("a snapshot comes first")
    };
    drop(events);
    let started = playing_channel(&origin, &engine).await;
    let target = format!("events?after={seq}&epoch={epoch}");
    let mut events = sluice_tests::records::Records::of(engine.control(Method::GET, &target, None).await);
    let first = events
        .until(LIMIT, |event| match event {
            Event::Snapshot { .. } => panic!("so little is not forgotten"),
            Event::State(change) => Some(change),
            _ => None,
        })
        .await;
    assert_eq!((first.id, first.from), (started.session_id, State::Starting));
    let target = format!("events?after={seq}&epoch={}", uuid::Uuid::new_v4());
    let mut events = sluice_tests::records::Records::of(engine.control(Method::GET, &target, None).await);
    assert!(
        matches!(events.next(LIMIT).await, Some(Event::Snapshot { .. })),
        "another engine's numbers mean nothing"
    );
}

#[tokio::test]
async fn a_reader_that_does_not_read_gets_a_new_snapshot_and_holds_nobody_up() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = playing_channel(&origin, &engine).await;
    let mut slow = UnixStream::connect(engine.socket()).await.unwrap();
    slow.write_all(b"GET /v1/events HTTP/1.1\r\nhost: sluice\r\n\r\n").await.unwrap();

    // Far more than the kernel keeps for a reader that has stopped.
    let target = format!("sessions/{}/resume", started.session_id);
    let orders =
        stream::iter(0..6000).map(|_| engine.control(Method::POST, &target, None)).buffer_unordered(16);
    orders.for_each(async |answer| assert_eq!(answer.status(), StatusCode::CONFLICT)).await;
    let mut fast = engine.events().await;
    assert!(matches!(fast.next(LIMIT).await, Some(Event::Snapshot { .. })));
    engine.operate(started.session_id, "stop", json!({})).await;
    let stopped = |event| matches!(event, Event::State(change) if change.to == State::Stopped).then_some(());
    fast.until(LIMIT, stopped).await;

    let mut lines = BufReader::new(slow).lines();
    let snapshots = async {
        let mut snapshots = 0;
        while snapshots < 2 {
            let line = lines.next_line().await.unwrap().expect("the stream goes on");
            snapshots += usize::from(line.contains(r#""type":"snapshot""#));
        }
    };
    tokio::time::timeout(LIMIT, snapshots)
        .await
        .expect("a reader that lost records is told how things are now");
}

#[tokio::test]
async fn a_log_is_tailed_followed_and_ends_with_its_session() {
    let origin = Origin::start().await;
    let engine = Setup::default().with_stand_in().start().await;
    let script = Script::new([
        Step::say("[info] opening"),
        Step::say("[warning] \x1b[31mred\x07 \u{202e}and backwards"),
        Step::Stderr(b"[error] not \xff\xfe text\r".to_vec(), 1),
        Step::Fragments(40),
        Step::gate("follow"),
        Step::say("[error] later"),
        Step::Rest,
        Step::Exit(0),
    ]);
    let started = engine.play(&origin.script("talk", "/files/film.mp4", script), "movie").await;
    let text = |record| match record {
        LogRecord::Line { text, .. } => Some(text),
        _ => None,
    };
    let mut log = engine.logs(started.session_id, "tail=100&follow=true").await;
    let red = log.until(LIMIT, |record| text(record).filter(|text| text.contains("red"))).await;
    assert!(!red.chars().any(|char| char.is_control() || char == '\u{202e}'), "{red:?}");
    let broken = log.until(LIMIT, |record| text(record).filter(|text| text.contains("not"))).await;
    assert!(broken.contains('\u{fffd}'), "{broken:?}");
    origin.open_gate("follow");
    log.until(LIMIT, |record| text(record).filter(|text| text.contains("later"))).await;

    engine.until_state(started.session_id, State::Complete).await;
    let mut errors = engine.logs(started.session_id, "tail=100&level=error").await;
    let mut seen = vec![];
    while let Some(record) = errors.next::<LogRecord>(LIMIT).await {
        if let LogRecord::Line { level, text, .. } = record {
            assert!(level >= sluice_protocol::Level::Error, "{text}");
            seen.push(text);
        }
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    engine.operate(started.session_id, "stop", json!({"force": true})).await;
    log.until(LIMIT, |record| matches!(record, LogRecord::End).then_some(())).await;
}

#[tokio::test]
async fn a_log_that_was_too_much_says_how_much_was_lost() {
    let origin = Origin::start().await;
    let engine = Setup::default().with_stand_in().start().await;
    let lines = 20_000;
    let flood = Step::Stderr(b"[warning] the same again\n".to_vec(), lines);
    let script = Script::new([flood, Step::say("[error] the last"), Step::Rest, Step::Exit(0)]);
    let started = engine.play(&origin.script("flood", "/files/film.mp4", script), "movie").await;
    engine.until_state(started.session_id, State::Complete).await;
    let mut log = engine.logs(started.session_id, "after=0").await;
    let (mut kept, mut lost) = (0, 0);
    while let Some(record) = log.next::<LogRecord>(LIMIT).await {
        match record {
            LogRecord::Line { text, .. } if text.contains("the same again") => kept += 1,
            LogRecord::Gap { dropped, .. } => lost += dropped,
            _ => {}
        }
    }
    assert!(kept > 100 && lost > 0);
    assert!((kept + lost).abs_diff(lines) < 50, "{kept} kept and {lost} lost are not {lines}");
}
