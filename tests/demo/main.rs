//! `just demo`: the main job on real input, in a corner of its own.
//!
//! It makes a film and a live channel with ffmpeg, serves both over HTTP as a provider would (the channel at its
//! own speed), starts `sluiced` with a configuration, ports, storage and a socket of its own, starts both through
//! `sluice start` and watches them with two small players. On a terminal it then opens the console; elsewhere it checks
//! both streams with ffprobe. When it is left, everything ends and is removed.

#![expect(clippy::disallowed_methods, reason = "the rule is the engine's; this starts the engine")]
#![expect(clippy::print_stdout, reason = "it talks to whoever tries it")]

mod player;
mod provider;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sluice_tests::built;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// A start on a busy machine takes a few seconds; what takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(40);
/// Long enough to copy an address, short enough to wait for.
const PAUSE: Duration = Duration::from_secs(6);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let on_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    println!("This makes a film and a live channel with ffmpeg, plays both through sluiced, and");
    if on_terminal {
        println!("opens the operator's console on them. It takes about ten seconds to get there.");
    } else {
        println!("checks both streams with ffprobe. It takes about half a minute.");
    }
    println!("Ports, storage and socket are its own, and all of it is removed at the end.\n");

    // A closed terminal, Ctrl-C and a service manager all end it the same way: by dropping what was started.
    let (mut hangup, mut interrupt, mut terminate) =
        (signal(SignalKind::hangup())?, signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        done = demonstrate(on_terminal) => done,
        _ = hangup.recv() => bail!("the terminal went away"),
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("asked to end"),
    }
}

async fn demonstrate(on_terminal: bool) -> anyhow::Result<()> {
    let place =
        tempfile::Builder::new().prefix("sluice-demo-").tempdir().context("could not make a directory")?;
    println!("making the film and the channel …");
    let provider = provider::Provider::start(place.path()).await?;

    let mut engine = Engine::start(&place).await?;
    println!("sluiced is ready (its log: {})", engine.log.display());
    let film = engine.play(&provider.film(), "movie").await?;
    let channel = engine.play(&provider.channel(), "live").await?;
    println!("\n  film     {film}\n  channel  {channel}\n");
    println!("Any HLS player opens these: mpv, VLC, Safari, ffplay.");
    let players = [player::watch(&film), player::watch(&channel)];

    let shown =
        if on_terminal { console(&engine.socket).await } else { check(&engine, &[film, channel]).await };
    for player in players {
        player.abort();
    }
    let ended = engine.end().await;
    shown.and(ended)?;
    println!("sluiced has ended, and nothing is left of this.");
    Ok(())
}

/// The console, until the operator leaves it.
async fn console(socket: &Path) -> anyhow::Result<()> {
    println!(
        "\nThe console opens in {} seconds, or with Enter. There: l shows a session's log,",
        PAUSE.as_secs()
    );
    println!("x stops it, r resumes it, ? tells all keys, q leaves and ends the demo.");
    tokio::task::spawn_blocking(pause).await.context("nobody reads the keyboard")??;
    let status = Command::new(built::program("sluice"))
        .arg("--socket")
        .arg(socket)
        .kill_on_drop(true)
        .status()
        .await
        .context("could not start the console")?;
    ensure!(status.success(), "the console ended with {status}");
    Ok(())
}

/// Time to read the addresses, unless Enter comes first. Nothing reads the keyboard afterwards: it is the
/// console's.
fn pause() -> anyhow::Result<()> {
    let stdin = std::io::stdin();
    let mut keyboard = [PollFd::new(&stdin, PollFlags::IN)];
    let limit = Timespec { tv_sec: PAUSE.as_secs().try_into()?, tv_nsec: 0 };
    if poll(&mut keyboard, Some(&limit))? > 0 {
        stdin.read_line(&mut String::new())?;
    }
    Ok(())
}

/// Without a terminal: both streams hold what they should, and both sessions can be stopped.
async fn check(engine: &Engine, addresses: &[String]) -> anyhow::Result<()> {
    for address in addresses {
        let probed = Command::new("ffprobe")
            .args(["-v", "error", "-show_entries", "stream=codec_name,width,height", "-of", "json", address])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("could not start ffprobe")?;
        ensure!(probed.status.success(), "ffprobe on {address}: {}", String::from_utf8_lossy(&probed.stderr));
        let found: Value = serde_json::from_slice(&probed.stdout)?;
        let streams = found["streams"].as_array().context("ffprobe names no streams")?;
        let codecs: Vec<&str> = streams.iter().filter_map(|stream| stream["codec_name"].as_str()).collect();
        ensure!(codecs.contains(&"h264") && codecs.contains(&"aac"), "{address} holds {codecs:?}");
        println!("ffprobe finds {} in {address}", codecs.join(" and "));
    }
    for session in engine.sessions().await? {
        let id = session["id"].as_str().context("a session has an id")?;
        engine.sluice(&["stop", id]).await?;
        println!("stopped {id}");
    }
    Ok(())
}

/// The engine of this demonstration.
struct Engine {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Engine {
    async fn start(place: &TempDir) -> anyhow::Result<Self> {
        let at = |name: &str| place.path().join(name);
        let (config, socket, log) = (at("sluice.toml"), at("control.sock"), at("sluiced.log"));
        let text = format!(
            "# The demo plays from this very machine, which sluiced refuses unless it is told otherwise.\n\
             input.allow_networks = [\"127.0.0.0/8\"]\n\
             control.socket = {:?}\n\
             storage.dir = {:?}\n",
            socket.to_string_lossy(),
            at("storage").to_string_lossy()
        );
        println!("sluiced's configuration here allows 127.0.0.0/8, where the demo's provider is.");
        std::fs::write(&config, text).context("could not write the configuration")?;
        let output = std::fs::File::create(&log).context("could not make the log")?;
        let child = Command::new(built::program("sluiced"))
            .arg("--config")
            .arg(config)
            .args(["--listen", "127.0.0.1:0", "--log", "json"])
            .env("STATE_DIRECTORY", at("state"))
            .env_remove("SLUICE_CONFIG")
            .env_remove("SLUICE_SOCKET")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C is for this program, which then asks the engine to end.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("could not start sluiced")?;
        let mut engine = Self { child, socket, log };
        let end = Instant::now() + PATIENCE;
        while engine.sluice(&["engine", "--json"]).await.is_err() {
            if let Some(status) = engine.child.try_wait()? {
                bail!("sluiced ended with {status}:\n{}", engine.said());
            }
            ensure!(Instant::now() < end, "sluiced does not answer:\n{}", engine.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(engine)
    }

    /// Runs a command of the console, and answers what it wrote.
    async fn sluice(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(built::program("sluice"))
            .arg("--socket")
            .arg(&self.socket)
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("could not start sluice")?;
        ensure!(
            output.status.success(),
            "sluice {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts an address, and answers the address to open.
    async fn play(&self, url: &str, kind: &str) -> anyhow::Result<String> {
        println!("$ sluice start {url} --type {kind}");
        let said = self.sluice(&["start", url, "--type", kind]).await.with_context(|| self.said())?;
        let address =
            said.split_whitespace().find(|word| word.starts_with("http") && word.ends_with(".m3u8"));
        Ok(address.with_context(|| format!("sluice start names no address: {said}"))?.to_owned())
    }

    async fn sessions(&self) -> anyhow::Result<Vec<Value>> {
        let lines = self.sluice(&["ls", "--json"]).await?;
        lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// The end of the engine's log.
    fn said(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Asks the engine to end, and waits for it.
    async fn end(&mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            kill_process(pid, Signal::TERM).context("could not ask sluiced to end")?;
        }
        let status: ExitStatus =
            tokio::time::timeout(PATIENCE, self.child.wait()).await.context("sluiced does not end")??;
        ensure!(status.success(), "sluiced ended with {status}:\n{}", self.said());
        Ok(())
    }
}
