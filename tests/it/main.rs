//! End-to-end tests: the built programs, the real ffmpeg, a real socket and a real terminal. One file a promise.

#![expect(
    clippy::unwrap_used,
    reason = "the lint knows a test by its attribute, and not the functions that tests share"
)]

mod badinput;
mod console;
mod control;
mod faults;
mod harness;
mod layering;
mod lifecycle;
mod oddities;
mod playback;
mod subtitles;
mod timeline;
