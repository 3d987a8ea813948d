//! What every screen has: how the engine is, how fresh that is, what was said last, and the keys.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::widgets::{Pen, cut};
use crate::{
    app::{Access, App, Link, Notice, Overlay, Pending, Prompt, Screen, Tone},
    condition::Word,
    dialog::{Dialog, Form, Standing},
    event::Act,
    format, keymap,
    layout::{Parts, SMALLEST},
    logbook::Logbook,
};

/// Says that there is no room.
pub(super) fn too_small(app: &App, area: Rect, buf: &mut Buffer) {
    let words =
        format!("too small: {}x{}, need {}x{}", area.width, area.height, SMALLEST.width, SMALLEST.height);
    Pen::new(buf, area).put(&words, app.theme.strong());
}

/// Draws the parts around a screen.
pub(super) fn draw(app: &App, parts: &Parts, buf: &mut Buffer) {
    header(app, parts.header, buf);
    match app.is_live() {
        true => tabs(app, parts.tabs, buf),
        false => banner(app, parts.tabs, buf),
    }
    notice(app, parts.notice, buf);
    hints(app, parts.hints, buf);
}

fn header(app: &App, area: Rect, buf: &mut Buffer) {
    let theme = app.theme;
    let wide = area.width >= 76;
    let mut pen = Pen::new(buf, area);
    pen.put(" ", theme.text())
        .put(&cut(&app.node, if wide { 24 } else { 8 }), theme.strong())
        .put(" ", theme.text());
    let (word, style) = liveness(app);
    pen.put(&word, style).put(" ", theme.text());
    if app.access == Access::ReadOnly {
        pen.put("[read-only] ", theme.caution());
    }
    let Some(engine) = &app.engine else { return };
    let was = if app.is_live() { "" } else { "was " };
    let sessions = format!("{was}{}/{}", engine.totals.active, engine.limits.sessions);
    pen.put(&sessions, theme.text()).put(if wide { "  " } else { " " }, theme.text());
    for word in [Word::Failed, Word::Stalled, Word::Slow, Word::Retrying, Word::Starting] {
        let count = app.rows.values().filter(|row| app.word(row) == word).count();
        if count == 0 {
            continue;
        }
        let text =
            if wide { format!("{count} {} ", word.text()) } else { format!("{count}{} ", initial(word)) };
        pen.put(&text, theme.word(word));
    }
    let known = |text: String| if app.is_live() { text } else { format::UNKNOWN.to_owned() };
    let totals = engine.totals;
    let (cpu, rss) = (known(format::percent(totals.cpu)), known(format::bytes(totals.rss)));
    let disk = known(share(engine.storage.used, engine.storage.max));
    if !wide {
        for text in [format!("cpu{cpu}"), format!(" disk{disk}")] {
            if text.len() <= usize::from(pen.room()) {
                pen.put(&text, theme.text());
            }
        }
        return;
    }
    let nearly_full = engine.storage.max > 0 && engine.storage.used / (engine.storage.max / 100).max(1) >= 80;
    // Whole or not at all, the gravest first: half a number is none.
    let facts = [
        (engine.draining.then(|| " shutting down ".to_owned()), theme.alarm()),
        (engine.ffmpeg.is_none().then(|| " no ffmpeg ".to_owned()), theme.alarm()),
        (Some(format!(" cpu {cpu}")), theme.text()),
        (nearly_full.then(|| format!("  disk {disk}!")), theme.alarm()),
        ((!nearly_full).then(|| format!("  disk {disk}")), theme.text()),
        (Some(format!("  mem {rss}")), theme.text()),
        (Some(format!("  viewers {}", totals.viewers)), theme.text()),
        (Some(format!("  runs {}", totals.runs)), theme.text()),
    ];
    for (text, style) in facts {
        if let Some(text) = text.filter(|text| text.len() <= usize::from(pen.room())) {
            pen.put(&text, style);
        }
    }
    if area.width >= 120 {
        let up = format::age(std::time::Duration::from_secs_f64(engine.uptime.clamp(0.0, 1e9)));
        pen.end(&format!("sluiced {} up {up}  http://{} ", engine.version, engine.listen), theme.dim());
    }
}

/// `[LIVE]`, with its age once it is worth a look, or for how long it has not been.
fn liveness(app: &App) -> (String, Style) {
    let theme = app.theme;
    match &app.link {
        Link::Live => {
            let silent = app.heard.map(|heard| app.now.instant.saturating_duration_since(heard.instant));
            match silent.map(|silent| silent.as_secs()) {
                Some(seconds) if seconds >= 2 => (format!("[LIVE {seconds}s]"), theme.caution()),
                _ => ("[LIVE]".to_owned(), theme.good()),
            }
        }
        Link::Down { reason: None, .. } => ("[....]".to_owned(), theme.caution()),
        Link::Down { since, .. } => {
            let down = app.now.instant.saturating_duration_since(*since);
            (format!("[DOWN {}]", format::clock(down.as_secs_f64())), theme.alarm())
        }
    }
}

fn banner(app: &App, area: Rect, buf: &mut Buffer) {
    let Link::Down { since, reason, attempt, retry_at } = &app.link else { return };
    let now = app.now.instant;
    let down = format::age(now.saturating_duration_since(*since));
    let retry = match retry_at {
        Some(at) => {
            // Rounded up, so that it never says "in 0s".
            let left = at.saturating_duration_since(now).as_secs_f64().ceil();
            format!("retry {} in {left:.0}s", attempt + 1)
        }
        None => format!("try {} under way", attempt.max(&1)),
    };
    let reason = reason.as_deref().unwrap_or("connecting");
    let text = if area.width < 76 {
        format!("!! NOT LIVE {down} - {retry} - C now")
    } else if let Some(heard) = app.heard {
        let from = format::time_of_day(heard.wall, &app.zone);
        // The reason is what gives way: how old the data is must always be on the screen.
        let rest = format!(" - data is from {from} - {retry} - C retry now");
        let room = usize::from(area.width).saturating_sub(rest.len() + 17 + down.len());
        format!("!! NOT LIVE {down} ({}){rest}", cut(reason, room))
    } else {
        format!("!! NOT LIVE {down} ({}) - no data yet - {retry} - C retry now", cut(reason, 24))
    };
    Pen::new(buf, area).put(" ", app.theme.text()).put(&text, app.theme.alarm());
}

fn tabs(app: &App, area: Rect, buf: &mut Buffer) {
    let theme = app.theme;
    let mut pen = Pen::new(buf, area);
    match app.screens.last() {
        None => {
            pen.put(" [Sessions]", theme.strong());
            let list = &app.list;
            let mut words = Vec::new();
            if list.problems_only {
                words.push("problems only".to_owned());
            }
            let filter = if list.filter.is_empty() { "none" } else { list.filter.text() };
            words.push(format!("filter:{}", cut(filter, 24)));
            let reversed = if list.reversed { " reversed" } else { "" };
            let held = if list.order_held { " held" } else { "" };
            words.push(format!("sort:{}{reversed}{held}", list.sort.name()));
            words.push(format!("{}/{} ", list.order.len(), app.rows.len()));
            pen.end(&words.join("  "), theme.text());
        }
        Some(Screen::Detail(screen)) => {
            pen.put(" Sessions > ", theme.dim()).put(&app.title_of(screen.id), theme.strong());
            pen.end(&place_of(app, screen.id), theme.text());
        }
        Some(Screen::Logs(log)) => {
            pen.put(" Sessions > log > ", theme.dim()).put(&app.title_of(log.id), theme.strong());
            pen.end(&place_of(app, log.id), theme.text());
        }
    }
}

/// `s-7f3a 3/37`: which session, and which of how many.
fn place_of(app: &App, id: uuid::Uuid) -> String {
    let word = app.rows.get(&id).map_or("gone", |row| app.word(row).text());
    match app.list.order.iter().position(|other| *other == id) {
        Some(at) => format!("{word}  {}  {}/{} ", format::short(id), at + 1, app.list.order.len()),
        None => format!("{word}  {} ", format::short(id)),
    }
}

fn notice(app: &App, area: Rect, buf: &mut Buffer) {
    let theme = app.theme;
    let uncertain = app.pending.iter().find(|pending| pending.unknown);
    match (&app.overlay, uncertain, &app.notice) {
        (Some(Overlay::Prompt(prompt)), _, _) => typed(app, prompt, area, buf),
        (Some(Overlay::Confirm(question)), _, _) if question.form == Form::YesNo => {
            yes_no(app, question, area, buf)
        }
        (_, Some(pending), _) => unknown(app, pending, area, buf),
        (_, None, Some(said)) => {
            Pen::new(buf, area).put(" ", theme.text()).put(&said.text, tone(app, said));
        }
        (_, None, None) => quiet(app, area, buf),
    }
}

fn tone(app: &App, notice: &Notice) -> Style {
    match notice.tone {
        Tone::Plain => app.theme.text(),
        Tone::Good => app.theme.good(),
        Tone::Bad => app.theme.alarm(),
    }
}

fn typed(app: &App, prompt: &Prompt, area: Rect, buf: &mut Buffer) {
    let theme = app.theme;
    let mut pen = Pen::new(buf, area);
    // The end of what is typed is what the operator looks at.
    let room = usize::from(area.width / 2);
    let width = unicode_width::UnicodeWidthStr::width(prompt.text.as_str());
    let (_, tail) = super::widgets::skip(&prompt.text, width.saturating_sub(room));
    pen.put(" /", theme.key()).put(tail, theme.text()).put(" ", theme.selected()).put("  ", theme.text());
    match (&prompt.fault, app.screens.last()) {
        (Some(fault), _) => pen.put(fault, theme.alarm()),
        (None, Some(Screen::Logs(log))) => pen.put(&matches(log), theme.dim()),
        (None, _) => pen.put(
            &format!("{} shown  words, !not, state: user: source: kind: id:", app.list.order.len()),
            theme.dim(),
        ),
    };
}

fn matches(log: &Logbook) -> String {
    let Some(search) = &log.search else { return "regex, smart case".to_owned() };
    let count = search.count();
    let found = if count == 1 { "1 match".to_owned() } else { format!("{count} matches") };
    match search.position() {
        Some(position) => format!("{found}, {position} of {count}"),
        None => found,
    }
}

fn yes_no(app: &App, question: &Dialog, area: Rect, buf: &mut Buffer) {
    let theme = app.theme;
    let [target] = question.targets.as_slice() else { return };
    let mut pen = Pen::new(buf, area);
    let changed = match target.now {
        Standing::Listed(word) if word != target.asked_at => {
            format!("changed {}->{}: ", target.asked_at.text(), word.text())
        }
        _ => String::new(),
    };
    let means = match question.act {
        Act::Force => " (kills at once, deletes its segments)",
        Act::Stop => " (held until resumed)",
        Act::Resume | Act::Restart => "",
    };
    let tail = format!("{means}? y/N");
    let head = format!("{} {} ", question.act.verb(), format::short(target.id));
    let room = usize::from(area.width).saturating_sub(3 + changed.len() + head.len() + tail.len());
    pen.put(" ", theme.text()).put(&changed, theme.alarm()).put(&head, theme.strong());
    pen.put(&cut(&target.title, room.max(8)), theme.strong())
        .put(&tail, theme.strong())
        .put(" ", theme.selected());
}

fn unknown(app: &App, pending: &Pending, area: Rect, buf: &mut Buffer) {
    let theme = app.theme;
    let at = format::time_of_day(pending.sent.wall, &app.zone);
    let more = app.pending.iter().filter(|pending| pending.unknown).count() - 1;
    let more = if more > 0 { format!(" (+{more} more)") } else { String::new() };
    let tail = format!(" sent {at}: no answer - UNKNOWN, will re-check{more}");
    let off = if app.is_live() { "" } else { "x X r R off. " };
    let room =
        usize::from(area.width).saturating_sub(1 + off.len() + tail.len() + pending.act.verb().len() + 1);
    let what = format!("{} {}", pending.act.verb(), cut(&pending.title, room.max(8)));
    Pen::new(buf, area)
        .put(" ", theme.text())
        .put(off, theme.text())
        .put(&format!("{what}{tail}"), theme.alarm());
}

/// What stands there when nothing was said: a search, marks, orders under way.
fn quiet(app: &App, area: Rect, buf: &mut Buffer) {
    let theme = app.theme;
    let mut pen = Pen::new(buf, area);
    pen.put(" ", theme.text());
    if let Some(Screen::Logs(log)) = app.screens.last() {
        if let Some(search) = &log.search {
            pen.put(&format!("/{}", search.text), theme.key()).put("   ", theme.text());
            pen.put(&matches(log), theme.text()).put("   n next  N previous  Esc clear", theme.dim());
        }
    } else if !app.pending.is_empty() {
        let what: Vec<_> = app.pending.iter().map(|p| format!("{} {}", p.act.verb(), p.title)).collect();
        pen.put(&format!("sent: {}", what.join(", ")), theme.caution());
    } else if !app.list.marks.is_empty() && app.screens.is_empty() {
        let titles: Vec<_> = app.list.marks.iter().take(8).map(|id| app.title_of(*id)).collect();
        pen.put(&format!("{} marked ({})", app.list.marks.len(), titles.join(", ")), theme.strong());
        pen.put("  -  u clear marks", theme.dim());
    } else if !app.is_live() && app.heard.is_some() {
        pen.put("x X r R off until connected", theme.dim());
    }
}

fn hints(app: &App, area: Rect, buf: &mut Buffer) {
    let theme = app.theme;
    let mut pen = Pen::new(buf, area);
    pen.put(" ", theme.text());
    let moves = match app.place() {
        keymap::Place::List => "j/k",
        _ => "Esc",
    };
    let moves_words = if moves == "Esc" { " back  " } else { " move  " };
    // Help comes first where not all keys fit: it names the rest.
    let all: Vec<_> = keymap::hints(app.place()).collect();
    pen.put(moves, theme.key()).put(moves_words, theme.text());
    if !app.is_live() {
        pen.put("C", theme.key()).put(" retry  ", theme.text());
    }
    let last = "? help";
    let may_act = app.is_live() && app.access == Access::Full;
    let offered = |binding: &&&keymap::Binding| {
        binding.command != keymap::Command::Help && (may_act || binding.group != keymap::Group::Act)
    };
    for binding in all.iter().filter(offered) {
        let width = binding.shown.len() + binding.hint.len() + 3;
        if usize::from(pen.room()) < width + last.len() {
            break;
        }
        let key = binding.shown.split(' ').next().unwrap_or_default();
        pen.put(key, theme.key())
            .put(" ", theme.text())
            .put(binding.hint, theme.text())
            .put("  ", theme.text());
    }
    pen.put("?", theme.key()).put(" help", theme.text());
}

fn share(used: u64, max: u64) -> String {
    if max == 0 { format::UNKNOWN.to_owned() } else { format::percent(used as f64 / max as f64 * 100.0) }
}

fn initial(word: Word) -> &'static str {
    match word {
        Word::Failed => "F",
        Word::Stalled => "L",
        Word::Slow => "S",
        Word::Retrying => "R",
        _ => "T",
    }
}
