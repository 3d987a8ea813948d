//! What viewers ask for: the playback API, playlists and segments.
//!
//! ```text
//! GET    /transcode/{id}/{rendition}/{sequence}.m4s     a segment
//! GET    /transcode/{id}/{rendition}/init-{hash}.mp4    an initialisation section
//! GET    /transcode/{id}/sub-{n}/{sequence}.vtt         subtitles beside a segment
//! GET    /transcode/{id}/{rendition}.m3u8               a media playlist
//! GET    /transcode/{id}/stream.m3u8                    the address to open
//! GET    /subs/{id}/sub{n}.vtt                          a whole subtitle, as far as it is known
//! POST   /transcode/start, GET /transcode/start?…       start or join
//! GET    /transcode/progress/{id}                       heartbeat and progress
//! GET    /transcode/seek/{id}?time=S, POST the same     a moment of a timeline
//! DELETE /transcode/{id}, POST /transcode/{id}/stop     this viewer leaves
//! DELETE /transcode-clear?url=…                         removes the caller's session of an address
//! GET    /healthz, /readyz                              liveness, readiness
//! GET    /metrics                                       for Prometheus
//! ```
//!
//! It translates HTTP and decides nothing. What carries media stands first: it is asked for most often.

mod media;
mod playlist;
mod routes;

pub use routes::{Playback, route, routes};
