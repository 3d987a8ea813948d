//! End-to-end tests: the built programs, the real ffmpeg, a real socket and a real terminal. One file a promise.

mod harness;
