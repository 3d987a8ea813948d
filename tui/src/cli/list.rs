//! `sluice ls`.

use jiff::Timestamp;
use sluice_protocol::Session;

use super::{Failure, out::Out};
use crate::{
    client::Client,
    condition::{self, Word},
    format::{self, UNKNOWN},
};

/// Prints the sessions, the gravest first.
pub(super) async fn run(client: &Client, out: &mut Out, history: bool) -> Result<(), Failure> {
    let mut sessions = client.sessions(history).await?;
    sessions.sort_by(|a, b| Word::of(a).cmp(&Word::of(b)).then(a.started_at.cmp(&b.started_at)));
    if out.json {
        sessions.iter().try_for_each(|session| out.record(session))?;
        return out.flush();
    }
    out.line(&row(["ID", "STATE", "KIND", "VW", "SPEED", "SEGS", "UP", "USER", "TITLE"]))?;
    let now = Timestamp::now();
    for session in &sessions {
        out.line(&line(session, now))?;
    }
    out.flush()
}

fn line(session: &Session, now: Timestamp) -> String {
    let word = Word::of(session);
    let since = if word.is_on_air() { session.started_at } else { session.state_since };
    row([
        &format::short(session.id),
        word.text(),
        condition::kind(session),
        &session.viewers.to_string(),
        &session.speed.filter(|_| !session.runs.is_empty()).map_or_else(|| UNKNOWN.to_owned(), format::ratio),
        &format::count(session.segments),
        &format::age(format::elapsed(since, now)),
        session.user.as_deref().unwrap_or(UNKNOWN),
        condition::title(session),
    ])
}

fn row([id, state, kind, viewers, speed, segments, up, user, title]: [&str; 9]) -> String {
    format!(
        "{id:<8}  {state:<5}  {kind:<4}  {viewers:>3}  {speed:>6}  {segments:>6}  {up:>6}  {user:<10}  {title}"
    )
}
