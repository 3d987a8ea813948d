//! `sluice engine`.

use std::time::Duration;

use super::{Failure, out::Out};
use crate::{client::Client, format};

/// Prints how the engine is.
pub(super) async fn run(client: &Client, out: &mut Out) -> Result<(), Failure> {
    let engine = client.engine().await?;
    if out.json {
        out.record(&engine)?;
        return out.flush();
    }
    let up = format::age(Duration::from_secs_f64(engine.uptime.clamp(0.0, 1e9)));
    let (totals, limits, storage) = (engine.totals, engine.limits, engine.storage);
    let mut field = |name: &str, value: String| out.line(&format!("{name:<10} {value}"));
    let state = if engine.draining { ", shutting down" } else { "" };
    field("engine", format!("sluiced {}, pid {}, up {up}{state}", engine.version, engine.pid))?;
    field("listens", format!("http://{}", engine.listen))?;
    field("ffmpeg", engine.ffmpeg.unwrap_or_else(|| "none: nothing can be played".to_owned()))?;
    field("encoders", engine.encoders.join(", "))?;
    field(
        "sessions",
        format!("{} of {} active, {} in all", totals.active, limits.sessions, totals.sessions),
    )?;
    field("runs", format!("{}, at most {} a session", totals.runs, limits.runs_per_session))?;
    field("viewers", format!("{} (an estimate)", totals.viewers))?;
    field("started", format!("{} since the engine started", totals.started))?;
    field("cpu", format!("{} of one core, all ffmpeg together", format::percent(totals.cpu)))?;
    field("memory", format::bytes(totals.rss))?;
    let free = storage.free.map_or_else(String::new, |free| format!(", {} free", format::bytes(free)));
    field("disk", format!("{} of {}{free}", format::bytes(storage.used), format::bytes(storage.max)))?;
    field("held", format!("{} of {}", format::bytes(storage.held), format::bytes(storage.memory)))?;
    out.flush()
}
