//! What was counted and what is, as text that Prometheus takes.
//!
//! The library writes OpenMetrics. What older scrapers and `promtool` read is the same but for the names of
//! counters in their heads, and for what only OpenMetrics has.

use std::fmt;
use std::sync::atomic::AtomicU64;

use http::HeaderValue;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap};
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use super::{Lease, Metrics, Own, Readings};

/// In which words it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's own text, 0.0.4: what everything reads.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// An answer to a scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposition {
    /// In which words.
    pub format: Format,
    /// The text.
    pub text: String,
}

impl Format {
    /// What a scraper takes: OpenMetrics only where it says so.
    pub fn asked(headers: &HeaderMap) -> Self {
        let takes = |value: &HeaderValue| {
            let mut kinds = value.to_str().unwrap_or_default().split(',');
            kinds.any(|kind| {
                let mut parts = kind.split(';').map(str::trim);
                parts.next() == Some("application/openmetrics-text") && !parts.any(|part| part == "q=0")
            })
        };
        if headers.get_all(ACCEPT).iter().any(takes) { Self::OpenMetrics } else { Self::Text }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        })
    }
}

impl Metrics {
    /// Everything, written down.
    pub fn expose(&self, readings: &Readings, format: Format) -> Exposition {
        let (read, own) = (gauges(readings), readings.own.map(process));
        let mut text = String::with_capacity(32 * 1024);
        let written = self.write(&read, own.as_ref(), &mut text);
        written.expect("text can always be appended to a string");
        let text = match format {
            Format::OpenMetrics => text,
            Format::Text => plain(&text),
        };
        Exposition { format, text }
    }

    fn write(&self, read: &Registry, own: Option<&Registry>, text: &mut String) -> fmt::Result {
        encode_registry(text, &self.counted)?;
        encode_registry(text, read)?;
        if let Some(own) = own {
            encode_registry(text, own)?;
        }
        encode_eof(text)
    }
}

impl warp::Reply for Exposition {
    fn into_response(self) -> warp::reply::Response {
        let mut response = warp::reply::Response::new(self.text.into());
        response.headers_mut().insert(CONTENT_TYPE, self.format.content_type());
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn gauges(readings: &Readings) -> Registry {
    let mut registry = Registry::with_prefix("sluice");
    let sessions = Family::<[(&str, &str); 1], Gauge<u64, AtomicU64>>::default();
    for (state, count) in &readings.sessions {
        sessions.get_or_create(&[("state", *state)]).set(fit(*count));
    }
    registry.register("sessions", "Sessions by state, with those in history", sessions);
    let taken = Family::<[(&str, String); 2], Gauge<u64, AtomicU64>>::default();
    let limits = Family::<[(&str, String); 2], Gauge<u64, AtomicU64>>::default();
    for Lease { kind, name, taken: now, limit } in &readings.leases {
        let labels = [("kind", (*kind).to_owned()), ("name", name.clone())];
        taken.get_or_create(&labels).set(fit(*now));
        if let Some(limit) = limit {
            limits.get_or_create(&labels).set(fit(*limit));
        }
    }
    registry.register("leases", "Places that are taken: of the engine, by sessions that are active", taken);
    registry.register("leases_limit", "Places that there are; absent is without limit", limits);
    let numbers = [
        ("runs", "Processes of ffmpeg that live", Some(readings.runs)),
        ("viewers", "Viewers, as far as requests tell one from another", Some(readings.viewers)),
        ("ffmpeg_resident_memory_bytes", "Resident memory of all ffmpeg", Some(readings.ffmpeg_memory)),
        ("storage_bytes", "Segments on disk", Some(readings.storage_bytes)),
        ("storage_free_bytes", "What is free on the file system of storage.dir", readings.storage_free),
        ("segment_memory_bytes", "Segments held in memory", Some(readings.segment_memory)),
        ("segment_memory_limit_bytes", "What storage.memory allows", Some(readings.segment_memory_limit)),
    ];
    for (name, help, value) in numbers {
        // What is not known is left out: a zero would be an alarm.
        if let Some(value) = value {
            registry.register(name, help, ConstGauge::new(fit(value)));
        }
    }
    registry
}

/// A gauge is signed, and one that does not fit would spoil the whole text. Some limits are as good as none.
fn fit(value: u64) -> u64 {
    value.min(i64::MAX.unsigned_abs())
}

/// The names that every Prometheus client has.
fn process(own: Own) -> Registry {
    let mut registry = Registry::with_prefix("process");
    registry.register(
        "cpu_seconds",
        "Processor time of the engine itself, in user and kernel mode",
        ConstCounter::new(own.cpu.as_secs_f64()),
    );
    registry.register("threads", "Threads of the engine", ConstGauge::new(fit(own.threads)));
    registry.register("open_fds", "Descriptors that the engine has open", ConstGauge::new(fit(own.open_fds)));
    if let Some(most) = own.max_fds {
        registry.register("max_fds", "Descriptors that it may have open", ConstGauge::new(fit(most)));
    }
    registry.register(
        "resident_memory_bytes",
        "Resident memory of the engine itself",
        ConstGauge::new(fit(own.resident)),
    );
    registry.register(
        "virtual_memory_bytes",
        "Address space of the engine itself",
        ConstGauge::new(fit(own.virtual_memory)),
    );
    registry.register(
        "start_time_seconds",
        "When the engine started, since 1970",
        ConstGauge::new(own.started.as_secs_f64()),
    );
    registry
}

/// OpenMetrics names a counter without the `_total` that its samples have, and ends with a mark.
fn plain(open: &str) -> String {
    let counters: std::collections::HashSet<&str> =
        open.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(open.len());
    for line in open.lines() {
        let head = line.strip_prefix("# ").and_then(|rest| rest.split_once(' '));
        match head.map(|(word, rest)| (word, rest.split_once(' '))) {
            None if line == "# EOF" => {}
            Some((word @ ("HELP" | "TYPE"), Some((name, rest)))) if counters.contains(name) => {
                text.extend(["# ", word, " ", name, "_total ", rest, "\n"]);
            }
            Some(("UNIT", _)) => {}
            _ => text.extend([line, "\n"]),
        }
    }
    text
}
