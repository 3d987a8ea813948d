//! Samples of one run become checked segments: where to cut, what belongs where, and whether what came is
//! what was planned. Pure: samples in, cuts out.
//!
//! Time here is film time: presentation time less the origin, which is the first video frame's (the first
//! audio packet's where there is no video). A timeline's origin is known before anything is made, an event's is
//! fixed by its first run; each run of a window has its own. What does not fit is a [`Misfit`] and is never
//! published.

mod audio;
mod check;
mod silence;
#[cfg(test)]
mod tests;
mod video;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use self::audio::AudioLane;
use self::check::{check_audio, check_frames};
use self::video::VideoLane;
use super::state::Kind;
use crate::mux::{Rate, Sample, SampleFault, Time, Track};

/// Clocks of a millisecond make a GOP of two seconds 1.999 s long at times.
const GOP_SLACK: Time = Time::from_millis(50);
/// How far a sample may lie off the boundary that it was to stand on: no frame rate that we make comes
/// near it, and no container's clock is coarser.
const BOUNDARY_SLACK: Time = Time::from_millis(3);
/// One track may run ahead of another by this much before the other counts as silent.
const MOST_SKEW: Time = Time::from_secs(30);
/// Of what a silent track lies behind so much may still come: containers mix their tracks no coarser than that.
const MIXED: Time = Time::from_secs(10);
/// Later than any film ends.
const EVER: Time = Time::from_secs(1_000_000_000);
/// The most that may wait for another track, whatever its time says.
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

/// Where film time and what ffmpeg says meet.
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
    /// Its samples are the input's.
    Copied {
        /// ffmpeg's time of its first packet, where that is known: before it nothing is missed.
        start: Option<Time>,
        /// The container's clock is coarser than a sample: packets of sound are put back on their grid, which
        /// begins with the first one.
        coarse: bool,
    },
    /// We make it; a picture at this constant rate.
    Encoded { rate: Option<Rate> },
}

/// What a run is to make.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub kind: Kind,
    /// The number of its first segment.
    pub first: u64,
    /// The number of the first segment that it is not to make, if it ends before the film does.
    pub until: Option<u64>,
    /// Where the first segment starts, in film time; `ZERO` on a window.
    pub from: Time,
    /// ffmpeg's presentation time of film time 0. Always known on a timeline, after the first run on an event,
    /// never on a window.
    pub origin: Option<Time>,
    /// The composition delay; known after the first run of a film.
    pub delay: Option<Time>,
    pub video: Option<Flow>,
    /// One for each sound track.
    pub audio: Vec<Flow>,
    pub segment: Time,
    /// Where segments end, rising, all after `from`: on a timeline, and on any film that is encoded. What comes
    /// after the last one belongs to the last segment.
    pub cuts: Vec<Time>,
    /// How often the first segment did not fit before. Once: holes in its sound are the input's own. More often:
    /// where it does not again, it is a gap.
    pub misfits: u32,
    /// Where sound tracks are known to have nothing: it is not waited for.
    pub silences: Vec<Silence>,
}

/// A stretch of a film in which a sound track has nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Silence {
    /// The track, counted from 0.
    pub track: u8,
    pub from: Time,
    pub to: Time,
}

/// A segment's worth of samples, whole and checked. Times are film time in the track's own ticks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cut {
    pub number: u64,
    pub start: Time,
    pub end: Time,
    pub video: Option<Vec<Sample>>,
    /// One for each sound track; empty where it has no sound here.
    pub audio: Vec<Vec<Sample>>,
    /// It did not fit twice: nothing of it may be published but its place.
    pub gap: bool,
    /// The input ended here.
    pub last: bool,
    /// The input ended before all of its sound had come: it may be cut short.
    pub unsure: bool,
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
    #[error("one track is {skew} s ahead of another")]
    Silent { skew: Time },
    #[error("the planned key frames are used up")]
    GridOver,
    #[error("too much waits for another track")]
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
    origin: Option<Time>,
    delay: Option<Time>,
    next: u64,
    /// The planned ends of the segments that no sample has passed yet.
    cuts: VecDeque<Time>,
    video: Option<VideoLane>,
    audio: Vec<AudioLane>,
    /// Where the open segment of a film without a picture starts.
    begun: Option<Time>,
    /// Closed by the lane that leads, waiting for the others.
    pieces: VecDeque<Piece>,
    waiting_bytes: usize,
    /// Found since they were last asked for.
    silences: Vec<Silence>,
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
        Self {
            origin: plan.origin,
            delay: plan.delay,
            next: plan.first,
            cuts: plan.cuts.iter().copied().collect(),
            video: plan.video.map(|flow| VideoLane::new(flow, plan.from)),
            audio: (0..)
                .zip(&plan.audio)
                .map(|(n, flow)| {
                    let known = plan.silences.iter().copied().filter(|silence| silence.track == n);
                    AudioLane::new(*flow, plan.from, known.collect())
                })
                .collect(),
            begun: (plan.kind == Kind::Timeline).then_some(plan.from),
            pieces: VecDeque::new(),
            waiting_bytes: 0,
            silences: Vec::new(),
            plan,
        }
    }

    /// The axis, once it is known whole.
    pub(super) fn axis(&self) -> Option<Axis> {
        Some(Axis { origin: self.origin?, delay: self.delay? })
    }

    /// The film time that the slowest track has reached.
    pub(super) fn reached(&self) -> Time {
        self.lanes().map(|(_, at, _)| at).min().unwrap_or(Time::ZERO)
    }

    /// The silences of sound tracks that were found since this was last asked.
    pub(super) fn take_silences(&mut self) -> Vec<Silence> {
        std::mem::take(&mut self.silences)
    }

    /// The track that is behind all others, while more than one flows.
    pub(super) fn behind(&self) -> Option<Rendition> {
        self.origin?;
        let flowing = || self.lanes().filter(|(_, _, done)| !done);
        flowing().nth(1)?;
        flowing().min_by_key(|(_, at, _)| *at).map(|(rendition, _, _)| rendition)
    }

    /// What a rendition's samples are.
    pub(super) fn track(&self, rendition: Rendition) -> Option<&Arc<Track>> {
        match rendition {
            Rendition::Video => self.video.as_ref()?.track.as_ref(),
            Rendition::Audio(n) => self.audio.get(usize::from(n))?.track.as_ref(),
        }
    }

    /// What a rendition's samples were in an earlier run: this one may have none of them.
    pub(super) fn suppose(&mut self, rendition: Rendition, track: &Arc<Track>) {
        if let (Rendition::Audio(n), true) = (rendition, self.plan.kind.is_film())
            && let Some(lane) = self.audio.get_mut(usize::from(n))
        {
            lane.track.get_or_insert_with(|| track.clone());
        }
    }

    /// A pipe's initialisation section came.
    pub(super) fn begin(&mut self, rendition: Rendition, track: Arc<Track>) -> Result<(), Misfit> {
        if track.is_protected() {
            return Err(Misfit::Protected);
        }
        let slot = match rendition {
            Rendition::Video => self.video.as_mut().map(|lane| &mut lane.track),
            Rendition::Audio(n) => self.audio.get_mut(usize::from(n)).map(|lane| &mut lane.track),
        };
        if let Some(slot) = slot {
            *slot = Some(track);
        }
        Ok(())
    }

    /// A fragment's samples came.
    pub(super) fn push(&mut self, rendition: Rendition, samples: Vec<Sample>) -> Result<Vec<Cut>, Misfit> {
        match rendition {
            Rendition::Video => self.push_video(samples)?,
            Rendition::Audio(n) => self.push_audio(usize::from(n), samples)?,
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
            Rendition::Video => self.finish_video()?,
            Rendition::Audio(n) => self.finish_audio(usize::from(n)),
        }
        self.drain()
    }

    /// Every lane: what it is, how far it has come, whether it has ended.
    fn lanes(&self) -> impl Iterator<Item = (Rendition, Time, bool)> {
        let video = self.video.iter().map(|lane| (Rendition::Video, lane.at, lane.done));
        let audio = (0..).zip(&self.audio).map(|(n, lane)| (Rendition::Audio(n), lane.at, lane.done));
        video.chain(audio)
    }

    /// The number of the segment that is open.
    fn open_number(&self) -> u64 {
        self.next + self.pieces.len() as u64
    }

    /// Whether the leading lane has closed all that the run is to make.
    fn is_filled(&self) -> bool {
        self.plan.until.is_some_and(|until| self.open_number() >= until)
    }

    /// Closes the open segment where the input ended. An end within the slack of a planned one is that one:
    /// what lasts how long is rounded too.
    fn close_at_the_end(&mut self, start: Time, end: Time, video: Option<Vec<Sample>>) {
        let near = |cut: &Time| end + BOUNDARY_SLACK >= *cut && end <= *cut + BOUNDARY_SLACK;
        let planned = self.cuts.front().copied().filter(near);
        // Where the run was to end here, the film goes on.
        let wanted = planned.is_some() && self.plan.until == Some(self.open_number() + 1);
        self.pieces.push_back(Piece { start, end: planned.unwrap_or(end), video, last: !wanted });
    }

    /// Takes out the pieces whose sound is there as well.
    fn drain(&mut self) -> Result<Vec<Cut>, Misfit> {
        let mut cuts = Vec::new();
        while let Some(piece) = self.pieces.front() {
            let lead = self.lead().filter(|_| self.plan.kind.is_film());
            if !self.audio.iter().all(|lane| lane.covers(piece.end) || lane.is_silent(piece, lead)) {
                break;
            }
            let Some(piece) = self.pieces.pop_front() else { break };
            let cut = self.assemble(piece)?;
            let samples = cut.video.iter().chain(&cut.audio).flatten();
            let bytes: usize = samples.map(|sample| sample.data.len()).sum();
            self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
            cuts.push(cut);
        }
        Ok(cuts)
    }

    fn assemble(&mut self, piece: Piece) -> Result<Cut, Misfit> {
        let number = self.next;
        let tried = if number == self.plan.first { self.plan.misfits } else { 0 };
        let lead = self.lead().unwrap_or(piece.end);
        let unsure = piece.last || self.audio.iter().any(|lane| lane.done && !lane.reaches(piece.end));
        for lane in &mut self.audio {
            lane.is_excused = tried > 0 || !lane.covers(piece.end) || lane.is_excused && lane.lacks(&piece);
        }
        let mut audio: Vec<_> = self.audio.iter_mut().map(|lane| lane.take(piece.end)).collect();
        let gap = match self.check(number, &piece, &audio) {
            Ok(()) => false,
            Err(_) if tried > 1 => true,
            Err(misfit) => return Err(misfit),
        };
        self.next += 1;
        for (n, (lane, taken)) in (0..).zip(self.audio.iter_mut().zip(&mut audio)) {
            if taken.is_empty() && !piece.last && self.plan.kind.is_film() {
                let to = if lane.done { EVER } else { piece.end.max(lead - MIXED) };
                self.silences.push(Silence { track: n, from: piece.start, to });
                lane.is_excused = true;
            }
            lane.close(taken, &piece, self.plan.kind, self.origin.unwrap_or(Time::ZERO));
        }
        let Piece { start, end, video, last } = piece;
        Ok(Cut { number, start, end, video, audio, gap, last, unsure })
    }

    /// How far the track has come that the segments follow.
    fn lead(&self) -> Option<Time> {
        let sound = || self.audio.first().map(|lane| lane.at);
        self.video.as_ref().map(|lane| lane.at).or_else(sound)
    }

    /// Whether a piece is what was planned.
    fn check(&self, number: u64, piece: &Piece, audio: &[Vec<Sample>]) -> Result<(), Misfit> {
        if self.plan.kind == Kind::Window {
            return Ok(());
        }
        if let (Some(lane), Some(video)) = (&self.video, &piece.video)
            && let (Flow::Encoded { rate: Some(rate) }, Some(track)) = (lane.flow, &lane.track)
        {
            check_frames(number, piece, video, rate, track.timescale)?;
        }
        let splice = (number == self.plan.first && number > 0).then_some(self.plan.from);
        let origin = self.origin.unwrap_or(Time::ZERO);
        for (lane, audio) in self.audio.iter().zip(audio) {
            if let Some(track) = &lane.track {
                check_audio(number, piece, audio, lane, track, splice, origin)?;
            }
        }
        Ok(())
    }

    fn check_skew(&self) -> Result<(), Misfit> {
        if self.origin.is_none() {
            return Ok(());
        }
        let flowing = || self.lanes().filter(|(_, _, done)| !done).map(|(_, at, _)| at);
        // Sound that a film lacks is not waited for; its picture is.
        let first = if self.plan.kind.is_film() { flowing().next() } else { flowing().min() };
        let is_over = self.plan.kind.is_film() && self.lanes().next().is_some_and(|(_, _, done)| done);
        let (Some(first), Some(last), false) = (first, flowing().max(), is_over) else { return Ok(()) };
        let skew = last - first;
        if skew > MOST_SKEW { Err(Misfit::Silent { skew }) } else { Ok(()) }
    }
}
