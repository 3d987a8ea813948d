//! The lane of the picture: it leads, and closes a segment wherever its plan says that one ends.

use std::sync::Arc;

use super::check::drop_torn_order;
use super::{BOUNDARY_SLACK, Cutter, Flow, GOP_SLACK, Kind, Misfit, Piece};
use crate::mux::{Sample, Time, Track};

/// An encoded channel cuts its first segments at each key frame, so that a picture is there early.
const SHORT_SEGMENTS: u64 = 2;
/// A film whose key frames are further apart than this many segments is encoded; so is the end of one whose
/// planned key frames are used up.
const LONGEST_SEGMENTS: i64 = 3;

#[derive(Debug)]
pub(super) struct VideoLane {
    pub flow: Flow,
    pub track: Option<Arc<Track>>,
    /// Where the open segment starts.
    start: Option<Time>,
    open: Vec<Sample>,
    last_dts: Option<i64>,
    /// Leading pictures of the very first key frame refer to what nobody has.
    drop_leading: bool,
    pub at: Time,
    pub done: bool,
}

impl VideoLane {
    pub(super) fn new(flow: Flow, from: Time) -> Self {
        Self {
            flow,
            track: None,
            start: None,
            open: Vec::new(),
            last_dts: None,
            drop_leading: false,
            at: from,
            done: false,
        }
    }
}

impl Cutter {
    pub(super) fn push_video(&mut self, samples: Vec<Sample>) -> Result<(), Misfit> {
        // Taken out, so that the rest of the cutter can be asked meanwhile.
        let Some(mut lane) = self.video.take() else { return Ok(()) };
        let pushed = samples.into_iter().try_for_each(|sample| self.push_picture(&mut lane, sample));
        if pushed.is_ok() {
            self.close_full_picture(&mut lane);
        }
        self.video = Some(lane);
        pushed?;
        self.place_early_audio()
    }

    pub(super) fn finish_video(&mut self) -> Result<(), Misfit> {
        let Some(mut lane) = self.video.take() else { return Ok(()) };
        let closed = if lane.done { Ok(()) } else { self.close_picture(&mut lane) };
        lane.done = true;
        self.video = Some(lane);
        closed
    }

    fn push_picture(&mut self, lane: &mut VideoLane, mut sample: Sample) -> Result<(), Misfit> {
        let Some(scale) = lane.track.as_ref().map(|track| track.timescale) else { return Ok(()) };
        if let (Flow::Copied { .. }, Some(track)) = (lane.flow, &lane.track) {
            track.check(&sample)?;
        }
        if lane.start.is_none() && !self.begins(lane, &sample, scale)? {
            return Ok(());
        }
        let (Some(origin), Some(start)) = (self.origin, lane.start) else { return Ok(()) };
        let origin = origin.ticks_in(scale);
        sample.pts -= origin;
        sample.dts -= origin;
        let at = Time::new(sample.pts, scale);
        if lane.last_dts.is_some_and(|last| sample.dts <= last) {
            return Err(Misfit::Unordered { at });
        }
        lane.last_dts = Some(sample.dts);
        lane.at = lane.at.max(at);
        if self.is_filled() {
            return Ok(());
        }
        if lane.open.is_empty() && !(sample.sync && self.is_at(start, at)) {
            return Err(Misfit::NoKeyFrame { number: self.open_number(), expected: start });
        }
        if !lane.open.is_empty()
            && let Some(end) = self.ends_before(lane.flow, start, at, sample.sync)?
        {
            let video = std::mem::take(&mut lane.open);
            self.pieces.push_back(Piece { start, end, video: Some(video), last: false });
            lane.start = Some(end);
            lane.drop_leading = false;
            if self.is_filled() {
                return Ok(());
            }
        }
        if lane.drop_leading && at < start {
            return Ok(());
        }
        self.waiting_bytes += sample.data.len();
        lane.open.push(sample);
        Ok(())
    }

    /// Whether the run begins with this sample. Fixes what of the axis is not known yet.
    fn begins(&mut self, lane: &mut VideoLane, sample: &Sample, scale: u32) -> Result<bool, Misfit> {
        if !sample.sync {
            return Ok(false);
        }
        let at = Time::new(sample.pts, scale);
        // The filters put the first frame of a film on 0, and the encoder reorders nothing.
        let encoded_film = self.plan.kind.is_film() && matches!(lane.flow, Flow::Encoded { .. });
        let known = self.origin.or(encoded_film.then_some(Time::ZERO));
        if let Some(origin) = known {
            let (at, from) = (at - origin, self.plan.from);
            if self.origin.is_some() && at + BOUNDARY_SLACK < from {
                return Ok(false);
            }
            if at > from + BOUNDARY_SLACK || at + BOUNDARY_SLACK < from {
                return Err(Misfit::NotOnBoundary { expected: from, found: at });
            }
        }
        lane.drop_leading = self.origin.is_none() || self.plan.first == 0;
        self.origin = Some(known.unwrap_or(at));
        let reordered = Time::new((sample.pts - sample.dts).max(0), scale);
        self.delay.get_or_insert(if encoded_film { Time::ZERO } else { reordered });
        lane.start = Some(self.plan.from);
        Ok(true)
    }

    /// Where the open segment ends, if it ends before the sample at `at`.
    fn ends_before(&mut self, flow: Flow, start: Time, at: Time, sync: bool) -> Result<Option<Time>, Misfit> {
        let number = self.open_number();
        let made = number - self.plan.first;
        let longest = self.plan.segment * LONGEST_SEGMENTS;
        let is_long = at - start + GOP_SLACK >= self.plan.segment;
        match (self.plan.kind, flow) {
            (Kind::Timeline | Kind::Event, Flow::Encoded { rate }) => {
                let quarter = rate.map_or(BOUNDARY_SLACK, |rate| {
                    Time::new(i64::from(rate.den), rate.num.saturating_mul(4))
                });
                match self.cuts.front().copied() {
                    Some(cut) if at + quarter > cut && (!sync || at > cut + quarter) => {
                        Err(Misfit::NoKeyFrame { number, expected: cut })
                    }
                    Some(cut) if at + quarter > cut => Ok(self.cuts.pop_front()),
                    Some(_) => Ok(None),
                    // As many key frames as one argument list holds are used up: the next run goes on.
                    None if at - start > longest => Err(Misfit::GridOver),
                    None => Ok(None),
                }
            }
            // Not every key frame is a cut, but every cut is a key frame.
            (Kind::Timeline, Flow::Copied { .. }) => match self.cuts.front().copied() {
                Some(cut) if sync && at > cut + BOUNDARY_SLACK => {
                    Err(Misfit::NoKeyFrame { number, expected: cut })
                }
                Some(cut) if sync && at + BOUNDARY_SLACK >= cut => Ok(self.cuts.pop_front()),
                Some(_) | None => Ok(None),
            },
            (Kind::Event, Flow::Copied { .. }) => {
                if number == 0 && !sync && at - start > longest {
                    return Err(Misfit::LongGop { longest });
                }
                Ok((sync && is_long).then_some(at))
            }
            (Kind::Window, Flow::Copied { .. }) => Ok((sync && (made == 0 || is_long)).then_some(at)),
            (Kind::Window, Flow::Encoded { .. }) => {
                Ok((sync && (made < SHORT_SEGMENTS || is_long)).then_some(at))
            }
        }
    }

    fn is_at(&self, boundary: Time, at: Time) -> bool {
        at + BOUNDARY_SLACK >= boundary && at <= boundary + BOUNDARY_SLACK
    }

    /// A fragment ends with a group of pictures. Where they reach the planned end of the segment it is whole, and
    /// need not wait for the next one, which would come a segment later.
    fn close_full_picture(&mut self, lane: &mut VideoLane) {
        let (Some(start), Some(track), Some(cut)) = (lane.start, &lane.track, self.cuts.front().copied())
        else {
            return;
        };
        let ends = lane.open.iter().map(|sample| sample.pts + i64::from(sample.duration)).max();
        if ends.is_some_and(|end| self.is_at(cut, Time::new(end, track.timescale))) && !self.is_filled() {
            self.cuts.pop_front();
            let video = std::mem::take(&mut lane.open);
            self.pieces.push_back(Piece { start, end: cut, video: Some(video), last: false });
            lane.start = Some(cut);
            lane.drop_leading = false;
        }
    }

    fn close_picture(&mut self, lane: &mut VideoLane) -> Result<(), Misfit> {
        let (Some(start), Some(track)) = (lane.start, &lane.track) else { return Ok(()) };
        let scale = track.timescale;
        if self.is_filled() {
            return Ok(());
        }
        if self.plan.kind == Kind::Window {
            drop_torn_order(&mut lane.open);
        }
        let shown = lane.open.iter().map(|sample| sample.pts).max().map(|pts| Time::new(pts, scale));
        // The segment reached over a planned end, and no key frame came any more that would have shown it.
        if self.plan.kind == Kind::Timeline
            && let (Some(shown), Some(cut)) = (shown, self.cuts.front())
            && shown > *cut + BOUNDARY_SLACK
        {
            return Err(Misfit::NoKeyFrame { number: self.open_number(), expected: *cut });
        }
        let end = lane.open.iter().map(|sample| sample.pts + i64::from(sample.duration)).max();
        let video = std::mem::take(&mut lane.open);
        self.close_at_the_end(start, end.map_or(start, |end| Time::new(end, scale)), Some(video));
        Ok(())
    }
}
