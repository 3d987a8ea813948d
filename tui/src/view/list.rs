//! The list of sessions, and more about the one under the cursor. Only rows on the screen are built.

use ratatui::{
    buffer::Buffer,
    layout::{Rect, Size},
};

use super::widgets::{Pen, Side, row, rule};
use crate::{
    app::{App, Row},
    condition::{self, Word},
    format::{self, UNKNOWN},
    layout,
};

/// A column of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    State,
    Title,
    User,
    Source,
    Kind,
    Position,
    Speed,
    Fps,
    Rate,
    Segments,
    Lead,
    Viewers,
    Cpu,
    Memory,
    Restarts,
    Up,
    Heartbeat,
    Id,
}

/// From left to right.
const ACROSS: [Column; 18] = [
    Column::State,
    Column::Title,
    Column::User,
    Column::Source,
    Column::Kind,
    Column::Position,
    Column::Speed,
    Column::Fps,
    Column::Rate,
    Column::Segments,
    Column::Lead,
    Column::Viewers,
    Column::Cpu,
    Column::Memory,
    Column::Restarts,
    Column::Up,
    Column::Heartbeat,
    Column::Id,
];

/// In the order in which they are given room: the last is the first to go.
const IMPORTANCE: [Column; 18] = [
    Column::State,
    Column::Title,
    Column::Speed,
    Column::Viewers,
    Column::Up,
    Column::User,
    Column::Heartbeat,
    Column::Kind,
    Column::Rate,
    Column::Segments,
    Column::Cpu,
    Column::Position,
    Column::Lead,
    Column::Fps,
    Column::Memory,
    Column::Restarts,
    Column::Source,
    Column::Id,
];

/// A title wants this much, and may take what is left up to more.
const TITLE: usize = 14;
const LONGEST_TITLE: usize = 48;

/// Draws the list's part of a screen of `size`.
pub(super) fn draw(app: &App, body: Rect, size: Size, buf: &mut Buffer) {
    let parts = layout::list(body, size);
    let columns = columns(usize::from(body.width));
    titles(app, &columns, parts.titles, buf);
    let height = usize::from(parts.rows.height);
    for (at, id) in app.list.order.iter().skip(app.list.top).take(height).enumerate() {
        if let Some(session) = app.rows.get(id) {
            line(app, session, &columns, row(parts.rows, at), buf);
        }
    }
    if app.list.order.is_empty() {
        Pen::new(buf, parts.rows).put("  ", app.theme.text()).put(nothing(app), app.theme.dim());
    }
    preview(app, parts.preview, buf);
    recent(app, parts.recent, buf);
}

fn nothing(app: &App) -> &'static str {
    match app.heard {
        None => "waiting for the engine",
        Some(_) if app.rows.is_empty() => "no sessions: sluice start URL, or a player, begins one",
        Some(_) => "no session matches: Esc shows all",
    }
}

/// The columns that fit, from left to right, with their widths.
fn columns(width: usize) -> Vec<(Column, usize)> {
    // The cursor, the mark, and a space after each column.
    let mut left = width.saturating_sub(2);
    let mut fits = Vec::new();
    for column in IMPORTANCE {
        let wanted = size(column) + 1;
        if wanted > left {
            break;
        }
        left -= wanted;
        fits.push(column);
    }
    let title = (TITLE + left).min(LONGEST_TITLE);
    ACROSS
        .into_iter()
        .filter(|column| fits.contains(column))
        .map(|column| (column, if column == Column::Title { title } else { size(column) }))
        .collect()
}

fn size(column: Column) -> usize {
    match column {
        Column::Title => TITLE,
        Column::User | Column::Id => 8,
        Column::Source => 10,
        Column::Position => 8,
        Column::Speed | Column::Memory => 5,
        Column::Segments | Column::State | Column::Up | Column::Rate | Column::Lead => 5,
        Column::Kind | Column::Cpu => 4,
        Column::Fps | Column::Viewers | Column::Restarts | Column::Heartbeat => 3,
    }
}

fn name(column: Column) -> &'static str {
    match column {
        Column::State => "STATE",
        Column::Title => "TITLE",
        Column::User => "USER",
        Column::Source => "SOURCE",
        Column::Kind => "KIND",
        Column::Position => "POS",
        Column::Speed => "SPEED",
        Column::Fps => "FPS",
        Column::Rate => "RATE",
        Column::Segments => "SEGS",
        Column::Lead => "LEAD",
        Column::Viewers => "VW",
        Column::Cpu => "CPU",
        Column::Memory => "MEM",
        Column::Restarts => "RST",
        Column::Up => "UP",
        Column::Heartbeat => "HB",
        Column::Id => "ID",
    }
}

fn side(column: Column) -> Side {
    match column {
        Column::State | Column::Title | Column::User | Column::Source | Column::Kind | Column::Id => {
            Side::Left
        }
        _ => Side::Right,
    }
}

fn titles(app: &App, columns: &[(Column, usize)], area: Rect, buf: &mut Buffer) {
    let theme = app.theme;
    let mut pen = Pen::new(buf, area);
    pen.put("  ", theme.text());
    for (column, width) in columns {
        pen.column(name(*column), *width, side(*column), theme.dim()).put(" ", theme.text());
    }
}

fn line(app: &App, shown: &Row, columns: &[(Column, usize)], area: Rect, buf: &mut Buffer) {
    let theme = app.theme;
    let id = shown.session.id;
    let word = app.word(shown);
    let selected = app.list.cursor == Some(id);
    let base = if selected { theme.selected() } else { theme.text() };
    let mut pen = Pen::new(buf, area);
    pen.put(if selected { ">" } else { " " }, base);
    pen.put(if app.list.marks.contains(&id) { "*" } else { " " }, base);
    for (column, width) in columns {
        let style = match column {
            Column::State => base.patch(theme.word(word)),
            _ => base,
        };
        pen.column(&value(app, shown, word, *column), *width, side(*column), style).put(" ", base);
    }
    if selected {
        let rest = " ".repeat(usize::from(pen.room()));
        pen.put(&rest, base);
    }
}

fn value(app: &App, shown: &Row, word: Word, column: Column) -> String {
    let session = &shown.session;
    let known = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
    // What a run was doing last says nothing once there is none.
    let running = |text: Option<String>| known(text.filter(|_| !session.runs.is_empty()));
    match column {
        Column::State => word.text().to_owned(),
        Column::Title => condition::title(session).to_owned(),
        Column::User => known(session.user.clone()),
        Column::Source => known(session.source_id.clone()),
        Column::Kind => condition::kind(session).to_owned(),
        Column::Position => known(session.position.map(format::clock)),
        Column::Speed => running(session.speed.map(format::ratio)),
        Column::Fps => running(session.fps.filter(|fps| fps.is_finite()).map(|fps| format!("{fps:.0}"))),
        Column::Rate => running(session.bitrate.map(format::rate)),
        Column::Segments => format::count(session.segments),
        Column::Lead => known(condition::lead(session).map(format::lead)),
        Column::Viewers => session.viewers.to_string(),
        Column::Cpu => running(session.cpu.map(format::percent)),
        Column::Memory => running(session.rss.map(format::bytes)),
        Column::Restarts => session.restarts.to_string(),
        Column::Up => up(app, shown, word),
        Column::Heartbeat if !app.is_live() => "?".to_owned(),
        // Without a run there is nothing to hear of.
        Column::Heartbeat if session.runs.is_empty() => UNKNOWN.to_owned(),
        Column::Heartbeat => format::brief(app.now.instant.saturating_duration_since(shown.heard)),
        Column::Id => format::short(session.id),
    }
}

/// On air: since it was started. Else: for how long it has been so.
fn up(app: &App, shown: &Row, word: Word) -> String {
    let since = if word.is_on_air() { shown.session.started_at } else { shown.session.state_since };
    format::age(format::elapsed(since, app.engine_now()))
}

fn preview(app: &App, area: Rect, buf: &mut Buffer) {
    let theme = app.theme;
    let Some(shown) = app.list.cursor.and_then(|id| app.rows.get(&id)) else { return };
    let session = &shown.session;
    let word = app.word(shown);
    let why = condition::why(session, word, app.engine_now());
    if area.height <= 1 {
        Pen::new(buf, area).put(" why ", theme.dim()).put(&why, theme.text());
        return;
    }
    let since = format::age(format::elapsed(session.state_since, app.engine_now()));
    let left = format!("{} {}", format::short(session.id), condition::title(session));
    rule(theme, row(area, 0), &left, &format!("{} for {since}", word.text()), buf);
    let wide = area.height > 4;
    for (at, (label, text)) in facts(app, shown, why, wide).iter().enumerate() {
        let label =
            if wide { format!(" {label:<9}") } else { format!(" {:<5}", label.get(..4).unwrap_or(label)) };
        Pen::new(buf, row(area, at + 1)).put(&label, theme.dim()).put(text, theme.text());
    }
}

/// What is worth knowing, the most important first.
fn facts(app: &App, shown: &Row, why: String, wide: bool) -> Vec<(&'static str, String)> {
    let session = &shown.session;
    let viewers = format::plural(session.viewers as usize, "viewer");
    let mut source = session.url.clone();
    if !wide {
        source = format!("{viewers}   {source}");
    }
    let known = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
    let picture = known(session.video.clone());
    let sound = known(session.audio.clone());
    let length = session.duration.map_or_else(String::new, |all| format!(" of {}", format::clock(all)));
    let made = format!(
        "{}{length} in {} segments, {}",
        format::clock(session.produced),
        session.segments,
        format::bytes(session.bytes)
    );
    if !wide {
        return vec![
            ("why", why),
            ("src", source),
            ("out", format!("video {picture}   audio {sound}   {made}")),
        ];
    }
    let runs = session.runs.iter().map(|run| {
        let pid = run.pid.map_or_else(|| UNKNOWN.to_owned(), |pid| pid.to_string());
        let at = run.at.map_or_else(String::new, |at| format!(" at {}", format::clock(at)));
        format!("run {} pid {pid} from {}{at} ({})", run.run, format::clock(run.from), run.state.name())
    });
    let runs: Vec<_> = runs.collect();
    vec![
        ("why", why),
        ("source", source),
        ("output", format!("video {picture}   audio {sound}")),
        ("made", made),
        ("viewers", format!("{viewers}, furthest at {}", known(session.position.map(format::clock)))),
        ("runs", if runs.is_empty() { "none".to_owned() } else { runs.join("; ") }),
        (
            "since",
            format!(
                "{} {}, started {}, {} restarts",
                format::time_of_day(session.state_since, &app.zone),
                session.cause.name(),
                format::time_of_day(session.started_at, &app.zone),
                session.restarts
            ),
        ),
        ("for", format!("user {}, source {}", known(session.user.clone()), known(session.source_id.clone()))),
        (
            "warnings",
            if session.warnings.is_empty() { "none".to_owned() } else { session.warnings.join("; ") },
        ),
    ]
}

fn recent(app: &App, area: Rect, buf: &mut Buffer) {
    let theme = app.theme;
    let mut pen = Pen::new(buf, area);
    pen.put(" ev  ", theme.dim());
    for (at, what) in app.recent.iter().rev() {
        if pen.room() < 24 {
            break;
        }
        let at = format::time_of_day(*at, &app.zone);
        pen.put(&format!("{at} {what}   "), theme.text());
    }
}
