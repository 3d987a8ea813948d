//! Children: started, heard, ended, reaped once.
//!
//! This module does not know what a child is for. It promises that no child outlives the engine, that a
//! child's end is seen while its process id is still ours, that whatever the child has started in its group
//! ends with it, and that a [`Process`] that is dropped is killed.
//!
//! Children are started by one thread that never ends (`spawn`), because the kernel ties the death signal to
//! the thread that started the child: a pool thread that idles out would take healthy children with it.
//! They pass through the launcher (`crate::launch`), which receives their pipes over a socket. A plain
//! `Command` carries only descriptors 0 to 2, and to lift close-on-exec for a moment leaks the pipes into
//! whatever else is started in that moment.

mod capture;
mod leader;
mod spawn;

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use rustix::process::{Pid, Signal};
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe::Receiver;

pub use capture::{CaptureError, Captured, capture};
use leader::Leader;
pub use spawn::{Launcher, SpawnError};

/// What to start, and which pipes it gets besides standard error.
#[derive(Debug, Clone)]
pub struct Order {
    /// A path, or a name to be looked up in `$PATH`.
    pub program: PathBuf,
    /// One element each. An element that is exactly `pipe:@outN@` becomes `pipe:` and the number that
    /// output N has in the child.
    pub args: Vec<String>,
    /// The pipes that the child writes to.
    pub outputs: Vec<Pipe>,
    /// This output is also the child's descriptor 1, which is `/dev/null` otherwise.
    pub stdout: Option<usize>,
    /// Stands in the child's environment as `SLUICE_RUN`, for whoever looks for what a dead engine left.
    pub label: String,
}

/// How much a pipe holds before its writer waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pipe {
    /// 256 KiB: half the reads of a default pipe. The kernel may refuse that to a user who has many.
    Media,
    /// 4 KiB, for what comes as lines: a user's pipes share one quota, and media need it.
    Small,
}

/// A child that runs, and the read ends of its pipes. Read all of them side by side, or none.
#[derive(Debug)]
pub struct Child {
    /// Its process id, which is also that of its session and of its group.
    pub pid: u32,
    /// In the order of [`Order::outputs`].
    pub outputs: Vec<Receiver>,
    /// What it writes to descriptor 2.
    pub stderr: Receiver,
    /// Its life.
    pub process: Process,
}

/// The life of one child. Dropped before the child's end, it kills the child and all its group, and the
/// spawner thread reaps it.
#[derive(Debug)]
pub struct Process {
    leader: AsyncFd<Leader>,
    exit: Option<Exit>,
    /// What it had used when it ended.
    used: Option<Usage>,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// What a child has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// In user and kernel mode together, of all its threads.
    pub cpu: Duration,
    /// Resident memory.
    pub memory: ByteSize,
}

impl Process {
    /// Begins to watch a child; must be called within a runtime.
    fn new(leader: Leader) -> std::io::Result<Self> {
        #[expect(
            deprecated,
            reason = "its successor is an unsafe function; `Leader` owns the descriptor and never changes it"
        )]
        let leader = AsyncFd::new(leader)?;
        Ok(Self { leader, exit: None, used: None })
    }

    /// The child's process id. After [`exited`](Self::exited) it may be somebody else's.
    pub fn pid(&self) -> u32 {
        self.pid_of_leader().as_raw_pid().unsigned_abs()
    }

    /// Waits for the child's end, kills what is left of its group, and reaps it.
    ///
    /// Cancel safe, and once the child has ended every further call answers the same.
    pub async fn exited(&mut self) -> Exit {
        if let Some(exit) = self.exit {
            return exit;
        }
        let pid = self.pid();
        loop {
            let Ok(mut ready) = self.leader.readable_mut().await else {
                // The runtime shuts down, and with it whoever waits here.
                return std::future::pending().await;
            };
            // What has ended says what it used until it is reaped.
            let used = used_by(pid);
            if let Some(exit) = ready.get_inner_mut().reap() {
                self.exit = Some(exit);
                self.used = used;
                return exit;
            }
            ready.clear_ready();
        }
    }

    /// Asks the child and its group to end. Does nothing once the child has been reaped.
    pub fn terminate(&self) {
        self.leader.get_ref().signal(Signal::TERM);
    }

    /// Kills the child and its group. Does nothing once the child has been reaped.
    pub fn kill(&self) {
        self.leader.get_ref().signal(Signal::KILL);
    }

    /// What the child has used, as long as it lives.
    pub fn usage(&self) -> Option<Usage> {
        if self.exit.is_some() {
            return None;
        }
        used_by(self.pid())
    }

    /// The processor time that the child had used when it ended.
    pub fn used(&self) -> Option<Duration> {
        Some(self.used?.cpu)
    }

    fn pid_of_leader(&self) -> Pid {
        self.leader.get_ref().pid()
    }
}

/// Of a process that has not been reaped.
fn used_by(pid: u32) -> Option<Usage> {
    usage_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in the second field may hold anything, so the fields are counted from its last parenthesis.
fn usage_of(stat: &str) -> Option<Usage> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut number = || fields.next()?.parse::<u64>().ok();
    let (user, system) = (number()?, number()?);
    let pages: u64 = fields.nth(8)?.parse().ok()?;

    let hertz = rustix::param::clock_ticks_per_second();
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    let ticks = user.checked_add(system)?;
    let cpu = Duration::from_secs(ticks / hertz)
        + Duration::from_secs(ticks % hertz) / u32::try_from(hertz).ok()?;
    Some(Usage { cpu, memory: ByteSize(pages.checked_mul(page)?) })
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_behind_a_name_with_spaces_and_parentheses() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 900 0 0 0 150 50 0 0 25 5 3 0 1234 99999 7 184467440";
        let usage = usage_of(stat).unwrap();
        assert_eq!(usage.cpu, Duration::from_secs(2) * 100 / rustix::param::clock_ticks_per_second() as u32);
        assert_eq!(usage.memory, ByteSize(7 * rustix::param::page_size() as u64));
        assert_eq!(usage_of("42 (cut"), None);
        assert_eq!(usage_of("42 (cut) S 1"), None);
    }

    #[test]
    fn ends_are_said_in_two_words() {
        assert_eq!(Exit::Code(0).to_string(), "exit 0");
        assert_eq!(Exit::Signal(9).to_string(), "signal 9");
    }
}
