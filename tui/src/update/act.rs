//! Acts: whom they are about, the question before them, and how they went.

use std::time::Duration;

use sluice_protocol::{Detail, Session, State, code};
use uuid::Uuid;

use crate::{
    app::{Access, App, Overlay, Pending, Redraw, Row, Tone},
    clean,
    condition::{self, Word},
    dialog::{Answer, Dialog, Standing, Target, Verdict},
    event::{Act, Effect, Failure, Order},
    format,
};

/// After the cursor moved by itself, keys that act don't count for so long: they were meant for another.
const AFTER_A_MOVE: Duration = Duration::from_millis(750);

/// Begins an act on the marked sessions, else on the one here. A single resume needs no question, because
/// a stop takes it back.
pub(super) fn ask(app: &mut App, act: Act) -> Option<Effect> {
    if app.access == Access::ReadOnly {
        app.say(Tone::Bad, format!("read-only: {} is off (started with --read-only)", act.verb()));
        return None;
    }
    if !app.is_live() {
        app.say(Tone::Bad, format!("not connected: {} is off", act.verb()));
        return None;
    }
    let on_list = app.screens.is_empty();
    if on_list && app.list.marks.is_empty() && just_moved_alone(app) {
        app.say(Tone::Bad, format!("the cursor just moved by itself: press {} again", key(act)));
        return None;
    }
    let ids: Vec<Uuid> = match app.subject() {
        _ if on_list && !app.list.marks.is_empty() => {
            app.list.marks.iter().filter(|id| app.rows.contains_key(*id)).copied().collect()
        }
        subject => subject.into_iter().collect(),
    };
    let targets: Vec<Target> = ids.iter().filter_map(|id| target(app, app.rows.get(id)?)).collect();
    if targets.is_empty() {
        app.say(Tone::Bad, format!("no session here to {}", act.verb()));
        return None;
    }
    let dialog = Dialog::new(act, targets, app.now.instant);
    if act == Act::Resume && dialog.targets.len() == 1 {
        return Some(Effect::Act(orders(app, &dialog)));
    }
    app.overlay = Some(Overlay::Confirm(dialog));
    None
}

/// Takes a key for the open question.
pub(super) fn answer(app: &mut App, answer: Answer) -> Option<Effect> {
    let now = app.now.instant;
    let Some(Overlay::Confirm(dialog)) = &mut app.overlay else { return None };
    match dialog.answer(answer, now) {
        Verdict::Open => None,
        Verdict::Cancelled => {
            let words = format!("{} cancelled: nothing was done", dialog.act.verb());
            app.overlay = None;
            app.say(Tone::Plain, words);
            None
        }
        Verdict::Confirmed => {
            let dialog = dialog.clone();
            app.overlay = None;
            app.list.marks.clear();
            Some(Effect::Act(orders(app, &dialog)))
        }
    }
}

/// Keeps the open question true to what became of its sessions.
pub(super) fn inform(app: &mut App) {
    let now = app.now.instant;
    let Some(Overlay::Confirm(dialog)) = &app.overlay else { return };
    let news: Vec<_> = dialog
        .targets
        .iter()
        .map(|target| match app.rows.get(&target.id) {
            Some(row) => {
                let word = app.word(row);
                // Forgotten or ended means there is nothing left to stop.
                let gone = word == Word::Ended && target.asked_at != Word::Ended;
                let standing = if gone { Standing::Gone } else { Standing::Listed(word) };
                (target.id, standing, row.session.generation, row.session.viewers)
            }
            None => (target.id, Standing::Gone, target.generation, 0),
        })
        .collect();
    let Some(Overlay::Confirm(dialog)) = &mut app.overlay else { return };
    let mut nobody_left = false;
    for (id, standing, generation, viewers) in news {
        nobody_left |= dialog.learn(id, standing, generation, viewers, now);
    }
    if nobody_left {
        let words = format!("{}: nothing left to do, the session is gone", dialog.act.verb());
        app.overlay = None;
        app.say(Tone::Plain, words);
    }
}

/// The connection broke: a question can't be answered any more, and what was sent is uncertain.
pub(super) fn cut_off(app: &mut App) {
    if let Some(Overlay::Confirm(dialog)) = &app.overlay {
        let words = format!("{} cancelled: the connection broke", dialog.act.verb());
        app.overlay = None;
        app.say(Tone::Bad, words);
    }
    app.pending.iter_mut().for_each(|pending| pending.unknown = true);
}

/// The connection is back: what was uncertain is read off the sessions as they are now.
pub(super) fn check_uncertain(app: &mut App) {
    let (settled, open): (Vec<_>, Vec<_>) = app.pending.drain(..).partition(|pending: &Pending| {
        let moved = app.rows.get(&pending.id).is_none_or(|row| row.session.generation != pending.generation);
        pending.unknown && (moved || !pending.in_flight)
    });
    app.pending = open;
    for pending in settled {
        let what = format!("{} {}", pending.act.verb(), pending.title);
        match app.rows.get(&pending.id) {
            Some(row) if row.session.generation == pending.generation => {
                app.say(Tone::Bad, format!("{what}: did not happen, the session is as it was"));
            }
            Some(row) => {
                let word = app.word(row);
                let tone = if reached(pending.act, &row.session) { Tone::Good } else { Tone::Bad };
                app.say(tone, format!("{what}: no answer came; the session is {} now", word.text()));
            }
            None => app.say(Tone::Plain, format!("{what}: no answer came; the session is gone")),
        }
    }
}

/// Takes the outcome of an order.
pub(super) fn done(app: &mut App, ticket: u64, result: Result<Box<Session>, Failure>) -> Option<Effect> {
    let at = app.pending.iter().position(|pending| pending.ticket == ticket)?;
    let mut effect = None;
    let what = {
        let pending = &mut app.pending[at];
        pending.in_flight = false;
        format!("{} {}", pending.act.verb(), pending.title)
    };
    match result {
        Ok(_) => {
            app.pending.remove(at);
            app.say(Tone::Good, format!("{what}: done"));
        }
        Err(Failure::Refused(code, detail)) => {
            let id = app.pending.remove(at).id;
            if code == code::CHANGED {
                // What we have is not what the engine has, so nothing on this session would be accepted.
                let ticket = app.ticket();
                app.looked_at = Some((ticket, id));
                effect = Some(Effect::AskDetail { ticket, id });
            }
            let words = match code.as_str() {
                code::CHANGED => format!("{what}: refused, it changed meanwhile: look again ({detail})"),
                _ => format!("{what}: refused: {detail}"),
            };
            app.say(Tone::Bad, words);
        }
        Err(Failure::Unsent(reason)) => {
            app.pending.remove(at);
            app.say(Tone::Bad, format!("{what}: not sent: {reason}"));
        }
        Err(Failure::Unanswered(reason)) => {
            app.pending[at].unknown = true;
            app.say(Tone::Bad, format!("{what}: no answer ({reason})"));
            if app.is_live() {
                check_uncertain(app);
            }
        }
    }
    effect
}

/// Takes the session as the engine has it, after it refused an order for one that had changed.
pub(super) fn look_answer(app: &mut App, ticket: u64, answer: &Result<Box<Detail>, String>) {
    let Some((_, id)) = app.looked_at.take_if(|(asked, _)| *asked == ticket) else { return };
    let now = app.now.instant;
    if let (Ok(detail), Some(row)) = (answer, app.rows.get_mut(&id)) {
        let mut session = detail.session.clone();
        clean::session(&mut session);
        row.replace(session, now);
        app.list.stale = true;
        app.redraw = app.redraw.max(Redraw::Soon);
    }
}

fn just_moved_alone(app: &App) -> bool {
    app.list.moved_alone.is_some_and(|at| app.now.instant.saturating_duration_since(at) < AFTER_A_MOVE)
}

fn target(app: &App, row: &Row) -> Option<Target> {
    let session = &row.session;
    let word = app.word(row);
    Some(Target {
        id: session.id,
        generation: session.generation,
        title: condition::title(session).to_owned(),
        user: session.user.clone().unwrap_or_else(|| format::UNKNOWN.to_owned()),
        kind: condition::kind(session),
        age: format::age(format::elapsed(session.started_at, app.engine_now())),
        viewers: session.viewers,
        asked_at: word,
        now: Standing::Listed(word),
    })
}

fn orders(app: &mut App, dialog: &Dialog) -> Vec<Order> {
    let mut orders = Vec::new();
    for target in dialog.targets.iter().filter(|target| target.now != Standing::Gone) {
        let ticket = app.ticket();
        let (act, id, generation) = (dialog.act, target.id, target.generation);
        orders.push(Order { ticket, act, id, generation });
        app.pending.push(Pending {
            ticket,
            act,
            id,
            title: target.title.clone(),
            generation,
            sent: app.now,
            in_flight: true,
            unknown: false,
        });
    }
    orders
}

/// Whether a session is where an act would have brought it.
fn reached(act: Act, session: &Session) -> bool {
    match act {
        Act::Stop => session.held || matches!(session.state, State::Stopping | State::Stopped | State::Ended),
        Act::Force => session.state == State::Ended,
        Act::Resume | Act::Restart => {
            !session.held && !matches!(session.state, State::Failed | State::Stopped | State::Ended)
        }
    }
}

fn key(act: Act) -> char {
    match act {
        Act::Stop => 'x',
        Act::Force => 'X',
        Act::Resume => 'r',
        Act::Restart => 'R',
    }
}
