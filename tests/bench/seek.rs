//! `just bench seek`: a jump into a film, and its start, beside a bare `ffmpeg -ss T -i INPUT -t 2` of the same kind.
//!
//! The bare command makes two seconds as a whole, which is what a player would wait for. Engine and bare command take
//! turns, each turn at another place, so nothing that was made is asked for again; medians are compared. The work is
//! counted from both sides too, in seconds of processor: it has no limit, but it is what a jump costs.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use sluice_protocol::Started;
use sluice_tests::{Engine, Origin, Setup, media};
use tokio::process::Command;

use crate::{by_ffprobe, median, milliseconds, remove};

/// Turns of each side. An odd number has a middle.
const TURNS: usize = 11;
/// What exists is asked for so often.
const HITS: usize = 201;
/// Seconds between two places that are jumped to: more than the engine makes ahead.
const STRIDE: f64 = 5.0;
/// Ticks a second of the processor times in `/proc`, on every Linux that we know.
const TICKS: f64 = 100.0;

/// What the engine may take: a share of the bare time, and a constant.
#[derive(Clone, Copy)]
struct Limit(f64, Duration);

const JUMP: Limit = Limit(1.10, Duration::from_millis(50));
const START_ENCODED: Limit = Limit(0.7, Duration::ZERO);
const START_COPIED: Limit = Limit(1.05, Duration::from_millis(20));
/// An address that nobody knows yet is probed first, and its index is read: two requests more than ffprobe's own.
const FIRST: Limit = Limit(1.05, Duration::from_millis(50));
const HIT: Duration = Duration::from_millis(5);

pub(crate) async fn seek() -> anyhow::Result<()> {
    println!("making the films, if they are not there yet: a minute");
    let film = |file, pixels: &str| {
        let how = format!(
            "-c:v libx264 -preset ultrafast -crf 34 -g 50 -pix_fmt {pixels} -c:a aac -movflags +faststart"
        );
        media::extra(file, (1920, 1080), "25", 65, &how)
    };
    let mut within = true;
    for (name, path, start_limit) in [
        ("copied", film("copied.mp4", "yuv420p"), START_COPIED),
        // Ten bits, which no player shows.
        ("encoded", film("encoded.mp4", "yuv420p10le"), START_ENCODED),
    ] {
        let origin = Origin::of(path.parent().context("a file lies in a directory")?).await;
        let address = origin.url(&format!("/files/{name}.mp4"));
        within &= compare(name, &address, start_limit).await?;
    }
    ensure!(within, "the engine takes longer than it may");
    Ok(())
}

async fn compare(name: &str, address: &str, start_limit: Limit) -> anyhow::Result<bool> {
    // It makes what it is asked for and ends, so that both sides do the same work.
    let engine = Setup::default()
        .set("sessions.ahead", "\"1s\"")
        .set("sessions.ahead_timeout", "\"0s\"")
        .start()
        .await;
    let started = engine.play(address, "movie").await;
    let boundaries = engine.stream(&started).await.video().await.boundaries();
    let encoder = encoder(&engine, address).await?;
    engine.until_no_ffmpeg().await;

    let (mut jump, mut bare_jump, mut jump_work, mut bare_work) = (vec![], vec![], vec![], vec![]);
    let (mut first, mut again, mut probe, mut bare_start) = (vec![], vec![], vec![], vec![]);
    for turn in 0..TURNS {
        let place = STRIDE * (turn + 1) as f64;
        let number = boundaries.iter().position(|at| *at >= place).context("the film is long enough")?;
        let before = work_of(engine.pid())?;
        jump.push(fetch(&engine, &started, number).await?);
        engine.until_no_ffmpeg().await;
        jump_work.push(work_of(engine.pid())? - before);
        let (took, work) = bare(&encoder, address, boundaries[number]).await?;
        bare_jump.push(took);
        bare_work.push(work);

        let other = format!("{address}?turn={turn}");
        for times in [&mut first, &mut again] {
            let began = Instant::now();
            let started = engine.play(&other, "movie").await;
            times.push(began.elapsed());
            remove(&engine, started.session_id).await;
        }
        probe.push(by_ffprobe(&other).await?);
        bare_start.push(bare(&encoder, &other, 0.0).await?.0);
    }
    let mut hits = vec![];
    for _ in 0..HITS {
        hits.push(fetch(&engine, &started, 0).await?);
    }

    let (bare_jump, probe, bare_start) = (median(bare_jump), median(probe), median(bare_start));
    println!("{name}, medians of {TURNS}:");
    let mut within = row("jump", median(jump), bare_jump, JUMP);
    within &= row("first start", median(first), probe + bare_start, FIRST);
    within &= row("known address", median(again), bare_start, start_limit);
    let hit = median(hits);
    within &= hit < HIT;
    println!("  what exists     {:>8.2} ms, limit {:.1} ms", milliseconds(hit), milliseconds(HIT));
    let (ours, theirs) = (median(jump_work), median(bare_work));
    println!(
        "  a jump's work   engine {:>7.2} s   bare {:>7.2} s of processor",
        ours.as_secs_f64(),
        theirs.as_secs_f64()
    );
    Ok(within)
}

fn row(name: &str, engine: Duration, bare: Duration, Limit(share, constant): Limit) -> bool {
    let limit = bare.mul_f64(share) + constant;
    println!(
        "  {name:<14} engine {:>7.1} ms   bare {:>7.1} ms   ratio {:.2}   {} the limit of {:.1} ms",
        milliseconds(engine),
        milliseconds(bare),
        engine.as_secs_f64() / bare.as_secs_f64(),
        if engine <= limit { "within" } else { "beyond" },
        milliseconds(limit)
    );
    engine <= limit
}

async fn fetch(engine: &Engine, started: &Started, number: usize) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let answer = engine.get(&format!("transcode/{}/video/{number}.m4s", started.session_id)).await;
    ensure!(answer.status().is_success(), "segment {number}: {}", answer.status());
    answer.bytes().await?;
    Ok(began.elapsed())
}

/// The words about the encoders that the engine gives to ffmpeg for this film.
async fn encoder(engine: &Engine, address: &str) -> anyhow::Result<Vec<String>> {
    /// Those that make bytes dearer or cheaper, and none that cut.
    const WORDS: [&str; 10] =
        ["-c:v", "-preset", "-crf", "-maxrate", "-bufsize", "-pix_fmt", "-threads:v", "-bf", "-c:a", "-b:a"];
    // A run is over quickly, so one is caught while it lives.
    let started = engine.play(&format!("{address}?words"), "movie").await;
    for number in 10.. {
        let asked = tokio::spawn(
            engine
                .client()
                .get(engine.url(&format!("transcode/{}/video/{number}.m4s", started.session_id)))
                .send(),
        );
        let argv = loop {
            let argv = engine.detail(started.session_id).await.argv.into_iter().next();
            if argv.is_some() || asked.is_finished() {
                break argv;
            }
        };
        ensure!(asked.await??.status().is_success(), "no run could be looked at");
        let Some(argv) = argv else { continue };
        remove(engine, started.session_id).await;
        let pairs = argv.windows(2).filter(|pair| WORDS.contains(&pair[0].as_str()));
        return Ok(pairs.flatten().cloned().collect());
    }
    unreachable!("numbers do not end")
}

/// How long the bare command takes for two seconds of film, and how much work it is.
async fn bare(encoder: &[String], address: &str, place: f64) -> anyhow::Result<(Duration, Duration)> {
    let before = work_of_children()?;
    let began = Instant::now();
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error"]);
    if place > 0.0 {
        command.args(["-ss", &place.to_string()]);
    }
    let made = command
        .args(["-i", address, "-t", "2"])
        .args(encoder)
        .args(["-f", "mp4", "-movflags", "+frag_keyframe+empty_moov+default_base_moof", "pipe:1"])
        .stdin(Stdio::null())
        .output()
        .await
        .context("could not start ffmpeg")?;
    let took = began.elapsed();
    ensure!(made.status.success() && !made.stdout.is_empty(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok((took, work_of_children()? - before))
}

/// The processor's time of a process and all its children that ended.
fn work_of(pid: i32) -> anyhow::Result<Duration> {
    ticks(&pid.to_string(), 11..15)
}

/// That of our own children that ended.
fn work_of_children() -> anyhow::Result<Duration> {
    ticks("self", 13..15)
}

/// Fields of `/proc/PID/stat`, counted from the one after the name, which may hold blanks.
fn ticks(pid: &str, fields: std::ops::Range<usize>) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    let rest = stat.rsplit_once(')').context("a name stands in parentheses")?.1;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let sum: f64 = words[fields].iter().map(|word| word.parse::<f64>()).sum::<Result<_, _>>()?;
    Ok(Duration::from_secs_f64(sum / TICKS))
}
