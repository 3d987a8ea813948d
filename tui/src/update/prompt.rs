//! The line being typed: a filter on the list, a search in a log. It applies as it is typed.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{list, log_height};
use crate::{
    app::{App, Overlay, Prompt, Redraw, Tone},
    clean,
    event::Effect,
    filter::Filter,
    logbook::Direction,
};

/// Nobody types more than this.
const LONGEST: usize = 200;

/// Begins to type.
pub(super) fn open(app: &mut App) {
    let before = match app.log() {
        Some(log) => log.search.as_ref().map_or_else(String::new, |search| search.text.clone()),
        None => app.list.filter.text().to_owned(),
    };
    app.overlay = Some(Overlay::Prompt(Prompt { text: String::new(), before, fault: None }));
}

/// Takes a key.
pub(super) fn press(app: &mut App, key: KeyEvent) -> Option<Effect> {
    let Some(Overlay::Prompt(prompt)) = &mut app.overlay else { return None };
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Esc => return leave(app),
        KeyCode::Char('c') if control => return leave(app),
        KeyCode::Enter => return accept(app),
        KeyCode::Backspace if prompt.text.pop().is_none() => return leave(app),
        KeyCode::Backspace => {}
        KeyCode::Char('u') if control => prompt.text.clear(),
        KeyCode::Char('w') if control => {
            let kept = prompt.text.trim_end().rfind(' ').map_or(0, |at| at + 1);
            prompt.text.truncate(kept);
        }
        KeyCode::Up if prompt.text.is_empty() => prompt.text = prompt.before.clone(),
        KeyCode::Char(c) if !control && prompt.text.chars().count() < LONGEST => prompt.text.push(c),
        _ => return None,
    }
    apply(app);
    None
}

/// Takes pasted text, which is text only here: anywhere else it would be keys that act.
pub(super) fn paste(app: &mut App, text: &str) -> Option<Effect> {
    app.redraw = Redraw::Now;
    let Some(Overlay::Prompt(prompt)) = &mut app.overlay else {
        app.say(Tone::Plain, "pasted text is only taken where a line is typed");
        return None;
    };
    let first = text.lines().next().unwrap_or_default();
    let room = LONGEST.saturating_sub(prompt.text.chars().count());
    prompt.text.extend(clean::clean(first).chars().take(room));
    apply(app);
    None
}

/// Applies what is typed so far. What can't be used is said, and what was in use stays.
fn apply(app: &mut App) {
    let Some(Overlay::Prompt(prompt)) = &app.overlay else { return };
    let text = prompt.text.clone();
    let mut fault = None;
    match app.log() {
        Some(log) => fault = log.search_for(&text).err(),
        None => {
            app.list.filter = Filter::parse(&text);
            list::sort_anew(app);
        }
    }
    if let Some(Overlay::Prompt(prompt)) = &mut app.overlay {
        prompt.fault = fault;
    }
}

fn accept(app: &mut App) -> Option<Effect> {
    let Some(Overlay::Prompt(prompt)) = &app.overlay else { return None };
    if prompt.fault.is_some() {
        return None;
    }
    let empty = prompt.text.is_empty();
    app.overlay = None;
    let height = log_height(app);
    match app.log() {
        Some(log) if empty => log.search = None,
        Some(log) => log.go_to_hit(Direction::Down, height),
        None if empty => {
            app.list.filter = Filter::default();
            list::sort_anew(app);
        }
        None => {}
    }
    None
}

/// Goes back to what was in use before.
fn leave(app: &mut App) -> Option<Effect> {
    let Some(Overlay::Prompt(prompt)) = app.overlay.take() else { return None };
    match app.log() {
        Some(log) => {
            // It compiled before, so it does now; if not, no search is what remains.
            if log.search_for(&prompt.before).is_err() {
                log.search = None;
            }
        }
        None => {
            app.list.filter = Filter::parse(&prompt.before);
            list::sort_anew(app);
        }
    }
    None
}
