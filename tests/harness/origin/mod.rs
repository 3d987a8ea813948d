//! A source of media on loopback that behaves, or misbehaves, as its address says.
//!
//! | address | answers |
//! | --- | --- |
//! | `/files/NAME` | a file of [`Media`], with ranges |
//! | `/norange/NAME` | the same, ranges not understood |
//! | `/chunked/NAME` | the same, of unknown length |
//! | `/slow/NAME?rate=BYTES` | the same, so many bytes a second |
//! | `/cut/NAME?after=BYTES` | promises the file, cuts the connection after so many bytes |
//! | `/breaks/NAME?after=BYTES` | a file with ranges, each connection cut after so many bytes |
//! | `/stall/NAME?after=BYTES` | promises the file, falls silent after so many bytes |
//! | `/status/CODE` | that status, with a page |
//! | `/silent` | nothing, and keeps the connection |
//! | `/redirect?to=ADDRESS` | 302; `/redirect-ring` leads to itself |
//! | `/live/channel.ts` | the channel, at its own speed, from now on (`?burst=SECONDS` from earlier) |
//! | `/script/NAME/…` | what stands behind the name; the stand-in for ffmpeg follows script NAME |
//!
//! Every query that no route knows is ignored, so `?n=1` makes another address of the same thing.

mod files;
mod live;
mod script;

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, LOCATION};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use live::Air;

use crate::Media;
use crate::stand_in::{Introduction, Script};

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Answer = Response<Body>;

/// A source that serves until it is dropped.
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: tokio::task::JoinHandle<()>,
}

/// What was asked of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The path and the query.
    pub target: String,
    /// The range, as it was asked for.
    pub range: Option<String>,
    /// Who asked.
    pub user_agent: Option<String>,
}

struct Shared {
    directory: PathBuf,
    asked: Mutex<Vec<Asked>>,
    connections: AtomicUsize,
    live: live::Live,
    scripts: script::Scripts,
}

impl Origin {
    /// Opens on a free port of 127.0.0.1. The first caller waits until the media are made.
    pub async fn start() -> Self {
        let media = tokio::task::spawn_blocking(Media::ready).await.expect("media can be made");
        Self::of(media.directory()).await
    }

    /// Serves the files of another directory.
    pub async fn of(directory: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            directory: directory.to_path_buf(),
            asked: Mutex::default(),
            connections: AtomicUsize::new(0),
            live: live::Live::of(directory.join("channel.ts")),
            scripts: script::Scripts::default(),
        });
        let serving = tokio::spawn(serve(listener, shared.clone()));
        Self { address, shared, serving }
    }

    /// The whole address of `target`, such as `/files/film.mp4`.
    pub fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// Everything that was asked for, in order.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.shared.asked).clone()
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Changes what viewers of the channel get from now on; those that watch are affected too.
    pub fn put_on_air(&self, air: Air) {
        self.shared.live.put(air);
    }

    /// Ends the connections of all that watch the channel. They may come back.
    pub fn drop_viewers(&self) {
        self.shared.live.drop_viewers();
    }

    /// How many watch the channel.
    pub fn watching(&self) -> usize {
        self.shared.live.watching()
    }

    /// Gives a script to the name, and answers the address to play: what `target` is, made by the stand-in.
    pub fn script(&self, name: &str, target: &str, script: Script) -> String {
        self.shared.scripts.put(name, script);
        self.url(&format!("/script/{name}{target}"))
    }

    /// The stand-ins that asked for orders under this name, in order.
    pub fn runs(&self, name: &str) -> Vec<Introduction> {
        self.shared.scripts.runs(name)
    }

    /// Lets everyone through this gate, now and later.
    pub fn open_gate(&self, gate: &str) {
        self.shared.scripts.open(gate);
    }

    /// How many stand in front of this gate.
    pub fn waiting_at(&self, gate: &str) -> usize {
        self.shared.scripts.waiting_at(gate)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Connections end with this set, and the set with the task that the origin aborts.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let shared = shared.clone();
        let open = Counted::new(&shared, |shared| &shared.connections);
        connections.spawn(async move {
            let service = service_fn(|request| answer(shared.clone(), request));
            // A client that leaves in mid-answer is what many tests are about, and no fault of the source.
            let _ended = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(open);
        });
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    let query = Query::of(request.uri().query().unwrap_or_default());
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let range = header("range");
    if let Some(rest) = path.strip_prefix("/orders/") {
        let rest = rest.to_owned();
        return Ok(script::answer(shared, request, &rest).await);
    }
    lock(&shared.asked).push(Asked {
        target: request.uri().to_string(),
        range: range.clone(),
        user_agent: header("user-agent"),
    });
    let mut path = path.as_str();
    if let Some(rest) = path.strip_prefix("/script/") {
        path = rest.find('/').map_or("", |slash| &rest[slash..]);
    }
    let (route, name) =
        path[1.min(path.len())..].split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    Ok(match (route, name) {
        ("files", name) => files::answer(&shared, name, files::Manner::Ranges(range)),
        ("norange", name) => files::answer(&shared, name, files::Manner::Whole),
        ("chunked", name) => files::answer(&shared, name, files::Manner::Chunked),
        ("slow", name) => files::answer(&shared, name, files::Manner::Slow(query.number("rate", 100_000))),
        ("cut", name) => files::answer(&shared, name, files::Manner::Cut(query.number("after", 0))),
        ("breaks", name) => {
            files::answer(&shared, name, files::Manner::Breaks(range, query.number("after", 0)))
        }
        ("stall", name) => files::answer(&shared, name, files::Manner::Stall(query.number("after", 0))),
        ("live", "channel.ts") => live::answer(&shared, query.number("burst", 0) as u32).await,
        ("silent", "") => std::future::pending().await,
        ("redirect", "") => redirect(&query.text("to")),
        ("redirect-ring", "") => redirect("/redirect-ring"),
        ("status", code) => page(code.parse().ok().and_then(|code| StatusCode::from_u16(code).ok())),
        _ => page(None),
    })
}

fn redirect(to: &str) -> Answer {
    let mut answer = page(Some(StatusCode::FOUND));
    answer.headers_mut().insert(LOCATION, to.parse().expect("a test redirects to an address"));
    answer
}

/// A page in the manner of web servers, 404 where no other status is asked for.
fn page(status: Option<StatusCode>) -> Answer {
    let status = status.unwrap_or(StatusCode::NOT_FOUND);
    let text = format!("<html><body><h1>{status}</h1></body></html>\n");
    let mut answer = Response::new(full(Bytes::from(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, "text/html".parse().expect("a plain type"));
    answer
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// The part of an address after its question mark, undone of its escapes by the caller where it has any.
struct Query(HashMap<String, String>);

impl Query {
    fn of(text: &str) -> Self {
        Self(
            text.split('&')
                .filter_map(|pair| pair.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    fn number(&self, key: &str, otherwise: usize) -> usize {
        self.0.get(key).and_then(|value| value.parse().ok()).unwrap_or(otherwise)
    }

    fn text(&self, key: &str) -> String {
        self.0.get(key).cloned().unwrap_or_default()
    }
}

/// Counts one for as long as it lives.
struct Counted {
    shared: Arc<Shared>,
    counter: fn(&Shared) -> &AtomicUsize,
}

impl Counted {
    fn new(shared: &Arc<Shared>, counter: fn(&Shared) -> &AtomicUsize) -> Self {
        counter(shared).fetch_add(1, Ordering::Relaxed);
        Self { shared: shared.clone(), counter }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.counter)(&self.shared).fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds a lock of the origin")
}
