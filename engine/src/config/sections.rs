//! The slices of a config, one function a table, and the rules that concern more than one key.
//!
//! Every key is read before any is missed, so that a file's faults come together.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::{Table, Value};

use super::places::Surroundings;
use super::values::{self, boolean, count, directory, duration, list, only, size, word};
use super::written::Written;
use super::{
    Anonymous, Config, Container, Control, Ffmpeg, Input, MAX_BYTES, Quality, Resolution, Server, Sessions,
    Source, Storage, Transcode,
};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// The whole config; `None` if anything was at fault.
pub(super) fn config(written: &mut Written, around: &Surroundings<'_>) -> Option<Config> {
    let server = server(written);
    let control = control(written, around);
    let storage = storage(written, around);
    let sessions = sessions(written);
    let ffmpeg = ffmpeg(written);
    let input = input(written);
    let transcode = transcode(written);
    let sources = sources(written);
    if let Some(server) = &server {
        check_reach(written, server);
    }
    if !written.is_faultless() {
        return None;
    }
    Some(Config {
        server: server?,
        control: control?,
        storage: storage?,
        sessions: sessions?,
        ffmpeg: ffmpeg?,
        input: input?,
        transcode: transcode?,
        sources,
    })
}

fn server(written: &mut Written) -> Option<Server> {
    const ANONYMOUS: [(&str, Anonymous); 3] =
        [("loopback", Anonymous::Loopback), ("private", Anonymous::Private), ("any", Anonymous::Any)];
    let listen = written.read("server.listen", values::socket_addr);
    let anonymous = written.read("server.anonymous", word(&ANONYMOUS));
    let allow_origins = written.read("server.allow_origins", list(values::origin));
    let hosts = written.read("server.hosts", list(values::host));
    let max_connections = written.read("server.max_connections", count(1..=1_000_000));
    let per_address = written.read("server.max_connections_per_address", count(1..=1_000_000));
    let drain_timeout = written.read("server.drain_timeout", duration(seconds(0, 600)));
    Some(Server {
        listen: listen?,
        anonymous: anonymous?,
        allow_origins: allow_origins?,
        hosts: hosts?,
        max_connections: max_connections?,
        max_connections_per_address: per_address?,
        drain_timeout: drain_timeout?,
    })
}

/// An engine that listens where nobody could get in is a mistake that looks like a broken network.
fn check_reach(written: &mut Written, server: &Server) {
    let beyond = !server.listen.ip().to_canonical().is_loopback();
    if beyond && server.anonymous == Anonymous::Loopback {
        let says = format!(
            "`server.listen` is {}, beyond loopback, but nobody from there could get in: set `server.anonymous` to \
             \"private\" or \"any\", or, with a later version, name those who may in `[[user]]`",
            server.listen
        );
        written.fault("server.listen", says);
    }
}

fn control(written: &mut Written, around: &Surroundings<'_>) -> Option<Control> {
    let group = written.read("control.group", values::group);
    let socket = if written.has("control.socket") {
        written.read("control.socket", values::socket_path)
    } else {
        // Checked like a written one: a long `$XDG_RUNTIME_DIR` makes a path that can't be bound either.
        let found = around
            .socket()
            .and_then(|path| values::socket_path(&Value::String(path.to_string_lossy().into())));
        noted(written, "control.socket", found)
    };
    Some(Control { socket: socket?, group })
}

fn storage(written: &mut Written, around: &Surroundings<'_>) -> Option<Storage> {
    let dir = if written.has("storage.dir") {
        written.read("storage.dir", directory)
    } else {
        noted(written, "storage.dir", around.cache_dir())
    };
    let min_free_bytes = written.read("storage.min_free_bytes", size(0..=1 << 50));
    let memory = written.read("storage.memory", size(64 << 10..=1 << 40));
    Some(Storage { dir: dir?, max_bytes: MAX_BYTES, min_free_bytes: min_free_bytes?, memory: memory? })
}

fn sessions(written: &mut Written) -> Option<Sessions> {
    let idle_timeout = written.read("sessions.idle_timeout", duration(a_moment_to(DAY)));
    let vod_cache = written.read("sessions.vod_cache", duration(seconds(0, 365 * DAY)));
    let live_cache = written.read("sessions.live_cache", duration(seconds(0, DAY)));
    let ahead = written.read("sessions.ahead", duration(seconds(1, 6 * HOUR)));
    let ahead_timeout = written.read("sessions.ahead_timeout", duration(seconds(0, DAY)));
    let runs_per_session = written.read("sessions.runs_per_session", count(1..=16));
    let max = written.read("sessions.max", count(1..=10_000));
    let history = written.read("sessions.history", count(0..=10_000));
    let start_timeout = written.read("sessions.start_timeout", duration(a_moment_to(600)));
    let stall_timeout = written.read("sessions.stall_timeout", duration(a_moment_to(600)));
    let probe_timeout = written.read("sessions.probe_timeout", duration(a_moment_to(120)));
    Some(Sessions {
        idle_timeout: idle_timeout?,
        vod_cache: vod_cache?,
        live_cache: live_cache?,
        ahead: ahead?,
        ahead_timeout: ahead_timeout?,
        runs_per_session: runs_per_session?,
        max: max?,
        history: history?,
        start_timeout: start_timeout?,
        stall_timeout: stall_timeout?,
        probe_timeout: probe_timeout?,
    })
}

fn ffmpeg(written: &mut Written) -> Option<Ffmpeg> {
    let path = written.read("ffmpeg.path", values::program);
    let ffprobe_path = written.read("ffmpeg.ffprobe_path", values::program);
    Some(Ffmpeg { path: path?, ffprobe_path: ffprobe_path? })
}

fn input(written: &mut Written) -> Option<Input> {
    let user_agent = written.read("input.user_agent", values::user_agent);
    let protocols = written.read("input.protocols", list(values::protocol));
    let files = written.read("input.files", list(values::media_directory));
    let allow_networks = written.read("input.allow_networks", list(values::network));
    let tls_verify = written.read("input.tls_verify", boolean);
    Some(Input {
        user_agent: user_agent?,
        protocols: protocols?,
        files: files?,
        allow_networks: allow_networks?,
        tls_verify: tls_verify?,
    })
}

fn transcode(written: &mut Written) -> Option<Transcode> {
    const RESOLUTIONS: [(&str, Resolution); 5] = [
        ("480p", Resolution::P480),
        ("720p", Resolution::P720),
        ("1080p", Resolution::P1080),
        ("4k", Resolution::P2160),
        ("source", Resolution::Source),
    ];
    const QUALITIES: [(&str, Quality); 3] =
        [("high", Quality::High), ("medium", Quality::Medium), ("low", Quality::Low)];
    const CONTAINERS: [(&str, Container); 2] = [("fmp4", Container::Fmp4), ("ts", Container::Ts)];
    // One word can be had so far, so there is nothing to keep.
    written.read("transcode.hw", only("software", &["nvidia", "intel", "vaapi", "auto"]));
    let container = written.read("transcode.container", word(&CONTAINERS));
    let max_resolution = written.read("transcode.max_resolution", word(&RESOLUTIONS));
    let quality = written.read("transcode.quality", word(&QUALITIES));
    let segment_duration = written.read("transcode.segment_duration", duration(seconds(1, 10)));
    let live_dvr = written.read("transcode.live_dvr", duration(seconds(3, 6 * HOUR)));
    let (segment_duration, live_dvr) = (segment_duration?, live_dvr?);
    // Players start three segments from the end; a shorter window has no such place.
    if live_dvr < segment_duration * 3 {
        let says = "`transcode.live_dvr` must be at least three times `transcode.segment_duration`";
        written.fault("transcode.live_dvr", says.into());
        return None;
    }
    Some(Transcode {
        max_resolution: max_resolution?,
        quality: quality?,
        container: container?,
        segment_duration,
        live_dvr,
    })
}

fn sources(written: &mut Written) -> Vec<Source> {
    let (mut ids, mut prefixes) = (HashSet::new(), HashSet::new());
    let mut sources = Vec::new();
    for (index, table) in written.list("source").iter().enumerate() {
        let Some(source) = source(written, index, table) else { continue };
        if !ids.insert(source.id.clone()) {
            written.fault("source.id", format!("`source.id` {:?} is given twice", source.id));
        }
        for prefix in &source.matches {
            if !prefixes.insert(prefix.clone()) {
                // Which of two sources an address belongs to must not depend on their order.
                written.fault("source.match", format!("`source.match` \"{prefix}\" is given twice"));
            }
        }
        sources.push(source);
    }
    sources
}

fn source(written: &mut Written, index: usize, table: &Table) -> Option<Source> {
    let name = match table.get("id").and_then(Value::as_str) {
        Some(id) => format!("`[[source]]` {id:?}"),
        None => format!("`[[source]]` number {}", index + 1),
    };
    if !table.contains_key("id") {
        written.fault("source.id", format!("{name}: `id` is missing"));
    }
    let id = of_source(written, &name, table, "id", values::source_id);
    let matches = of_source(written, &name, table, "match", list(values::prefix));
    let user_agent = of_source(written, &name, table, "user_agent", values::user_agent);
    let headers = of_source(written, &name, table, "headers", values::headers);
    Some(Source {
        id: id?,
        matches: matches.unwrap_or_default(),
        user_agent,
        headers: headers.unwrap_or_default(),
    })
}

fn of_source<T>(
    written: &mut Written,
    name: &str,
    table: &Table,
    key: &str,
    meaning: impl Fn(&Value) -> Result<T, String>,
) -> Option<T> {
    match meaning(table.get(key)?) {
        Ok(meant) => Some(meant),
        Err(says) => {
            written.fault(&format!("source.{key}"), format!("{name}: `{key}` {says}"));
            None
        }
    }
}

fn noted<T>(written: &mut Written, key: &str, found: Result<T, String>) -> Option<T> {
    found.map_err(|says| written.fault(key, format!("`{key}` {says}"))).ok()
}

fn seconds(least: u64, most: u64) -> RangeInclusive<Duration> {
    Duration::from_secs(least)..=Duration::from_secs(most)
}

/// A wait that must be longer than nothing.
fn a_moment_to(most: u64) -> RangeInclusive<Duration> {
    Duration::from_millis(100)..=Duration::from_secs(most)
}

/// The built-in defaults of a slice, for those who need no file.
macro_rules! defaults {
    ($($slice:ident: $read:ident),+) => {
        $(impl Default for $slice {
            fn default() -> Self {
                $read(&mut Written::empty()).expect("the built-in defaults have no fault")
            }
        })+
    };
}

defaults!(Server: server, Sessions: sessions, Ffmpeg: ffmpeg, Input: input, Transcode: transcode);
