//! The proof that segments of different runs join exactly: a film is fetched segment by segment in an order that
//! makes the engine begin a run for each, joined in the order of the list, and compared with its source.
//!
//! A run ends where segments exist already. So fetching from the last to the first makes every segment come from a
//! run of its own, and every boundary a splice.

mod source;

use std::collections::BTreeMap;

use futures_util::future::join_all;
use sluice_protocol::Started;

use source::Source;

use crate::boxes::{self, Sample};
use crate::frames::{assert_gapless, beeps, pictures, sound_behind_picture};
use crate::playlist::Rendition;
use crate::{Engine, Media, Origin, Setup};

/// A file, and what the engine is to make of it.
#[derive(Debug, Clone, Copy)]
pub struct Film {
    /// Its name among the media.
    pub file: &'static str,
    /// What becomes of its picture.
    pub how: How,
    /// What stands between its pictures as decoded and upright strips of cells, as filters of ffmpeg.
    pub upright: &'static str,
    /// Pictures that share a number, since two were woven into one.
    pub woven: bool,
    /// Its sound is Opus: what a decoder leaves out after a jump is known to a tick of the container only.
    pub opus: bool,
}

/// What becomes of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Its packets are taken as they are.
    Copied,
    /// It is encoded at this constant rate.
    Encoded(&'static str),
    /// There is none.
    None,
}

impl Film {
    /// A film that is copied.
    pub const fn copied(file: &'static str) -> Self {
        Self { file, how: How::Copied, upright: "", woven: false, opus: false }
    }

    /// A film that is encoded at so many frames a second.
    pub const fn encoded(file: &'static str, rate: &'static str) -> Self {
        Self { file, how: How::Encoded(rate), upright: "", woven: false, opus: false }
    }

    /// Sound without a picture.
    pub const fn sound(file: &'static str) -> Self {
        Self { file, how: How::None, upright: "", woven: false, opus: false }
    }

    /// How far times of its container lie from the truth, in seconds: Matroska counts milliseconds, and so do many
    /// that were made of it.
    fn clock(&self) -> f64 {
        if self.file.ends_with("mp4") || self.file.ends_with("m4a") { 0.000_1 } else { 0.001_1 }
    }
}

/// The order in which segments are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// From the first to the last, as they are played.
    Playing,
    /// From the last to the first: each comes from a run of its own.
    Backwards,
    /// As this number shuffles them.
    Shuffled(u64),
}

impl Order {
    /// The numbers below `count` in this order.
    pub fn of(self, count: u64) -> Vec<u64> {
        let mut numbers: Vec<u64> = (0..count).collect();
        match self {
            Self::Playing => {}
            Self::Backwards => numbers.reverse(),
            Self::Shuffled(seed) => {
                let mut random = Random::new(seed);
                for last in (1..numbers.len()).rev() {
                    numbers.swap(last, random.below(last as u64 + 1) as usize);
                }
            }
        }
        numbers
    }
}

/// Numbers that look random and are the same each time (xorshift), so that a finding can be had again.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A row of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number, below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// One rendition, fetched whole.
#[derive(Debug)]
pub struct Track {
    /// Its playlist.
    pub list: Rendition,
    /// The initialisation section; empty in a transport stream.
    pub init: Vec<u8>,
    /// By media sequence number; segments that the list calls gaps are missing.
    pub segments: BTreeMap<u64, Vec<u8>>,
}

impl Track {
    /// All of it as one file.
    pub fn joined(&self) -> Vec<u8> {
        self.segments.values().fold(self.init.clone(), |mut all, segment| {
            all.extend(segment);
            all
        })
    }

    /// Its samples by segment, and how many of their ticks make a second.
    fn samples(&self) -> (BTreeMap<u64, Vec<Sample>>, f64) {
        let samples = self.segments.iter().map(|(number, segment)| (*number, boxes::samples(segment)));
        (samples.collect(), f64::from(boxes::timescale(&self.init)))
    }
}

/// Fetches every segment of all `lists` in this order, those of one number side by side as players do.
pub async fn fetch(lists: Vec<Rendition>, order: Order) -> Vec<Track> {
    let count = lists.iter().map(|list| list.segments.len()).max().unwrap_or(0) as u64;
    let mut segments = vec![BTreeMap::new(); lists.len()];
    for number in order.of(count) {
        let named = |list: &&Rendition| list.segments.get(&number).is_some_and(|segment| !segment.gap);
        let fetched = join_all(lists.iter().map(async |list| match named(&list) {
            true => Some(list.fetch(number).await),
            false => None,
        }));
        for (segments, fetched) in segments.iter_mut().zip(fetched.await) {
            segments.extend(fetched.map(|segment| (number, segment)));
        }
    }
    join_all(lists.into_iter().zip(segments).map(async |(list, segments)| {
        // Now that all is there, the list knows the last segment's true length.
        let list = list.anew().await;
        let mut inits = list.segments.values().map(|segment| &segment.init);
        let first = inits.next().expect("a film has segments");
        assert!(
            inits.all(|init| init == first),
            "{}: one initialisation section serves all runs",
            list.address
        );
        Track { init: list.init(0).await, list, segments }
    }))
    .await
}

/// An engine whose runs do no more than they are asked for.
pub async fn engine() -> Engine {
    Setup::default().with_named_ffmpeg().set("sessions.ahead", "\"1s\"").start().await
}

/// Plays `film` in this order and compares all of it with its source, as fragmented MP4 and as transport stream.
///
/// # Panics
///
/// Where anything differs.
pub async fn prove(engine: &Engine, origin: &Origin, film: Film, order: Order) {
    let name = format!("{} {order:?}", film.file);
    let source = Source::read(film).await;
    let address = origin.url(&format!("/files/{}?{}", film.file, format!("{order:?}").to_lowercase()));
    // The first run begins at the end too, where the others do.
    let begin = if order == Order::Backwards { source.length - 0.1 } else { 0.0 };
    let started = engine.play_from(&address, begin).await;
    let stream = engine.stream(&started).await;
    let lists = stream.renditions().await;
    assert!(lists.iter().all(|list| list.list().end_list), "{name}: the lists have their end at once");
    let tracks = fetch(lists, order).await;
    if order == Order::Backwards {
        let (runs, segments) = (runs(engine, &started).await, tracks[0].list.segments.len());
        assert!(runs >= segments, "{name}: {segments} segments came from only {runs} runs");
    }
    let has_sound = tracks.len() > usize::from(film.how != How::None);
    let boundaries = tracks[0].list.boundaries();
    let delay = source.prove_tracks(&name, tracks).await;
    if film.how != How::None {
        source.prove_transport_stream(&name, &stream, delay, &boundaries, has_sound).await;
    }
    engine.operate(started.session_id, "stop", serde_json::json!({"force": true})).await;
}

/// The same of a film that may show more in front than its source does, as one that was cut in the middle of a group:
/// no picture is missing or doubled, the last is the source's, and the sound belongs to the picture.
///
/// # Panics
///
/// Where that is not so.
pub async fn prove_in_sync(engine: &Engine, origin: &Origin, film: Film, order: Order) {
    let source = Source::read(film).await;
    let started = engine.play_from(&origin.url(&format!("/files/{}", film.file)), source.length - 0.1).await;
    let tracks = fetch(engine.stream(&started).await.renditions().await, order).await;
    let (video, audio) = (tracks[0].joined(), tracks[1].joined());
    let shown = pictures(&video[..]).await;
    let found: Vec<u16> = shown.iter().map(|picture| picture.number).collect();
    assert_gapless(&found);
    assert!(found[0] <= source.pictures[0].number, "{}: it begins at {}", film.file, found[0]);
    assert_eq!(found.last(), source.pictures.last().map(|picture| &picture.number), "{}", film.file);
    let path = Media::ready().path(film.file);
    let truth = sound_behind_picture(&pictures(&*path).await, &beeps(&*path).await);
    let behind = sound_behind_picture(&shown, &beeps(&audio[..]).await);
    assert!((behind - truth).abs() < 0.005, "{}: sound lies {behind} s behind, not {truth} s", film.file);
}

/// Compares fetched renditions with the source: its picture, then its sound.
///
/// # Panics
///
/// Where anything differs.
pub async fn compare(film: Film, tracks: Vec<Track>) {
    Source::read(film).await.prove_tracks(film.file, tracks).await;
}

/// How many runs a session has had: they are numbered from 1.
pub async fn runs(engine: &Engine, started: &Started) -> usize {
    let detail = engine.detail(started.session_id).await;
    let past = detail.past_runs.iter().map(|run| run.run);
    past.chain(detail.session.runs.iter().map(|run| run.run)).max().unwrap_or(0) as usize
}
