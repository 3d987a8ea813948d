//! The text as scrapers read it: by a parser that is stricter than theirs, and by Prometheus's own tool where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

/// A metric with its samples.
#[derive(Debug, Default)]
struct Metric {
    help: String,
    kind: String,
    samples: BTreeMap<String, f64>,
}

/// Everything happened at least once.
fn busy() -> (Metrics, Readings) {
    let metrics = Metrics::new();
    metrics.describe("1.2.3", Some("5.1.9-0+deb12u1"));
    metrics.starting().ended(Ok(()));
    metrics.starting().ended(Err("input_not_found"));
    drop(metrics.starting());
    metrics.session_changed("running", "ready");
    metrics.session_changed("ended", "idle");
    metrics.run_started();
    metrics.run_ended("source");
    metrics.restarted("stall");
    drop(metrics.waiting());
    metrics.ffmpeg_used(Duration::from_millis(1_500));
    metrics.stream_reset();
    metrics.events_dropped(7);
    let readings = Readings {
        sessions: vec![("running", 1_000), ("failed", 0)],
        runs: 1_000,
        viewers: 3,
        ffmpeg_memory: 1 << 40,
        storage_bytes: 5,
        storage_free: Some(0),
        segment_memory: 1,
        segment_memory_limit: u64::MAX,
        leases: vec![
            Lease { kind: "engine", name: String::new(), taken: 1, limit: Some(64) },
            Lease { kind: "source", name: "a \"b\" \\ c\nd".to_owned(), taken: 1, limit: Some(2) },
            Lease { kind: "user", name: "alice".to_owned(), taken: 0, limit: None },
        ],
        own: Own::read(),
    };
    (metrics, readings)
}

/// Reads the text format, and refuses whatever it does not have to take.
fn parse(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    let mut current = String::new();
    assert!(text.ends_with('\n'), "the last line has an end");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("help without words: {line}"));
            assert!(!metrics.contains_key(name), "{name} comes twice");
            name.clone_into(&mut current);
            metrics.entry(current.clone()).or_default().help = help.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, current, "the type follows the help");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            kind.clone_into(&mut metrics.get_mut(name).unwrap().kind);
        } else {
            assert!(!line.starts_with('#') && !line.is_empty(), "{line:?}");
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let valid = |name: &str| {
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            };
            assert!(valid(name), "{line}");
            let metric = metrics.get_mut(&current).unwrap_or_else(|| panic!("{line} has no head"));
            let suffixes: &[&str] =
                if metric.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(
                suffixes.iter().any(|suffix| name == format!("{current}{suffix}")),
                "{line} belongs to {current}"
            );
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(metric.samples.insert(series.to_owned(), value).is_none(), "{series} comes twice");
        }
    }
    for (name, metric) in &metrics {
        assert!(!metric.help.is_empty() && !metric.kind.is_empty() && !metric.samples.is_empty(), "{name}");
        assert_eq!(metric.kind == "counter", name.ends_with("_total"), "{name} is a {}", metric.kind);
        assert!(name.starts_with("sluice_") || name.starts_with("process_"), "{name}");
    }
    metrics
}

#[test]
fn a_strict_reader_takes_the_text() {
    let (metrics, readings) = busy();
    let text = metrics.expose(&readings, Format::Text).text;
    let read = parse(&text);
    let value = |name: &str, series: &str| read[name].samples[&format!("{name}{series}")];
    assert_eq!(value("sluice_sessions", "{state=\"running\"}"), 1_000.0);
    assert_eq!(value("sluice_sessions", "{state=\"failed\"}"), 0.0);
    assert_eq!(value("sluice_session_starts_total", "{result=\"ok\"}"), 1.0);
    assert_eq!(value("sluice_session_starts_total", "{result=\"abandoned\"}"), 1.0);
    assert_eq!(value("sluice_session_changes_total", "{to=\"ended\",cause=\"idle\"}"), 1.0);
    assert_eq!(value("sluice_ffmpeg_cpu_seconds_total", ""), 1.5);
    assert_eq!(value("sluice_leases_limit", "{kind=\"engine\",name=\"\"}"), 64.0);
    assert!(text.contains(r#"name="a \"b\" \\ c\nd""#), "{text}");
}

#[test]
fn open_metrics_are_the_same_with_an_end() {
    let (metrics, readings) = busy();
    let open = metrics.expose(&readings, Format::OpenMetrics).text;
    assert!(open.ends_with("\n# EOF\n"));
    let samples = |text: &str| {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    assert_eq!(samples(&open), samples(&metrics.expose(&readings, Format::Text).text));
}

#[test]
fn an_engine_that_did_nothing_yet_shows_what_can_be_waited_for() {
    let read = parse(&Metrics::new().expose(&Readings::default(), Format::Text).text);
    for name in ["sluice_session_starts_total", "sluice_http_requests_total", "sluice_runs_started_total"] {
        assert!(read.contains_key(name), "{name}");
    }
    // What is not known is absent, and no zero.
    assert!(!read.contains_key("sluice_storage_free_bytes") && !read.contains_key("process_open_fds"));
}

#[test]
fn scrapers_get_what_they_ask_for() {
    for (accept, expected) in [
        ("", Format::Text),
        ("*/*", Format::Text),
        ("text/plain;version=0.0.4;q=1,*/*;q=0.1", Format::Text),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", Format::OpenMetrics),
        ("text/plain, application/openmetrics-text; version=0.0.1", Format::OpenMetrics),
        ("application/openmetrics-text;q=0, text/plain", Format::Text),
    ] {
        let mut headers = ::http::HeaderMap::new();
        headers.insert("accept", accept.parse().unwrap());
        assert_eq!(Format::asked(&headers), expected, "{accept}");
    }
}

#[test]
fn every_metric_stands_in_the_docs_and_no_other() {
    let (metrics, readings) = busy();
    let read = parse(&metrics.expose(&readings, Format::Text).text);
    let exposed: BTreeSet<&str> = read.keys().map(String::as_str).collect();
    let text = include_str!("../../../docs/metrics.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next());
    let documented: BTreeSet<&str> =
        rows.filter(|name| name.starts_with("sluice_") || name.starts_with("process_")).collect();
    assert_eq!(documented, exposed);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test's child, waited for right here")]
fn prometheus_takes_it_without_a_word() {
    let (metrics, readings) = busy();
    let tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut tool = match tool {
        Ok(tool) => tool,
        Err(error) => {
            eprintln!("skipped: promtool can't be run ({error}); it comes with Debian's `prometheus`");
            return;
        }
    };
    let text = metrics.expose(&readings, Format::Text).text;
    tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let done = tool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.trim().is_empty(), "{said}");
}
