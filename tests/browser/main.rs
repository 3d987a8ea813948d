//! Playback in a real browser.
