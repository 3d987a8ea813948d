//! The settings: a file as written becomes settings as meant, or is refused with all its faults at once.
//!
//! What is written is optional, may be misspelt, and lives in `written`. What is meant is complete, typed
//! and checked: [`Config`], of which each module receives its own slice. Nothing reads the environment or
//! the file again once [`Config::load`] has returned. This module knows no other module of ours.

mod keys;
mod load;
mod places;
mod sections;
#[cfg(test)]
mod tests;
mod values;
mod written;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

pub use self::load::{ConfigError, Fault, Overrides, Where};
pub use self::places::Surroundings;

/// The most that segments may take on disk. The accounting that enforces it is not here yet, so the key is
/// refused rather than believed; the number is what operators are shown.
pub const MAX_BYTES: u64 = 20 << 30;

/// All settings, complete and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The playback listener.
    pub server: Server,
    /// The control socket.
    pub control: Control,
    /// Where segments and state are kept.
    pub storage: Storage,
    /// How long sessions live and how far they run.
    pub sessions: Sessions,
    /// The programs that do the work.
    pub ffmpeg: Ffmpeg,
    /// What may be played.
    pub input: Input,
    /// What is made of it.
    pub transcode: Transcode,
    /// The sources that the config names.
    pub sources: Vec<Source>,
}

/// The playback listener: `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whose requests need no token.
    pub anonymous: Anonymous,
    /// The origins whose pages may ask, as browsers write them: `https://tv.example.com`.
    pub allow_origins: Vec<String>,
    /// The host names it answers to, besides IP literals, `localhost` and the machine's own; lower case.
    pub hosts: Vec<String>,
    /// Open connections at a time.
    pub max_connections: usize,
    /// Of these, from one address; loopback is exempt.
    pub max_connections_per_address: usize,
    /// How long responses in flight may take to finish at shutdown.
    pub drain_timeout: Duration,
}

/// Whose requests need no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anonymous {
    /// This machine's.
    Loopback,
    /// Those of the local networks.
    Private,
    /// Everybody's.
    Any,
}

/// The control socket: `[control]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Its path, absolute.
    pub socket: PathBuf,
    /// The group that may use it too.
    pub group: Option<String>,
}

/// Where segments and state are kept: `[storage]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// The directory of the segments; it may be lost at any time.
    pub dir: PathBuf,
    /// The most that segments may take on disk: [`MAX_BYTES`].
    pub max_bytes: u64,
    /// Below this many free bytes nothing is started; a small file system asks for a tenth of itself.
    pub min_free_bytes: u64,
    /// Bytes of segments held in memory.
    pub memory: u64,
}

/// How long sessions live and how far they run: `[sessions]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sessions {
    /// Without a heartbeat for so long, the runs end.
    pub idle_timeout: Duration,
    /// What a stopped film keeps its segments for.
    pub vod_cache: Duration,
    /// What an idle channel keeps its window for.
    pub live_cache: Duration,
    /// How far a run works ahead of its viewers.
    pub ahead: Duration,
    /// A run that was held back for so long is ended.
    pub ahead_timeout: Duration,
    /// Runs that work at the same time in one session.
    pub runs_per_session: usize,
    /// Sessions with a run, a probe or a retry pending.
    pub max: usize,
    /// Ended sessions that are remembered.
    pub history: usize,
    /// From a run's spawn until it is playable.
    pub start_timeout: Duration,
    /// Without progress for so long, a run has stalled.
    pub stall_timeout: Duration,
    /// What the first look at an input may take.
    pub probe_timeout: Duration,
}

/// The programs that do the work: `[ffmpeg]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ffmpeg {
    /// ffmpeg: an absolute path, or a name to be found in `$PATH`.
    pub path: PathBuf,
    /// ffprobe, likewise.
    pub ffprobe_path: PathBuf,
}

/// What may be played: `[input]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// What sources see as the user agent, unless theirs says otherwise.
    pub user_agent: UserAgent,
    /// The protocols of addresses.
    pub protocols: Vec<Protocol>,
    /// Directories whose files may be played, absolute.
    pub files: Vec<PathBuf>,
    /// Networks that may be reached although they are not public.
    pub allow_networks: Vec<IpNet>,
    /// Whether a source's certificate must be right.
    pub tls_verify: bool,
}

/// A protocol that an address may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `http`.
    Http,
    /// `https`.
    Https,
}

impl Protocol {
    /// The scheme of its addresses.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What a source sees as the user agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserAgent {
    /// Whatever ffmpeg says by itself.
    Default,
    /// This.
    Text(String),
}

impl UserAgent {
    /// The text to send; `None` leaves it to ffmpeg.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Default => None,
            Self::Text(text) => Some(text),
        }
    }
}

/// What is made of an input: `[transcode]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcode {
    /// The tallest picture that is encoded.
    pub max_resolution: Resolution,
    /// How much is spent on it.
    pub quality: Quality,
    /// What the address to open offers; both are always served.
    pub container: Container,
    /// How long a segment is meant to be.
    pub segment_duration: Duration,
    /// How far back a channel can be watched.
    pub live_dvr: Duration,
}

/// What media is served in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// Fragmented MP4, one stream a rendition.
    Fmp4,
    /// Muxed MPEG-TS.
    Ts,
}

/// The tallest picture that is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// 480 lines.
    P480,
    /// 720 lines.
    P720,
    /// 1080 lines.
    P1080,
    /// 2160 lines, written `4k`.
    P2160,
    /// As tall as the input.
    Source,
}

impl Resolution {
    /// Its lines; `None` where the input decides.
    pub fn height(self) -> Option<u32> {
        match self {
            Self::P480 => Some(480),
            Self::P720 => Some(720),
            Self::P1080 => Some(1080),
            Self::P2160 => Some(2160),
            Self::Source => None,
        }
    }
}

/// How much is spent on an encoded picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Quality {
    High,
    Medium,
    Low,
}

/// A provider of media: one `[[source]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub id: String,
    /// The beginnings of its addresses, normalised.
    pub matches: Vec<Url>,
    /// What it sees as the user agent; `None` is [`Input::user_agent`].
    pub user_agent: Option<UserAgent>,
    /// Further headers of each request. They may be credentials and are never shown.
    pub headers: Vec<(String, String)>,
}
