//! The whole way through: captured and fresh streams in, samples, and sections and segments out.

mod ffmpeg;
mod stream;
mod transport;
mod transport_ffmpeg;

use std::sync::Arc;

use super::{Item, Reader, Sample, Time, Track};

/// A second of 64x36 with B-frames and a key frame every ten, as ffmpeg 5.1 gives it on a pipe of ours.
const VIDEO: &[u8] = include_bytes!("../fixtures/video.mp4");
/// Most of a second of AAC, the same way.
const AUDIO: &[u8] = include_bytes!("../fixtures/audio.mp4");
/// What ffmpeg was told to add to every time.
const LEAD: Time = Time::from_secs(10);

fn read(bytes: &[u8], lead: Time) -> (Arc<Track>, Vec<Sample>) {
    let mut reader = Reader::new(lead);
    let items = reader.feed(bytes).expect("the stream is sound");
    assert!(reader.is_whole());
    let (mut tracks, mut samples) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            Item::Track(track) => tracks.push(track),
            Item::Samples(fragment) => samples.extend(fragment),
        }
    }
    assert_eq!(tracks.len(), 1);
    (tracks.remove(0), samples)
}
