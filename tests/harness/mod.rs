//! What the end-to-end tests stand on: true media, a source that misbehaves to order, the built `sluiced`
//! in a directory of its own, a player that reads frame numbers back, and a terminal for the console.
//!
//! It starts programs and asks them over their sockets, as a user would. It never links the engine, so a
//! promise is only ever judged from outside.

pub mod boxes;
pub mod built;
pub mod client;
pub mod engine;
pub mod frames;
pub mod leftovers;
pub mod media;
pub mod origin;
pub mod packets;
pub mod playlist;
pub mod records;
pub mod sound;
pub mod splices;
pub mod stand_in;
pub mod terminal;
pub mod wait;

pub use engine::{Engine, Setup};
pub use media::Media;
pub use origin::{Air, Origin};
pub use wait::wait_for;
