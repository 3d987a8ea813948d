//! `sluice logs`.

use jiff::tz::TimeZone;
use sluice_protocol::LogRecord;
use uuid::Uuid;

use super::{Failure, LevelName, find, out::Out};
use crate::{
    client::{Client, LogQuery},
    format,
};

/// What `logs` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// A unique beginning of the session's id.
    id: String,
    /// Go on as lines come, until the session ends.
    #[arg(short, long)]
    follow: bool,
    /// Only the last so many lines.
    #[arg(short = 'n', long = "lines", value_name = "N")]
    lines: Option<usize>,
    /// Only lines at least this grave.
    #[arg(long, value_enum)]
    level: Option<LevelName>,
}

/// Prints a session's log.
pub(super) async fn run(client: &Client, out: &mut Out, options: Options) -> Result<(), Failure> {
    let id = find::one(client, &options.id).await?;
    let level = options.level.map(|level| match level {
        LevelName::Debug => "debug",
        LevelName::Info => "info",
        LevelName::Warning => "warning",
        LevelName::Error => "error",
        LevelName::Fatal => "fatal",
    });
    print(client, out, id, LogQuery { tail: options.lines, follow: options.follow, level, after: None }).await
}

/// Follows a session's log from its beginning.
pub(super) async fn follow(client: &Client, out: &mut Out, id: Uuid) -> Result<(), Failure> {
    print(client, out, id, LogQuery { follow: true, ..LogQuery::default() }).await
}

async fn print(client: &Client, out: &mut Out, id: Uuid, query: LogQuery) -> Result<(), Failure> {
    let zone = TimeZone::system();
    let mut lines = client.logs(id, query).await?;
    while let Some(batch) = lines.next().await? {
        let mut ended = false;
        for line in batch {
            let record = lines.decode(&line)?;
            ended |= record == LogRecord::End;
            if out.json {
                out.raw(&line)?;
                continue;
            }
            match record {
                LogRecord::Line { at, level, run, text, .. } => {
                    let at = format::exact_time_of_day(at, &zone);
                    out.line(&format!("{at} {run} {:<7} {text}", level.name()))?;
                }
                LogRecord::Gap { dropped, .. } => {
                    out.line(&format!("---- {} lost ----", format::plural(dropped as usize, "line")))?;
                }
                LogRecord::End if query.follow => out.line("---- the session failed or ended ----")?,
                LogRecord::End | LogRecord::Unknown => {}
            }
        }
        out.flush()?;
        if ended {
            return Ok(());
        }
    }
    if query.follow {
        return Err(Failure::Refused("the engine ended the log: it was stopped, or restarted".to_owned()));
    }
    Ok(())
}
