//! The one thread that starts children, and what an order goes through until its program runs.

use std::env;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::net::UnixDatagram;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::leader::{self, Leader};
use super::{Child, Order, Pipe, Process};
use crate::launch::{self, Report, Step};

/// From the order to the running program takes a millisecond or two; on a host that is four times
/// overloaded, still far less than this.
const START_LIMIT: Duration = Duration::from_secs(10);

/// How often the thread looks whether those it must reap have ended. They have been killed: it looks only
/// for the few milliseconds that this takes.
const BURY_EVERY: Duration = Duration::from_millis(10);

/// Starts children. All clones share the one spawner thread, which ends after the last of them and the last
/// of the children.
#[derive(Debug, Clone)]
pub struct Launcher {
    tasks: Sender<Task>,
}

/// Why a child was not started. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is no such file, or its interpreter is missing.
    #[error("there is no program `{0}`")]
    NotFound(PathBuf),
    /// The file is not executable for us.
    #[error("not allowed to run `{0}`")]
    Denied(PathBuf),
    /// The system would not run the file.
    #[error("could not run `{program}`")]
    Exec {
        /// As it was ordered.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The launcher itself failed.
    #[error("the launcher could not {step}")]
    Launcher {
        /// What it tried.
        step: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The engine could not prepare the child; mostly a matter of descriptors, processes or memory.
    #[error("could not {step}")]
    Io {
        /// What it tried.
        step: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

#[derive(Debug)]
pub(super) enum Task {
    Spawn { order: Order, undertaker: Sender<Task>, reply: oneshot::Sender<Result<Started, SpawnError>> },
    Bury(Pid),
}

/// A launcher that runs, not yet known to any runtime.
#[derive(Debug)]
pub(super) struct Started {
    leader: Leader,
    outputs: Vec<OwnedFd>,
    stderr: OwnedFd,
    socket: OwnedFd,
}

impl Launcher {
    /// Begins the spawner thread. `executable` must answer to [`launch::SUBCOMMAND`].
    pub fn start(executable: PathBuf) -> io::Result<Self> {
        let (tasks, inbox) = mpsc::channel();
        thread::Builder::new().name("spawner".into()).spawn(move || work(&executable, &inbox))?;
        Ok(Self { tasks })
    }

    /// Starts a child and waits until its program runs. A caller that leaves before kills it.
    pub async fn spawn(&self, order: Order) -> Result<Child, SpawnError> {
        let program = order.program.clone();
        let (reply, answer) = oneshot::channel();
        let task = Task::Spawn { order, undertaker: self.tasks.clone(), reply };
        self.tasks.send(task).map_err(|_| gone())?;
        let Started { leader, outputs, stderr, socket } = answer.await.map_err(|_| gone())??;

        let watch = io_error("watch a child");
        let mut process = Process::new(leader).map_err(&watch)?;
        let outputs = outputs.into_iter().map(Receiver::from_owned_fd).collect::<Result<_, _>>();
        let outputs = outputs.map_err(&watch)?;
        let stderr = Receiver::from_owned_fd(stderr).map_err(&watch)?;
        let socket = listen_to(socket).map_err(&watch)?;
        match timeout(START_LIMIT, until_it_runs(&socket, &program, &mut process)).await {
            Ok(ran) => ran?,
            Err(_) => return Err(launcher_error("start in time", io::ErrorKind::TimedOut.into())),
        }
        Ok(Child { pid: process.pid(), outputs, stderr, process })
    }
}

/// Waits for the launcher's reports and for the end of them.
async fn until_it_runs(
    socket: &UnixDatagram,
    program: &Path,
    process: &mut Process,
) -> Result<(), SpawnError> {
    let mut ready = false;
    let mut bytes = [0; Report::SIZE];
    loop {
        let length = match socket.recv(&mut bytes).await {
            Ok(length) => length,
            // It ended before it took its pipes off the socket.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(source) => return Err(launcher_error("report", source)),
        };
        match Report::decode(&bytes[..length]) {
            Some(Report::Ready) => ready = true,
            Some(Report::Failed { step, errno }) => return Err(failed(step, errno, program)),
            None if length == 0 && ready => return Ok(()),
            None if length == 0 => {
                let exit = process.exited().await;
                return Err(launcher_error("arm itself", io::Error::other(exit.to_string())));
            }
            None => return Err(launcher_error("report", io::ErrorKind::InvalidData.into())),
        }
    }
}

fn failed(step: Step, errno: i32, program: &Path) -> SpawnError {
    let program = program.to_owned();
    match (step, Errno::from_raw_os_error(errno)) {
        (Step::Exec, Errno::NOENT | Errno::NOTDIR) => SpawnError::NotFound(program),
        (Step::Exec, Errno::ACCESS | Errno::PERM) => SpawnError::Denied(program),
        (Step::Exec, errno) => SpawnError::Exec { program, source: errno.into() },
        (step, errno) => launcher_error(step.as_str(), errno.into()),
    }
}

/// A connected socket of messages is read in the same way, whatever its kind.
fn listen_to(socket: OwnedFd) -> io::Result<UnixDatagram> {
    let socket = std::os::unix::net::UnixDatagram::from(socket);
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

/// The life of the spawner thread.
fn work(executable: &Path, inbox: &mpsc::Receiver<Task>) {
    let mut dying: Vec<Pid> = Vec::new();
    loop {
        let task = if dying.is_empty() {
            inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            inbox.recv_timeout(BURY_EVERY)
        };
        match task {
            Ok(Task::Spawn { order, undertaker, reply }) => {
                // A caller that has left drops what it would have got, and so kills it.
                drop(reply.send(start(executable, &order, undertaker)));
            }
            Ok(Task::Bury(pid)) => dying.push(pid),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if dying.is_empty() => return,
            Err(RecvTimeoutError::Disconnected) => thread::sleep(BURY_EVERY),
        }
        dying.retain(|&pid| leader::reap(pid).is_none());
    }
}

fn start(executable: &Path, order: &Order, undertaker: Sender<Task>) -> Result<Started, SpawnError> {
    let count = order.outputs.len();
    if count > launch::MAX_OUTPUTS || order.stdout.is_some_and(|output| output >= count) {
        return Err(io_error("lay out the pipes")(io::ErrorKind::InvalidInput.into()));
    }
    let pipes = order.outputs.iter().map(|&kind| pipe(kind)).collect::<Result<Vec<_>, _>>();
    let (outputs, writers): (Vec<_>, Vec<_>) = pipes.map_err(io_error("make a pipe"))?.into_iter().unzip();
    let (stderr, stderr_writer) = pipe(Pipe::Small).map_err(io_error("make a pipe"))?;
    let (socket, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(io::Error::from)
            .map_err(io_error("make a socket"))?;
    hand_over(&socket, &writers).map_err(io_error("hand over the pipes"))?;
    // The message holds them now. With ours open, the end of the child would not end the pipes.
    drop(writers);

    let mut command = Command::new(executable);
    for (name, _) in env::vars_os() {
        // Settings of ours, secrets among them.
        if name.as_bytes().starts_with(b"SLUICE_") {
            command.env_remove(name);
        }
    }
    command.env("SLUICE_RUN", &order.label);
    launch::prepare(&mut command, count, order.stdout);
    command.arg(&order.program).args(&order.args);
    command.stdin(theirs).stdout(Stdio::null()).stderr(stderr_writer);

    // Nothing above may make the standard library fork (`pre_exec`, a user, a group): a fork of an engine
    // with a gigabyte in memory takes 20 ms, what it does now takes a quarter of one, whatever the size.
    #[expect(clippy::disallowed_methods, reason = "this is the place that the lint points at")]
    let mut child = command.spawn().map_err(io_error("start the launcher"))?;
    let pid = Pid::from_child(&child);
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Started { leader: Leader::new(pid, pidfd, undertaker), outputs, stderr, socket }),
        Err(errno) => {
            child.kill().and_then(|()| child.wait()).map_err(io_error("end a child"))?;
            Err(io_error("watch a child")(errno.into()))
        }
    }
}

/// A read end and a write end. Not tokio's: with those the child would get a non-blocking descriptor.
fn pipe(kind: Pipe) -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let size = match kind {
        Pipe::Media => 256 * 1024,
        Pipe::Small => 4 * 1024,
    };
    // Refused to a user whose pipes are large enough already; what it has then works too.
    fcntl_setpipe_size(&writer, size).ok();
    Ok((reader, writer))
}

/// Puts the write ends on the socket, where they wait for the launcher, and their number beside them.
fn hand_over(socket: &OwnedFd, writers: &[OwnedFd]) -> io::Result<()> {
    let writers: Vec<BorrowedFd<'_>> = writers.iter().map(AsFd::as_fd).collect();
    let count = [u8::try_from(writers.len()).map_err(io::Error::other)?];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(launch::MAX_OUTPUTS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !writers.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&writers)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::net::sendmsg(socket, &[io::IoSlice::new(&count)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn io_error(step: &'static str) -> impl Fn(io::Error) -> SpawnError {
    move |source| SpawnError::Io { step, source }
}

fn launcher_error(step: &'static str, source: io::Error) -> SpawnError {
    SpawnError::Launcher { step, source }
}

/// Cannot happen while the thread does not panic.
fn gone() -> SpawnError {
    io_error("reach the spawner thread")(io::ErrorKind::BrokenPipe.into())
}
