//! A child that is run for what it prints: short, bounded in time and in size.

use std::io;
use std::time::Duration;

use bytes::BufMut;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::time::{Instant, sleep_until};

use super::{Child, Exit, Launcher, Order, Pipe, SpawnError};

/// How long the pipes may stay open after the child's end: something outside its group may hold them.
const AFTER_EXIT: Duration = Duration::from_secs(1);

const CHUNK: usize = 16 * 1024;

/// What a child printed, and how it ended.
#[derive(Debug)]
pub struct Captured {
    /// How it ended; not necessarily well.
    pub exit: Exit,
    /// All that it wrote to descriptor 1.
    pub stdout: Vec<u8>,
    /// The end of what it wrote to descriptor 2: when something fails, the last lines say why.
    pub stderr: Vec<u8>,
}

/// Why nothing was captured. The child has been killed.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It did not start.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// It was not done in time.
    #[error("not done within {limit:?}")]
    TimedOut {
        /// What it had.
        limit: Duration,
        /// What it had written to descriptor 2 until then.
        stderr: Vec<u8>,
    },
    /// It wrote more than was asked for.
    #[error("more than {0} bytes of output")]
    TooMuch(usize),
    /// A pipe could not be read.
    #[error("could not read what it printed")]
    Read(#[source] io::Error),
}

/// Runs `order` to its end, with one pipe as its descriptor 1 in place of the order's own outputs.
///
/// Both pipes are read side by side. It is killed at `limit`, and when its standard output is longer than
/// `max_output`; of standard error only the last `max_output` bytes are kept. A caller that leaves kills it.
pub async fn capture(
    launcher: &Launcher,
    order: Order,
    limit: Duration,
    max_output: usize,
) -> Result<Captured, CaptureError> {
    let mut deadline = Instant::now() + limit;
    let order = Order { outputs: vec![Pipe::Media], stdout: Some(0), ..order };
    let Child { outputs, stderr, mut process, .. } = tokio::select! {
        child = launcher.spawn(order) => child?,
        () = sleep_until(deadline) => return Err(CaptureError::TimedOut { limit, stderr: Vec::new() }),
    };
    let mut stdout = Stream::new(outputs.into_iter().next());
    let mut stderr = Stream::new(Some(stderr));
    let mut exit = None;
    loop {
        if let (Some(exit), true) = (exit, stdout.is_over() && stderr.is_over()) {
            return Ok(Captured { exit, stdout: stdout.bytes, stderr: stderr.last(max_output) });
        }
        tokio::select! {
            read = stdout.read(), if !stdout.is_over() => {
                read.map_err(CaptureError::Read)?;
                if stdout.bytes.len() > max_output {
                    return Err(CaptureError::TooMuch(max_output));
                }
            }
            read = stderr.read(), if !stderr.is_over() => {
                read.map_err(CaptureError::Read)?;
                stderr.forget_all_but(max_output);
            }
            ended = process.exited(), if exit.is_none() => {
                exit = Some(ended);
                deadline = deadline.min(Instant::now() + AFTER_EXIT);
            }
            () = sleep_until(deadline) => match exit {
                Some(exit) => {
                    return Ok(Captured { exit, stdout: stdout.bytes, stderr: stderr.last(max_output) });
                }
                None => return Err(CaptureError::TimedOut { limit, stderr: stderr.last(max_output) }),
            },
        }
    }
}

struct Stream {
    /// `None` once it has ended.
    pipe: Option<Receiver>,
    bytes: Vec<u8>,
}

impl Stream {
    fn new(pipe: Option<Receiver>) -> Self {
        Self { pipe, bytes: Vec::new() }
    }

    fn is_over(&self) -> bool {
        self.pipe.is_none()
    }

    /// Reads once. Cancel safe: bytes are either still in the pipe or already in `bytes`.
    async fn read(&mut self) -> io::Result<()> {
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        self.bytes.reserve(CHUNK);
        if pipe.read_buf(&mut (&mut self.bytes).limit(CHUNK)).await? == 0 {
            self.pipe = None;
        }
        Ok(())
    }

    /// Keeps twice as much as will be returned, so that a flood is not moved with every read.
    fn forget_all_but(&mut self, max: usize) {
        if self.bytes.len() > max.saturating_mul(2) {
            self.bytes.drain(..self.bytes.len() - max);
        }
    }

    fn last(mut self, max: usize) -> Vec<u8> {
        let surplus = self.bytes.len().saturating_sub(max);
        self.bytes.drain(..surplus);
        self.bytes
    }
}
