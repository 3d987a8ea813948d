//! A checked cut becomes a segment of our own, in every rendition.

use std::borrow::Cow;

use jiff::Timestamp;

use super::Running;
use crate::ffmpeg::{How, Job};
use crate::mux::{Media, Sample, Time, Track, write};
use crate::session::cut::{Axis, Cut, Rendition};
use crate::session::shelf::{Made, MadeMedia, Shape};
use crate::session::state::Kind;

impl Running {
    pub(super) fn make(&self, cut: Cut, axis: Axis) -> Result<Made, write::WriteError> {
        let window = self.launch.plan.kind == Kind::Window;
        let length = cut.end - cut.start;
        let first = self.published == 0;
        let mut changed = false;
        let mut media = Vec::new();
        for rendition in self.renditions() {
            let Some(track) = self.cutter.track(rendition) else { continue };
            let samples = match rendition {
                Rendition::Video => cut.video.as_deref(),
                Rendition::Audio(n) => cut.audio.get(usize::from(n)).map(Vec::as_slice),
            };
            let samples = samples.unwrap_or_default();
            let known = self.launch.tracks.iter().find(|(known, _)| *known == rendition);
            changed |= first && known.is_some_and(|(_, known)| !known.same_configuration(track));
            let bytes = if cut.gap || samples.is_empty() {
                None
            } else {
                let shift = axis.delay.ticks_in(track.timescale);
                let number = u32::try_from(cut.number + 1).unwrap_or(u32::MAX);
                let samples = decoded_in_time(samples, shift);
                Some(write::segment(track, number, shift, &samples)?)
            };
            // On a film every list counts by the grid; on a window each by what it holds.
            let own = samples.iter().map(|sample| i64::from(sample.duration)).sum();
            let sound = window && matches!(rendition, Rendition::Audio(_)) && bytes.is_some();
            let lasts = if sound { Time::new(own, track.timescale) } else { length };
            media.push(MadeMedia {
                shape: shape(&self.launch.job, rendition, track, samples.len(), length),
                length: lasts,
                date: self.date(rendition, track, samples.first(), cut.start),
                init: write::init(track),
                track: track.clone(),
                bytes,
            });
        }
        Ok(Made {
            number: cut.number,
            start: self.base + cut.start,
            length,
            last: cut.last,
            discontinuity: first && (changed || self.launch.discontinuity),
            delay: axis.delay,
            media,
        })
    }

    /// The wall clock at the start of a window's segment. Sound's is never late against the picture's: a
    /// third of a millisecond makes hls.js load the same segment over and over.
    fn date(
        &self,
        rendition: Rendition,
        track: &Track,
        first: Option<&Sample>,
        start: Time,
    ) -> Option<Timestamp> {
        if self.launch.plan.kind != Kind::Window {
            return None;
        }
        let since = match (rendition, first) {
            (Rendition::Audio(_), Some(sample)) => {
                Time::new(sample.pts, track.timescale) - Time::from_millis(1)
            }
            (Rendition::Video | Rendition::Audio(_), _) => start,
        };
        let millis = since.floor_in(1000);
        self.anchor?.checked_add(jiff::SignedDuration::from_millis(millis)).ok()
    }

    pub(super) fn renditions(&self) -> impl Iterator<Item = Rendition> + use<> {
        let plan = &self.launch.plan;
        let video = plan.video.is_some().then_some(Rendition::Video);
        let audio = (0..).take(plan.audio.len()).map(Rendition::Audio);
        video.into_iter().chain(audio)
    }
}

/// Where a later part of a film told a smaller composition delay than its beginning needs, the first decode
/// times would lie before zero: they are squeezed together after it, in their order. What is shown when stays.
fn decoded_in_time(samples: &[Sample], shift: i64) -> Cow<'_, [Sample]> {
    if samples.first().is_none_or(|first| first.dts + shift >= 0) {
        return Cow::Borrowed(samples);
    }
    let mut samples = samples.to_vec();
    for (place, sample) in (0..).zip(&mut samples) {
        sample.dts = sample.dts.max(place - shift);
    }
    Cow::Owned(samples)
}

fn shape(job: &Job, rendition: Rendition, track: &Track, samples: usize, length: Time) -> Shape {
    let (resolution, channels) = match track.media {
        Media::Video { width, height } => (Some((width, height)), None),
        Media::Audio { channels, .. } => (None, Some(channels)),
    };
    let rate = samples as f64 / length.seconds().max(0.001);
    let frame_rate = resolution.map(|_| (rate * 1000.0).round() / 1000.0);
    Shape {
        rendition,
        codec: track.codec(),
        resolution,
        frame_rate,
        channels,
        bandwidth: foreseen(job, rendition),
    }
}

/// The bits a second that a rendition may come to, as far as that is known before it is made: a film's playlist
/// is read once, when next to nothing is.
fn foreseen(job: &Job, rendition: Rendition) -> u64 {
    // An encoder keeps to its ceiling over its buffer; boxes come on top.
    let encoded = |kilobits: u32| u64::from(kilobits) * 1_100;
    let probe = job.probe.as_ref();
    let stream = |number: Option<u32>| probe?.stream(number?)?.bit_rate;
    let known = match rendition {
        Rendition::Video => job.decision.video.as_ref().and_then(|track| match track.how() {
            How::Encode(encode) => Some(encoded(encode.ceiling)),
            How::Copy => stream(track.stream).or_else(|| probe?.bit_rate),
        }),
        Rendition::Audio(n) => job.decision.audio.get(usize::from(n)).and_then(|track| match track.how() {
            How::Encode(encode) => Some(encoded(encode.bit_rate)),
            How::Copy => stream(track.stream),
        }),
    };
    known.unwrap_or(0)
}
