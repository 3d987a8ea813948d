//! Wires the parts together; the only file that knows every module.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::address::Rules;
use crate::config::{Config, Quality};
use crate::control::{self, Facts, Feed};
use crate::fetch::{Fetcher, SetUpError};
use crate::ffmpeg;
use crate::hls::{self, Playback};
use crate::mux::Time;
use crate::process::{Launcher, Order, Pipe, capture};
use crate::serve::unix::{Socket, SocketError};
use crate::serve::{self, Limits, Listener};
use crate::session::{Inputs, Registry, Store, StoreError, World};

/// `ffmpeg -version` answers in milliseconds, or something is wrong.
const VERSION_LIMIT: Duration = Duration::from_secs(5);
/// A request's head comes within this.
const HEADER_LIMIT: Duration = Duration::from_secs(10);
/// A reader takes something within this.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// Operators are few.
const CONTROL_CONNECTIONS: usize = 256;
/// The ladder of a run's end takes less.
const RUNS_END: Duration = Duration::from_secs(6);
/// The encoder's threads: fixed, since the bytes that it makes depend on them.
const MOST_THREADS: usize = 4;

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BootError {
    #[error("could not listen on {address} (server.listen, --listen)")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("the group `{0}` of control.group does not exist")]
    Group(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fetch(#[from] SetUpError),
    #[error("could not start the thread that launches ffmpeg")]
    Launcher(#[source] std::io::Error),
}

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    /// Where viewers reach it.
    pub listen: SocketAddr,
    /// Where operators reach it.
    pub socket: PathBuf,
    /// What ffmpeg calls itself, if it was found.
    pub ffmpeg: Option<String>,
    registry: Arc<Registry>,
    feed: Arc<Feed>,
    store: Arc<Store>,
    closing: CancellationToken,
    listeners: JoinSet<()>,
    drain: Duration,
}

/// Starts everything. `launcher` is the executable whose hidden sub-command becomes ffmpeg.
pub async fn boot(config: Config, launcher: PathBuf) -> Result<Engine, BootError> {
    let address = config.server.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|source| BootError::Listen { address, source })?;
    let listen = listener.local_addr().map_err(|source| BootError::Listen { address, source })?;
    let group = config.control.group.as_deref().map(group_id).transpose()?;
    let socket = Socket::bind(&config.control.socket, group)?;
    let store = Store::open(&config.storage.dir, config.storage.memory, config.storage.min_free_bytes)?;
    let launcher = Launcher::start(launcher).map_err(BootError::Launcher)?;
    let rules = Arc::new(Rules::new(&config.input, &config.sources));
    let fetcher = Fetcher::new(rules.clone(), &config.input)?;
    let (version, encoders) = look_at_ffmpeg(&launcher, &config).await;

    let inputs = Inputs::new(rules.clone(), fetcher, launcher.clone(), &config);
    let world = World::new(
        &config,
        settings(&config),
        rules,
        inputs,
        launcher,
        store.clone(),
        CancellationToken::new(),
    );
    let metrics = world.metrics.clone();
    metrics.describe(env!("CARGO_PKG_VERSION"), version.as_deref());
    let registry = Registry::new(world);
    let facts = Arc::new(Facts {
        version: env!("CARGO_PKG_VERSION"),
        started: Instant::now(),
        started_at: Timestamp::now(),
        listen,
        max_connections: config.server.max_connections,
        max_bytes: config.storage.max_bytes,
        ffmpeg: version.clone(),
        encoders,
    });
    let closing = CancellationToken::new();
    // It goes on through the shutdown: consoles see every session end.
    let feed = Feed::start(registry.clone(), facts.clone(), closing.clone());
    let playback = Arc::new(Playback {
        registry: registry.clone(),
        server: config.server.clone(),
        machine: rustix::system::uname().nodename().to_string_lossy().to_lowercase(),
        ffmpeg_found: version.is_some(),
        container: config.transcode.container,
    });

    let mut listeners = JoinSet::new();
    let viewers = Limits {
        connections: config.server.max_connections,
        per_address: config.server.max_connections_per_address,
        header: HEADER_LIMIT,
        stall: STALL_LIMIT,
        exempt: Arc::new(|address: IpAddr| address.to_canonical().is_loopback()),
    };
    let operators =
        Limits { connections: CONTROL_CONNECTIONS, per_address: CONTROL_CONNECTIONS, ..viewers.clone() };
    let path = config.control.socket.clone();
    let drain = config.server.drain_timeout;
    let service = TowerToHyperService::new(warp::service(hls::routes(playback)));
    let service = metrics.playback().count(service, hls::route);
    listeners.spawn(serve::serve(Listener::Tcp(listener), service, viewers, closing.clone(), drain));
    let service =
        TowerToHyperService::new(warp::service(control::routes(registry.clone(), facts, feed.clone())));
    let service = metrics.control().count(service, control::route);
    listeners.spawn(serve::serve(Listener::Unix(socket), service, operators, closing.clone(), drain));
    Ok(Engine { listen, socket: path, ffmpeg: version, registry, feed, store, closing, listeners, drain })
}

impl Engine {
    /// Ends in order: no new sessions, every ffmpeg, answers in flight, what is still to be written.
    pub async fn shut_down(mut self) {
        self.registry.shut_down(RUNS_END).await;
        self.closing.cancel();
        let ended = tokio::time::timeout(self.drain + Duration::from_secs(1), async {
            self.feed.ended().await;
            while self.listeners.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            self.listeners.shutdown().await;
        }
        let store = self.store;
        // It waits for a disk, which may take its time; the runtime must not.
        if tokio::task::spawn_blocking(move || store.close()).await.is_err() {
            tracing::error!("closing the store panicked");
        }
    }
}

fn settings(config: &Config) -> ffmpeg::Settings {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MOST_THREADS);
    ffmpeg::Settings {
        max_height: config.transcode.max_resolution.height(),
        quality: match config.transcode.quality {
            Quality::High => ffmpeg::Quality::High,
            Quality::Medium => ffmpeg::Quality::Medium,
            Quality::Low => ffmpeg::Quality::Low,
        },
        deinterlace_fallback: false,
        threads: u32::try_from(threads).unwrap_or(1),
        segment: Time::from(config.transcode.segment_duration),
    }
}

/// What ffmpeg calls itself and which H.264 encoders it has; `None` where it can't be run.
async fn look_at_ffmpeg(launcher: &Launcher, config: &Config) -> (Option<String>, Vec<String>) {
    let ask = async |words: &[&str]| {
        let order = Order {
            program: config.ffmpeg.path.clone(),
            args: words.iter().map(|word| (*word).to_owned()).collect(),
            outputs: vec![Pipe::Small],
            stdout: Some(0),
            label: "version".to_owned(),
        };
        let captured = capture(launcher, order, VERSION_LIMIT, 1 << 20).await.ok()?;
        Some(String::from_utf8_lossy(&captured.stdout).into_owned())
    };
    let Some(version) = ask(&["-hide_banner", "-version"]).await else { return (None, Vec::new()) };
    let version = version
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("ffmpeg version "))
        .and_then(|rest| rest.split(' ').next())
        .map(str::to_owned);
    let encoders = ask(&["-hide_banner", "-encoders"]).await.unwrap_or_default();
    let names = encoders.lines().filter_map(|line| line.split_whitespace().nth(1));
    let encoders =
        names.filter(|name| name.starts_with("h264_") || *name == "libx264").map(str::to_owned).collect();
    (version, encoders)
}

fn group_id(name: &str) -> Result<u32, BootError> {
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let line = groups
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name));
    let id =
        line.and_then(|fields| fields.get(2).and_then(|id| id.parse().ok())).or_else(|| name.parse().ok());
    id.ok_or_else(|| BootError::Group(name.to_owned()))
}
