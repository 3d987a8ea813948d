//! A stand-in for ffmpeg that does what a test's script says, and nothing that it doesn't.
//!
//! It is started by the engine with ffmpeg's arguments. Where the input's address has a script
//! (`http://127.0.0.1:PORT/script/NAME/…`), it asks that same source for its orders and carries them out: the
//! fragments it writes are real ones, made by the real ffmpeg for these very arguments. With any other arguments it
//! becomes the real `ffmpeg`, or the real `ffprobe` where it was started as that.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Signal, getpid, kill_process};
use sluice_tests::stand_in::{Introduction, Order, Orders};
use tokio::signal::unix::{SignalKind, signal};

/// How ffmpeg ends when its output went away.
const CANNOT_WRITE: u8 = 224;

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args();
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    let address = arguments.iter().skip_while(|argument| *argument != "-i").nth(1);
    let Some(desk) = address.and_then(|address| Desk::of(address)) else {
        let real = if name.ends_with("ffprobe") { "ffprobe" } else { "ffmpeg" };
        return Err(Command::new(real).args(&arguments).exec())
            .with_context(|| format!("could not become {real}"));
    };
    let introduction = Introduction { pid: std::process::id(), arguments };
    let orders = desk.ask("POST", "run", &serde_json::to_vec(&introduction)?)?;
    let Orders { run, orders } = serde_json::from_slice(&orders).context("orders can't be read")?;
    let bytes = desk.ask("GET", &format!("bytes/{run}"), b"")?;

    // Only a runtime can take the word of a signal without `unsafe`.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();
    for order in orders {
        let done = match order {
            Order::Write { pipe, from, length } => write(pipe, &bytes[from..from + length], 1),
            Order::Say { pipe, bytes, times } => write(pipe, &bytes, times),
            Order::Gate(gate) => desk.ask("GET", &format!("gate/{gate}"), b"").map(drop),
            Order::Pause(milliseconds) => {
                std::thread::sleep(Duration::from_millis(milliseconds));
                Ok(())
            }
            Order::IgnoreTerm => {
                // The handler stays for the life of the process; nobody listens to what it hears.
                drop(signal(SignalKind::terminate())?);
                Ok(())
            }
            Order::Sleeper => sleeper(),
            Order::Freeze => kill_process(getpid(), Signal::STOP).map_err(Into::into),
            Order::Hang => loop {
                std::thread::park();
            },
            Order::Exit(code) => std::process::exit(code),
            Order::Die(number) => {
                let signal = Signal::from_named_raw(number).context("there is no such signal")?;
                kill_process(getpid(), signal)?;
                bail!("signal {number} did not end this process")
            }
        };
        if done.is_err() {
            return Ok(ExitCode::from(CANNOT_WRITE));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes to a pipe that this process was started with.
///
/// The number comes as text in the arguments. Taking it over as a file would need `unsafe`; the kernel's own
/// name for it does not, and opens the same pipe.
fn write(pipe: u32, bytes: &[u8], times: u64) -> anyhow::Result<()> {
    let mut pipe: File = OpenOptions::new().write(true).open(format!("/proc/self/fd/{pipe}"))?;
    for _ in 0..times {
        pipe.write_all(bytes)?;
    }
    Ok(())
}

/// A child that inherits every pipe and outlives this process, as a careless wrapper script leaves one.
#[expect(clippy::disallowed_methods, reason = "a stray child is what the test is about")]
fn sleeper() -> anyhow::Result<()> {
    Command::new("sleep").arg("600").spawn()?;
    Ok(())
}

/// Where orders come from.
struct Desk {
    host: String,
    script: String,
}

impl Desk {
    fn of(address: &str) -> Option<Self> {
        let (host, path) = address.strip_prefix("http://")?.split_once('/')?;
        let (script, _) = path.strip_prefix("script/")?.split_once('/')?;
        Some(Self { host: host.to_owned(), script: script.to_owned() })
    }

    /// One request, one answer, then the connection ends: HTTP/1.0 needs no library.
    fn ask(&self, method: &str, what: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(&self.host)?;
        let head = format!(
            "{method} /orders/{}/{what} HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
            self.script,
            self.host,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let head =
            answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("an answer without a head")? + 4;
        let status = String::from_utf8_lossy(&answer[..head]);
        if !status.starts_with("HTTP/1.0 200") && !status.starts_with("HTTP/1.1 200") {
            bail!("no orders for {}: {status}", self.script);
        }
        Ok(answer.split_off(head))
    }
}
