//! `sluice show`.

use jiff::{Timestamp, tz::TimeZone};

use super::{Failure, find, out::Out};
use crate::{
    client::Client,
    condition::{self, Word},
    format::{self, UNKNOWN},
};

/// Prints all that is known about a session.
pub(super) async fn run(client: &Client, out: &mut Out, id: &str) -> Result<(), Failure> {
    let detail = client.session(find::one(client, id).await?).await?;
    if out.json {
        out.record(&detail)?;
        return out.flush();
    }
    let session = &detail.session;
    let zone = TimeZone::system();
    let time = |at| format::time_of_day(at, &zone);
    let known = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
    let word = Word::of(session);
    let mut field = |name: &str, value: &str| out.line(&format!("{name:<10} {value}"));
    field("id", &session.id.to_string())?;
    field("title", condition::title(session))?;
    field(
        "state",
        &format!("{} ({}) since {}", session.state.name(), word.text(), time(session.state_since)),
    )?;
    if session.pinned {
        field("pinned", "goes on with nobody watching")?;
    }
    field("why", &condition::why(session, word, Timestamp::now()))?;
    field("url", &session.url)?;
    field("kind", &format!("{}, {}", condition::kind(session), session.content_type))?;
    field("user", &known(session.user.clone()))?;
    field("source", &known(session.source_id.clone()))?;
    field("started", &time(session.started_at))?;
    field("viewers", &format!("{} (an estimate)", session.viewers))?;
    let length = session.duration.map_or_else(String::new, |all| format!(" of {}", format::clock(all)));
    let made = format!("{}{length}", format::clock(session.produced));
    field("made", &format!("{made}, {} segments, {}", session.segments, format::bytes(session.bytes)))?;
    field("speed", &known(session.speed.map(format::ratio)))?;
    field("rate", &known(session.bitrate.map(format::rate)))?;
    field("cpu", &known(session.cpu.map(format::percent)))?;
    field("memory", &known(session.rss.map(format::bytes)))?;
    field("video", &known(session.video.clone()))?;
    field("audio", &known(session.audio.clone()))?;
    field("restarts", &session.restarts.to_string())?;
    session.warnings.iter().try_for_each(|warning| field("warning", warning))?;
    for run in &session.runs {
        let pid = known(run.pid.map(|pid| pid.to_string()));
        field(
            "run",
            &format!("{} pid {pid}, {}, from {}", run.run, run.state.name(), format::clock(run.from)),
        )?;
    }
    for run in &detail.past_runs {
        let reason = run.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
        field(
            "past run",
            &format!("{} {} - {}, {}{reason}", run.run, time(run.started_at), time(run.ended_at), run.exit),
        )?;
    }
    for viewer in &detail.viewer_list {
        let agent = viewer.user_agent.as_deref().unwrap_or(UNKNOWN);
        field("viewer", &format!("{} since {}, {agent}", viewer.address, time(viewer.since)))?;
    }
    detail.argv.iter().try_for_each(|argv| field("ffmpeg", &argv.join(" ")))?;
    out.flush()
}
