//! `just bench start`: what the engine adds to the time that ffmpeg takes anyway. (`just bench seek` is in `seek`.)
//!
//! A start through the engine is timed from the request to the playable answer. Against it stands the bare command:
//! the very arguments that the engine gave to ffmpeg, timed from the spawn until the same segment has come out of the
//! pipes. Both take turns, so that a busy moment of the machine falls on both, and the medians are compared. For an
//! address that is asked for the first time, the bare side runs ffprobe first, as the engine must.

#![expect(clippy::disallowed_methods, reason = "the rule is the engine's; this times the bare command")]
#![expect(clippy::print_stdout, reason = "it prints its findings")]

mod seek;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;
use sluice_tests::{Engine, Origin, Setup};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::Command;

/// Turns of each side. An odd number has a middle.
const TURNS: usize = 21;
/// The film is copied and its key frames lie two seconds apart, so this is its first segment.
const FIRST_SEGMENT: f64 = 2.0;
/// What the engine may add: a part of the bare time, and a constant.
const SHARE: f64 = 0.05;
const CONSTANT: Duration = Duration::from_millis(20);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        println!("this is a debug build: its figures say nothing (`just bench` makes a release build)");
    }
    match std::env::args().nth(1).as_deref() {
        Some("start") => start().await,
        Some("seek") => seek::seek().await,
        other => bail!("there are `start` and `seek`, and none called {}", other.unwrap_or("nothing")),
    }
}

async fn start() -> anyhow::Result<()> {
    let origin = Origin::start().await;
    // Held back after its first seconds, a run lives long enough to be asked for its arguments.
    let engine = Setup::default().set("sessions.ahead", "\"2s\"").start().await;
    let arguments = arguments(&engine, &origin).await?;

    let (mut first, mut again, mut probe, mut bare) = (vec![], vec![], vec![], vec![]);
    for turn in 0..TURNS {
        let address = origin.url(&format!("/files/film.mp4?turn={turn}"));
        first.push(by_engine(&engine, &address).await?);
        probe.push(by_ffprobe(&address).await?);
        bare.push(by_ffmpeg(&arguments, &address).await?);
        again.push(by_engine(&engine, &address).await?);
    }
    let (first, again, probe, bare) = (median(first), median(again), median(probe), median(bare));
    println!("from request to playable answer, medians of {TURNS}:");
    let mut within = true;
    for (name, engine, bare) in [("first start", first, probe + bare), ("known address", again, bare)] {
        let limit = bare.mul_f64(1.0 + SHARE) + CONSTANT;
        let verdict = if engine <= limit { "within" } else { "beyond" };
        within &= engine <= limit;
        println!(
            "  {name:<14} engine {:>6.1} ms   bare {:>6.1} ms   ratio {:.2}   {verdict} the limit of {:.1} ms",
            milliseconds(engine),
            milliseconds(bare),
            engine.as_secs_f64() / bare.as_secs_f64(),
            milliseconds(limit)
        );
    }
    ensure!(within, "the engine adds more than {}% + {} ms", SHARE * 100.0, CONSTANT.as_millis());
    Ok(())
}

/// What the engine gives to ffmpeg for the film.
async fn arguments(engine: &Engine, origin: &Origin) -> anyhow::Result<Vec<String>> {
    let started = engine.play(&origin.url("/files/film.mp4?turn=none"), "movie").await;
    let detail = engine.detail(started.session_id).await;
    let argv = detail.argv.into_iter().next().context("the run is over before it could be looked at")?;
    remove(engine, started.session_id).await;
    // The program's own name may or may not stand in front.
    Ok(if argv.first().is_some_and(|first| !first.starts_with('-')) { argv[1..].to_vec() } else { argv })
}

async fn by_engine(engine: &Engine, address: &str) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let started = engine.play(address, "movie").await;
    let took = began.elapsed();
    remove(engine, started.session_id).await;
    Ok(took)
}

/// Ends a session with all that is left of it but what is known about its address.
async fn remove(engine: &Engine, id: uuid::Uuid) {
    engine.operate(id, "stop", json!({"force": true})).await;
    engine.until_no_ffmpeg().await;
    engine.control(reqwest::Method::DELETE, &format!("sessions/{id}"), None).await;
}

async fn by_ffprobe(address: &str) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let probed = Command::new("ffprobe")
        .args(["-v", "level+warning", "-show_format", "-show_streams", "-of", "json", "-i", address])
        .stdin(Stdio::null())
        .output()
        .await
        .context("could not start ffprobe")?;
    ensure!(probed.status.success(), "ffprobe: {}", String::from_utf8_lossy(&probed.stderr));
    Ok(began.elapsed())
}

/// Runs the bare command until the first segment of each of its outputs has come.
async fn by_ffmpeg(arguments: &[String], address: &str) -> anyhow::Result<Duration> {
    let place = TempDir::new().context("could not make a directory")?;
    let (mut rewritten, mut outputs) = (vec!["-y".to_owned()], vec![]);
    let mut last = "";
    for argument in arguments {
        match (last, argument.starts_with("pipe:")) {
            ("-progress", _) => rewritten.push("/dev/null".to_owned()),
            ("-i", _) => rewritten.push(address.to_owned()),
            (_, true) => {
                let name = place.path().join(outputs.len().to_string());
                rewritten.push(name.to_string_lossy().into_owned());
                outputs.push(named_pipe(name)?);
            }
            _ => rewritten.push(argument.clone()),
        }
        last = argument;
    }
    let began = Instant::now();
    let mut child = Command::new("ffmpeg")
        .args(&rewritten)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("could not start ffmpeg")?;
    futures_util::future::try_join_all(outputs.iter_mut().map(until_first_segment)).await?;
    let took = began.elapsed();
    child.kill().await.context("could not end ffmpeg")?;
    Ok(took)
}

/// A pipe with a name, since a bare command line knows no other than its standard output.
fn named_pipe(path: PathBuf) -> anyhow::Result<pipe::Receiver> {
    let path: &Path = &path;
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).context("could not make a pipe")?;
    // Opened for both, it does not end before ffmpeg has come.
    pipe::OpenOptions::new().read_write(true).open_receiver(path).context("could not open a pipe")
}

/// Reads until a fragment has begun whose time is past the first segment: then that segment is known to be whole.
async fn until_first_segment(output: &mut pipe::Receiver) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    let mut timescale = None;
    let mut begin = None;
    let mut at = 0;
    loop {
        while let Some(size) = bytes.get(at..at + 8).map(|head| number(head, 0) as usize) {
            let kind = bytes[at + 4..at + 8].to_vec();
            ensure!(size >= 8, "a box of {size} bytes");
            let (true, b"moov" | b"moof") = (bytes.len() >= at + size, &kind[..]) else {
                if bytes.len() < at + size {
                    break;
                }
                at += size;
                continue;
            };
            let body = &bytes[at..at + size];
            if kind == b"moov" {
                let mdhd = find(body, b"mdhd").context("a track without a time scale")?;
                timescale = Some(f64::from(number(body, mdhd + if body[mdhd] == 1 { 20 } else { 12 })));
            } else {
                let tfdt = find(body, b"tfdt").context("a fragment without a time")?;
                let low = f64::from(number(body, tfdt + if body[tfdt] == 1 { 8 } else { 4 }));
                let time = low / timescale.context("a fragment before its track")?;
                if time - *begin.get_or_insert(time) >= FIRST_SEGMENT - 0.03 {
                    return Ok(());
                }
            }
            at += size;
        }
        ensure!(output.read_buf(&mut bytes).await? > 0, "ffmpeg ended before its first segment");
    }
}

/// Where the content of the first box of this kind begins. Fragments are small and hold no text, so a search does.
fn find(body: &[u8], kind: &[u8; 4]) -> Option<usize> {
    body.windows(4).position(|word| word == kind).map(|at| at + 4)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
