//! What may be listed of a session at one moment. It is made anew at each publication and never changed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use jiff::Timestamp;

use crate::mux::Time;
use crate::session::cues::Cues;
use crate::session::cut::Rendition;
use crate::session::grid::Grid;
use crate::session::labels::Labels;
use crate::session::state::Kind;
use crate::session::store::{Slot, lock};

/// What may be listed, at one moment.
#[derive(Debug)]
pub struct Index {
    /// How it is served.
    pub kind: Kind,
    /// The target duration, whole seconds.
    pub target: u64,
    /// Nothing will follow.
    pub complete: bool,
    /// Tags of discontinuity that left the list.
    pub discontinuities: u64,
    /// The renditions, the picture first.
    pub shapes: Vec<Shape>,
    /// Where published times lie behind film time.
    pub delay: Time,
    /// The segments, rising. Of a timeline those that exist, with holes between them.
    pub segments: Vec<Arc<Segment>>,
    /// Where a timeline is cut.
    pub grid: Option<Grid>,
    /// What a segment that does not exist yet will need, for each rendition.
    pub inits: Vec<(Rendition, Arc<str>)>,
    /// What its tracks are called, once the input was looked at.
    pub labels: Option<Arc<Labels>>,
    /// Its subtitles.
    pub(in crate::session) cues: Arc<Cues>,
    pub(super) rendered: Arc<Mutex<HashMap<String, Bytes>>>,
}

/// What a rendition is, from what was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Which.
    pub rendition: Rendition,
    /// RFC 6381.
    pub codec: String,
    /// Width and height.
    pub resolution: Option<(u32, u32)>,
    /// Frames a second.
    pub frame_rate: Option<f64>,
    /// Channels of sound.
    pub channels: Option<u16>,
    /// The largest segment's bits a second.
    pub bandwidth: u64,
}

/// One segment in all renditions.
#[derive(Debug)]
pub struct Segment {
    /// Its sequence.
    pub number: u64,
    /// Where it starts, in film time (a window: in the time of all that was made).
    pub start: Time,
    /// How long its picture is, or its sound where there is none.
    pub length: Time,
    /// Its times, or its coding, don't follow those of the segment before.
    pub discontinuity: bool,
    pub(super) media: Vec<Media>,
}

/// A segment in one rendition.
#[derive(Debug)]
pub struct Media {
    /// Which.
    pub rendition: Rendition,
    /// How long it is.
    pub length: Time,
    /// The wall clock at its start, on a window.
    pub date: Option<Timestamp>,
    /// The name of its initialisation section; `None` is a gap.
    pub init: Option<Arc<str>>,
    pub(super) etag: String,
    pub(super) slot: Option<Arc<Slot>>,
}

impl Index {
    /// Nothing, which nobody has looked at.
    pub(crate) fn empty(kind: Kind) -> Self {
        Self {
            kind,
            target: 0,
            complete: false,
            discontinuities: 0,
            shapes: Vec::new(),
            delay: Time::ZERO,
            segments: Vec::new(),
            grid: None,
            inits: Vec::new(),
            labels: None,
            cues: Arc::new(Cues::new(0)),
            rendered: Arc::default(),
        }
    }

    pub(super) fn copy(&self) -> Self {
        Self {
            kind: self.kind,
            target: self.target,
            complete: self.complete,
            discontinuities: self.discontinuities,
            shapes: self.shapes.clone(),
            delay: self.delay,
            segments: self.segments.clone(),
            grid: self.grid.clone(),
            inits: self.inits.clone(),
            labels: self.labels.clone(),
            cues: self.cues.clone(),
            rendered: Arc::default(),
        }
    }

    /// A segment that exists, and is listed, by its number.
    pub fn get(&self, number: u64) -> Option<&Arc<Segment>> {
        let place = self.segments.binary_search_by_key(&number, |segment| segment.number).ok()?;
        self.segments.get(place)
    }

    /// Whether there is such a subtitle track; nobody knows before the input was looked at.
    pub fn has_subtitle(&self, track: u8) -> Option<bool> {
        self.labels.as_ref().map(|labels| usize::from(track) < labels.subtitles.len())
    }

    /// Whether every segment of a timeline exists or was given up.
    pub(in crate::session) fn is_whole(&self) -> bool {
        self.grid.as_ref().is_some_and(|grid| self.segments.len() as u64 == grid.count())
    }

    /// The seconds that are listed.
    pub fn seconds(&self) -> f64 {
        self.segments.iter().fold(Time::ZERO, |sum, segment| sum + segment.length).seconds()
    }

    /// Bits a second of the last `count` segments, all renditions together.
    pub fn bitrate(&self, count: usize) -> Option<u64> {
        let last = &self.segments[self.segments.len().saturating_sub(count)..];
        let seconds = last.iter().fold(Time::ZERO, |sum, segment| sum + segment.length).seconds();
        let slots = last.iter().flat_map(|segment| &segment.media).filter_map(|media| media.slot.as_ref());
        let bytes: u64 = slots.map(|slot| slot.length).sum();
        (seconds > 0.0).then_some((bytes as f64 * 8.0 / seconds) as u64)
    }

    /// The text that `render` makes of this index: made once, then shared.
    pub fn rendered(&self, name: &str, render: impl FnOnce() -> String) -> Bytes {
        let mut rendered = lock(&self.rendered);
        if let Some(text) = rendered.get(name) {
            return text.clone();
        }
        let text = Bytes::from(render());
        rendered.insert(name.to_owned(), text.clone());
        text
    }
}

impl Segment {
    /// The segment in that rendition.
    pub fn media(&self, rendition: Rendition) -> Option<&Media> {
        self.media.iter().find(|media| media.rendition == rendition)
    }
}
