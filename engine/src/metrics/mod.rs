//! Every metric that the engine exposes, by name, in one place.
//!
//! What happens is counted where it happens, in atomics that were made beforehand; what is, is read when somebody
//! asks ([`Readings`]). It knows neither sessions nor routes: they bring their words, all of them from closed sets
//! or from the config, so that the number of series is bounded. [`exposition`] writes both down, [`http`] counts
//! what a listener answers, [`own`] looks at the engine's own process.

mod exposition;
mod http;
mod own;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub use exposition::{Exposition, Format};
pub use http::{Counted, Listener, Route};
pub use own::Own;

/// Seconds that a start may take. Beyond the last, `sessions.start_timeout` has spoken.
const START_SECONDS: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 30.0];
/// Seconds that somebody may wait for a segment.
const WAIT_SECONDS: [f64; 11] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0];
/// The result of a start that went well.
const OK: &str = "ok";
/// The result of a start whose caller went away before there was one.
const ABANDONED: &str = "abandoned";

type Labels<const N: usize> = [(&'static str, &'static str); N];
type Seconds = Counter<f64, AtomicU64>;

/// What is counted. Owned by the engine's world; two engines in one process count for themselves.
#[derive(Debug)]
pub struct Metrics {
    counted: Registry,
    build: Family<[(&'static str, String); 2], Gauge>,
    starts: Family<Labels<1>, Counter>,
    start_seconds: Histogram,
    changes: Family<Labels<2>, Counter>,
    runs_started: Counter,
    run_ends: Family<Labels<1>, Counter>,
    restarts: Family<Labels<1>, Counter>,
    wait_seconds: Histogram,
    ffmpeg_cpu: Seconds,
    stream_resets: Counter,
    events_dropped: Counter,
    playback: Arc<Listener>,
    control: Arc<Listener>,
}

/// What is, as it was when somebody asked.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "the help of the metrics says it")]
pub struct Readings {
    /// The number of sessions in each state; every state is named.
    pub sessions: Vec<(&'static str, u64)>,
    pub runs: u64,
    pub viewers: u64,
    pub ffmpeg_memory: u64,
    pub storage_bytes: u64,
    /// `None` where the file system does not say.
    pub storage_free: Option<u64>,
    pub segment_memory: u64,
    pub segment_memory_limit: u64,
    pub leases: Vec<Lease>,
    /// `None` where the kernel does not say.
    pub own: Option<Own>,
}

/// How much of a limit is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Whose limit it is, such as `engine`.
    pub kind: &'static str,
    /// Its name, as the config has it; empty for the engine.
    pub name: String,
    /// Taken now.
    pub taken: u64,
    /// At most; `None` is without limit.
    pub limit: Option<u64>,
}

/// A start under way. Dropped without a result, its caller went away.
#[derive(Debug)]
#[must_use]
pub struct Starting<'a> {
    metrics: &'a Metrics,
    since: Instant,
    result: Option<&'static str>,
}

/// Somebody waits for a segment, until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Waiting<'a> {
    metrics: &'a Metrics,
    since: Instant,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing happened yet.
    pub fn new() -> Self {
        let mut counted = Registry::with_prefix("sluice");
        let requests = Family::default();
        let sent = Family::default();
        let playback = Listener::new("playback", &Route::PLAYBACK, &requests, &sent);
        let control = Listener::new("control", &Route::CONTROL, &requests, &sent);
        let metrics = Self {
            build: Family::default(),
            starts: Family::default(),
            start_seconds: Histogram::new(START_SECONDS),
            changes: Family::default(),
            runs_started: Counter::default(),
            run_ends: Family::default(),
            restarts: Family::default(),
            wait_seconds: Histogram::new(WAIT_SECONDS),
            ffmpeg_cpu: Counter::default(),
            stream_resets: Counter::default(),
            events_dropped: Counter::default(),
            playback: Arc::new(playback),
            control: Arc::new(control),
            counted: Registry::default(),
        };
        counted.register(
            "build_info",
            "The engine's version and that of the ffmpeg that it found",
            metrics.build.clone(),
        );
        counted.register(
            "session_starts",
            "Starts and joins by result: ok, abandoned by its caller, or the code that it was refused with",
            metrics.starts.clone(),
        );
        counted.register(
            "start_seconds",
            "From a start or a join that went well to something that can be played",
            metrics.start_seconds.clone(),
        );
        counted.register(
            "session_changes",
            "Changes of a session's state by the state that it came to and the cause",
            metrics.changes.clone(),
        );
        counted.register(
            "runs_started",
            "Processes of ffmpeg that were started",
            metrics.runs_started.clone(),
        );
        counted.register("run_ends", "Processes of ffmpeg that ended, by cause", metrics.run_ends.clone());
        counted.register(
            "restarts",
            "Runs that took up where another had ended, by what had made that necessary",
            metrics.restarts.clone(),
        );
        counted.register(
            "segment_wait_seconds",
            "How long requests waited for a segment that did not exist yet, whatever came of it",
            metrics.wait_seconds.clone(),
        );
        counted.register(
            "ffmpeg_cpu_seconds",
            "Processor time that ffmpeg used, in user and kernel mode",
            metrics.ffmpeg_cpu.clone(),
        );
        counted.register(
            "event_stream_resets",
            "Readers of the event stream that were too slow and got a new snapshot",
            metrics.stream_resets.clone(),
        );
        counted.register(
            "events_dropped",
            "Events that came faster than they could be written down",
            metrics.events_dropped.clone(),
        );
        counted.register("http_requests", "Requests by listener, kind of route and status", requests);
        counted.register("http_response_bytes", "Bytes of answers that were sent, without their heads", sent);
        // What is known to come begins at zero, so that the first one shows as a rise.
        for result in [OK, ABANDONED] {
            drop(metrics.starts.get_or_create(&[("result", result)]));
        }
        Self { counted, ..metrics }
    }

    /// Which engine this is, and which ffmpeg it found; `None` if none.
    pub fn describe(&self, version: &str, ffmpeg: Option<&str>) {
        let ffmpeg = ffmpeg.unwrap_or_default().to_owned();
        self.build.get_or_create(&[("version", version.to_owned()), ("ffmpeg", ffmpeg)]).set(1);
    }

    /// A start, or a join, begins.
    pub fn starting(&self) -> Starting<'_> {
        Starting { metrics: self, since: Instant::now(), result: None }
    }

    /// A session came to another state.
    pub fn session_changed(&self, to: &'static str, cause: &'static str) {
        self.changes.get_or_create(&[("to", to), ("cause", cause)]).inc();
    }

    /// A process of ffmpeg lives.
    pub fn run_started(&self) {
        self.runs_started.inc();
    }

    /// A process of ffmpeg was reaped, or could not even be started.
    pub fn run_ended(&self, cause: &'static str) {
        self.run_ends.get_or_create(&[("cause", cause)]).inc();
    }

    /// A run takes up where another had ended.
    pub fn restarted(&self, cause: &'static str) {
        self.restarts.get_or_create(&[("cause", cause)]).inc();
    }

    /// A request begins to wait for a segment.
    pub fn waiting(&self) -> Waiting<'_> {
        Waiting { metrics: self, since: Instant::now() }
    }

    /// ffmpeg used so much more of a processor.
    pub fn ffmpeg_used(&self, cpu: Duration) {
        self.ffmpeg_cpu.inc_by(cpu.as_secs_f64());
    }

    /// A reader of the event stream was too slow.
    pub fn stream_reset(&self) {
        self.stream_resets.inc();
    }

    /// Events were lost to all readers, who get a snapshot for them.
    pub fn events_dropped(&self, events: u64) {
        self.events_dropped.inc_by(events);
    }

    /// What the playback listener answers.
    pub fn playback(&self) -> &Arc<Listener> {
        &self.playback
    }

    /// What the control socket answers.
    pub fn control(&self) -> &Arc<Listener> {
        &self.control
    }
}

impl Starting<'_> {
    /// It can be played, or was refused with that code.
    pub fn ended(mut self, result: Result<(), &'static str>) {
        match result {
            Ok(()) => {
                self.result = Some(OK);
                self.metrics.start_seconds.observe(self.since.elapsed().as_secs_f64());
            }
            Err(code) => self.result = Some(code),
        }
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.metrics.starts.get_or_create(&[("result", self.result.unwrap_or(ABANDONED))]).inc();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.metrics.wait_seconds.observe(self.since.elapsed().as_secs_f64());
    }
}
