//! Which session an operator means.

use sluice_protocol::Session;
use uuid::Uuid;

use super::Failure;
use crate::{
    client::Client,
    condition::{self, Word},
    format,
};

/// How many are named when several fit.
const NAMED: usize = 5;

/// The session whose id begins with `text`, among those that live and those in history.
pub(super) async fn one(client: &Client, text: &str) -> Result<Uuid, Failure> {
    // A whole id needs no list, and is right even if it fell out of history a moment ago.
    match text.parse() {
        Ok(id) => Ok(id),
        Err(_) => choose(&client.sessions(true).await?, text),
    }
}

/// The one that fits.
fn choose(sessions: &[Session], text: &str) -> Result<Uuid, Failure> {
    let wanted = text.to_lowercase();
    let fits = |session: &&Session| {
        !wanted.is_empty()
            && (session.id.to_string().starts_with(&wanted)
                || session.id.simple().to_string().starts_with(&wanted))
    };
    let found: Vec<&Session> = sessions.iter().filter(fits).collect();
    match found.as_slice() {
        [] => Err(Failure::Refused(format!(
            "no session's id begins with `{text}`: `sluice ls --history` lists all"
        ))),
        [one] => Ok(one.id),
        several => {
            let named: Vec<_> = several.iter().take(NAMED).map(|session| name(session)).collect();
            let more = several.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            Err(Failure::Refused(format!(
                "`{text}` is the beginning of {} ids: {}{more}",
                several.len(),
                named.join(", ")
            )))
        }
    }
}

/// `7f3a21bc (News 24, RUN)`.
fn name(session: &Session) -> String {
    format!("{} ({}, {})", format::short(session.id), condition::title(session), Word::of(session).text())
}
