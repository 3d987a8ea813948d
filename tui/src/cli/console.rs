//! `sluice` alone: the screen.

use std::{fs, path::Path};

use jiff::tz::TimeZone;

use super::Failure;
use crate::{
    app::{Access, App},
    client::{Client, Error},
    event::Now,
    screen, terminal,
    theme::{Colours, Glyphs, Theme},
};

/// What can be asked for where there is no screen.
const INSTEAD: &str = "use a sub-command: ls, show, start, stop, resume, restart, forget, logs, events, engine \
                       (sluice --help)";

/// Shows the screen until the operator leaves.
pub(super) async fn show(
    socket: Option<&Path>,
    read_only: bool,
    no_color: bool,
    json: bool,
) -> Result<(), Failure> {
    if json {
        return Err(Failure::Refused(format!("the screen has no JSON: {INSTEAD}")));
    }
    if let Some(fault) = terminal::fault() {
        return Err(Failure::Refused(format!("{fault}: {INSTEAD}")));
    }
    let client = Client::find(socket)?;
    // Whoever may not, or finds nobody, learns so in a line rather than from a screen that stays empty.
    // One that is slow or odd is worth watching, though.
    if let Err(error @ (Error::Unreachable { .. } | Error::Denied { .. })) = client.engine().await {
        return Err(error.into());
    }
    let access = if read_only { Access::ReadOnly } else { Access::Full };
    let app = App::new(node(), access, theme(no_color), TimeZone::system(), Now::read());
    screen::run(client, app)
        .await
        .map_err(|error| Failure::Refused(format!("the terminal can't be used: {error}")))
}

fn theme(no_color: bool) -> Theme {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let colours = if no_color || set("NO_COLOR").is_some() { Colours::Mono } else { Colours::Terminal };
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_lowercase();
    let is_utf8 = locale.contains("utf-8") || locale.contains("utf8");
    Theme::new(colours, if is_utf8 { Glyphs::LINES } else { Glyphs::ASCII })
}

/// What this machine is called.
fn node() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim().split('.').next().unwrap_or_default().to_owned();
    if name.is_empty() { "sluice".to_owned() } else { name }
}
