//! The engine: takes a media address, supervises ffmpeg, serves HLS over TCP and listens on a local
//! control socket.
//!
//! Who may know whom is held by `tests/it/layering.rs`: [`ffmpeg`] and [`mux`] are values in, values out;
//! [`process`], [`launch`] and [`serve`] know nothing of media; [`metrics`] counts in words that others bring;
//! [`session`] is the life of what is played;
//! [`control`] and [`hls`] translate HTTP, and [`problem`] is how both refuse; [`boot`] alone knows them all.

pub mod access;
pub mod address;
pub mod boot;
pub mod config;
pub mod control;
pub mod fetch;
pub mod ffmpeg;
pub mod hls;
pub mod launch;
pub mod metrics;
pub mod mux;
pub mod problem;
pub mod process;
pub mod serve;
pub mod session;
