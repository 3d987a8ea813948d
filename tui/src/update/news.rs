//! What the engine's feed brings: snapshots, changes, ticks, and its own end and return.

use sluice_protocol::{Action, Event, Session, StateChange, Tick};
use uuid::Uuid;

use super::{act, list, reading};
use crate::{
    app::{App, Link, Row},
    clean,
    condition::Word,
    event::{Effect, News},
    format,
};

/// Takes news of the feed.
pub(super) fn hear(app: &mut App, news: News) -> Option<Effect> {
    match news {
        News::Event(event) => {
            app.heard = Some(app.now);
            let effect = record(app, *event);
            act::inform(app);
            effect
        }
        News::Lost(reason) => {
            lost(app, reason);
            None
        }
        News::Waiting(tried, wait) => {
            if let Link::Down { attempt, retry_at, .. } = &mut app.link {
                (*attempt, *retry_at) = (tried, Some(app.now.instant + wait));
            }
            None
        }
        News::Trying(number) => {
            if let Link::Down { attempt, retry_at, .. } = &mut app.link {
                (*attempt, *retry_at) = (number, None);
            }
            None
        }
    }
}

fn record(app: &mut App, event: Event) -> Option<Effect> {
    match event {
        Event::Snapshot { epoch, engine, sessions, .. } => return snapshot(app, epoch, engine, sessions),
        Event::State(change) => state(app, change),
        Event::Tick(tick) => ticked(app, tick),
        Event::Action(action) => acted(app, action),
        Event::Unknown => {}
    }
    None
}

fn snapshot(
    app: &mut App,
    epoch: Uuid,
    engine: sluice_protocol::Engine,
    sessions: Vec<Session>,
) -> Option<Effect> {
    let now = app.now.instant;
    let was_down = !app.is_live();
    let restarted = app.epoch.replace(epoch).is_some_and(|before| before != epoch);
    app.link = Link::Live;
    app.set_engine(engine);
    let listed: std::collections::HashSet<Uuid> = sessions.iter().map(|session| session.id).collect();
    let gone: Vec<Uuid> = app.rows.keys().filter(|id| !listed.contains(id)).copied().collect();
    gone.into_iter().for_each(|id| list::remove(app, id));
    for mut session in sessions {
        clean::session(&mut session);
        match app.rows.get_mut(&session.id) {
            // While we were away anything may have happened: what watching showed begins anew.
            Some(row) if !was_down => row.replace(session, now),
            _ => {
                app.rows.insert(session.id, Row::new(session, now));
            }
        }
    }
    app.list.stale = true;
    act::check_uncertain(app);
    reading::connected(app, restarted)
}

fn state(app: &mut App, change: StateChange) {
    let now = app.now.instant;
    let Some(row) = app.rows.get_mut(&change.id) else { return };
    if row.session.state == change.to && row.session.state_since == change.at {
        // The snapshot had it already; counting it twice would make every order one for a session that changed.
        return;
    }
    let mut session = row.session.clone();
    session.state = change.to;
    session.state_since = change.at;
    session.cause = change.cause;
    session.code = change.code;
    session.reason = change.reason;
    // Every change raises it by one; the next tick says so too, but a key may come before.
    session.generation += 1;
    clean::session(&mut session);
    let (from, to) = (Word::of(&row.session), Word::of(&session));
    let by = change.who.map_or_else(String::new, |who| format!(" by {}", clean::clean(&who)));
    let why = session.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
    let what = format!(
        "{} {}->{} {}{by}{why}",
        format::short(change.id),
        from.text(),
        to.text(),
        change.cause.name(),
    );
    row.replace(session, now);
    app.remember(change.at, what);
    app.list.stale = true;
}

fn ticked(app: &mut App, tick: Tick) {
    let now = app.now.instant;
    app.set_engine(tick.engine);
    for patch in tick.sessions {
        let Some(id) = patch.id() else { continue };
        // A session or patch that does not decode is a newer engine's: what we have stays, and its age shows.
        match app.rows.get_mut(&id) {
            Some(row) => {
                let mut session = row.session.clone();
                if patch.apply(&mut session).is_ok() {
                    clean::session(&mut session);
                    row.replace(session, now);
                }
            }
            None => {
                if let Ok(mut session) = patch.into_session() {
                    clean::session(&mut session);
                    app.rows.insert(id, Row::new(session, now));
                }
            }
        }
    }
    tick.removed.into_iter().for_each(|id| list::remove(app, id));
    app.list.stale = true;
}

fn acted(app: &mut App, action: Action) {
    let whom = action.id.map_or_else(String::new, |id| format!(" {}", format::short(id)));
    let what = format!("{} {}{whom}: {}", action.who, action.what, action.result);
    app.remember(action.at, clean::clean(&what).into_owned());
}

fn lost(app: &mut App, reason: String) {
    let reason = Some(clean::clean(&reason).into_owned());
    match &mut app.link {
        Link::Live => {
            app.link = Link::Down { since: app.now.instant, reason, attempt: 0, retry_at: None };
            act::cut_off(app);
            reading::cut_off(app);
        }
        Link::Down { reason: known, .. } => *known = reason,
    }
}
