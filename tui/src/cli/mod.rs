//! The command line: what may be asked for, and how the program ends.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 engine not reachable. A closed pipe is success:
//! whoever read us had enough.

mod act;
mod console;
mod engine;
mod events;
mod find;
mod list;
mod logs;
mod out;
mod show;

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};

use crate::client::{Client, Error};
use out::Out;

const EXAMPLES: &str = "\
Examples:
  sluice                                  the screen: sessions, logs, stop and resume
  sluice ls                               the sessions, one a line
  sluice start http://host/channel.m3u8   start one, and print the address to open
  sluice logs 7f3a -f                     follow a session's ffmpeg log
  sluice stop 7f3a --for 10m              stop it and hold it for ten minutes
  sluice ls --json | jq -r 'select(.state == \"failed\") | .id'

ID is any unique beginning of a session's id. No command asks back.
Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 engine not reachable.";

/// Watches and steers Sluice's engine over its control socket.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, after_help = EXAMPLES, arg_required_else_help = false)]
pub(crate) struct Arguments {
    /// The engine's control socket.
    ///
    /// Without it $SLUICE_SOCKET, $XDG_RUNTIME_DIR/sluice/control.sock and /run/sluice/control.sock are
    /// tried: the first that exists is used.
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Only look: whatever would change something is refused.
    #[arg(long, global = true)]
    read_only: bool,
    /// No colours ($NO_COLOR does the same).
    #[arg(long, global = true)]
    no_color: bool,
    /// One JSON object a line instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the sessions.
    #[command(after_help = "Examples:\n  sluice ls\n  sluice ls --history --json | jq .state")]
    Ls {
        /// Also those that ended.
        #[arg(long)]
        history: bool,
    },
    /// Show all that is known about a session.
    #[command(after_help = "Examples:\n  sluice show 7f3a\n  sluice show 7f3a --json | jq .probe")]
    Show {
        /// A unique beginning of its id.
        id: String,
    },
    /// Start or join a session and print the address to open.
    #[command(after_help = "Examples:\n  sluice start http://host/news.m3u8 --title News\n  \
                            mpv \"$(sluice start /srv/films/dune.mkv)\"")]
    Start(act::Start),
    /// Stop sessions and hold them: viewers can't start them until they are resumed.
    #[command(after_help = "Examples:\n  sluice stop 7f3a 0d21\n  sluice stop 7f3a --for 10m\n  \
                            sluice stop 7f3a --force   kill at once and delete the segments")]
    Stop {
        /// Unique beginnings of their ids.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        /// Kill at once, delete the segments, move to history.
        #[arg(long)]
        force: bool,
        /// How long the hold lasts: 90s, 10m, 2h. Without it, until resumed.
        #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
        hold: Option<Duration>,
    },
    /// Let stopped, failed or ended sessions go on.
    #[command(after_help = "Example:\n  sluice resume 7f3a")]
    Resume {
        /// Unique beginnings of their ids.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Stop sessions and let them go on at once, segments kept.
    #[command(after_help = "Example:\n  sluice restart 7f3a")]
    Restart {
        /// Unique beginnings of their ids.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Forget ended or held sessions: their addresses may be started again.
    #[command(after_help = "Example:\n  sluice forget 7f3a")]
    Forget {
        /// Unique beginnings of their ids.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Print a session's ffmpeg log.
    #[command(after_help = "Examples:\n  sluice logs 7f3a -n 50\n  sluice logs 7f3a -f --level warning")]
    Logs(logs::Options),
    /// Follow what changes: states, and what operators do.
    #[command(
        after_help = "Examples:\n  sluice events\n  sluice events --json | jq -c 'select(.to == \"failed\")'"
    )]
    Events {
        /// Also snapshots and ticks.
        #[arg(long)]
        all: bool,
    },
    /// Show the engine: version, limits, totals, storage.
    #[command(after_help = "Example:\n  sluice engine --json | jq .totals.sessions")]
    Engine,
    #[command(hide = true)]
    Wait(Later),
    /// Let sessions go on with nobody watching; what rests starts.
    #[command(after_help = "Example:\n  sluice pin 7f3a")]
    Pin {
        /// Unique beginnings of their ids.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Let sessions idle out again.
    #[command(after_help = "Example:\n  sluice unpin 7f3a")]
    Unpin {
        /// Unique beginnings of their ids.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    #[command(hide = true)]
    Probes(Later),
    #[command(hide = true)]
    Reload(Later),
    #[command(hide = true)]
    Completions(Later),
}

/// Whatever follows a command of a later version.
#[derive(Debug, clap::Args)]
struct Later {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<String>,
}

/// How grave a line must be, as `--level` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LevelName {
    Debug,
    Info,
    #[value(alias = "warn")]
    Warning,
    Error,
    Fatal,
}

/// Why a command ends early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Whoever read us had enough.
    #[error("the pipe is closed")]
    PipeClosed,
    /// It can't be written.
    #[error("standard output: {0}")]
    Output(std::io::Error),
    /// The engine, or the way to it.
    #[error(transparent)]
    Engine(#[from] Error),
    /// It can't be done, in a sentence.
    #[error("{0}")]
    Refused(String),
    /// Some of several could not be done; each was said.
    #[error("not all was done")]
    Said,
}

/// Does what was asked for and gives the exit code.
pub(crate) async fn run(arguments: Arguments) -> i32 {
    match carry_out(arguments).await {
        Ok(()) | Err(Failure::PipeClosed) => 0,
        Err(Failure::Said) => 1,
        Err(failure) => {
            report(&chain(&failure));
            match failure {
                Failure::Engine(Error::NoSocket { .. } | Error::Unreachable { .. }) => 3,
                _ => 1,
            }
        }
    }
}

/// Says on standard error why something failed, in one line. Gives the exit code 1.
pub(crate) fn report(why: &str) -> i32 {
    out::complain(why);
    1
}

async fn carry_out(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { socket, read_only, no_color, json, command } = arguments;
    let socket = socket.as_deref();
    let Some(command) = command else {
        return console::show(socket, read_only, no_color, json).await;
    };
    if let Some(name) = command.is_later() {
        return Err(Failure::Refused(format!("`sluice {name}` is not in this version")));
    }
    if let Some(name) = command.acts().filter(|_| read_only) {
        return Err(Failure::Refused(format!(
            "`sluice {name}` would change something, and --read-only was given"
        )));
    }
    let client = Client::find(socket)?;
    if let Some(warning) = &client.warning {
        out::complain(warning);
    }
    let mut out = Out::new(json);
    match command {
        Command::Ls { history } => list::run(&client, &mut out, history).await,
        Command::Show { id } => show::run(&client, &mut out, &id).await,
        Command::Start(start) => act::start(&client, &mut out, start).await,
        Command::Stop { ids, force, hold } => {
            act::each(&client, &mut out, &ids, act::Verb::Stop { force, hold }).await
        }
        Command::Resume { ids } => act::each(&client, &mut out, &ids, act::Verb::Resume).await,
        Command::Restart { ids } => act::each(&client, &mut out, &ids, act::Verb::Restart).await,
        Command::Forget { ids } => act::each(&client, &mut out, &ids, act::Verb::Forget).await,
        Command::Pin { ids } => act::each(&client, &mut out, &ids, act::Verb::Pin(true)).await,
        Command::Unpin { ids } => act::each(&client, &mut out, &ids, act::Verb::Pin(false)).await,
        Command::Logs(options) => logs::run(&client, &mut out, options).await,
        Command::Events { all } => events::run(&client, &mut out, all).await,
        Command::Engine => engine::run(&client, &mut out).await,
        // Answered above.
        Command::Wait(_) | Command::Probes(_) | Command::Reload(_) | Command::Completions(_) => Ok(()),
    }
}

impl Command {
    /// The name of a command that a later version has.
    fn is_later(&self) -> Option<&'static str> {
        let (name, Later { rest: _ }) = match self {
            Self::Wait(rest) => ("wait", rest),
            Self::Probes(rest) => ("probes", rest),
            Self::Reload(rest) => ("reload", rest),
            Self::Completions(rest) => ("completions", rest),
            _ => return None,
        };
        Some(name)
    }

    /// The name of a command that changes something.
    fn acts(&self) -> Option<&'static str> {
        match self {
            Self::Start(_) => Some("start"),
            Self::Stop { .. } => Some("stop"),
            Self::Resume { .. } => Some("resume"),
            Self::Restart { .. } => Some("restart"),
            Self::Forget { .. } => Some("forget"),
            Self::Pin { .. } => Some("pin"),
            Self::Unpin { .. } => Some("unpin"),
            _ => None,
        }
    }
}

/// A failure and all that caused it, in one line.
fn chain(failure: &dyn std::error::Error) -> String {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_hides_what_is_not_there_yet() {
        Arguments::command().debug_assert();
        let help = Arguments::command().render_long_help().to_string();
        assert!(help.contains("resume") && help.contains("Examples:"));
        assert!(!help.contains("completions") && help.contains("unpin"));
    }
}
