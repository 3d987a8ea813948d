//! `sluice events`.

use jiff::tz::TimeZone;
use sluice_protocol::Event;

use super::{Failure, out::Out};
use crate::{client::Client, format};

/// Prints what changes, as it changes. With `all` also how everything is, and what ticks say.
pub(super) async fn run(client: &Client, out: &mut Out, all: bool) -> Result<(), Failure> {
    let zone = TimeZone::system();
    let mut lines = client.events().await?;
    while let Some(batch) = lines.next().await? {
        for line in batch {
            let event = lines.decode(&line)?;
            let wanted = all || matches!(event, Event::State(_) | Event::Action(_));
            match (wanted, out.json) {
                (false, _) => {}
                (true, true) => out.raw(&line)?,
                (true, false) => {
                    if let Some(text) = describe(event, &zone) {
                        out.line(&text)?;
                    }
                }
            }
        }
        out.flush()?;
    }
    Err(Failure::Refused("the engine ended the feed: it was stopped, or restarted".to_owned()))
}

fn describe(event: Event, zone: &TimeZone) -> Option<String> {
    Some(match event {
        Event::State(change) => {
            let at = format::time_of_day(change.at, zone);
            let who = change.who.map_or_else(String::new, |who| format!(" by {who}"));
            let why = change.reason.or(change.code).map_or_else(String::new, |why| format!(": {why}"));
            let (from, to) = (change.from.name(), change.to.name());
            format!("{at} {} {from} -> {to} ({}){who}{why}", format::short(change.id), change.cause.name())
        }
        Event::Action(action) => {
            let at = format::time_of_day(action.at, zone);
            let whom = action.id.map_or_else(String::new, |id| format!(" {}", format::short(id)));
            format!("{at} {} {}{whom}: {}", action.who, action.what, action.result)
        }
        Event::Snapshot { seq, sessions, engine, .. } => {
            format!(
                "snapshot {seq}: sluiced {}, {}",
                engine.version,
                format::plural(sessions.len(), "session")
            )
        }
        Event::Tick(tick) => {
            format!("tick {}: {} changed, {} removed", tick.seq, tick.sessions.len(), tick.removed.len())
        }
        Event::Unknown => return None,
    })
}
