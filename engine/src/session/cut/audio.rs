//! The lanes of the sound: each is put on the axis, and follows the picture's cuts. Without a picture the first
//! of them leads.

use std::collections::VecDeque;
use std::sync::Arc;

use super::check::{on_grid, packet_ticks};
use super::silence::fill;
use super::{Cutter, Flow, Kind, MOST_SKEW, Misfit, Piece, Silence};
use crate::mux::{Sample, Time, Track};

#[derive(Debug)]
pub(super) struct AudioLane {
    pub flow: Flow,
    pub track: Option<Arc<Track>>,
    /// Came before there was an axis.
    early: Vec<Sample>,
    /// On the axis, not yet in a cut.
    queue: VecDeque<Sample>,
    last_pts: Option<i64>,
    /// Where the sound of the last cut ended.
    pub taken_to: Option<i64>,
    pub at: Time,
    pub done: bool,
    /// Where it is known to have nothing.
    known: Vec<Silence>,
    /// What would belong before this came too late.
    floor: Time,
    /// It has holes here that are the input's own.
    pub is_excused: bool,
}

impl AudioLane {
    pub(super) fn new(flow: Flow, from: Time, known: Vec<Silence>) -> Self {
        Self {
            flow,
            track: None,
            early: Vec::new(),
            queue: VecDeque::new(),
            last_pts: None,
            taken_to: None,
            at: from,
            done: false,
            known,
            floor: from.max(Time::ZERO),
            is_excused: false,
        }
    }

    /// Whether everything up to `end` is here, or nothing more will come.
    pub(super) fn covers(&self, end: Time) -> bool {
        self.done || self.reaches(end)
    }

    /// Whether everything up to `end` is here.
    pub(super) fn reaches(&self, end: Time) -> bool {
        let Some(scale) = self.track.as_ref().map(|track| track.timescale) else { return false };
        self.queue.back().is_some_and(|sample| Time::new(sample.pts, scale) >= end)
    }

    /// Whether there is no point in waiting for the rest of a piece: it is known that nothing is there, or what
    /// leads the film is too far ahead.
    pub(super) fn is_silent(&self, piece: &Piece, lead: Option<Time>) -> bool {
        let is_known = self.known.iter().any(|known| known.from <= piece.start && piece.end <= known.to);
        is_known || lead.is_some_and(|lead| lead >= piece.end + MOST_SKEW)
    }

    /// Whether what is here begins only within a piece or after it.
    pub(super) fn lacks(&self, piece: &Piece) -> bool {
        let Some(scale) = self.track.as_ref().map(|track| track.timescale) else { return true };
        self.queue.front().is_none_or(|first| Time::new(first.pts, scale) > piece.start)
    }

    /// Takes the packets that start before `end`.
    pub(super) fn take(&mut self, end: Time) -> Vec<Sample> {
        let Some(scale) = self.track.as_ref().map(|track| track.timescale) else { return Vec::new() };
        let count = self.queue.partition_point(|sample| Time::new(sample.pts, scale) < end);
        self.queue.drain(..count).collect()
    }

    /// What was taken for a piece is complete now: holes of a film are filled.
    pub(super) fn close(&mut self, taken: &mut Vec<Sample>, piece: &Piece, kind: Kind, origin: Time) {
        let track = self.track.clone().filter(|_| kind.is_film());
        if let Some(track) = track {
            fill(self, &track, taken, (piece.start, piece.end, piece.last), origin);
            self.floor = piece.end;
        }
        if let Some(last) = taken.last() {
            self.taken_to = Some(last.pts + i64::from(last.duration));
        }
    }
}

impl Cutter {
    pub(super) fn push_audio(&mut self, n: usize, samples: Vec<Sample>) -> Result<(), Misfit> {
        let leads = self.video.is_none() && n == 0;
        let Some(lane) = self.audio.get_mut(n) else { return Ok(()) };
        let Some(scale) = lane.track.as_ref().map(|track| track.timescale) else { return Ok(()) };
        if leads && (self.origin.is_none() || self.delay.is_none()) {
            let encoded_film = self.plan.kind.is_film() && matches!(lane.flow, Flow::Encoded { .. });
            let first = samples.iter().map(|sample| sample.pts).find(|pts| !encoded_film || *pts >= 0);
            let Some(first) = first else { return Ok(()) };
            let origin = if encoded_film { Time::ZERO } else { Time::new(first, scale) };
            self.origin.get_or_insert(origin);
            self.delay.get_or_insert(Time::ZERO);
        }
        self.waiting_bytes += samples.iter().map(|sample| sample.data.len()).sum::<usize>();
        lane.early.extend(samples);
        self.place_early_audio()
    }

    pub(super) fn finish_audio(&mut self, n: usize) {
        let Some(lane) = self.audio.get_mut(n).filter(|lane| !lane.done) else { return };
        lane.done = true;
        if self.video.is_none() && n == 0 {
            self.close_sound(true);
        }
    }

    /// Puts audio on the axis and drops what lies before the run's first segment.
    pub(super) fn place_early_audio(&mut self) -> Result<(), Misfit> {
        let Some(origin) = self.origin else { return Ok(()) };
        let is_film = self.plan.kind.is_film();
        let from = self.plan.from.max(Time::ZERO);
        // A picture that has ended ends its film: sound that reaches further is not waited for, nor kept.
        let is_over = self.video.as_ref().is_some_and(|lane| lane.done) && self.pieces.is_empty();
        let mut dropped = 0;
        for lane in &mut self.audio {
            let Some(track) = lane.track.clone() else { continue };
            let (scale, frame) = (track.timescale, packet_ticks(&track));
            let zero = origin.ticks_in(scale);
            for mut sample in lane.early.drain(..) {
                sample.pts -= zero;
                if is_film {
                    let Some(exact) = on_grid(lane.flow, sample.pts, scale, frame, origin) else {
                        let found = Time::new(sample.pts, scale);
                        return Err(Misfit::OffGrid { number: self.next, expected: from, found });
                    };
                    // Where the input itself squeezes two packets together, both keep the time that it gives
                    // them.
                    if lane.last_pts.is_none_or(|last| exact > last) {
                        sample.pts = exact;
                    }
                }
                sample.dts = sample.pts;
                let at = Time::new(sample.pts, scale);
                lane.at = lane.at.max(at + Time::new(i64::from(sample.duration), scale));
                if at < from.max(lane.floor) || is_over {
                    dropped += sample.data.len();
                    continue;
                }
                if lane.last_pts.is_some_and(|last| sample.pts <= last) {
                    return Err(Misfit::Unordered { at });
                }
                lane.last_pts = Some(sample.pts);
                lane.queue.push_back(sample);
            }
        }
        self.waiting_bytes = self.waiting_bytes.saturating_sub(dropped);
        if self.video.is_none() {
            self.close_sound(false);
        }
        Ok(())
    }

    /// Without a picture every packet is a cut point: of a timeline the first at or after each planned end, else
    /// the first that makes the segment long enough.
    fn close_sound(&mut self, ended: bool) {
        let Some(lane) = self.audio.first() else { return };
        let Some(scale) = lane.track.as_ref().map(|track| track.timescale) else { return };
        let first = lane.queue.front().map(|sample| Time::new(sample.pts, scale));
        let end = lane.queue.back().map(|sample| sample.pts + i64::from(sample.duration));
        let times: Vec<Time> = lane.queue.iter().map(|sample| Time::new(sample.pts, scale)).collect();
        let Some(mut start) = self.begun.or(first) else { return };
        for at in times {
            while !self.is_filled()
                && let Some(end) = self.sound_ends_before(start, at)
            {
                self.pieces.push_back(Piece { start, end, video: None, last: false });
                start = end;
            }
        }
        self.begun = Some(start);
        if let (true, Some(end)) = (ended && !self.is_filled(), end.map(|end| Time::new(end, scale)))
            && end > start
        {
            self.close_at_the_end(start, end, None);
        }
    }

    fn sound_ends_before(&mut self, start: Time, at: Time) -> Option<Time> {
        match self.plan.kind {
            Kind::Timeline => self.cuts.pop_front_if(|cut| at >= *cut),
            Kind::Window | Kind::Event => (at >= start + self.plan.segment).then_some(at),
        }
    }
}
