//! The route table, asked as a console asks it: a real registry behind it, a page of HTML as its only source.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use serde_json::{Value, json};
use sluice_protocol::{Detail, Event, LogRecord, NDJSON, Problem, Session, Sessions, State, code};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use warp::hyper::service::Service as _;

use super::{Facts, Feed, routes};
use crate::address::Rules;
use crate::config::{Config, Overrides, Surroundings};
use crate::fetch::Fetcher;
use crate::ffmpeg;
use crate::mux::Time;
use crate::process::Launcher;
use crate::serve::Peer;
use crate::session::{Inputs, Registry, Store, World};

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

/// An engine without its sockets.
struct Engine {
    registry: Arc<Registry>,
    feed: Arc<Feed>,
    facts: Arc<Facts>,
    store: Arc<Store>,
    shutdown: CancellationToken,
    source: String,
    _dir: TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Engine {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap().to_owned();
        let env = |name: &str| (name == "HOME" || name == "XDG_RUNTIME_DIR").then(|| home.clone());
        let around =
            Surroundings { env: &env, is_root: false, system_file: PathBuf::from("/nowhere/sluice.toml") };
        let (mut config, _) = Config::load(None, &Overrides::default(), &around).unwrap();
        config.input.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
        let rules = Arc::new(Rules::new(&config.input, &config.sources));
        let fetcher = Fetcher::new(rules.clone(), &config.input).unwrap();
        // Nothing here comes as far as a child.
        let launcher = Launcher::start("/nowhere/sluiced".into()).unwrap();
        let store = Store::open(&config.storage.dir, config.storage.memory, 0).unwrap();
        let shutdown = CancellationToken::new();
        let settings = ffmpeg::Settings {
            max_height: Some(1080),
            quality: ffmpeg::Quality::High,
            deinterlace_fallback: false,
            threads: 1,
            segment: Time::from_secs(2),
        };
        let inputs = Inputs::new(rules.clone(), fetcher, launcher.clone(), &config);
        let world = World::new(&config, settings, rules, inputs, launcher, store.clone(), shutdown.clone());
        let registry = Registry::new(world);
        let facts = Arc::new(Facts {
            version: "1.2.3",
            started: Instant::now(),
            started_at: Timestamp::now(),
            listen: "127.0.0.1:8088".parse().unwrap(),
            max_connections: 2048,
            max_bytes: config.storage.max_bytes,
            ffmpeg: Some("5.1".to_owned()),
            encoders: vec!["libx264".to_owned()],
        });
        let feed = Feed::start(registry.clone(), facts.clone(), shutdown.clone());
        Self { registry, feed, facts, store, shutdown, source: page().await, _dir: dir }
    }

    async fn send(&self, request: Request<String>) -> warp::reply::Response {
        let routes = routes(self.registry.clone(), self.facts.clone(), self.feed.clone());
        let answered = TowerToHyperService::new(warp::service(routes)).call(request);
        tokio::time::timeout(LIMIT, answered).await.expect("no answer").unwrap()
    }

    async fn ask(&self, method: &str, target: &str, body: impl Into<String>) -> Answer {
        let mut request = Request::builder().method(method).uri(target).body(body.into()).unwrap();
        request.extensions_mut().insert(Peer::Unix { uid: 0, gid: 0, pid: Some(1) });
        let (head, body) = self.send(request).await.into_parts();
        let body =
            tokio::time::timeout(LIMIT, body.collect()).await.expect("the answer does not end").unwrap();
        Answer { status: head.status, headers: head.headers, body: body.to_bytes() }
    }

    async fn refused(
        &self,
        method: &str,
        target: &str,
        body: impl Into<String>,
        status: u16,
        code: &str,
    ) -> Answer {
        let answer = self.ask(method, target, body).await;
        let problem: Problem = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            (answer.status.as_u16(), problem.status, problem.code.as_str()),
            (status, status, code),
            "{method} {target}: {problem:?}"
        );
        assert!(problem.detail.len() > 10 && !problem.detail.contains('\n'), "{problem:?}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        answer
    }

    /// Starts what can't be played: a session that failed at once.
    async fn failed(&self) -> Session {
        let order = json!({"url": self.source, "content_type": "movie", "title": "A page"}).to_string();
        self.refused("POST", "/v1/sessions", order, 422, code::INPUT_NOT_MEDIA).await;
        let sessions: Sessions = self.ask("GET", "/v1/sessions", "").await.decoded();
        let [session] = &sessions.sessions[..] else { panic!("{sessions:?}") };
        session.clone()
    }

    async fn shut_down(self) {
        self.registry.shut_down(LIMIT).await;
        self.shutdown.cancel();
        tokio::time::timeout(LIMIT, self.feed.ended()).await.expect("the feed does not end");
        tokio::task::spawn_blocking(move || self.store.close()).await.unwrap();
    }
}

impl Answer {
    fn decoded<T: serde::de::DeserializeOwned>(&self) -> T {
        assert_eq!(self.status, StatusCode::OK, "{:?}", self.body);
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    fn records<T: serde::de::DeserializeOwned>(&self) -> Vec<T> {
        assert_eq!(self.headers["content-type"], NDJSON);
        self.body
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }
}

/// A source that has a page where media should be.
async fn page() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_ok() {
                let page = "<!DOCTYPE html><html><body>Please log in</body></html>";
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
                    page.len()
                );
                // The engine may have seen enough.
                drop(stream.write_all(answer.as_bytes()).await);
            }
        }
    });
    format!("http://{address}/film.mp4?password=secret")
}

#[tokio::test]
async fn the_engine_tells_about_itself() {
    let engine = Engine::start().await;
    let told: sluice_protocol::Engine = engine.ask("GET", "/v1/engine", "").await.decoded();
    assert_eq!(
        (told.version.as_str(), told.pid, told.listen.as_str()),
        ("1.2.3", std::process::id(), "127.0.0.1:8088")
    );
    assert!(told.storage.free.is_some_and(|free| free > 0) && !told.draining);
    assert_eq!((told.limits.connections, told.totals.sessions), (2048, 0));
    engine.shut_down().await;
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_with_status_and_code() {
    let engine = Engine::start().await;
    let unknown = uuid::Uuid::new_v4();
    let upper = unknown.to_string().to_uppercase();
    for (method, target, body, status, code) in [
        ("GET", "/".to_owned(), "", 404, code::NOT_FOUND),
        ("GET", "/v1".to_owned(), "", 404, code::NOT_FOUND),
        ("GET", "/v1/../v1/engine".to_owned(), "", 404, code::NOT_FOUND),
        ("GET", format!("/v1/sessions/{unknown}/play"), "", 404, code::NOT_FOUND),
        ("PUT", "/v1/sessions".to_owned(), "", 405, code::METHOD_NOT_ALLOWED),
        ("DELETE", "/v1/engine".to_owned(), "", 405, code::METHOD_NOT_ALLOWED),
        ("GET", format!("/v1/sessions/{unknown}/stop"), "", 405, code::METHOD_NOT_ALLOWED),
        ("POST", format!("/v1/sessions/{unknown}/logs"), "", 405, code::METHOD_NOT_ALLOWED),
        ("GET", format!("/v1/sessions/{unknown}"), "", 404, code::SESSION_NOT_FOUND),
        ("GET", format!("/v1/sessions/{upper}"), "", 404, code::SESSION_NOT_FOUND),
        ("GET", "/v1/sessions/not-a-uuid".to_owned(), "", 404, code::SESSION_NOT_FOUND),
        ("POST", format!("/v1/sessions/{unknown}/stop"), "", 404, code::SESSION_NOT_FOUND),
        ("POST", format!("/v1/sessions/{unknown}/resume"), "{}", 404, code::SESSION_NOT_FOUND),
        ("POST", "/v1/sessions/1/restart".to_owned(), "", 404, code::SESSION_NOT_FOUND),
        ("DELETE", format!("/v1/sessions/{unknown}"), "", 404, code::SESSION_NOT_FOUND),
        ("GET", format!("/v1/sessions/{unknown}/logs"), "", 404, code::SESSION_NOT_FOUND),
        ("POST", format!("/v1/sessions/{unknown}/stop"), "{\"force\":", 400, code::BAD_REQUEST),
        ("POST", format!("/v1/sessions/{unknown}/stop"), "[true]", 400, code::BAD_REQUEST),
        ("POST", format!("/v1/sessions/{unknown}/stop"), "{\"hold_for\":-1}", 400, code::BAD_REQUEST),
        ("POST", format!("/v1/sessions/{unknown}/stop"), "{\"hold_for\":1e300}", 400, code::BAD_REQUEST),
        ("POST", "/v1/sessions".to_owned(), "", 400, code::BAD_REQUEST),
        ("POST", "/v1/sessions".to_owned(), "{\"url\":5}", 400, code::BAD_REQUEST),
        ("POST", "/v1/sessions".to_owned(), "{\"url\":\"not an address\"}", 400, code::BAD_REQUEST),
        ("POST", "/v1/sessions".to_owned(), "{\"url\":\"http://10.0.0.1/\"}", 403, code::FORBIDDEN_ADDRESS),
        ("GET", "/v1/sessions?history=perhaps".to_owned(), "", 400, code::BAD_REQUEST),
        ("GET", "/v1/events?after=soon".to_owned(), "", 400, code::BAD_REQUEST),
    ] {
        engine.refused(method, &target, body, status, code).await;
    }
    let large = format!("{{\"url\":\"{}\"}}", "x".repeat(1 << 20));
    engine.refused("POST", "/v1/sessions", large, 413, code::TOO_LARGE).await;
    let allowed = engine.refused("PUT", "/v1/sessions", "", 405, code::METHOD_NOT_ALLOWED).await;
    assert_eq!(allowed.headers["allow"], "GET, POST");
    assert!(engine.registry.list(true).is_empty());
    engine.shut_down().await;
}

#[tokio::test]
async fn what_a_later_version_has_is_named_as_such() {
    let engine = Engine::start().await;
    for (method, target, body) in
        [("GET", "/v1/probes", ""), ("DELETE", "/v1/probes?series_id=1", ""), ("POST", "/v1/reload", "")]
    {
        let answer = engine.refused(method, target, body, 404, code::NOT_FOUND).await;
        let problem: Problem = serde_json::from_slice(&answer.body).unwrap();
        assert!(
            problem.detail.contains("not in this version of the engine; a later one"),
            "{target}: {problem:?}"
        );
    }
    engine.shut_down().await;
}

#[tokio::test]
async fn a_session_that_failed_can_be_looked_at_held_resumed_and_forgotten() {
    let engine = Engine::start().await;
    let session = engine.failed().await;
    assert_eq!((session.state, session.code.as_deref()), (State::Failed, Some(code::INPUT_NOT_MEDIA)));
    assert!(!session.url.contains("secret") && session.title.as_deref() == Some("A page"));
    let own = format!("/v1/sessions/{}", session.id);
    let detail: Detail = engine.ask("GET", &own, "").await.decoded();
    assert_eq!(detail.session.id, session.id);
    assert!(detail.segment_map.is_empty() && detail.viewer_list.is_empty());

    let stale = json!({"generation": session.generation + 7}).to_string();
    engine.refused("POST", &format!("{own}/stop"), stale, 409, code::CHANGED).await;
    engine.refused("DELETE", &own, "", 409, code::CHANGED).await;

    // No body, no Content-Type: a stop until resumed.
    let held: Session = engine.ask("POST", &format!("{own}/stop"), "").await.decoded();
    let hold = held.hold.expect("an operator's stop stays");
    assert!(held.held && hold.until.is_none() && hold.by == "root", "{hold:?}");
    let order = json!({"url": engine.source, "content_type": "movie"}).to_string();
    let answer = engine.refused("POST", "/v1/sessions", order, 503, code::HELD).await;
    let problem: Problem = serde_json::from_slice(&answer.body).unwrap();
    assert!(problem.detail.contains(&format!("sluice resume {}", session.id)), "{problem:?}");
    assert!(answer.headers.contains_key("retry-after"));

    let timed: Session = engine.ask("POST", &format!("{own}/stop"), "{\"hold_for\":3600}").await.decoded();
    assert!(timed.hold.is_some_and(|hold| hold.until.is_some()));
    let resumed: Session = engine.ask("POST", &format!("{own}/resume"), "{}").await.decoded();
    assert!(!resumed.held);
    let ended: Session = engine.ask("POST", &format!("{own}/stop"), "{\"force\":true}").await.decoded();
    assert_eq!(ended.state, State::Ended);

    let forgotten = engine.ask("DELETE", &own, "").await;
    assert_eq!(forgotten.decoded::<Session>().id, session.id);
    engine.refused("GET", &own, "", 404, code::SESSION_NOT_FOUND).await;
    let sessions: Sessions = engine.ask("GET", "/v1/sessions?history=true", "").await.decoded();
    assert!(sessions.sessions.is_empty());
    engine.shut_down().await;
}

#[tokio::test]
async fn the_log_of_a_session_that_is_over_says_so() {
    let engine = Engine::start().await;
    let session = engine.failed().await;
    let own = format!("/v1/sessions/{}/logs", session.id);
    for query in ["", "?follow=true", "?tail=1", "?level=warning&follow=1"] {
        let records = engine.ask("GET", &format!("{own}{query}"), "").await.records::<LogRecord>();
        assert_eq!(records.last(), Some(&LogRecord::End), "{query}");
        assert!(matches!(records[0], LogRecord::Line { .. }), "{query}: {records:?}");
    }
    engine.refused("GET", &format!("{own}?level=loud"), "", 400, code::BAD_REQUEST).await;
    engine.shut_down().await;
}

#[tokio::test]
async fn who_follows_the_log_of_a_held_session_hears_that_it_was_forgotten() {
    let engine = Engine::start().await;
    let own = format!("/v1/sessions/{}", engine.failed().await.id);
    engine.ask("POST", &format!("{own}/stop"), "").await;
    let before = engine.ask("GET", &format!("{own}/logs"), "").await.records::<LogRecord>();
    assert!(!before.contains(&LogRecord::End), "a stopped session may go on");
    let target = format!("{own}/logs?follow=true");
    let follow = engine.ask("GET", &target, "");
    let forget = async {
        engine.ask("DELETE", &own, "").await;
    };
    let (followed, ()) = tokio::join!(follow, forget);
    assert_eq!(followed.records::<LogRecord>().last(), Some(&LogRecord::End));
    engine.shut_down().await;
}

#[tokio::test]
async fn events_tell_what_an_operator_did_and_end_with_the_engine() {
    let engine = Engine::start().await;
    let request = Request::builder().uri("/v1/events").body(String::new()).unwrap();
    let answer = engine.send(request).await;
    assert_eq!(answer.headers()["content-type"], NDJSON);
    let mut body = answer.into_body();
    let mut next = async || {
        let frame =
            tokio::time::timeout(LIMIT, body.frame()).await.expect("the stream neither goes on nor ends");
        frame.map(|frame| serde_json::from_slice::<Event>(&frame.unwrap().into_data().unwrap()).unwrap())
    };
    assert!(matches!(next().await, Some(Event::Snapshot { .. })));
    let session = engine.failed().await;
    engine.ask("POST", &format!("/v1/sessions/{}/stop", session.id), "").await;
    engine.ask("POST", "/v1/sessions/00000000-0000-0000-0000-000000000000/resume", "").await;

    let mut events = Vec::new();
    while let Some(event) = next().await {
        if matches!(&event, Event::Action(action) if action.what == "resume") {
            engine.shutdown.cancel();
        }
        events.push(event);
    }
    let acted = |event: &Event| match event {
        Event::Action(action) => Some((action.who.clone(), action.what.clone(), action.result.clone())),
        _ => None,
    };
    let said = |what: &str, result: &str| ("root".to_owned(), what.to_owned(), result.to_owned());
    let actions: Vec<_> = events.iter().filter_map(acted).collect();
    assert_eq!(
        actions,
        [said("start", code::INPUT_NOT_MEDIA), said("stop", "done"), said("resume", code::SESSION_NOT_FOUND)]
    );
    let states = events.iter().filter_map(|event| match event {
        Event::State(change) => Some((change.from, change.to)),
        _ => None,
    });
    let states: Vec<_> = states.collect();
    assert_eq!(
        states[..2],
        [(State::Starting, State::Failed), (State::Failed, State::Stopped)],
        "{states:?}"
    );
    engine.shut_down().await;
}

#[tokio::test]
async fn unknown_is_null_on_the_wire() {
    let engine = Engine::start().await;
    engine.failed().await;
    let sessions: Value = engine.ask("GET", "/v1/sessions", "").await.decoded();
    let session = &sessions["sessions"][0];
    for field in ["duration", "speed", "bitrate", "video", "retry_at", "user", "hold"] {
        assert!(session.get(field).is_some_and(Value::is_null), "{field}: {session}");
    }
    engine.shut_down().await;
}
