//! `sluice start`, `stop`, `resume`, `restart`, `forget`, `pin`, `unpin`.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use sluice_protocol::{PinOrder, ResumeOrder, Session, StartOrder, Started, StopOrder};
use uuid::Uuid;

use super::{
    Failure, chain, find, logs,
    out::{Out, complain},
};
use crate::{
    client::{Client, Error},
    condition::{self, Word},
    format,
};

/// What `start` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Start {
    /// The address of a channel, a film or an episode, or the path of a file.
    url: String,
    /// What it is: the engine finds out by itself, or live, movie, series.
    #[arg(long = "type", value_name = "TYPE", default_value = "auto", value_parser = ["auto", "live", "movie", "series"])]
    content_type: String,
    /// What to call it.
    #[arg(long)]
    title: Option<String>,
    /// Let it go on with nobody watching, until it is unpinned.
    #[arg(long)]
    pin: bool,
    /// Then follow its ffmpeg log.
    #[arg(long)]
    follow: bool,
}

/// What to do to each of some sessions.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verb {
    /// End it and keep it so.
    Stop {
        /// At once, and without its segments.
        force: bool,
        /// For so long; without it until resumed.
        hold: Option<Duration>,
    },
    /// Let it go on.
    Resume,
    /// Both.
    Restart,
    /// Remove it from the list.
    Forget,
    /// Let it go on with nobody watching, or no longer.
    Pin(bool),
}

/// Starts or joins a session and prints the address to open.
pub(super) async fn start(client: &Client, out: &mut Out, start: Start) -> Result<(), Failure> {
    let order = StartOrder {
        url: whole(start.url),
        content_type: Some(start.content_type),
        title: start.title,
        pinned: start.pin,
        ..StartOrder::default()
    };
    let started = client.start(&order).await?;
    let engine = client.engine().await?;
    let address = format!("http://{}{}", format::reachable(&engine.listen), started.playlist);
    if out.json {
        out.record(&Answer { started: &started, address: &address })?;
    } else {
        out.line(&address)?;
    }
    out.flush()?;
    if start.follow { logs::follow(client, out, started.session_id).await } else { Ok(()) }
}

/// Does the same to each, and says for which it could not be done.
pub(super) async fn each(client: &Client, out: &mut Out, ids: &[String], verb: Verb) -> Result<(), Failure> {
    // All of them are known before the first is touched: a slip in the last one must not leave half of it done.
    let mut found = Vec::new();
    for id in ids {
        let id = find::one(client, id).await?;
        if !found.contains(&id) {
            found.push(id);
        }
    }
    let mut failed = 0;
    for id in &found {
        match one(client, *id, verb).await {
            Ok(Some(session)) if out.json => out.record(&session)?,
            Ok(Some(session)) => {
                let (id, title) = (format::short(session.id), condition::title(&session));
                out.line(&format!("{id} {}: {}", title, describe(&session)))?;
            }
            Ok(None) if out.json => out.record(&json!({ "id": id, "forgotten": true }))?,
            Ok(None) => out.line(&format!("{} forgotten", format::short(*id)))?,
            Err(error @ (Error::NoSocket { .. } | Error::Unreachable { .. } | Error::Denied { .. })) => {
                return Err(error.into());
            }
            Err(error) => {
                failed += 1;
                complain(&format!("{}: {}", format::short(*id), chain(&error)));
            }
        }
        out.flush()?;
    }
    if failed > 0 { Err(Failure::Said) } else { Ok(()) }
}

/// A path is meant from where the operator stands; the engine stands somewhere else.
fn whole(url: String) -> String {
    let is_here = !url.contains("://") && std::path::Path::new(&url).exists();
    let path = is_here.then(|| std::path::absolute(&url).ok()?.into_os_string().into_string().ok()).flatten();
    path.unwrap_or(url)
}

async fn one(client: &Client, id: Uuid, verb: Verb) -> Result<Option<Session>, Error> {
    match verb {
        Verb::Stop { force, hold } => {
            let order = StopOrder { force, hold_for: hold.map(|hold| hold.as_secs_f64()), generation: None };
            client.stop(id, order).await.map(Some)
        }
        Verb::Resume => client.resume(id, ResumeOrder::default()).await.map(Some),
        Verb::Restart => client.restart(id, ResumeOrder::default()).await.map(Some),
        Verb::Forget => client.forget(id).await.map(|()| None),
        Verb::Pin(pinned) => client.pin(id, PinOrder { pinned }).await.map(Some),
    }
}

/// The answer to a start, with the whole address.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    started: &'a Started,
    address: &'a str,
}

fn describe(session: &Session) -> String {
    let word = Word::of(session);
    format!("{} ({})", session.state.name(), condition::why(session, word, jiff::Timestamp::now()))
}
