//! The segments of a session that exist, and what may be listed of them.
//!
//! They are published from memory; their bytes are the [`Store`]'s business. What may be listed is an
//! [`Index`], made anew at each publication and never changed, so that whoever renders a playlist from it may
//! keep the text with it.

mod index;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

pub use self::index::{Index, Media, Segment, Shape};
use super::Fault;
use super::cues::Cues;
use super::cut::Rendition;
use super::grid::Grid;
use super::labels::Labels;
use super::state::Kind;
use super::store::{Job, Slot, Store, lock};
use crate::mux::{Time, Track};

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
    inits: HashMap<(Rendition, Arc<str>), Init>,
    /// What left a window's playlist, still served to those who read it there.
    retired: VecDeque<Arc<Segment>>,
    bytes: u64,
    peak: HashMap<Rendition, u64>,
    /// Of a window that was cleared: its numbers never begin anew.
    next: u64,
    discontinuities: u64,
}

/// An initialisation section, and what it is of.
#[derive(Debug, Clone)]
struct Init {
    bytes: Bytes,
    track: Arc<Track>,
}

/// What a run made, ready to be published.
#[derive(Debug)]
pub(super) struct Made {
    pub number: u64,
    pub start: Time,
    pub length: Time,
    pub discontinuity: bool,
    pub delay: Time,
    /// The film ends with it.
    pub last: bool,
    pub media: Vec<MadeMedia>,
}

/// The same in one rendition.
#[derive(Debug)]
pub(super) struct MadeMedia {
    pub shape: Shape,
    pub length: Time,
    pub date: Option<Timestamp>,
    pub init: Bytes,
    pub track: Arc<Track>,
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

    /// A segment of a rendition with what its samples are of.
    pub(super) async fn piece(
        &self,
        rendition: Rendition,
        number: u64,
    ) -> Result<(Arc<Track>, Bytes), Missing> {
        let segment = self.find(number).ok_or(Missing::Absent)?;
        let media = segment.media(rendition).ok_or(Missing::Absent)?;
        let (slot, init) = media.slot.as_ref().zip(media.init.clone()).ok_or(Missing::Absent)?;
        let init = lock(&self.inner).inits.get(&(rendition, init)).cloned().ok_or(Missing::Absent)?;
        Ok((init.track, slot.bytes(&self.store).await?))
    }

    /// What a rendition's samples are of, once there were any.
    pub(super) fn track(&self, rendition: Rendition) -> Option<Arc<Track>> {
        let index = self.index();
        let (_, name) = index.inits.iter().find(|(known, _)| *known == rendition)?;
        Some(lock(&self.inner).inits.get(&(rendition, name.clone()))?.track.clone())
    }

    /// Where a segment starts, if it exists or can be made.
    pub fn start_of(&self, number: u64) -> Option<Time> {
        let planned = self.index().grid.clone().filter(|grid| number < grid.count());
        planned.map(|grid| grid.start(number)).or_else(|| self.find(number).map(|segment| segment.start))
    }

    /// An initialisation section by its name.
    pub fn init(&self, rendition: Rendition, name: &str) -> Option<Served> {
        let init = lock(&self.inner).inits.get(&(rendition, Arc::from(name))).cloned()?;
        Some(Served { etag: format!("\"{name}\""), bytes: init.bytes })
    }

    /// Says what the tracks of the segments to come are called, and makes room for their subtitles.
    pub(super) fn offer(&self, labels: Labels) {
        let cues = Arc::new(Cues::new(labels.subtitles.len()));
        let index = Index { labels: Some(Arc::new(labels)), cues, ..self.index().copy() };
        self.index.send_replace(Arc::new(index));
    }

    /// Lays out the segments of a timeline, which are made in any order. What exists of it stays.
    pub(super) fn lay_out(&self, grid: Grid) {
        let _inner = lock(&self.inner);
        let old = self.index();
        if old.grid.as_ref() != Some(&grid) {
            let target = whole_seconds(grid.longest());
            let index = Index {
                kind: Kind::Timeline,
                target,
                grid: Some(grid),
                rendered: Arc::default(),
                ..old.copy()
            };
            self.index.send_replace(Arc::new(index));
        }
    }

    /// Gives up a place of a timeline: its segment can't be made.
    pub(super) fn give_up(self: &Arc<Self>, number: u64) {
        let index = self.index();
        let Some(grid) = &index.grid else { return };
        let (start, length, delay) = (grid.start(number), grid.length(number), index.delay);
        let media = Vec::new();
        let made = Made { number, start, length, discontinuity: false, delay, last: false, media };
        self.publish(Kind::Timeline, made);
    }

    /// A timeline ends before this segment: nothing is there any more.
    pub(super) fn ends_before(&self, number: u64) {
        let grid = self.index().grid.clone();
        if let (Some(grid), Some(last)) = (grid, number.checked_sub(1)) {
            let end = grid.start(number);
            self.lay_out(grid.ending(last, end, true));
        }
    }

    /// Puts a segment on the shelf. From here on it can be had. One that is there already stays as it is.
    pub(super) fn publish(self: &Arc<Self>, kind: Kind, made: Made) {
        let mut inner = lock(&self.inner);
        let old = self.index();
        if kind == Kind::Timeline && old.get(made.number).is_some() {
            return;
        }
        let mut shapes = old.shapes.clone();
        let mut inits = old.inits.clone();
        let mut media = Vec::with_capacity(made.media.len());
        let mut written = Vec::new();
        for piece in made.media {
            let (piece, shape, init) = inner.take(self, made.number, piece);
            written.extend(piece.slot.clone());
            match shapes.iter_mut().find(|known| known.rendition == shape.rendition) {
                Some(known) => known.bandwidth = shape.bandwidth,
                None => shapes.push(shape),
            }
            if inits.iter().all(|(rendition, _)| *rendition != piece.rendition) {
                inits.push((piece.rendition, init));
            }
            media.push(piece);
        }
        shapes.sort_by_key(|shape| shape.rendition);
        let segment = Arc::new(Segment {
            number: made.number,
            start: made.start,
            length: made.length,
            discontinuity: made.discontinuity,
            media,
        });
        let grid =
            old.grid.as_ref().map(|grid| grid.ending(made.number, made.start + made.length, made.last));
        let grid = grid.filter(|_| kind == Kind::Timeline);
        // A timeline's playlists say the same whether a segment exists or not, unless it is not what it was
        // to be.
        let as_planned = grid.is_some()
            && grid == old.grid
            && shapes == old.shapes
            && inits == old.inits
            && inits.iter().all(|(rendition, init)| {
                segment.media(*rendition).is_some_and(|media| media.init.as_ref() == Some(init))
            });
        inner.next = inner.next.max(made.number + 1);
        let mut segments = old.segments.clone();
        segments.insert(segments.partition_point(|other| other.number < made.number), segment);
        let gone = if kind == Kind::Window { inner.slide(&mut segments, self.dvr) } else { Vec::new() };
        let target = match &grid {
            Some(grid) => whole_seconds(grid.longest()).max(old.target),
            None => self.target(kind, &segments, old.target),
        };
        let index = Index {
            kind,
            target,
            complete: false,
            discontinuities: inner.discontinuities,
            shapes,
            delay: made.delay,
            segments,
            grid,
            inits,
            labels: old.labels.clone(),
            cues: old.cues.clone(),
            rendered: if as_planned { old.rendered.clone() } else { Arc::default() },
        };
        // Under the lock: another run may publish at the same moment, and goes on from this.
        self.index.send_replace(Arc::new(index));
        drop(inner);
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
        let _inner = lock(&self.inner);
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
        self.index.send_replace(Arc::new(Index::empty(old.kind)));
        drop(inner);
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
        let longest = segments.last().into_iter().flat_map(|segment| &segment.media);
        let longest = longest.map(|media| whole_seconds(media.length)).max().unwrap_or(1);
        let meant = if kind.is_film() { whole_seconds(self.segment * 3) } else { 1 };
        longest.max(meant).max(before)
    }

    fn directory(&self) -> PathBuf {
        self.store.directory(self.id)
    }
}

/// As a target duration counts them: EXTINF, rounded, must not be above it (RFC 8216 section 4.3.3.1).
fn whole_seconds(length: Time) -> u64 {
    (length.seconds().round() as u64).max(1)
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.store.order(Job::RemoveDirectory(self.directory()));
    }
}

impl Inner {
    /// Takes a piece that was made into the accounts: what it is on the shelf, its rendition's shape as known
    /// now, and the name of its initialisation section.
    fn take(&mut self, shelf: &Shelf, number: u64, piece: MadeMedia) -> (Media, Shape, Arc<str>) {
        let rendition = piece.shape.rendition;
        let name: Arc<str> = format!("{:016x}", xxh3_128(&piece.init) as u64).into();
        let mut etag = String::new();
        let mut slot = None;
        if let Some(bytes) = piece.bytes {
            let length = bytes.len() as u64;
            etag = format!("\"{:032x}\"", xxh3_128(&bytes));
            self.bytes += length;
            let rate = (length as f64 * 8.0 / piece.length.seconds().max(0.001)) as u64;
            let peak = self.peak.entry(rendition).or_default();
            *peak = (*peak).max(rate);
            let new = Slot::new(format!("{rendition}-{number}.m4s"), shelf.id, length, &shelf.store);
            new.hold(bytes, &shelf.store);
            slot = Some(new);
        }
        let peak = self.peak.get(&rendition).copied().unwrap_or(0);
        let shape = Shape { bandwidth: peak.max(piece.shape.bandwidth), ..piece.shape };
        self.inits.entry((rendition, name.clone())).or_insert(Init { bytes: piece.init, track: piece.track });
        let init = slot.is_some().then(|| name.clone());
        (Media { rendition, length: piece.length, date: piece.date, init, etag, slot }, shape, name)
    }

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
