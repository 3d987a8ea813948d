//! The catalogue of keys: those in force, those whose feature comes later, and the nearest right one to a
//! key that is neither.

/// Whether a key does anything yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is in force.
    Now,
    /// Its feature comes later: it is refused with this sentence, since a limit that is silently not kept
    /// is worse than none.
    Later(&'static str),
}

use Standing::{Later, Now};

const USERS: &str =
    "users and their tokens come with a later version; `server.anonymous` says who may start sessions now";

/// Every key there is, with its table. `source` and `user` are lists of tables.
pub(super) const KEYS: &[(&str, Standing)] = &[
    ("server.listen", Now),
    ("server.anonymous", Now),
    ("server.allow_origins", Now),
    ("server.hosts", Now),
    (
        "server.trusted_proxies",
        Later("requests through a proxy come with a later version; until then they are refused"),
    ),
    ("server.max_connections", Now),
    ("server.max_connections_per_address", Now),
    ("server.drain_timeout", Now),
    ("control.socket", Now),
    ("control.group", Now),
    ("storage.dir", Now),
    (
        "storage.state_dir",
        Later("state that outlives the engine comes with a later version; nothing would be kept there now"),
    ),
    (
        "storage.max_bytes",
        Later("eviction comes with a later version; `storage.min_free_bytes` keeps the disk from filling up"),
    ),
    ("storage.min_free_bytes", Now),
    ("storage.memory", Now),
    ("sessions.idle_timeout", Now),
    ("sessions.vod_cache", Now),
    ("sessions.live_cache", Now),
    ("sessions.ahead", Now),
    ("sessions.ahead_timeout", Now),
    ("sessions.runs_per_session", Now),
    ("sessions.max", Now),
    ("sessions.history", Now),
    ("sessions.start_timeout", Now),
    ("sessions.stall_timeout", Now),
    ("sessions.probe_timeout", Now),
    ("ffmpeg.path", Now),
    ("ffmpeg.ffprobe_path", Now),
    ("ffmpeg.sandbox", Later("the sandbox comes with a later version; ffmpeg runs without one now")),
    ("input.user_agent", Now),
    ("input.protocols", Now),
    ("input.files", Now),
    ("input.allow_networks", Now),
    ("input.tls_verify", Now),
    ("transcode.hw", Now),
    ("transcode.max_resolution", Now),
    ("transcode.quality", Now),
    ("transcode.container", Now),
    ("transcode.segment_duration", Now),
    ("transcode.live_dvr", Now),
    (
        "transcode.probe",
        Later("inputs that may not be probed come with a later version; every input is probed now"),
    ),
    ("source.id", Now),
    ("source.match", Now),
    (
        "source.max_streams",
        Later("limits come with a later version; `sessions.max` bounds all sources together now"),
    ),
    ("source.user_agent", Now),
    ("source.headers", Now),
    ("user.name", Later(USERS)),
    ("user.token_sha256", Later(USERS)),
    ("user.max_streams", Later(USERS)),
    ("user.max_streams_per_source", Later(USERS)),
];

/// Tables that are lists, written `[[source]]`.
pub(super) const LISTS: &[&str] = &["source", "user"];

/// Below this likeness a suggestion would be a guess.
const LIKE_ENOUGH: f64 = 0.6;

/// The standing of `key`, if there is such a key.
pub(super) fn standing(key: &str) -> Option<Standing> {
    KEYS.iter().find(|(known, _)| *known == key).map(|(_, standing)| *standing)
}

/// Whether a table of this name exists.
pub(super) fn is_table(name: &str) -> bool {
    KEYS.iter().any(|(key, _)| key.split_once('.').is_some_and(|(table, _)| table == name))
}

/// Why a whole table is refused, where every key of it is, with one sentence.
pub(super) fn later_table(name: &str) -> Option<&'static str> {
    (name == "user").then_some(USERS)
}

/// The key that was probably meant.
pub(super) fn nearest(key: &str) -> Option<&'static str> {
    // A right key in a wrong table, or in none, is the commonest slip.
    let name = key.rsplit('.').next().unwrap_or(key);
    let mut namesakes =
        KEYS.iter().map(|(known, _)| *known).filter(|known| known.ends_with(&format!(".{name}")));
    if let (Some(only), None) = (namesakes.next(), namesakes.next()) {
        return Some(only);
    }
    KEYS.iter()
        .map(|(known, _)| (*known, strsim::normalized_damerau_levenshtein(key, known)))
        .filter(|(_, likeness)| *likeness >= LIKE_ENOUGH)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(known, _)| known)
}
