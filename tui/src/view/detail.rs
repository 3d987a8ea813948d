//! One session in full: what the list knows, and what only its detail says.

use ratatui::{buffer::Buffer, layout::Rect};
use sluice_protocol::{Detail, Session};

use super::widgets::{Pen, row, rule, wrap};
use crate::{
    app::{App, DetailScreen},
    condition,
    format::{self, UNKNOWN},
};

/// Draws it.
pub(super) fn draw(app: &App, screen: &DetailScreen, body: Rect, buf: &mut Buffer) {
    let lines = lines(app, screen, usize::from(body.width));
    let height = usize::from(body.height);
    let top = screen.top.min(lines.len().saturating_sub(height));
    for (at, line) in lines.iter().skip(top).take(height).enumerate() {
        let area = row(body, at);
        match line {
            Line::Rule(title) => rule(app.theme, area, title, "", buf),
            Line::Text(label, text) => {
                Pen::new(buf, area).put(&format!(" {label:<9}"), app.theme.dim()).put(text, app.theme.text());
            }
            Line::Alarm(text) => {
                Pen::new(buf, area).put(" ", app.theme.text()).put(text, app.theme.alarm());
            }
        }
    }
}

enum Line {
    Rule(&'static str),
    Text(&'static str, String),
    Alarm(String),
}

fn lines(app: &App, screen: &DetailScreen, width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(problem) = &screen.problem {
        lines.push(Line::Alarm(problem.clone()));
    }
    // The list is fresher than the detail, which is asked for now and then.
    let session = match (app.rows.get(&screen.id), &screen.detail) {
        (Some(row), _) => &row.session,
        (None, Some(detail)) => &detail.session,
        (None, None) => {
            lines.push(Line::Alarm("the session is gone".to_owned()));
            return lines;
        }
    };
    overview(app, screen, session, width, &mut lines);
    match &screen.detail {
        Some(detail) => more(app, detail, width, &mut lines),
        None if screen.problem.is_none() => {
            lines.push(Line::Text("", "asking the engine for more".to_owned()))
        }
        None => {}
    }
    lines
}

fn overview(app: &App, screen: &DetailScreen, session: &Session, width: usize, lines: &mut Vec<Line>) {
    let now = app.engine_now();
    let word = app.rows.get(&screen.id).map_or(condition::Word::of(session), |row| app.word(row));
    let known = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
    let since = format::age(format::elapsed(session.state_since, now));
    let up = format::age(format::elapsed(session.started_at, now));
    lines.push(Line::Text(
        word.text(),
        format!(
            "for {since}   {}   viewers {}{}   up {up}   user {}   {}",
            condition::kind(session),
            session.viewers,
            if session.pinned { "   pinned" } else { "" },
            known(session.user.clone()),
            condition::title(session),
        ),
    ));
    fold("why", &condition::why(session, word, now), width, lines);
    fold("source", &session.url, width, lines);
    if let Some(engine) = &app.engine {
        let address =
            format!("http://{}/transcode/{}/stream.m3u8", format::reachable(&engine.listen), session.id);
        fold("play", &address, width, lines);
    }
    lines.push(Line::Rule("now"));
    let length = session.duration.map_or_else(String::new, |all| format!("/{}", format::clock(all)));
    lines.push(Line::Text(
        "made",
        format!(
            "{}{length}   {} segments   {}",
            format::clock(session.produced),
            session.segments,
            format::bytes(session.bytes)
        ),
    ));
    lines.push(Line::Text(
        "position",
        format!(
            "{}   lead {}   speed {}   fps {}   rate {}   dropped {}",
            known(session.position.map(format::clock)),
            known(condition::lead(session).map(format::lead)),
            known(session.speed.map(format::ratio)),
            known(session.fps.map(|fps| format!("{fps:.0}"))),
            known(session.bitrate.map(format::rate)),
            known(session.frames_dropped.map(|frames| frames.to_string())),
        ),
    ));
    lines.push(Line::Text(
        "process",
        format!(
            "cpu {}   mem {}   {} restarts",
            known(session.cpu.map(format::percent)),
            known(session.rss.map(format::bytes)),
            session.restarts
        ),
    ));
    lines.push(Line::Text("video", known(session.video.clone())));
    lines.push(Line::Text("audio", known(session.audio.clone())));
    session.warnings.iter().for_each(|warning| fold("warning", warning, width, lines));
}

fn more(app: &App, detail: &Detail, width: usize, lines: &mut Vec<Line>) {
    let time = |at| format::time_of_day(at, &app.zone);
    lines.push(Line::Rule("runs"));
    for run in &detail.session.runs {
        let pid = run.pid.map_or_else(|| UNKNOWN.to_owned(), |pid| pid.to_string());
        let from = format::clock(run.from);
        lines.push(Line::Text(
            "now",
            format!("run {}   pid {pid}   {}   from {from}", run.run, run.state.name()),
        ));
    }
    for run in detail.past_runs.iter().rev() {
        let reason = run.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
        let to = run.to.map_or_else(|| UNKNOWN.to_owned(), format::clock);
        let text = format!(
            "run {}   {} - {}   made {} - {to}   {}{reason}",
            run.run,
            time(run.started_at),
            time(run.ended_at),
            format::clock(run.from),
            run.exit
        );
        fold("past", &text, width, lines);
    }
    if detail.session.runs.is_empty() && detail.past_runs.is_empty() {
        lines.push(Line::Text("", "none yet".to_owned()));
    }
    lines.push(Line::Rule("viewers (an estimate)"));
    for viewer in &detail.viewer_list {
        let agent = viewer.user_agent.as_deref().unwrap_or(UNKNOWN);
        let at = viewer.position.map_or_else(|| UNKNOWN.to_owned(), format::clock);
        lines.push(Line::Text(
            "",
            format!("{}   since {}   at {at}   {agent}", viewer.address, time(viewer.since)),
        ));
    }
    if detail.viewer_list.is_empty() {
        lines.push(Line::Text("", "none".to_owned()));
    }
    if !detail.argv.is_empty() {
        lines.push(Line::Rule("ffmpeg (secrets masked)"));
        detail.argv.iter().for_each(|argv| fold("", &argv.join(" "), width, lines));
    }
    if let Some(probe) = &detail.probe {
        lines.push(Line::Rule("probe"));
        let text = serde_json::to_string_pretty(probe).unwrap_or_default();
        text.lines().for_each(|line| fold("", &crate::clean::clean(line), width, lines));
    }
}

/// A text in as many lines as it needs, its label before the first.
fn fold(label: &'static str, text: &str, width: usize, lines: &mut Vec<Line>) {
    let rows = wrap(text, width.saturating_sub(11).max(8));
    let labels = std::iter::once(label).chain(std::iter::repeat(""));
    lines.extend(labels.zip(rows).map(|(label, row)| Line::Text(label, row)));
}
