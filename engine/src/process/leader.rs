//! The one process that we started and must reap, and the group that it leads.
//!
//! Signals go out only while the leader has not been reaped: until then the kernel gives its number, which
//! is also that of the group, to nobody else.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::mpsc::Sender;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, pidfd_send_signal, waitid,
};

use super::Exit;
use super::spawn::Task;

#[derive(Debug)]
pub(super) struct Leader {
    pid: Pid,
    pidfd: OwnedFd,
    reaped: bool,
    /// Where a leader that nobody waits for is reaped. It also keeps the spawner thread alive, and with it
    /// the child.
    undertaker: Sender<Task>,
}

impl Leader {
    pub(super) fn new(pid: Pid, pidfd: OwnedFd, undertaker: Sender<Task>) -> Self {
        Self { pid, pidfd, reaped: false, undertaker }
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Signals the whole group, and the leader by itself as long as it has not yet made its group.
    pub(super) fn signal(&self, signal: Signal) {
        if self.reaped {
            return;
        }
        if kill_process_group(self.pid, signal).is_err() {
            // What has ended already needs no signal.
            pidfd_send_signal(&self.pidfd, signal).ok();
        }
    }

    /// How the leader ended, if it has; never asked again after that.
    pub(super) fn reap(&mut self) -> Option<Exit> {
        let exit = reap(self.pid)?;
        self.reaped = true;
        Some(exit)
    }
}

impl AsRawFd for Leader {
    fn as_raw_fd(&self) -> RawFd {
        self.pidfd.as_fd().as_raw_fd()
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(Signal::KILL);
            // The thread lives as long as anybody holds a sender, and we do.
            self.undertaker.send(Task::Bury(self.pid)).ok();
        }
    }
}

/// Ends the group of a child that has ended, then lets its number go. `None` as long as it lives.
pub(super) fn reap(pid: Pid) -> Option<Exit> {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match waitid(WaitId::Pid(pid), look | WaitIdOptions::NOWAIT) {
        Ok(None) => return None,
        Ok(Some(_)) => {
            // The leader is a zombie and alone in its group, or else it has left somebody behind.
            kill_process_group(pid, Signal::KILL).ok();
        }
        Err(_) => {}
    }
    match waitid(WaitId::Pid(pid), look) {
        Ok(Some(status)) => Some(exit(&status)),
        Ok(None) => None,
        Err(errno) => {
            // Only possible when the engine was started with SIGCHLD ignored: then the kernel reaps, and
            // nobody learns how a child ended. It is not known to have ended well.
            tracing::error!(pid = pid.as_raw_pid(), error = %errno, "could not learn how a child ended");
            Some(Exit::Code(255))
        }
    }
}

fn exit(status: &WaitIdStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => unreachable!("only ends are waited for"),
    }
}
