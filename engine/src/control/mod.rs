//! What operators say to the engine and hear from it, over the control socket.
//!
//! ```text
//! GET    /v1/engine                          version, limits, totals, storage
//! GET    /v1/sessions?history=BOOL           all sessions
//! POST   /v1/sessions                        start or join
//! GET    /v1/sessions/{id}                   one session with all that is known of it
//! DELETE /v1/sessions/{id}                   forget an ended or held one
//! POST   /v1/sessions/{id}/stop              stop and hold, or kill
//! POST   /v1/sessions/{id}/resume            lift the hold, go on
//! POST   /v1/sessions/{id}/restart           its ffmpeg anew
//! GET    /v1/sessions/{id}/logs              what ffmpeg said, and says
//! GET    /v1/events?after=SEQ&epoch=E        what happens, as it happens
//! GET    /metrics                            for Prometheus
//! ```
//!
//! It translates HTTP and decides nothing: [`mod@routes`] parses, asks the registry and maps; [`shape`] turns
//! what the session layer knows into what travels; [`events`] encodes what happens once, for all who read;
//! [`logs`] is a log tail; [`operators`] knows who asks; [`request`] reads bodies and queries. How a failure
//! reads is `problem`'s to say. It does not know who may connect: the socket's permissions see to that.

mod events;
mod logs;
mod operators;
mod request;
mod routes;
mod shape;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Instant;

use jiff::Timestamp;

pub use events::Feed;
pub use routes::{route, routes};

/// What only boot knows of the engine, fixed for its life.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The engine's version.
    pub version: &'static str,
    /// When it started.
    pub started: Instant,
    /// The same on the wall clock.
    pub started_at: Timestamp,
    /// Where viewers reach it.
    pub listen: SocketAddr,
    /// Connections to the playback listener, at most.
    pub max_connections: usize,
    /// Bytes of segments on disk, at most.
    pub max_bytes: u64,
    /// What ffmpeg calls itself; `None` if it could not be run.
    pub ffmpeg: Option<String>,
    /// The H.264 encoders that it names.
    pub encoders: Vec<String>,
}
