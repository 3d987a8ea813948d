//! The segments of a session that exist, and what may be listed of them.
//!
//! They are published from memory; their bytes are the [`Store`]'s business. What may be listed is an
//! [`Index`], made anew at each publication and never changed, so that whoever renders a playlist from it may
//! keep the text with it.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use super::Fault;
use super::cut::Rendition;
use super::state::Kind;
use super::store::{Job, Slot, Store, lock};
use crate::mux::Time;

/// A session's segments.
#[derive(Debug)]
pub struct Shelf {
    id: Uuid,
    store: Arc<Store>,
    dvr: Time,
    segment: Time,
    inner: Mutex<Inner>,
    index: watch::Sender<Arc<Index>>,
    trouble: watch::Sender<Option<Fault>>,
}

#[derive(Debug, Default)]
struct Inner {
    inits: HashMap<(Rendition, Arc<str>), Bytes>,
    /// What left a window's playlist, still served to those who read it there.
    retired: VecDeque<Arc<Segment>>,
    bytes: u64,
    peak: HashMap<Rendition, u64>,
    /// Of a window that was cleared: its numbers never begin anew.
    next: u64,
    discontinuities: u64,
}

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
    /// The segments, rising.
    pub segments: Vec<Arc<Segment>>,
    rendered: Mutex<HashMap<String, Bytes>>,
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
    media: Vec<Media>,
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
    etag: String,
    slot: Option<Arc<Slot>>,
}

/// What a run made, ready to be published.
#[derive(Debug)]
pub(super) struct Made {
    pub number: u64,
    pub start: Time,
    pub length: Time,
    pub discontinuity: bool,
    pub delay: Time,
    pub media: Vec<MadeMedia>,
}

/// The same in one rendition.
#[derive(Debug)]
pub(super) struct MadeMedia {
    pub shape: Shape,
    pub length: Time,
    pub date: Option<Timestamp>,
    pub init: Bytes,
    /// `None` is a gap.
    pub bytes: Option<Bytes>,
}

/// Bytes to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// All of them.
    pub bytes: Bytes,
    /// A strong entity tag, with its quotes.
    pub etag: String,
}

/// Why there is nothing to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// There is no such thing, or not any more.
    #[error("no such segment")]
    Absent,
    /// It should be on disk and can't be read.
    #[error("the segment can't be read from storage")]
    Lost,
}

impl Shelf {
    /// An empty shelf. `dvr` is how much of a window is listed, `segment` how long segments are meant to be.
    pub(super) fn new(id: Uuid, store: Arc<Store>, dvr: Duration, segment: Duration) -> Arc<Self> {
        Arc::new(Self {
            id,
            store,
            dvr: Time::from(dvr),
            segment: Time::from(segment),
            inner: Mutex::default(),
            index: watch::Sender::new(Arc::new(Index::empty(Kind::Event))),
            trouble: watch::Sender::new(None),
        })
    }

    /// What may be listed now.
    pub fn index(&self) -> Arc<Index> {
        self.index.borrow().clone()
    }

    /// Bytes of all segments that exist.
    pub fn bytes(&self) -> u64 {
        lock(&self.inner).bytes
    }

    /// A segment of a rendition.
    pub async fn segment(&self, rendition: Rendition, number: u64) -> Result<Served, Missing> {
        let segment = self.find(number).ok_or(Missing::Absent)?;
        let media = segment.media(rendition).ok_or(Missing::Absent)?;
        let slot = media.slot.as_ref().ok_or(Missing::Absent)?;
        Ok(Served { bytes: slot.bytes(&self.store).await?, etag: media.etag.clone() })
    }

    /// Where a segment starts, if it exists.
    pub fn start_of(&self, number: u64) -> Option<Time> {
        self.find(number).map(|segment| segment.start)
    }

    /// An initialisation section by its name.
    pub fn init(&self, rendition: Rendition, name: &str) -> Option<Served> {
        let bytes = lock(&self.inner).inits.get(&(rendition, Arc::from(name))).cloned()?;
        Some(Served { etag: format!("\"{name}\""), bytes })
    }

    /// Puts a segment on the shelf. From here on it can be had.
    pub(super) fn publish(self: &Arc<Self>, kind: Kind, made: Made) {
        let mut media = Vec::with_capacity(made.media.len());
        let mut written = Vec::new();
        let mut inner = lock(&self.inner);
        let old = self.index();
        let mut shapes = old.shapes.clone();
        for piece in made.media {
            let rendition = piece.shape.rendition;
            let name: Arc<str> = format!("{:016x}", xxh3_128(&piece.init) as u64).into();
            let mut etag = String::new();
            let mut slot = None;
            if let Some(bytes) = piece.bytes {
                let length = bytes.len() as u64;
                etag = format!("\"{:032x}\"", xxh3_128(&bytes));
                inner.bytes += length;
                let rate = (length as f64 * 8.0 / piece.length.seconds().max(0.001)) as u64;
                let peak = inner.peak.entry(rendition).or_default();
                *peak = (*peak).max(rate);
                let name = format!("{rendition}-{}.m4s", made.number);
                let new = Slot::new(name, self.id, length, &self.store);
                new.hold(bytes, &self.store);
                written.push(new.clone());
                slot = Some(new);
            }
            let shape = Shape { bandwidth: inner.peak.get(&rendition).copied().unwrap_or(0), ..piece.shape };
            match shapes.iter_mut().find(|shape| shape.rendition == rendition) {
                Some(known) => known.bandwidth = shape.bandwidth,
                None => shapes.push(shape),
            }
            inner.inits.entry((rendition, name.clone())).or_insert(piece.init);
            let init = slot.is_some().then_some(name);
            media.push(Media { rendition, length: piece.length, date: piece.date, init, etag, slot });
        }
        shapes.sort_by_key(|shape| shape.rendition);
        let segment = Arc::new(Segment {
            number: made.number,
            start: made.start,
            length: made.length,
            discontinuity: made.discontinuity,
            media,
        });
        inner.next = made.number + 1;
        let mut segments = old.segments.clone();
        segments.push(segment);
        let gone = if kind == Kind::Window { inner.slide(&mut segments, self.dvr) } else { Vec::new() };
        let index = Index {
            kind,
            target: self.target(kind, &segments, old.target),
            complete: false,
            discontinuities: inner.discontinuities,
            shapes,
            delay: made.delay,
            segments,
            rendered: Mutex::default(),
        };
        drop(inner);
        self.index.send_replace(Arc::new(index));
        for slot in written {
            self.store.order(Job::Write { slot: Arc::downgrade(&slot), trouble: self.trouble.clone() });
        }
        for slot in gone.iter().flat_map(|segment| &segment.media).filter_map(|media| media.slot.as_ref()) {
            self.store.order(Job::Remove(self.directory().join(&slot.name)));
        }
        self.store.make_room();
    }

    /// Says that nothing will follow.
    pub(super) fn complete(&self) {
        let old = self.index();
        if !old.complete {
            self.index.send_replace(Arc::new(Index { complete: true, ..old.copy() }));
        }
    }

    /// Deletes everything. A window's numbers go on where they were.
    pub(super) fn clear(&self) {
        let mut inner = lock(&self.inner);
        let old = self.index();
        let listed = old.segments.iter().filter(|segment| segment.discontinuity).count() as u64;
        let next = if old.kind == Kind::Window { inner.next } else { 0 };
        *inner = Inner { next, discontinuities: inner.discontinuities + listed, ..Inner::default() };
        drop(inner);
        self.index.send_replace(Arc::new(Index::empty(old.kind)));
        self.trouble.send_replace(None);
        self.store.order(Job::RemoveDirectory(self.directory()));
    }

    /// The number that the next segment gets.
    pub(super) fn next(&self) -> u64 {
        lock(&self.inner).next
    }

    /// Where the last segment ends.
    pub(super) fn end(&self) -> Time {
        self.index().segments.last().map_or(Time::ZERO, |segment| segment.start + segment.length)
    }

    /// What went wrong while writing.
    pub(super) fn trouble(&self) -> watch::Receiver<Option<Fault>> {
        self.trouble.subscribe()
    }

    /// The store behind it.
    pub(super) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    fn find(&self, number: u64) -> Option<Arc<Segment>> {
        let index = self.index();
        if let Some(segment) = index.get(number) {
            return Some(segment.clone());
        }
        lock(&self.inner).retired.iter().find(|segment| segment.number == number).cloned()
    }

    fn target(&self, kind: Kind, segments: &[Arc<Segment>], before: u64) -> u64 {
        // RFC 8216 section 4.3.3.1: EXTINF, rounded, must not be above it.
        let longest = segments.last().into_iter().flat_map(|segment| &segment.media);
        let longest = longest.map(|media| media.length.seconds().round() as u64).max().unwrap_or(1);
        let meant = if kind.is_film() { (self.segment * 3).seconds().round() as u64 } else { 1 };
        longest.max(meant).max(before)
    }

    fn directory(&self) -> PathBuf {
        self.store.directory(self.id)
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.store.order(Job::RemoveDirectory(self.directory()));
    }
}

impl Inner {
    /// Takes from the list what is older than the window, and from the retired what nobody can still be
    /// reading: RFC 8216 section 6.2.2 asks for the segment's and the list's duration more.
    fn slide(&mut self, segments: &mut Vec<Arc<Segment>>, dvr: Time) -> Vec<Arc<Segment>> {
        let mut total = segments.iter().fold(Time::ZERO, |sum, segment| sum + segment.length);
        while segments.len() > 1 && total - segments[0].length >= dvr {
            let segment = segments.remove(0);
            total -= segment.length;
            self.discontinuities += u64::from(segment.discontinuity);
            self.retired.push_back(segment);
        }
        let mut gone = Vec::new();
        let mut kept = self.retired.iter().fold(Time::ZERO, |sum, segment| sum + segment.length);
        while let Some(front) = self.retired.front()
            && kept - front.length >= dvr
        {
            kept -= front.length;
            self.bytes -= front
                .media
                .iter()
                .filter_map(|media| media.slot.as_ref())
                .map(|slot| slot.length)
                .sum::<u64>();
            gone.extend(self.retired.pop_front());
        }
        let listed = segments.iter().chain(&self.retired).flat_map(|segment| &segment.media);
        let used: Vec<_> =
            listed.filter_map(|media| media.init.clone().map(|init| (media.rendition, init))).collect();
        self.inits.retain(|key, _| used.contains(key));
        gone
    }
}

impl Index {
    fn empty(kind: Kind) -> Self {
        Self {
            kind,
            target: 0,
            complete: false,
            discontinuities: 0,
            shapes: Vec::new(),
            delay: Time::ZERO,
            segments: Vec::new(),
            rendered: Mutex::default(),
        }
    }

    fn copy(&self) -> Self {
        Self {
            kind: self.kind,
            target: self.target,
            complete: self.complete,
            discontinuities: self.discontinuities,
            shapes: self.shapes.clone(),
            delay: self.delay,
            segments: self.segments.clone(),
            rendered: Mutex::default(),
        }
    }

    /// A listed segment by its number.
    pub fn get(&self, number: u64) -> Option<&Arc<Segment>> {
        let first = self.segments.first()?.number;
        self.segments.get(usize::try_from(number.checked_sub(first)?).ok()?)
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
