//! The proof that segments of different runs join exactly: a film is fetched segment by segment in an order that
//! makes the engine begin a run for each, joined in the order of the list, and compared with its source.
//!
//! A run ends where segments exist already. So fetching from the last to the first makes every segment come from a
//! run of its own, and every boundary a splice.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use sluice_protocol::Started;

use crate::boxes::{self, Sample};
use crate::frames::{Picture, complaints, pictures, pictures_through};
use crate::packets::{hash, packets};
use crate::playlist::{Rendition, Stream};
use crate::sound::{Sound, sound};
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
        Self { file, how: How::Copied, upright: "", woven: false }
    }

    /// A film that is encoded at so many frames a second.
    pub const fn encoded(file: &'static str, rate: &'static str) -> Self {
        Self { file, how: How::Encoded(rate), upright: "", woven: false }
    }

    /// Sound without a picture.
    pub const fn sound(file: &'static str) -> Self {
        Self { file, how: How::None, upright: "", woven: false }
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
    join_all(lists.into_iter().zip(segments).map(async |(mut list, segments)| {
        list.reload().await;
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

/// What ffmpeg makes of a source when it decodes it in one go.
struct Source {
    film: Film,
    pictures: Vec<Picture>,
    /// When its first picture is shown by its own clock, in seconds.
    zero: f64,
    /// When its last picture is shown, or its sound ends, counted from there.
    length: f64,
}

impl Source {
    async fn read(film: Film) -> Self {
        let path = Media::ready().path(film.file);
        if film.how == How::None {
            let sound = sound(&*path, 0, 48_000).await;
            let zero = sound.start as f64 / 48_000.0;
            return Self { film, pictures: vec![], zero, length: sound.samples.len() as f64 / 48_000.0 };
        }
        let mut filters: Vec<String> = vec![];
        if !film.upright.is_empty() {
            filters.push(film.upright.to_owned());
        }
        let shown = pictures_through(&*path, &filters.join(",")).await;
        let zero = shown.first().expect("a film has pictures").at;
        let pictures = match film.how {
            How::Encoded(rate) => {
                filters.extend(["setpts=PTS-STARTPTS".to_owned(), format!("fps={rate}:start_time=0")]);
                pictures_through(&*path, &filters.join(",")).await
            }
            _ => shown.iter().map(|picture| Picture { at: picture.at - zero, ..*picture }).collect(),
        };
        let length = pictures.last().expect("a film has pictures").at;
        Self { film, pictures, zero, length }
    }

    fn number(&self, picture: &Picture) -> u16 {
        if self.film.woven { picture.number / 2 } else { picture.number }
    }

    /// Answers by how much all of it is late.
    async fn prove_tracks(&self, name: &str, mut tracks: Vec<Track>) -> f64 {
        let boundaries = tracks[0].list.boundaries();
        let mut delay = 0.0;
        if self.film.how != How::None {
            let video = tracks.remove(0);
            delay = self.prove_picture(name, &video).await;
        }
        for (index, audio) in tracks.iter().enumerate() {
            self.prove_sound(name, audio, index, &boundaries, delay).await;
        }
        delay
    }

    /// Answers by how much the picture is late, which is the same for all renditions.
    async fn prove_picture(&self, name: &str, video: &Track) -> f64 {
        let clock = self.film.clock();
        let shown = pictures_through(&video.joined()[..], self.film.upright).await;
        self.prove_pictures(name, &shown, 0.0);
        let delay = shown[0].at;
        if matches!(self.film.how, How::Encoded(_)) {
            assert!(delay.abs() < 0.000_1, "{name}: what is encoded begins at 0, not at {delay}");
        }
        let (samples, ticks) = video.samples();
        let boundaries = video.list.boundaries();
        let count: usize = samples.values().map(Vec::len).sum();
        assert_eq!(count, self.pictures.len(), "{name}: one sample a picture");
        let mut last: Option<&Sample> = None;
        for (number, samples) in &samples {
            let first = &samples[0];
            assert!(first.sync, "{name}: segment {number} begins with a key frame");
            let expected = boundaries[*number as usize] + delay;
            let at = first.shown as f64 / ticks;
            assert!(
                (at - expected).abs() < 0.001 + clock,
                "{name}: segment {number} begins at {at}, not {expected}"
            );
            for pair in samples.windows(2) {
                assert!(pair[1].decoded > pair[0].decoded, "{name}: in segment {number}, decoding goes on");
            }
            if let Some(last) = last {
                let step = first.decoded - last.decoded;
                assert!(step > 0, "{name}: decoding goes on from segment {} to {number}", number - 1);
                // A frame's time, as far as that is one.
                if let How::Encoded(_) = self.film.how {
                    let wrong = (step - i64::from(last.duration)).abs() as f64 / ticks;
                    assert!(
                        wrong < 0.000_1,
                        "{name}: {wrong} s lie between segment {} and {number}",
                        number - 1
                    );
                }
            }
            last = samples.last();
        }
        let boxed = self.film.file.ends_with("mp4") || self.film.file.ends_with("mkv");
        if self.film.how == How::Copied && boxed {
            let mut copied = Vec::new();
            for (number, samples) in &samples {
                let bytes = &video.segments[number];
                copied.extend(samples.iter().map(|sample| hash(&bytes[sample.bytes.clone()])));
            }
            let sent = packets(&*Media::ready().path(self.film.file), "v:0").await;
            let sent: Vec<String> = sent.into_iter().map(|packet| packet.data_hash).collect();
            assert_eq!(copied, sent, "{name}: every packet is the source's, once, in its order");
        }
        delay
    }

    /// That these pictures are the source's, at their times but for a constant.
    fn prove_pictures(&self, name: &str, shown: &[Picture], more: f64) {
        let numbers = |pictures: &[Picture]| pictures.iter().map(|one| self.number(one)).collect::<Vec<_>>();
        assert_eq!(numbers(shown), numbers(&self.pictures), "{name}: the pictures are those of the source");
        let delay = shown[0].at - more;
        for (ours, truth) in shown.iter().zip(&self.pictures) {
            let wrong = ours.at - more - delay - truth.at;
            assert!(wrong.abs() < self.film.clock(), "{name}: picture {} is {wrong} s late", truth.number);
        }
    }

    async fn prove_sound(&self, name: &str, audio: &Track, index: usize, boundaries: &[f64], delay: f64) {
        let (samples, ticks) = audio.samples();
        let name = format!("{name}, track {index}");
        let all: Vec<&Sample> = samples.values().flatten().collect();
        let length = all[0].duration;
        for pair in all.windows(2) {
            assert_eq!(pair[0].duration, length, "{name}: packets are of one length");
            assert_eq!(pair[1].decoded, pair[0].decoded + i64::from(length), "{name}: a packet follows each");
            assert_eq!(pair[1].decoded, pair[1].shown, "{name}: sound is heard in the order of decoding");
        }
        let packet = f64::from(length) / ticks;
        for (number, samples) in samples.iter().skip(1) {
            let late = samples[0].shown as f64 / ticks - delay - boundaries[*number as usize];
            let allowed = -self.film.clock()..packet + self.film.clock();
            assert!(allowed.contains(&late), "{name}: segment {number} begins {late} s after its boundary");
        }
        let rate = boxes::timescale(&audio.init);
        let ours = sound(&audio.joined()[..], 0, rate).await.from(delay);
        self.prove_heard(&name, &ours, index, boundaries).await;
    }

    /// That what is heard around each boundary is what the source has there, all of it equally late.
    async fn prove_heard(&self, name: &str, ours: &Sound, index: usize, boundaries: &[f64]) {
        let path = Media::ready().path(self.film.file);
        let truth = sound(&*path, index, ours.rate).await.from(self.zero);
        let inner = &boundaries[1..boundaries.len() - 1];
        let found: Vec<_> = inner.iter().filter_map(|at| Some((at, ours.against(&truth, *at)?))).collect();
        assert!(!found.is_empty() || inner.is_empty(), "{name}: some sound could be compared");
        let most = (self.film.clock() * f64::from(ours.rate)).ceil();
        for (at, heard) in &found {
            assert!(heard.lag.abs() <= most, "{name}: sound around {at} s is late: {found:?}");
            assert!((heard.lag - found[0].1.lag).abs() < 0.5, "{name}: sound moves at {at} s: {found:?}");
            assert!(heard.clean > 8.0, "{name}: sound breaks at {at} s: {found:?}");
        }
    }

    async fn prove_transport_stream(
        &self,
        name: &str,
        stream: &Stream,
        delay: f64,
        boundaries: &[f64],
        has_sound: bool,
    ) {
        /// Room before the first clock reference.
        const ROOM: f64 = 10.0;
        let name = format!("{name} as TS");
        let track = fetch(vec![stream.transport_stream().await], Order::Playing).await.remove(0);
        assert_eq!(track.list.boundaries(), boundaries, "{name}: all lists have the same segments");
        let joined = track.joined();
        let complaints = complaints(&joined[..]).await;
        assert!(complaints.is_empty(), "{name}: {complaints:#?}");
        let shown = match self.film.how {
            // A transport stream can't say that its picture lies on its side.
            How::Copied => pictures(&joined[..]).await,
            _ => pictures_through(&joined[..], self.film.upright).await,
        };
        self.prove_pictures(&name, &shown, ROOM + delay);
        let first = shown[0].at;
        assert!((first - ROOM - delay).abs() < 0.000_1, "{name}: it begins at {first} s");
        let video = packets(&joined[..], "v:0").await;
        let times: Vec<i64> = video.iter().filter_map(|packet| packet.dts).collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{name}: decoding goes on: {times:?}");
        if has_sound {
            let times: Vec<i64> =
                packets(&joined[..], "a:0").await.iter().filter_map(|one| one.pts).collect();
            let steps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let usual = steps.iter().copied().min().unwrap_or(0);
            assert!(steps.iter().all(|step| step - usual <= 1), "{name}: a packet follows each: {steps:?}");
            let ours = sound(&joined[..], 0, 48_000).await.from(ROOM + delay);
            self.prove_heard(&name, &ours, 0, boundaries).await;
        }
    }
}
