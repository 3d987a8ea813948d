//! Playback in a real browser: hls.js in headless Chromium plays what a real engine serves.
//!
//! `just test-browser` runs this: it fetches hls.js at its pinned version and says by `SLUICE_HLS_JS` where it is.
//! Run without that, the tests fail rather than pass unseen.

#![expect(
    clippy::disallowed_methods,
    reason = "the rule is the engine's; a test may start a browser's driver"
)]
#![expect(
    clippy::unwrap_used,
    reason = "the lint knows a test by its attribute, and not the functions that tests share"
)]

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fantoccini::{Client, ClientBuilder};
use http_body_util::Full;
use hyper::Response;
use hyper::service::service_fn;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::json;
use sluice_tests::leftovers::{self, MARK};
use sluice_tests::splices::{Order, Random};
use sluice_tests::wait::becomes_true;
use sluice_tests::{Engine, Origin, Setup, boxes, wait_for};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use uuid::Uuid;

/// Ends a broken test; no healthy machine comes near it.
const LIMIT: Duration = Duration::from_secs(60);

/// What the page tells about its playback.
#[derive(Debug, Deserialize)]
struct Report {
    fatal: Vec<String>,
    errors: Vec<String>,
    /// The number that each shown frame carries, and its media time.
    frames: Vec<(u16, f64)>,
    stalls: u32,
    time: f64,
    ready: u8,
    paused: bool,
    width: u32,
    /// Seconds; unknown at first.
    duration: Option<f64>,
    /// The longest time, in seconds, in which a picture was due and none came.
    longest: f64,
    /// The addresses of the sound that was loaded.
    heard: Vec<String>,
    /// Language and name.
    audio_tracks: Vec<(String, String)>,
    /// Language and name.
    subtitle_tracks: Vec<(String, String)>,
    /// What stands in the picture now.
    cues: Vec<String>,
}

/// A browser with a page in it that plays a stream.
struct Browser {
    client: Client,
    _driver: Child,
    mark: String,
    _profile: TempDir,
    page: String,
}

impl Drop for Browser {
    /// A driver that is killed leaves its browser behind, so all that carry the mark are ended, one by one.
    fn drop(&mut self) {
        becomes_true(Duration::from_secs(5), || {
            let left = leftovers::of(&self.mark);
            for process in &left {
                // It may end by itself between the look and the blow.
                let _gone = kill_process(Pid::from_raw(process.pid).unwrap(), Signal::KILL);
            }
            left.is_empty()
        });
    }
}

impl Browser {
    async fn start() -> Self {
        let page = serve_page().await;
        let mark = Uuid::new_v4().to_string();
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env(MARK, &mark)
            .kill_on_drop(true)
            .spawn()
            .expect("`just test-browser` installs chromedriver");
        let profile = tempfile::tempdir().unwrap();
        // Root may not use the browser's own sandbox. The others keep it from calling home at every start.
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--autoplay-policy=no-user-gesture-required",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let capabilities = json!({"browserName": "chrome", "goog:chromeOptions": {"args": arguments}});
        let serde_json::Value::Object(capabilities) = capabilities else {
            unreachable!("it is written as one")
        };
        let address = format!("http://127.0.0.1:{port}");
        let client = wait_for(LIMIT, "chromedriver", || async {
            ClientBuilder::new(HttpConnector::new())
                .capabilities(capabilities.clone())
                .connect(&address)
                .await
                .ok()
        })
        .await;
        Self { client, _driver: driver, mark, _profile: profile, page }
    }

    async fn play(&self, stream: &str) {
        self.client.goto(&format!("{}?stream={stream}", self.page)).await.unwrap();
    }

    async fn report(&self) -> Report {
        serde_json::from_value(self.client.execute("return report()", vec![]).await.unwrap()).unwrap()
    }

    /// Waits until playback has gone on for so many seconds, and answers what was seen.
    async fn watch(&self, seconds: f64) -> Report {
        let start = wait_for(LIMIT, "the first picture", || async {
            let report = self.report().await;
            assert!(report.fatal.is_empty(), "{report:?}");
            report.frames.first().map(|(_, time)| *time)
        })
        .await;
        let end = tokio::time::Instant::now() + LIMIT;
        loop {
            let report = self.report().await;
            assert!(report.fatal.is_empty(), "{report:?}");
            if report.time - start > seconds {
                return report;
            }
            assert!(tokio::time::Instant::now() < end, "playback does not go on: {report:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Jumps there, and answers what was shown once so many seconds were played from there on.
    async fn seek(&self, time: f64, seconds: f64) -> Report {
        self.client.execute("seek(arguments[0])", vec![json!(time)]).await.unwrap();
        wait_for(LIMIT, "pictures after a jump", || async {
            let report = self.report().await;
            assert!(report.fatal.is_empty(), "{report:?}");
            (report.frames.last().is_some_and(|(_, shown)| *shown >= time + seconds)).then_some(report)
        })
        .await
    }

    /// Chooses a track, by `listen` or `read`.
    async fn choose(&self, what: &str, track: usize) {
        self.client.execute(&format!("{what}(arguments[0])"), vec![json!(track)]).await.unwrap();
    }

    /// Ends the browser politely, so that it removes what it has put elsewhere.
    async fn close(self) {
        self.client.clone().close().await.unwrap();
    }
}

/// Serves the page and hls.js on loopback, from another origin than the engine's, as players are.
async fn serve_page() -> String {
    let library = std::env::var("SLUICE_HLS_JS").expect("`just test-browser` says where hls.js is");
    let library: Arc<Bytes> =
        Arc::new(std::fs::read(library).expect("`just test-browser` fetched hls.js").into());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // It ends with the test's runtime.
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let library = library.clone();
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let (kind, body) = match request.uri().path() {
                    "/hls.js" => ("text/javascript", Bytes::clone(&library)),
                    _ => ("text/html", Bytes::from_static(include_bytes!("page.html"))),
                };
                let answer = Response::builder().header("content-type", kind).body(Full::new(body));
                std::future::ready(answer)
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    format!("http://{address}/")
}

/// Asserts that the numbers that were shown are those of the stream's time, in rising order.
fn assert_pictures_advance(report: &Report) {
    let frames = &report.frames;
    assert!(frames.len() > 40, "{} frames were shown", frames.len());
    let mut late = 0;
    for pair in frames.windows(2) {
        let ((before, earlier), (after, later)) = (pair[0], pair[1]);
        assert!(after >= before, "frame {after} was shown after frame {before}: {report:?}");
        // A busy machine may leave out frames, and paint one when the next is on the screen already; but none is
        // shown at another's time for long.
        let expected = ((later - earlier) * 25.0).round() as i64;
        let found = i64::from(after) - i64::from(before);
        let off = (found - expected).abs();
        assert!(off <= 3, "{found} frames in {} s of media: {report:?}", later - earlier);
        late += usize::from(off > 1);
    }
    assert!(late * 20 <= frames.len(), "{late} frames were painted late: {report:?}");
    assert!(report.width > 0 && report.ready >= 2 && !report.paused);
}

#[tokio::test(flavor = "multi_thread")]
async fn hls_js_plays_the_film_and_the_channel() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let browser = Browser::start().await;
    for (target, content_type) in [("/files/film.mp4", "movie"), ("/live/channel.ts?burst=6", "live")] {
        let started = engine.play(&origin.url(target), content_type).await;
        browser.play(engine.url(&started.playlist).as_str()).await;
        let report = browser.watch(6.0).await;
        assert_pictures_advance(&report);
        assert!(report.stalls <= 1, "{report:?}");
        assert!(!report.errors.iter().any(|error| error.contains("Append")), "{report:?}");
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hls_js_plays_an_encoded_film_from_its_first_frame_on() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let browser = Browser::start().await;
    let started = engine.play(&origin.url("/files/hevc.mp4"), "movie").await;
    browser.play(engine.url(&started.playlist).as_str()).await;
    let report = browser.watch(4.0).await;
    assert_pictures_advance(&report);
    assert!(report.frames[0].0 < 25, "playback began at frame {}", report.frames[0].0);
    browser.close().await;
}

/// How long a viewer of a copied film may wait, in seconds.
const STALL: f64 = 3.0;

/// By how much the picture of a session is late, from its first segment, in seconds.
async fn delay(engine: &Engine, started: &sluice_protocol::Started) -> f64 {
    let video = engine.stream(started).await.video().await;
    let ticks = f64::from(boxes::timescale(&video.init(0).await));
    boxes::samples(&video.fetch(0).await)[0].shown as f64 / ticks
}

/// Asserts that each picture is shown at its time in the film, but for `late` seconds.
fn assert_at_their_time(report: &Report, late: f64) {
    let frames = &report.frames;
    for (place, (number, shown)) in frames.iter().enumerate() {
        // A busy browser tells of one picture and paints the one after it, of which it then tells as well.
        if frames.get(place + 1).is_some_and(|(next, _)| next == number) {
            continue;
        }
        let wrong = shown - f64::from(*number) / 25.0 - late;
        // Half of a frame's time: the browser rounds to microseconds, and no further.
        assert!(wrong.abs() < 0.02, "picture {number} was shown at {shown}, {wrong} s late: {frames:?}");
    }
}

/// Plays from the beginning and jumps forth and back, twenty times, also into the last segment.
async fn jump_about(browser: &Browser, file: &str, seed: u64, patience: f64) {
    // What is made ahead is little, so that most jumps need a run of their own.
    let origin = Origin::start().await;
    let engine = Setup::default().set("sessions.ahead", "\"4s\"").start().await;
    let started = engine.play(&origin.url(&format!("/files/{file}")), "movie").await;
    browser.play(engine.url(&started.playlist).as_str()).await;
    let late = delay(&engine, &started).await;
    let report = browser.watch(2.0).await;
    assert_pictures_advance(&report);
    assert_at_their_time(&report, late);
    let duration = report.duration.unwrap();
    let promised = started.duration.unwrap();
    assert!((duration - promised).abs() < 0.2, "the seek bar is {duration} s long, the film {promised}");
    let mut random = Random::new(seed);
    for jump in 0..20 {
        let last = jump % 7 == 6;
        let place =
            if last { duration - 1.2 } else { random.below((duration - 3.0) as u64 * 25) as f64 / 25.0 };
        let report = browser.seek(place, 0.6).await;
        assert_at_their_time(&report, late);
        assert!(report.longest <= patience, "{place} s of {file}: {} s without a picture", report.longest);
    }
    let report = browser.report().await;
    assert!(!report.errors.iter().any(|error| error.contains("Append")), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hls_js_jumps_about_a_copied_film() {
    let browser = Browser::start().await;
    jump_about(&browser, "film.mp4", 1, STALL).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hls_js_jumps_about_an_encoded_film() {
    let browser = Browser::start().await;
    // Encoding takes as long as the machine needs.
    jump_about(&browser, "sparse.mp4", 2, LIMIT.as_secs_f64()).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hls_js_changes_sound_and_subtitles() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let browser = Browser::start().await;
    let started = engine.play(&origin.url("/files/tracks.mkv"), "movie").await;
    browser.play(engine.url(&started.playlist).as_str()).await;
    let report = browser.watch(1.0).await;
    assert_eq!(report.audio_tracks.len(), 2, "{report:?}");
    assert_eq!(report.subtitle_tracks.len(), 3, "{report:?}");
    for track in [1, 0] {
        browser.choose("listen", track).await;
        let part = format!("/audio-{track}/");
        let before = report.heard.len();
        wait_for(LIMIT, "the other sound", || async {
            let report = browser.report().await;
            assert!(report.fatal.is_empty(), "{report:?}");
            report.heard[before..].iter().any(|address| address.contains(&part)).then_some(())
        })
        .await;
        browser.seek(4.0, 0.5).await;
    }
    // Lines 3, 7 and 11 are shown from second 6, 14 and 22 on, for a second and a half.
    for (track, line) in Order::Shuffled(5).of(3).into_iter().zip([3, 7, 11]) {
        browser.choose("read", track as usize).await;
        browser.seek(f64::from(2 * line) - 0.2, 0.4).await;
        let expected = format!("Line {line} at {} s", 2 * line);
        wait_for(LIMIT, &expected, || async {
            let report = browser.report().await;
            assert!(report.fatal.is_empty(), "{report:?}");
            assert!(report.time < f64::from(2 * line) + 1.9, "{expected} was not shown: {report:?}");
            report.cues.contains(&expected).then_some(())
        })
        .await;
    }
    assert!(browser.report().await.longest <= STALL);
    browser.close().await;
}
