//! Samples of one run become checked segments: where to cut, what belongs where, and whether what came is
//! what was planned. Pure: samples in, cuts out.
//!
//! Time here is film time: presentation time less the origin, which is the first video frame's (the first
//! audio packet's where there is no video). A film's origin is fixed by its first run; each run of a window
//! has its own. What does not fit is a [`Misfit`] and is never published.

mod check;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use self::check::{check_audio, check_frames, drop_torn_order, on_grid, packet_ticks};
use super::state::Kind;
use crate::mux::{Rate, Sample, SampleFault, Time, Track};

/// Samples of one AAC packet (ISO/IEC 14496-3).
const AAC_PACKET: i64 = 1024;
/// Clocks of a millisecond make a GOP of two seconds 1.999 s long at times.
const GOP_SLACK: Time = Time::from_millis(50);
/// How far a sample may lie off the boundary that a run was to start on: no frame rate that we make comes
/// near it, and no container's clock is coarser.
const BOUNDARY_SLACK: Time = Time::from_millis(3);
/// A copied packet whose time is off by no more than this was rounded by its container's clock.
const CLOCK_SLACK: Time = Time::from_millis(2);
/// An encoded channel cuts its first segments at each key frame, so that a picture is there early.
const SHORT_SEGMENTS: u64 = 2;
/// One track may run ahead of the other by this much before the other counts as silent.
const MOST_SKEW: Time = Time::from_secs(30);
/// The most that may wait for the other track, whatever its time says.
const MOST_BYTES: usize = 256 * 1024 * 1024;

/// One playlist's worth of media of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rendition {
    /// The picture.
    Video,
    /// A sound track, counted from 0.
    Audio(u8),
}

impl fmt::Display for Rendition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Video => f.write_str("video"),
            Self::Audio(n) => write!(f, "audio-{n}"),
        }
    }
}

/// Where film time and what ffmpeg says meet, fixed by the first run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    /// ffmpeg's presentation time of film time 0.
    pub origin: Time,
    /// The composition delay: what is published lies at film time + delay, in every track.
    pub delay: Time,
}

/// What happens to a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Flow {
    /// Its samples are the input's. `start` is ffmpeg's time of the first packet, given where the container's
    /// clock is coarser than a sample: packets are then put back on their grid.
    Copied { start: Option<Time> },
    /// We make it; a picture at this constant rate.
    Encoded { rate: Option<Rate> },
}

/// What a run is to make.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub kind: Kind,
    /// The number of its first segment.
    pub first: u64,
    /// Where that segment starts, in film time; `ZERO` on a window.
    pub from: Time,
    /// Known after the first run of an event; never on a window.
    pub axis: Option<Axis>,
    pub video: Option<Flow>,
    pub audio: Option<Flow>,
    pub segment: Time,
    /// Encoded film: where segments end, rising, all after `from`.
    pub cuts: Vec<Time>,
    /// This segment did not fit before: where it does not again, it is a gap.
    pub lenient: Option<u64>,
}

/// A segment's worth of samples, whole and checked. Times are film time in the track's own ticks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cut {
    pub number: u64,
    pub start: Time,
    pub end: Time,
    pub video: Option<Vec<Sample>>,
    pub audio: Option<Vec<Sample>>,
    /// It did not fit twice: nothing of it may be published but its place.
    pub gap: bool,
    /// The input ended here.
    pub last: bool,
}

/// What came is not what was planned.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum Misfit {
    #[error("the run was to start at {expected} s and starts at {found} s")]
    NotOnBoundary { expected: Time, found: Time },
    #[error("segment {number} was to end at {expected} s and has no key frame there")]
    NoKeyFrame { number: u64, expected: Time },
    #[error("segment {number} has {found} frames instead of {expected}")]
    Frames { number: u64, expected: i64, found: i64 },
    #[error("segment {number} has a frame at {found} s, off its place at {expected} s")]
    OffGrid { number: u64, expected: Time, found: Time },
    #[error("segment {number} lacks sound from {from} s on")]
    AudioHole { number: u64, from: Time },
    #[error("decode times do not rise at {at} s")]
    Unordered { at: Time },
    #[error("the key frames are more than {longest} s apart")]
    LongGop { longest: Time },
    #[error("one track is {skew} s ahead of the other")]
    Silent { skew: Time },
    #[error("the planned key frames are used up")]
    GridOver,
    #[error("too much waits for the other track")]
    TooMuch,
    #[error("the media is encrypted")]
    Protected,
    #[error("the stream changed: {0}")]
    Sample(#[from] SampleFault),
}

/// Turns the samples of one run into cuts.
#[derive(Debug)]
pub(super) struct Cutter {
    plan: Plan,
    axis: Option<Axis>,
    next: u64,
    cuts: VecDeque<Time>,
    video: Option<VideoLane>,
    audio: Option<AudioLane>,
    /// Closed by the lane that leads, waiting for the other.
    pieces: VecDeque<Piece>,
    waiting_bytes: usize,
}

#[derive(Debug)]
struct VideoLane {
    flow: Flow,
    track: Option<Arc<Track>>,
    /// Where the open segment starts.
    start: Option<Time>,
    open: Vec<Sample>,
    last_dts: Option<i64>,
    /// Leading pictures of the very first key frame refer to what nobody has.
    drop_leading: bool,
    at: Time,
    done: bool,
}

#[derive(Debug)]
struct AudioLane {
    flow: Flow,
    track: Option<Arc<Track>>,
    /// Came before there was an axis.
    early: Vec<Sample>,
    /// On the axis, not yet in a cut.
    queue: VecDeque<Sample>,
    last_pts: Option<i64>,
    /// Where the sound of the last cut ended.
    taken_to: Option<i64>,
    at: Time,
    done: bool,
}

#[derive(Debug)]
struct Piece {
    start: Time,
    end: Time,
    video: Option<Vec<Sample>>,
    last: bool,
}

impl Cutter {
    pub(super) fn new(plan: Plan) -> Self {
        let video = plan.video.map(|flow| VideoLane {
            flow,
            track: None,
            start: None,
            open: Vec::new(),
            last_dts: None,
            drop_leading: false,
            at: plan.from,
            done: false,
        });
        let audio = plan.audio.map(|flow| AudioLane {
            flow,
            track: None,
            early: Vec::new(),
            queue: VecDeque::new(),
            last_pts: None,
            taken_to: None,
            at: plan.from,
            done: false,
        });
        let (axis, next, cuts) = (plan.axis, plan.first, plan.cuts.iter().copied().collect());
        Self { plan, axis, next, cuts, video, audio, pieces: VecDeque::new(), waiting_bytes: 0 }
    }

    /// The axis, once a first sample fixed it.
    pub(super) fn axis(&self) -> Option<Axis> {
        self.axis
    }

    /// The film time that the slowest track has reached.
    pub(super) fn reached(&self) -> Time {
        let video = self.video.as_ref().map(|lane| lane.at);
        let audio = self.audio.as_ref().map(|lane| lane.at);
        match (video, audio) {
            (Some(video), Some(audio)) => video.min(audio),
            (one, other) => one.or(other).unwrap_or(Time::ZERO),
        }
    }

    /// The track that is behind the other, while both flow.
    pub(super) fn behind(&self) -> Option<Rendition> {
        let video = self.video.as_ref().filter(|lane| !lane.done)?;
        let audio = self.audio.as_ref().filter(|lane| !lane.done)?;
        self.axis?;
        Some(if audio.at < video.at { Rendition::Audio(0) } else { Rendition::Video })
    }

    /// What a rendition's samples are.
    pub(super) fn track(&self, rendition: Rendition) -> Option<&Arc<Track>> {
        match rendition {
            Rendition::Video => self.video.as_ref()?.track.as_ref(),
            Rendition::Audio(_) => self.audio.as_ref()?.track.as_ref(),
        }
    }

    /// A pipe's initialisation section came.
    pub(super) fn begin(&mut self, rendition: Rendition, track: Arc<Track>) -> Result<(), Misfit> {
        if track.is_protected() {
            return Err(Misfit::Protected);
        }
        match rendition {
            Rendition::Video => self.video.as_mut().map(|lane| lane.track = Some(track)),
            Rendition::Audio(_) => self.audio.as_mut().map(|lane| lane.track = Some(track)),
        };
        Ok(())
    }

    /// A fragment's samples came.
    pub(super) fn push(&mut self, rendition: Rendition, samples: Vec<Sample>) -> Result<Vec<Cut>, Misfit> {
        match rendition {
            Rendition::Video => self.push_video(samples)?,
            Rendition::Audio(_) => self.push_audio(samples)?,
        }
        if self.waiting_bytes > MOST_BYTES {
            return Err(Misfit::TooMuch);
        }
        let cuts = self.drain()?;
        self.check_skew()?;
        Ok(cuts)
    }

    /// A pipe ended.
    pub(super) fn finish(&mut self, rendition: Rendition) -> Result<Vec<Cut>, Misfit> {
        match rendition {
            Rendition::Video => {
                if let Some(lane) = self.video.as_mut().filter(|lane| !lane.done) {
                    lane.done = true;
                    if let (Some(start), Some(track)) = (lane.start, lane.track.as_ref()) {
                        let scale = track.timescale;
                        if self.plan.kind == Kind::Window {
                            drop_torn_order(&mut lane.open);
                        }
                        let end =
                            lane.open.iter().map(|sample| sample.pts + i64::from(sample.duration)).max();
                        let video = std::mem::take(&mut lane.open);
                        let end = end.map_or(start, |end| Time::new(end, scale));
                        self.pieces.push_back(Piece { start, end, video: Some(video), last: true });
                    }
                }
            }
            Rendition::Audio(_) => {
                if let Some(lane) = self.audio.as_mut().filter(|lane| !lane.done) {
                    lane.done = true;
                    if self.video.is_none() {
                        self.close_audio_piece(true);
                    }
                }
            }
        }
        self.drain()
    }

    fn push_video(&mut self, samples: Vec<Sample>) -> Result<(), Misfit> {
        let Some(lane) = self.video.as_mut() else { return Ok(()) };
        let Some(track) = lane.track.clone() else { return Ok(()) };
        let scale = track.timescale;
        for mut sample in samples {
            if matches!(lane.flow, Flow::Copied { .. }) {
                track.check(&sample)?;
            }
            if lane.start.is_none() {
                if !sample.sync {
                    continue;
                }
                match self.axis {
                    Some(axis) => {
                        let at = Time::new(sample.pts, scale) - axis.origin;
                        if at + BOUNDARY_SLACK < self.plan.from {
                            continue;
                        }
                        if at > self.plan.from + BOUNDARY_SLACK {
                            return Err(Misfit::NotOnBoundary { expected: self.plan.from, found: at });
                        }
                    }
                    None => {
                        self.axis = Some(Self::first_axis(&self.plan, lane.flow, &sample, scale)?);
                        lane.drop_leading = true;
                    }
                }
                lane.start = Some(self.plan.from);
            }
            let Some(axis) = self.axis else { continue };
            let origin = axis.origin.ticks_in(scale);
            sample.pts -= origin;
            sample.dts -= origin;
            let at = Time::new(sample.pts, scale);
            if lane.last_dts.is_some_and(|last| sample.dts <= last) {
                return Err(Misfit::Unordered { at });
            }
            lane.last_dts = Some(sample.dts);
            lane.at = lane.at.max(at);
            let start = lane.start.unwrap_or(self.plan.from);
            if !lane.open.is_empty() {
                let first = self.next == 0 && self.pieces.is_empty() && self.plan.kind.is_film();
                let longest = self.plan.segment * 3;
                if first && matches!(lane.flow, Flow::Copied { .. }) && at - start > longest && !sample.sync {
                    return Err(Misfit::LongGop { longest });
                }
                let number = self.next + self.pieces.len() as u64;
                let made = number - self.plan.first;
                if Self::cuts_here(
                    &self.plan,
                    lane.flow,
                    &mut self.cuts,
                    number,
                    made,
                    start,
                    at,
                    sample.sync,
                )? {
                    let video = std::mem::take(&mut lane.open);
                    self.pieces.push_back(Piece { start, end: at, video: Some(video), last: false });
                    lane.start = Some(at);
                    lane.drop_leading = false;
                }
            }
            if lane.drop_leading && at < lane.start.unwrap_or(Time::ZERO) {
                continue;
            }
            self.waiting_bytes += sample.data.len();
            lane.open.push(sample);
        }
        if self.axis.is_some() {
            self.place_early_audio()?;
        }
        Ok(())
    }

    fn first_axis(plan: &Plan, flow: Flow, key: &Sample, scale: u32) -> Result<Axis, Misfit> {
        let at = Time::new(key.pts, scale);
        match (plan.kind, flow) {
            (Kind::Timeline | Kind::Event, Flow::Encoded { .. }) => {
                // The filters put the first frame on 0, and the encoder reorders nothing.
                if at > BOUNDARY_SLACK || at < Time::ZERO - BOUNDARY_SLACK {
                    return Err(Misfit::NotOnBoundary { expected: Time::ZERO, found: at });
                }
                Ok(Axis { origin: Time::ZERO, delay: Time::ZERO })
            }
            (Kind::Timeline | Kind::Event, Flow::Copied { .. }) | (Kind::Window, _) => {
                Ok(Axis { origin: at, delay: Time::new((key.pts - key.dts).max(0), scale) })
            }
        }
    }

    /// Whether a segment ends before the sample at `at`.
    #[expect(clippy::too_many_arguments, reason = "the lane is borrowed, so its parts come one by one")]
    fn cuts_here(
        plan: &Plan,
        flow: Flow,
        cuts: &mut VecDeque<Time>,
        number: u64,
        made: u64,
        start: Time,
        at: Time,
        sync: bool,
    ) -> Result<bool, Misfit> {
        match (plan.kind, flow) {
            (Kind::Timeline | Kind::Event, Flow::Encoded { rate }) => {
                let quarter = rate.map_or(BOUNDARY_SLACK, |rate| {
                    Time::new(i64::from(rate.den), rate.num.saturating_mul(4))
                });
                match cuts.front() {
                    Some(cut) if at + quarter > *cut => {
                        if !sync || at > *cut + quarter {
                            return Err(Misfit::NoKeyFrame { number, expected: *cut });
                        }
                        cuts.pop_front();
                        Ok(true)
                    }
                    Some(_) => Ok(false),
                    // As many key frames as one argument list holds are used up: the next run goes on.
                    None if at - start > plan.segment * 3 => Err(Misfit::GridOver),
                    None => Ok(false),
                }
            }
            (Kind::Window, Flow::Copied { .. }) => {
                Ok(sync && (made == 0 || at - start + GOP_SLACK >= plan.segment))
            }
            (Kind::Window, Flow::Encoded { .. }) => {
                Ok(sync && (made < SHORT_SEGMENTS || at - start + GOP_SLACK >= plan.segment))
            }
            (Kind::Timeline | Kind::Event, Flow::Copied { .. }) => {
                Ok(sync && at - start + GOP_SLACK >= plan.segment)
            }
        }
    }

    fn push_audio(&mut self, samples: Vec<Sample>) -> Result<(), Misfit> {
        let with_video = self.video.is_some();
        let Some(lane) = self.audio.as_mut() else { return Ok(()) };
        let Some(scale) = lane.track.as_ref().map(|track| track.timescale) else { return Ok(()) };
        if self.axis.is_none() && !with_video {
            let encoded_film = self.plan.kind.is_film() && matches!(lane.flow, Flow::Encoded { .. });
            let first = samples.iter().map(|sample| sample.pts).find(|pts| !encoded_film || *pts >= 0);
            let Some(first) = first else { return Ok(()) };
            let origin = if encoded_film { Time::ZERO } else { Time::new(first, scale) };
            self.axis = Some(Axis { origin, delay: Time::ZERO });
        }
        self.waiting_bytes += samples.iter().map(|sample| sample.data.len()).sum::<usize>();
        lane.early.extend(samples);
        if self.axis.is_some() { self.place_early_audio() } else { Ok(()) }
    }

    /// Puts audio on the axis and drops what lies before the run's first segment.
    fn place_early_audio(&mut self) -> Result<(), Misfit> {
        let (Some(axis), Some(lane)) = (self.axis, self.audio.as_mut()) else { return Ok(()) };
        let Some(track) = lane.track.clone() else { return Ok(()) };
        let scale = track.timescale;
        let origin = axis.origin.ticks_in(scale);
        let from = self.plan.from;
        let frame = packet_ticks(&track);
        for mut sample in lane.early.drain(..) {
            sample.pts -= origin;
            if self.plan.kind.is_film() {
                let Some(exact) = on_grid(lane.flow, sample.pts, scale, frame, axis) else {
                    let found = Time::new(sample.pts, scale);
                    return Err(Misfit::OffGrid { number: self.next, expected: from, found });
                };
                // Where the input itself squeezes two packets together, both keep the time that it gives them.
                if lane.last_pts.is_none_or(|last| exact > last) {
                    sample.pts = exact;
                }
            }
            sample.dts = sample.pts;
            let at = Time::new(sample.pts, scale);
            lane.at = lane.at.max(at + Time::new(i64::from(sample.duration), scale));
            if at < from || at < Time::ZERO {
                self.waiting_bytes = self.waiting_bytes.saturating_sub(sample.data.len());
                continue;
            }
            if lane.last_pts.is_some_and(|last| sample.pts <= last) {
                return Err(Misfit::Unordered { at });
            }
            lane.last_pts = Some(sample.pts);
            lane.queue.push_back(sample);
        }
        if self.video.is_none() {
            self.close_audio_piece(false);
        }
        Ok(())
    }

    /// Without a picture every packet is a cut point.
    fn close_audio_piece(&mut self, last: bool) {
        let Some(lane) = self.audio.as_ref() else { return };
        let Some(scale) = lane.track.as_ref().map(|track| track.timescale) else { return };
        let segment = self.plan.segment;
        let mut start = self.pieces.back().map(|piece| piece.end);
        for sample in &lane.queue {
            let at = Time::new(sample.pts, scale);
            match start {
                None => start = Some(at),
                Some(begun) if at >= begun + segment => {
                    self.pieces.push_back(Piece { start: begun, end: at, video: None, last: false });
                    start = Some(at);
                }
                Some(_) => {}
            }
        }
        if let (true, Some(start), Some(sample)) = (last, start, lane.queue.back()) {
            let end = Time::new(sample.pts + i64::from(sample.duration), scale);
            if end > start {
                self.pieces.push_back(Piece { start, end, video: None, last: true });
            }
        }
    }

    /// Takes out the pieces whose sound is there as well.
    fn drain(&mut self) -> Result<Vec<Cut>, Misfit> {
        let mut cuts = Vec::new();
        while let Some(piece) = self.pieces.front() {
            if !self.audio.as_ref().is_none_or(|lane| lane.covers(piece.end)) {
                break;
            }
            let Some(piece) = self.pieces.pop_front() else { break };
            let cut = self.assemble(piece)?;
            let bytes = |samples: &Option<Vec<Sample>>| {
                samples.iter().flatten().map(|sample| sample.data.len()).sum::<usize>()
            };
            self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes(&cut.video) + bytes(&cut.audio));
            cuts.push(cut);
        }
        Ok(cuts)
    }

    fn assemble(&mut self, piece: Piece) -> Result<Cut, Misfit> {
        let number = self.next;
        let audio = match self.audio.as_mut() {
            Some(lane) => Some(lane.take(piece.end)),
            None => None,
        };
        let fits = self.check(number, &piece, audio.as_deref());
        let gap = match fits {
            Ok(()) => false,
            Err(_) if self.plan.lenient == Some(number) => true,
            Err(misfit) => return Err(misfit),
        };
        self.next += 1;
        if let (Some(lane), Some(last)) = (self.audio.as_mut(), audio.as_ref().and_then(|audio| audio.last()))
        {
            lane.taken_to = Some(last.pts + i64::from(last.duration));
        }
        Ok(Cut {
            number,
            start: piece.start,
            end: piece.end,
            video: piece.video,
            audio,
            gap,
            last: piece.last,
        })
    }

    /// Whether a piece is what was planned.
    fn check(&self, number: u64, piece: &Piece, audio: Option<&[Sample]>) -> Result<(), Misfit> {
        if self.plan.kind == Kind::Window {
            return Ok(());
        }
        if let (Some(lane), Some(video)) = (&self.video, &piece.video)
            && let (Flow::Encoded { rate: Some(rate) }, Some(track)) = (lane.flow, &lane.track)
        {
            check_frames(number, piece, video, rate, track.timescale)?;
        }
        let (Some(lane), Some(audio)) = (&self.audio, audio) else { return Ok(()) };
        let Some(track) = &lane.track else { return Ok(()) };
        let splice = (number == self.plan.first && number > 0).then_some(self.plan.from);
        check_audio(number, piece, audio, lane, track, splice)
    }

    fn check_skew(&self) -> Result<(), Misfit> {
        let (Some(video), Some(audio)) = (&self.video, &self.audio) else { return Ok(()) };
        if self.axis.is_none() || video.done || audio.done {
            return Ok(());
        }
        let skew = (video.at - audio.at).max(audio.at - video.at);
        if skew > MOST_SKEW { Err(Misfit::Silent { skew }) } else { Ok(()) }
    }
}

impl AudioLane {
    /// Whether everything up to `end` is here.
    fn covers(&self, end: Time) -> bool {
        let Some(scale) = self.track.as_ref().map(|track| track.timescale) else { return self.done };
        self.done || self.queue.back().is_some_and(|sample| Time::new(sample.pts, scale) >= end)
    }

    /// Takes the packets that start before `end`.
    fn take(&mut self, end: Time) -> Vec<Sample> {
        let Some(scale) = self.track.as_ref().map(|track| track.timescale) else { return Vec::new() };
        let count = self.queue.partition_point(|sample| Time::new(sample.pts, scale) < end);
        self.queue.drain(..count).collect()
    }
}
