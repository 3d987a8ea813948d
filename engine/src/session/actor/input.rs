//! The look at an input, and what is decided and frozen by what was seen: the kind, copy or encode, the grid.

use std::sync::Arc;

use super::Actor;
use crate::ffmpeg::{self, Container, Decision, Reason};
use crate::mux::{Time, Track};
use crate::session::cut::{Axis, Rendition};
use crate::session::grid::{Grid, Unfit, expected};
use crate::session::inputs::Known;
use crate::session::labels::Labels;
use crate::session::state::{Event, Kind};
use crate::session::{Cause, Code, Fault, Heals};

/// What is known of the input and frozen for the session's life.
pub(super) struct Opened {
    pub known: Arc<Known>,
    pub kind: Kind,
    pub decision: Decision,
    /// Where ffmpeg's time meets film time, once both its parts are known.
    pub axis: Option<Axis>,
    /// Where the first picture that can be shown lies, in ffmpeg's time. Of a timeline known from its index.
    pub origin: Option<Time>,
    pub tracks: Vec<(Rendition, Arc<Track>)>,
}

/// What is said of an index that was tried.
const LIES: &str = "its index of key frames is wrong";

/// A film whose cut points are known.
struct Layout {
    decision: Decision,
    grid: Grid,
    origin: Time,
    /// Where what is copied is shown after it is decoded; the first run tells where the container does not.
    delay: Option<Time>,
}

impl Actor {
    pub(super) fn open(&mut self) {
        if let Some(opening) = self.opening.take() {
            opening.abort();
        }
        let (world, address, source) =
            (self.world.clone(), self.request.address.clone(), self.request.source.clone());
        self.opening = Some(tokio::spawn(async move {
            world.store.admit().await?;
            world.inputs.look(&address, source.as_ref()).await
        }));
    }

    pub(super) fn opened(&mut self, looked: Result<Arc<Known>, Fault>) {
        self.opening = None;
        let known = match looked {
            Ok(known) => known,
            Err(fault) => return self.step(Event::OpenFailed(fault)),
        };
        // What was decided for a film is frozen: all its segments must fit together.
        let begun = self
            .input
            .as_ref()
            .map(|input| input.kind)
            .filter(|kind| kind.is_film() && self.shelf.next() > 0);
        if let Some(kind) = begun {
            if kind == Kind::Event && !known.ranges {
                if !self.anew {
                    let reason = "the server of the input can't continue where it was left (no Range)";
                    let fault = Fault::new(Code::Truncated, Cause::Source, reason).heals(Heals::Never);
                    return self.step(Event::OpenFailed(fault));
                }
                // It failed, and is wanted again: all there is to offer is its beginning.
                self.drop_segments();
                self.freeze(known);
                return self.step(Event::OpenedAnew(Kind::Event));
            }
            return self.step(Event::Opened(kind));
        }
        let kind = self.freeze(known);
        self.step(Event::Opened(kind));
    }

    /// Decides what becomes of an input, for the session's life.
    fn freeze(&mut self, known: Arc<Known>) -> Kind {
        let (film, settings) = (self.is_film(&known), &self.request.settings);
        let kind = if film { ffmpeg::Kind::Film } else { ffmpeg::Kind::Live };
        let mut decision = ffmpeg::decide(Some(&known.probe), kind, settings);
        let trusted = if self.index_lies { Err(Reason::NoIndex(LIES.to_owned())) } else { Ok(()) };
        let layout = if film { lay_out(&known, &decision, settings.segment, trusted) } else { None };
        let known_jumps = known.clock_jumps;
        let (kind, axis, origin) = match layout {
            Some(layout) => {
                self.shelf.lay_out(layout.grid);
                decision = layout.decision;
                let axis = layout.delay.map(|delay| Axis { origin: layout.origin, delay });
                (Kind::Timeline, axis, Some(layout.origin))
            }
            None => {
                if self.long_gop {
                    decision.encode_video(Reason::KeyFrames);
                }
                (if film { Kind::Event } else { Kind::Window }, None, None)
            }
        };
        self.shelf.offer(Labels::of(&decision));
        self.input = Some(Opened { known, kind, decision, axis, origin, tracks: Vec::new() });
        if film && known_jumps {
            self.warn("the film's clock leaps on the way: it is played from its beginning only".to_owned());
        }
        kind
    }

    fn is_film(&mut self, known: &Known) -> bool {
        let finite = known.probe.duration.is_some();
        match self.request.content_type {
            "live" if finite && known.bounded => {
                self.warn("asked for as live, but it has an end: it is played as a movie".to_owned());
                true
            }
            "live" => false,
            "auto" => finite || known.bounded,
            _ => true,
        }
    }
}

/// The cut points of a film, if they can be known: it has a length, can be entered anywhere, and is encoded or
/// tells where its key frames are. What can't be cut where it is copied is encoded.
fn lay_out(known: &Known, decision: &Decision, segment: Time, index: Result<(), Reason>) -> Option<Layout> {
    if !known.ranges {
        return None;
    }
    let end = expected(known)?;
    let mut decision = decision.clone();
    let start = known.probe.origin().unwrap_or(Time::ZERO);
    if decision.video.as_ref().is_some_and(|video| video.is_copied()) {
        let why = match (index, &known.keys) {
            (Err(why), _) => why,
            (Ok(()), Ok(keys)) => match keys.times.first() {
                Some(first) => {
                    let times: Vec<Time> = keys.times.iter().map(|key| *key - *first).collect();
                    let end = keys.end.map_or(end, |end| end - *first);
                    match Grid::copied(&times, segment, end) {
                        Ok(grid) => {
                            let (origin, delay) = (*first - start, keys.delay);
                            return Some(Layout { decision, grid, origin, delay });
                        }
                        Err(Unfit::LongGop) => Reason::KeyFrames,
                        Err(Unfit::Length) => return None,
                    }
                }
                None => Reason::KeyFrames,
            },
            (Ok(()), Err(none)) => Reason::NoIndex(none.to_string()),
        };
        decision.encode_video(why);
    }
    let grid = match (&decision.video, decision.audio.first()) {
        (Some(video), _) => Grid::encoded(video.encode.rate, segment, end),
        (None, Some(audio)) => {
            let exact = matches!(known.input.container, Some(Container::Mp4 | Container::Matroska));
            let rate = known.probe.audio().and_then(|stream| stream.sample_rate);
            match rate.filter(|_| audio.is_copied() && exact) {
                Some(rate) => Grid::packets(rate, segment, end),
                None => {
                    let rate = audio.encode.sample_rate;
                    if audio.is_copied() {
                        let why = "its packets can't be found by time";
                        decision.encode_audio(Reason::NoIndex(why.to_owned()));
                    }
                    Grid::packets(rate, segment, end)
                }
            }
        }
        (None, None) => return None,
    };
    // What is encoded is never reordered.
    Some(Layout { decision, grid: grid.ok()?, origin: Time::ZERO, delay: Some(Time::ZERO) })
}
