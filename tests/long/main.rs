//! What takes too long for each change: `just test-long` runs it. Every kind of film in every order, and other
//! people's players.
//!
//! With `SLUICE_FFMPEG` the engine runs the ffmpeg that it names, so that both ends of what we support are shown.

#![expect(
    clippy::unwrap_used,
    reason = "the lint knows a test by its attribute, and not the functions that tests share"
)]

mod films;
mod players;
