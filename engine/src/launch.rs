//! The hidden sub-command that takes its pipes, arms itself and becomes the program it was asked to be.
//!
//! It exists because arming a child between `fork` and `exec` needs `unsafe`, and a `fork` that copies the
//! page tables of a large engine. This is a process of its own that has only just begun, so it may do
//! whatever it likes to itself. It does not know what it becomes, nor why.
//!
//! Its descriptor 0 is a socket on which one message waits: the write ends of the pipes. On the same socket
//! it says `Report::Ready` and then, if it could not become the program, `Report::Failed`. The socket
//! closes itself on `exec`: an end after `Ready` means that the program runs, an end without it that the
//! launcher was killed.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{self, Command};

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags};
use rustix::process::{Resource, Rlimit, Signal};
use rustix::{net, stdio};

/// The first argument that makes the executable a launcher.
pub const SUBCOMMAND: &str = "__launch";

/// As many pipes as one order may carry.
pub(crate) const MAX_OUTPUTS: usize = 32;

/// Where the socket goes, so that the pipes get the low numbers: a shell can only name single digits.
const SOCKET_NUMBER: i32 = 64;

/// A program that needs more descriptors than this leaks them.
const MAX_DESCRIPTORS: u64 = 256;

/// Whoever serves viewers comes before whoever makes what they will see later.
const NICENESS: i32 = 5;

/// When memory ends, the kernel should take one child and not the engine with all of them.
const OOM_SCORE: &str = "500";

/// What a launcher can fail at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    Orders = 1,
    Session,
    DeathSignal,
    Parent,
    Limits,
    Privileges,
    Descriptors,
    Exec,
}

/// What a launcher says on its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    Ready,
    Failed { step: Step, errno: i32 },
}

/// What stands on the command line behind [`SUBCOMMAND`].
struct Orders {
    engine: i32,
    outputs: usize,
    stdout: Option<usize>,
    program: OsString,
    arguments: Vec<OsString>,
}

struct Failure(Step, Errno);

/// Becomes the program that the command line names, or ends: with 127 if there is no such program, with 126
/// if it can't be run, with 125 if the launcher could not arm itself.
pub fn main() -> ! {
    let socket = match fcntl_dupfd_cloexec(io::stdin(), SOCKET_NUMBER) {
        Ok(socket) => socket,
        Err(errno) => complain(&Failure(Step::Orders, errno)),
    };
    let failure = match become_program(&socket) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    let report = Report::Failed { step: failure.0, errno: failure.1.raw_os_error() };
    match net::send(&socket, &report.encode(), SendFlags::NOSIGNAL) {
        Ok(_) => process::exit(failure.code()),
        // Nobody listens: a person has called the sub-command by hand.
        Err(_) => complain(&failure),
    }
}

/// Adds to `command` what makes its executable a launcher; the program and its arguments come after.
pub(crate) fn prepare(command: &mut Command, outputs: usize, stdout: Option<usize>) {
    command.arg(SUBCOMMAND).arg(process::id().to_string()).arg(outputs.to_string());
    command.arg(stdout.map_or_else(|| "-".to_owned(), |output| output.to_string()));
}

impl Orders {
    /// Reads what [`prepare`] wrote.
    fn parse(mut words: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut number = || words.next()?.into_string().ok();
        let engine = number()?.parse().ok()?;
        let outputs = number()?.parse().ok().filter(|&outputs| outputs <= MAX_OUTPUTS)?;
        let stdout = match number()?.as_str() {
            "-" => None,
            output => Some(output.parse().ok().filter(|&output| output < outputs)?),
        };
        Some(Self { engine, outputs, stdout, program: words.next()?, arguments: words.collect() })
    }
}

fn become_program(socket: &OwnedFd) -> Result<Infallible, Failure> {
    let orders = Orders::parse(std::env::args_os().skip(2)).ok_or(Failure(Step::Orders, Errno::INVAL))?;
    let outputs = receive(orders.outputs)?;

    rustix::process::setsid().map_err(at(Step::Session))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(at(Step::DeathSignal))?;
    // An engine that ended before the line above sends no signal any more.
    if rustix::process::getppid().is_none_or(|parent| parent.as_raw_pid() != orders.engine) {
        return Err(Failure(Step::Parent, Errno::SRCH));
    }
    limit()?;
    rustix::thread::set_no_new_privs(true).map_err(at(Step::Privileges))?;
    replace_standard_descriptors(&outputs, orders.stdout)?;

    // From here on nobody owns the pipes: the program inherits them.
    let numbers: Vec<i32> = outputs.into_iter().map(IntoRawFd::into_raw_fd).collect();
    let arguments = orders
        .arguments
        .into_iter()
        .map(|argument| with_number(argument, &numbers))
        .collect::<Result<Vec<_>, _>>()?;

    net::send(socket, &Report::Ready.encode(), SendFlags::NOSIGNAL).map_err(at(Step::Parent))?;
    let error = Command::new(orders.program).args(arguments).exec();
    Err(Failure(Step::Exec, Errno::from_io_error(&error).unwrap_or(Errno::INVAL)))
}

/// The write ends that wait on descriptor 0. They are not close-on-exec: they are for the program.
fn receive(expected: usize) -> Result<Vec<OwnedFd>, Failure> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_OUTPUTS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut count = [0_u8];
    let message =
        net::recvmsg(io::stdin(), &mut [io::IoSliceMut::new(&mut count)], &mut control, RecvFlags::empty())
            .map_err(at(Step::Orders))?;

    let mut outputs = Vec::with_capacity(expected);
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = part {
            outputs.extend(descriptors);
        }
    }
    let torn = message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) || message.bytes != 1;
    if torn || usize::from(count[0]) != expected || outputs.len() != expected {
        return Err(Failure(Step::Orders, Errno::BADMSG));
    }
    Ok(outputs)
}

fn limit() -> Result<(), Failure> {
    let set = |resource, most| {
        let most = rustix::process::getrlimit(resource).maximum.map_or(most, |hard| hard.min(most));
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        rustix::process::setrlimit(resource, limit).map_err(at(Step::Limits))
    };
    // Both are courtesies, and a container may forbid them.
    fs::write("/proc/self/oom_score_adj", OOM_SCORE).ok();
    rustix::process::nice(NICENESS).ok();
    set(Resource::Core, 0)?;
    set(Resource::Nofile, MAX_DESCRIPTORS)?;
    // Pipes are not files: with this, the program can write no file at all.
    set(Resource::Fsize, 0)
}

/// Puts nothing on descriptor 0, where the socket was, and the chosen output on descriptor 1.
fn replace_standard_descriptors(outputs: &[OwnedFd], stdout: Option<usize>) -> Result<(), Failure> {
    let nothing = File::open("/dev/null")
        .map_err(|error| Failure(Step::Descriptors, Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    stdio::dup2_stdin(&nothing).map_err(at(Step::Descriptors))?;
    if let Some(output) = stdout {
        stdio::dup2_stdout(&outputs[output]).map_err(at(Step::Descriptors))?;
    }
    Ok(())
}

/// Only an argument that is nothing but the token is replaced: text from outside may hold anything.
fn with_number(argument: OsString, numbers: &[i32]) -> Result<OsString, Failure> {
    let output = argument.to_str().and_then(|text| text.strip_prefix("pipe:@out")?.strip_suffix('@'));
    let Some(output) = output else { return Ok(argument) };
    let number = output.parse().ok().and_then(|output: usize| numbers.get(output));
    let number = number.ok_or(Failure(Step::Orders, Errno::INVAL))?;
    Ok(format!("pipe:{number}").into())
}

fn at(step: Step) -> impl Fn(Errno) -> Failure {
    move |errno| Failure(step, errno)
}

fn complain(failure: &Failure) -> ! {
    let Failure(step, errno) = failure;
    // Standard error may be closed, and there is nobody else to tell.
    writeln!(io::stderr(), "sluiced {SUBCOMMAND} (not for people): could not {step}: {errno}").ok();
    process::exit(failure.code());
}

impl Failure {
    fn code(&self) -> i32 {
        match self {
            Self(Step::Exec, Errno::NOENT) => 127,
            Self(Step::Exec, _) => 126,
            _ => 125,
        }
    }
}

impl Step {
    const ALL: [Self; 8] = [
        Self::Orders,
        Self::Session,
        Self::DeathSignal,
        Self::Parent,
        Self::Limits,
        Self::Privileges,
        Self::Descriptors,
        Self::Exec,
    ];

    /// What it tried, to be read after "could not".
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Orders => "take its orders",
            Self::Session => "begin a session of its own",
            Self::DeathSignal => "tie its life to the engine's",
            Self::Parent => "find the engine alive",
            Self::Limits => "limit itself",
            Self::Privileges => "give up new privileges",
            Self::Descriptors => "place its descriptors",
            Self::Exec => "become the program",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Report {
    /// One byte for the step, 0 when ready, then the error number.
    pub(crate) const SIZE: usize = 5;

    fn encode(self) -> [u8; Self::SIZE] {
        let (step, errno) = match self {
            Self::Ready => (0, 0),
            Self::Failed { step, errno } => (step as u8, errno),
        };
        let [a, b, c, d] = errno.to_le_bytes();
        [step, a, b, c, d]
    }

    /// `None` if a launcher would not have said it.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let &[step, a, b, c, d] = bytes else { return None };
        if step == 0 {
            return Some(Self::Ready);
        }
        let step = Step::ALL.into_iter().find(|&known| known as u8 == step)?;
        Some(Self::Failed { step, errno: i32::from_le_bytes([a, b, c, d]) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Option<Orders> {
        Orders::parse(words.iter().map(OsString::from))
    }

    #[test]
    fn orders_are_read_as_they_were_written() {
        let mut command = Command::new("sluiced");
        prepare(&mut command, 3, Some(2));
        command.args(["ffmpeg", "-i", "-"]);
        let words = command.get_args().skip(1).map(OsString::from);

        let orders = Orders::parse(words).unwrap();
        assert_eq!(orders.engine, i32::try_from(process::id()).unwrap());
        assert_eq!((orders.outputs, orders.stdout), (3, Some(2)));
        assert_eq!(orders.program, "ffmpeg");
        assert_eq!(orders.arguments, ["-i", "-"]);
    }

    #[test]
    fn orders_that_make_no_sense_are_refused() {
        assert!(parse(&["1", "1", "-", "true"]).is_some());
        assert!(parse(&["1", "1", "-"]).is_none(), "no program");
        assert!(parse(&["1", "1", "1", "true"]).is_none(), "an output that does not exist");
        assert!(parse(&["1", "33", "-", "true"]).is_none(), "too many outputs");
        assert!(parse(&["x", "1", "-", "true"]).is_none(), "no engine");
    }

    #[test]
    fn only_an_argument_that_is_the_token_gets_a_number() {
        let check = |argument: &str| with_number(argument.into(), &[7, 9]).ok();
        assert_eq!(check("pipe:@out0@").unwrap(), "pipe:7");
        assert_eq!(check("pipe:@out1@").unwrap(), "pipe:9");
        assert_eq!(check("pipe:@out2@"), None);
        assert_eq!(check("pipe:@outx@"), None);
        assert_eq!(check("http://host/pipe:@out0@").unwrap(), "http://host/pipe:@out0@");
        assert_eq!(check("@out0@").unwrap(), "@out0@");
    }

    #[test]
    fn reports_survive_the_socket() {
        for step in Step::ALL {
            let report = Report::Failed { step, errno: 13 };
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
        assert_eq!(Report::decode(&Report::Ready.encode()), Some(Report::Ready));
        assert_eq!(Report::decode(b""), None);
        assert_eq!(Report::decode(&[99, 0, 0, 0, 0]), None);
    }
}
