//! What a source holds, as ffmpeg decodes it in one go, and whether what was fetched is the same.

use super::{Film, How, Order, Track, fetch};
use crate::Media;
use crate::boxes::{self, Sample};
use crate::frames::{Picture, complaints, pictures, pictures_through};
use crate::packets::{hash, packets};
use crate::playlist::Stream;
use crate::sound::{Sound, sound};

/// What ffmpeg makes of a source when it decodes it in one go.
pub(super) struct Source {
    film: Film,
    pub(super) pictures: Vec<Picture>,
    /// When its first picture is shown by its own clock, in seconds.
    zero: f64,
    /// When its last picture is shown, or its sound ends, counted from there.
    pub(super) length: f64,
}

impl Source {
    pub(super) async fn read(film: Film) -> Self {
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
        // AVI has no presentation times, so its first picture comes late by those that it is sent before, and the
        // one at 0 is made of it.
        let avi = film.file.ends_with("avi");
        let zero = if avi { 0.0 } else { shown.first().expect("a film has pictures").at };
        let pictures = match film.how {
            How::Encoded(rate) => {
                let from_zero = (!avi).then(|| "setpts=PTS-STARTPTS".to_owned());
                filters.extend(from_zero.into_iter().chain([format!("fps={rate}:start_time=0")]));
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
    pub(super) async fn prove_tracks(&self, name: &str, mut tracks: Vec<Track>) -> f64 {
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
        let length = all[1].duration;
        // What was copied from milliseconds into a transport stream has a step that is off by less than one of them.
        let coarse = (ticks / 1000.0) as u32;
        for pair in all.windows(2) {
            let lasts = pair[0].duration;
            assert!(
                lasts.abs_diff(length) < coarse,
                "{name}: packets are of one length, {length}, not {lasts}"
            );
            assert_eq!(pair[1].decoded, pair[0].decoded + i64::from(lasts), "{name}: a packet follows each");
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
            if self.film.opus {
                continue;
            }
            assert!((heard.lag - found[0].1.lag).abs() < 0.5, "{name}: sound moves at {at} s: {found:?}");
            assert!(heard.clean > 8.0, "{name}: sound breaks at {at} s: {found:?}");
        }
    }

    pub(super) async fn prove_transport_stream(
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
            // 44.1 kHz has no whole ticks, ffmpeg counts the packets of one unit by itself, and what was copied from
            // milliseconds has a step that is off by less than one of them.
            let usual = steps.get(1).copied().unwrap_or_default();
            assert!(
                steps.iter().all(|step| step.abs_diff(usual) < 90),
                "{name}: a packet follows each: {steps:?}"
            );
            let ours = sound(&joined[..], 0, 48_000).await.from(ROOM + delay);
            self.prove_heard(&name, &ours, 0, boundaries).await;
        }
    }
}
