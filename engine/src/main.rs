//! `sluiced`: reads arguments and config, boots, waits for a signal, drains with a deadline, exits.

use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use sluice_engine::boot::{self, Engine};
use sluice_engine::config::{Config, ConfigError, Overrides, Surroundings, Where};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The streaming engine: takes media addresses, supervises ffmpeg, serves HLS.
///
/// Started bare it works with its defaults: HLS on 127.0.0.1:8088, and a control socket for the console
/// `sluice`. It needs ffmpeg 5.1 or newer.
#[derive(Debug, Parser)]
#[command(name = "sluiced", version, after_help = "Then: sluice start URL, or just sluice for the console.")]
struct Arguments {
    /// The config file [default: $SLUICE_CONFIG, else /etc/sluice/sluice.toml, else none]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where viewers reach it, instead of server.listen
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The control socket, instead of control.socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// How the log is written [default: pretty on a terminal, else json]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log: Option<LogFormat>,
    /// What is logged: error, warn, info, debug, or a filter per module
    #[arg(long, value_name = "LEVEL", env = "SLUICE_LOG", default_value = "info")]
    log_level: String,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Reads a config file and tells all its faults
    CheckConfig {
        /// The file
        file: PathBuf,
    },
    #[command(hide = true, disable_help_flag = true)]
    Doctor {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    #[command(hide = true, disable_help_flag = true)]
    HashToken {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Json,
    Pretty,
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == sluice_engine::launch::SUBCOMMAND) {
        sluice_engine::launch::main();
    }
    let arguments = Arguments::parse();
    if let Some(Command::Doctor { .. } | Command::HashToken { .. }) = arguments.command {
        return fail(
            &anyhow::anyhow!("this command is not in this version; a later one has it"),
            ExitCode::FAILURE,
        );
    }
    let env = |name: &str| std::env::var(name).ok();
    let overrides = Overrides { listen: arguments.listen.clone(), socket: arguments.socket.clone() };
    let file = match &arguments.command {
        Some(Command::CheckConfig { file }) => Some(file.as_path()),
        Some(Command::Doctor { .. } | Command::HashToken { .. }) | None => arguments.config.as_deref(),
    };
    let loaded = Config::load(file, &overrides, &Surroundings::of_process(&env));
    let (config, place) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&error),
    };
    if arguments.command.is_some() {
        say(&format!("{place}: no faults"));
        return ExitCode::SUCCESS;
    }
    if let Err(error) = start_logging(&arguments) {
        return fail(&error, ExitCode::from(2));
    }
    match run(config, &place) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, ExitCode::FAILURE),
    }
}

fn run(config: Config, place: &Where) -> anyhow::Result<()> {
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("could not listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("could not listen for SIGINT")?;
        let engine = boot::boot(config, PathBuf::from("/proc/self/exe")).await?;
        greet(&engine, place);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("shutting down; a second signal ends at once");
        tokio::select! {
            () = engine.shut_down() => {}
            _ = terminate.recv() => tracing::warn!("ended at once"),
            _ = interrupt.recv() => tracing::warn!("ended at once"),
        }
        Ok(())
    });
    // A disk that does not answer is no reason to stay.
    runtime.shutdown_background();
    outcome
}

fn greet(engine: &Engine, place: &Where) {
    say(&format!("config {place}"));
    say(&format!("listening on http://{}", engine.listen));
    say(&format!("control socket {}", engine.socket.display()));
    match &engine.ffmpeg {
        Some(version) => say(&format!("ffmpeg {version}")),
        None => say("ffmpeg was not found: install it, or set ffmpeg.path; until then nothing can be played"),
    }
    say(&format!("next: sluice --socket {} start URL", engine.socket.display()));
}

fn start_logging(arguments: &Arguments) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&arguments.log_level)
        .with_context(|| format!("--log-level {} is no level", arguments.log_level))?;
    let pretty = std::io::stderr().is_terminal();
    let format = arguments.log.unwrap_or(if pretty { LogFormat::Pretty } else { LogFormat::Json });
    let logging = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => logging.json().init(),
        LogFormat::Pretty => logging.with_ansi(pretty).init(),
    }
    Ok(())
}

/// Each session takes eight descriptors, each viewer one; the soft limit of a shell is meant for programs
/// that still use `select`.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(%error, "could not raise the limit of open files");
    }
}

fn refuse(error: &ConfigError) -> ExitCode {
    fail(&anyhow::anyhow!("{error}"), ExitCode::from(2))
}

fn fail(error: &anyhow::Error, code: ExitCode) -> ExitCode {
    // With standard error gone there is nobody to tell.
    drop(writeln!(std::io::stderr(), "sluiced: {error:#}"));
    code
}

fn say(line: &str) {
    // Whoever closed standard output does not want to know.
    drop(writeln!(std::io::stdout(), "{line}"));
}
