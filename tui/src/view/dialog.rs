//! The question before an act that several sessions or viewers would feel.

use ratatui::{buffer::Buffer, layout::Rect};

use super::widgets::{Pen, Side, boxed, row};
use crate::{
    app::App,
    dialog::{Dialog, Focus, Form, Standing, Target},
    event::Act,
    format,
};

/// Draws it in the middle.
pub(super) fn draw(app: &App, question: &Dialog, area: Rect, buf: &mut Buffer) {
    let Form::Count { typed, focus } = &question.form else { return };
    let theme = app.theme;
    let changed = question.changed().count();
    // Frame, two blank lines, what it means, who feels it, what to type, the buttons.
    let fixed = 10 + u16::from(changed > 0);
    let listed = u16::try_from(question.targets.len()).unwrap_or(u16::MAX);
    let height = listed.saturating_add(fixed).min(area.height);
    let width = area.width.saturating_sub(4).min(76);
    let outer =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    let title = format!("{} {}?", sentence(question.act), format::plural(question.targets.len(), "session"));
    let inner = boxed(theme, outer, &title, &app.node, buf);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };

    let mut at = 0;
    let mut next = || {
        at += 1;
        row(inner, at - 1)
    };
    Pen::new(buf, next()).put(meaning(question.act), theme.text());
    next();
    let room = usize::from(height.saturating_sub(fixed));
    let (shown, hidden) = match question.targets.len().checked_sub(room) {
        Some(more) if more > 0 => (room.saturating_sub(1), question.targets.len() - room.saturating_sub(1)),
        _ => (question.targets.len(), 0),
    };
    question.targets.iter().take(shown).for_each(|one| target(app, one, next(), buf));
    if hidden > 0 {
        Pen::new(buf, next()).put(&format!("  and {hidden} more"), theme.strong());
    }
    next();
    let viewers = question.viewers();
    let feel = match question.act {
        _ if viewers == 0 => "Nobody watches.".to_owned(),
        Act::Resume => format!("{} waiting.", format::plural(viewers as usize, "viewer")),
        Act::Restart => format!("{} will see playback pause.", format::plural(viewers as usize, "viewer")),
        Act::Stop | Act::Force => {
            format!("{} will see playback stop (an estimate).", format::plural(viewers as usize, "viewer"))
        }
    };
    Pen::new(buf, next()).put(&feel, theme.strong());
    if changed > 0 {
        let words: Vec<_> = question.changed().map(change).collect();
        let text = format!("Changed since you opened this: {}", words.join(", "));
        Pen::new(buf, next()).put(&text, theme.alarm());
    }
    next();
    let mut pen = Pen::new(buf, next());
    pen.put(&format!("Type {} to confirm: [", question.count()), theme.text());
    pen.put(&format!("{typed:<3}"), if *focus == Focus::Field { theme.selected() } else { theme.strong() });
    pen.put("]", theme.text());
    match &question.fault {
        Some(fault) => pen.put(&format!("  {fault}"), theme.alarm()),
        None if question.act == Act::Force => pen.put("   graceful instead: g", theme.dim()),
        None => &mut pen,
    };
    next();
    let mut pen = Pen::new(buf, next());
    button(app, "Cancel", *focus == Focus::Cancel, &mut pen);
    pen.put("   ", theme.text());
    button(app, sentence(question.act), *focus == Focus::Act, &mut pen);
    pen.end("Esc cancel   Tab move ", theme.dim());
}

fn button(app: &App, words: &str, focused: bool, pen: &mut Pen<'_>) {
    let theme = app.theme;
    let (mark, style) = if focused { ("> ", theme.selected()) } else { ("  ", theme.text()) };
    pen.put(mark, theme.strong()).put(&format!("[ {words} ]"), style);
}

fn target(app: &App, target: &Target, area: Rect, buf: &mut Buffer) {
    let theme = app.theme;
    let style = if target.now == Standing::Gone { theme.dim() } else { theme.text() };
    let viewers = match target.now {
        Standing::Gone => "gone".to_owned(),
        Standing::Listed(_) => format::plural(target.viewers as usize, "viewer"),
    };
    let mut pen = Pen::new(buf, area);
    let narrow = area.width < 56;
    // How many watch is what must never be cut off.
    let title = usize::from(area.width).saturating_sub(if narrow { 22 } else { 46 }).max(8);
    pen.column(&format::short(target.id), 9, Side::Left, style).column(
        &target.title,
        title,
        Side::Left,
        style,
    );
    if !narrow {
        pen.put(" ", style).column(&target.user, 8, Side::Left, style).put(" ", style);
        pen.column(target.kind, 5, Side::Left, style).column(&target.age, 6, Side::Right, style);
    }
    pen.put("  ", style).put(&viewers, if target.viewers > 0 { theme.strong() } else { style });
}

fn change(target: &Target) -> String {
    let now = match target.now {
        Standing::Listed(word) => word.text(),
        Standing::Gone => "gone",
    };
    format!("{} {} -> {now}", format::short(target.id), target.asked_at.text())
}

fn sentence(act: Act) -> &'static str {
    match act {
        Act::Stop => "Stop",
        Act::Force => "Force-stop",
        Act::Resume => "Resume",
        Act::Restart => "Restart",
    }
}

fn meaning(act: Act) -> &'static str {
    match act {
        Act::Stop => "Stopped and held: viewers get 503 until resumed. Segments kept.",
        Act::Force => "Killed at once. Segments deleted; viewers get 503 until resumed.",
        Act::Resume => "Goes on where the furthest viewer is, or at the live edge.",
        Act::Restart => "Stopped and started again at once. Segments kept.",
    }
}
