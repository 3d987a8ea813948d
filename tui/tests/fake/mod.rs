//! A stand-in engine on a real Unix socket: it answers what it was told to, and remembers what it was asked.

use std::{
    collections::HashMap,
    convert::Infallible,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use sluice_protocol::{
    Action, Cause, Detail, Engine, Event, Hold, Kind, Level, Limits, LogRecord, NDJSON, Patch, Problem, Run,
    Session, Sessions, Started, State, StateChange, Storage, Tick, Totals, code,
};
use tokio::{net::UnixListener, sync::broadcast, task::JoinSet};
use uuid::Uuid;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A stand-in engine. Dropping it closes its socket and cuts all connections.
pub(crate) struct FakeEngine {
    /// Where it listens.
    pub(crate) socket: PathBuf,
    world: Arc<Mutex<World>>,
    server: tokio::task::JoinHandle<()>,
}

/// What it knows, and was asked.
pub(crate) struct World {
    /// Names its life.
    pub(crate) epoch: Uuid,
    /// The last sequence given out.
    pub(crate) seq: u64,
    /// The engine.
    pub(crate) engine: Engine,
    /// Sessions, also those that ended.
    pub(crate) sessions: Vec<Session>,
    /// Their logs.
    pub(crate) logs: HashMap<Uuid, Vec<LogRecord>>,
    /// Every request: method, path with query, body.
    pub(crate) asked: Vec<String>,
    /// Orders are taken and never answered.
    pub(crate) mute: bool,
    events: broadcast::Sender<String>,
    log_lines: broadcast::Sender<(Uuid, String)>,
}

impl FakeEngine {
    /// Listens on `socket` with these sessions.
    pub(crate) fn start(socket: &Path, sessions: Vec<Session>) -> Self {
        let listener = UnixListener::bind(socket).expect("the directory is ours and new");
        let world = Arc::new(Mutex::new(World {
            epoch: Uuid::new_v4(),
            seq: 0,
            engine: engine(&sessions),
            sessions,
            logs: HashMap::new(),
            asked: Vec::new(),
            mute: false,
            events: broadcast::channel(256).0,
            log_lines: broadcast::channel(4096).0,
        }));
        let server = tokio::spawn(serve(listener, world.clone()));
        Self { socket: socket.to_owned(), world, server }
    }

    /// What it knows.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FakeEngine {
    fn drop(&mut self) {
        self.server.abort();
        std::fs::remove_file(&self.socket).unwrap_or_default();
    }
}

impl World {
    /// Changes a session and tells every reader, as the engine does: a change of state at once, then a tick.
    pub(crate) fn change(
        &mut self,
        id: Uuid,
        cause: Cause,
        change: impl FnOnce(&mut Session),
    ) -> Option<Session> {
        let at = self.sessions.iter().position(|session| session.id == id)?;
        let before = self.sessions[at].clone();
        change(&mut self.sessions[at]);
        let after = &mut self.sessions[at];
        let moved = before.state != after.state;
        if moved {
            after.generation += 1;
            after.cause = cause;
            after.state_since = Timestamp::now();
        }
        let after = after.clone();
        if moved {
            self.seq += 1;
            self.tell(&Event::State(StateChange {
                seq: self.seq,
                at: after.state_since,
                id,
                from: before.state,
                to: after.state,
                cause,
                code: after.code.clone(),
                reason: after.reason.clone(),
                who: (cause == Cause::Operator).then(|| "root".to_owned()),
            }));
        }
        self.tick(Patch::between(Some(&before), &after).into_iter().collect(), Vec::new());
        Some(after)
    }

    /// Tells every reader that time passed, and what changed.
    pub(crate) fn tick(&mut self, sessions: Vec<Patch>, removed: Vec<Uuid>) {
        self.seq += 1;
        self.engine.uptime = (Timestamp::now().duration_since(self.engine.started_at)).as_secs_f64();
        let tick = Tick { seq: self.seq, sessions, removed, engine: self.engine.clone() };
        self.tell(&Event::Tick(tick));
    }

    /// Adds a line to a session's log and tells every reader.
    pub(crate) fn log(&mut self, id: Uuid, level: Level, text: &str) {
        let log = self.logs.entry(id).or_default();
        let seq = log.len() as u64 + 1;
        let record = LogRecord::Line { seq, at: Timestamp::now(), level, run: 1, text: text.to_owned() };
        let line = json(&record);
        log.push(record);
        self.log_lines.send((id, line)).unwrap_or_default();
    }

    fn tell(&self, event: &Event) {
        self.events.send(json(event)).unwrap_or_default();
    }

    fn snapshot(&self) -> String {
        let sessions = self
            .sessions
            .iter()
            .filter(|session| session.state != State::Ended || session.held)
            .cloned()
            .collect();
        json(&Event::Snapshot { epoch: self.epoch, seq: self.seq, engine: self.engine.clone(), sessions })
    }
}

/// A session that runs.
pub(crate) fn session(number: u8, title: &str) -> Session {
    let now = Timestamp::now();
    Session {
        id: Uuid::from_bytes([number; 16]),
        generation: 3,
        state: State::Running,
        state_since: now,
        cause: Cause::Ready,
        code: None,
        reason: None,
        kind: Some(Kind::Window),
        url: format!("http://source.example/live/***/{number}.ts"),
        title: Some(title.to_owned()),
        content_type: "live".to_owned(),
        source_id: None,
        user: Some("alice".to_owned()),
        pinned: false,
        held: false,
        hold: None,
        runs: vec![Run {
            run: 1,
            pid: Some(4000 + u32::from(number)),
            from: 0.0,
            at: Some(60.0),
            state: State::Running,
            speed: Some(1.0),
            fps: Some(25.0),
            cpu: Some(28.0),
            rss: Some(170 << 20),
        }],
        started_at: now,
        last_access: Some(now),
        viewers: 0,
        duration: None,
        position: None,
        produced: 60.0,
        segments: 10,
        bytes: 15 << 20,
        speed: Some(1.0),
        fps: Some(25.0),
        bitrate: Some(2_000_000),
        frames_dropped: Some(0),
        cpu: Some(28.0),
        rss: Some(170 << 20),
        video: Some("copy (h264 1280x720)".to_owned()),
        audio: Some("copy (aac)".to_owned()),
        restarts: 0,
        retry_at: None,
        warnings: Vec::new(),
    }
}

/// An engine with these sessions.
pub(crate) fn engine(sessions: &[Session]) -> Engine {
    let count = sessions.len() as u64;
    Engine {
        version: "0.1.0".to_owned(),
        pid: 912,
        started_at: Timestamp::now(),
        uptime: 1.0,
        listen: "127.0.0.1:8088".to_owned(),
        limits: Limits { sessions: 60, runs_per_session: 3, connections: 1024, history: 200 },
        totals: Totals {
            sessions: count,
            active: count,
            runs: count,
            viewers: 0,
            started: count,
            cpu: 61.0,
            rss: 512 << 20,
        },
        storage: Storage {
            used: 12 << 30,
            max: 100 << 30,
            free: Some(80 << 30),
            held: 64 << 20,
            memory: 1 << 30,
        },
        ffmpeg: Some("5.1.6".to_owned()),
        encoders: vec!["libx264".to_owned()],
        draining: false,
    }
}

async fn serve(listener: UnixListener, world: Arc<Mutex<World>>) {
    // Owned here, so that the connections end with the engine.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let world = world.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(world.clone(), request));
            // A console that goes away is no fault of ours.
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
                .unwrap_or_default();
        });
    }
}

async fn answer(world: Arc<Mutex<World>>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let path = head.uri.path().to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let lock = || world.lock().unwrap_or_else(PoisonError::into_inner);
    lock()
        .asked
        .push(format!("{} {} {}", head.method, head.uri, String::from_utf8_lossy(&body)).trim().to_owned());
    if head.method == Method::POST && lock().mute {
        std::future::pending::<()>().await;
    }
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let id = parts.get(2).and_then(|id| id.parse::<Uuid>().ok());
    Ok(match (&head.method, parts.as_slice(), id) {
        (&Method::GET, ["v1", "engine"], _) => whole(&lock().engine),
        (&Method::GET, ["v1", "sessions"], _) => {
            let history = query.contains("history=true");
            let listed = |session: &&Session| history || session.state != State::Ended || session.held;
            whole(&Sessions { sessions: lock().sessions.iter().filter(listed).cloned().collect() })
        }
        (&Method::GET, ["v1", "events"], _) => {
            let (first, rest) = {
                let world = lock();
                (world.snapshot(), world.events.subscribe())
            };
            stream(vec![first], rest, Some)
        }
        (&Method::POST, ["v1", "sessions"], _) => start(&mut lock(), &body),
        (&Method::GET, ["v1", "sessions", _], Some(id)) => {
            match lock().sessions.iter().find(|s| s.id == id) {
                Some(session) => whole(&detail(session.clone())),
                None => missing(),
            }
        }
        (&Method::DELETE, ["v1", "sessions", _], Some(id)) => forget(&mut lock(), id),
        (&Method::GET, ["v1", "sessions", _, "logs"], Some(id)) => logs(&lock(), id, &query),
        (&Method::POST, ["v1", "sessions", _, verb], Some(id)) => act(&mut lock(), id, verb, &body),
        _ => refuse(404, code::NOT_FOUND, "there is no such route"),
    })
}

fn start(world: &mut World, body: &[u8]) -> Response<Body> {
    let order: sluice_protocol::StartOrder = serde_json::from_slice(body).unwrap_or_default();
    if order.url.contains("missing") {
        return refuse(502, code::INPUT_NOT_FOUND, "the source answered 404 Not Found for this address");
    }
    let mut started = session(200, order.title.as_deref().unwrap_or("started"));
    started.url = order.url;
    let id = started.id;
    let patch = Patch::between(None, &started);
    world.sessions.push(started);
    world.tick(patch.into_iter().collect(), Vec::new());
    whole(&Started {
        session_id: id,
        playlist: format!("/transcode/{id}/stream.m3u8"),
        subtitles: Vec::new(),
        duration: None,
        seek_offset: 0.0,
        transcoded_duration: 12.0,
        state: State::Running,
    })
}

fn forget(world: &mut World, id: Uuid) -> Response<Body> {
    match world.sessions.iter().position(|session| session.id == id) {
        None => missing(),
        Some(at) if world.sessions[at].state != State::Ended && !world.sessions[at].held => {
            refuse(409, code::NOT_RESUMABLE, "the session is running: stop it first")
        }
        Some(at) => {
            world.sessions.remove(at);
            world.tick(Vec::new(), vec![id]);
            respond(StatusCode::NO_CONTENT, "application/json", Full::default().boxed_unsync())
        }
    }
}

fn act(world: &mut World, id: Uuid, verb: &str, body: &[u8]) -> Response<Body> {
    let order: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(before) = world.sessions.iter().find(|session| session.id == id).cloned() else {
        return missing();
    };
    if order["generation"].as_u64().is_some_and(|generation| generation != before.generation) {
        return refuse(409, code::CHANGED, "the session changed since you looked");
    }
    if verb == "resume" && before.state == State::Running {
        return refuse(409, code::NOT_RESUMABLE, "the session is running: there is nothing to resume");
    }
    let force = order["force"].as_bool().unwrap_or(false);
    let seconds = order["hold_for"].as_f64();
    let after = world.change(id, Cause::Operator, |session| {
        let stops = verb == "stop";
        session.state = match (stops, force) {
            (true, true) => State::Ended,
            (true, false) => State::Stopped,
            (false, _) => State::Running,
        };
        session.held = stops;
        session.hold = stops.then(|| Hold {
            by: "root".to_owned(),
            since: Timestamp::now(),
            until: seconds.map(|s| Timestamp::now() + jiff::SignedDuration::from_secs_f64(s)),
        });
        if stops {
            session.runs.clear();
        }
    });
    world.seq += 1;
    let what = if force { "force" } else { verb };
    let action = Action {
        seq: world.seq,
        at: Timestamp::now(),
        who: "root".to_owned(),
        what: what.to_owned(),
        id: Some(id),
        result: "done".to_owned(),
    };
    world.tell(&Event::Action(action));
    after.map_or_else(missing, |session| whole(&session))
}

fn logs(world: &World, id: Uuid, query: &str) -> Response<Body> {
    let number = |name: &str| {
        let field = query.split('&').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        field.and_then(|value| value.parse::<u64>().ok())
    };
    let Some(session) = world.sessions.iter().find(|session| session.id == id) else { return missing() };
    let after = number("after").unwrap_or(0) as usize;
    let all = world.logs.get(&id).map(Vec::as_slice).unwrap_or_default();
    let kept = all.get(after..).unwrap_or_default();
    let tail = number("tail").map_or(kept.len(), |tail| tail as usize);
    let mut lines: Vec<String> = kept[kept.len().saturating_sub(tail)..].iter().map(json).collect();
    let over = matches!(session.state, State::Failed | State::Ended);
    if over {
        lines.push(json(&LogRecord::End));
    }
    if over || !query.contains("follow=true") {
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        return respond(StatusCode::OK, NDJSON, Full::from(body).boxed_unsync());
    }
    stream(lines, world.log_lines.subscribe(), move |(of, line)| (of == id).then_some(line))
}

/// The detail of a session.
pub(crate) fn detail(session: Session) -> Detail {
    Detail {
        argv: vec![vec!["ffmpeg".to_owned(), "-i".to_owned(), session.url.clone()]],
        session,
        probe: None,
        viewer_list: Vec::new(),
        past_runs: Vec::new(),
        segment_map: Vec::new(),
    }
}

fn whole(value: &impl serde::Serialize) -> Response<Body> {
    respond(StatusCode::OK, "application/json", Full::from(json(value)).boxed_unsync())
}

fn missing() -> Response<Body> {
    refuse(404, code::SESSION_NOT_FOUND, "there is no such session")
}

fn refuse(status: u16, code: &str, detail: &str) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let problem = Problem {
        kind: "about:blank".to_owned(),
        title: status.to_string(),
        status: status.as_u16(),
        detail: detail.to_owned(),
        code: code.to_owned(),
    };
    respond(status, "application/problem+json", Full::from(json(&problem)).boxed_unsync())
}

/// Lines that are there already, then those of a channel. A reader that fell behind is cut off.
fn stream<T: Clone + Send + 'static>(
    first: Vec<String>,
    rest: broadcast::Receiver<T>,
    pick: impl Fn(T) -> Option<String> + Send + Sync + 'static,
) -> Response<Body> {
    let first: String = first.iter().map(|line| format!("{line}\n")).collect();
    let start = futures_util::stream::iter((!first.is_empty()).then_some(first));
    let rest = futures_util::stream::unfold((rest, pick), |(mut rest, pick)| async move {
        loop {
            if let Some(line) = pick(rest.recv().await.ok()?) {
                return Some((format!("{line}\n"), (rest, pick)));
            }
        }
    });
    use futures_util::StreamExt as _;
    let frames = start.chain(rest).map(|line| Ok::<_, Infallible>(Frame::data(Bytes::from(line))));
    respond(StatusCode::OK, NDJSON, StreamBody::new(frames).boxed_unsync())
}

fn respond(status: StatusCode, kind: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Ok(kind) = kind.parse() {
        response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    }
    response
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("wire types are plain data")
}

/// Waits until `check` gives something, and no longer than ten seconds.
pub(crate) async fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            if let Some(value) = check() {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never happened: {what}"))
}
