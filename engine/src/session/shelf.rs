//! The segments that exist: published from memory, written by one I/O thread, read back whole.
//!
//! A [`Store`] is the engine's: one directory, one thread that writes, one bound on what is held in
//! memory. A [`Shelf`] is a session's. What may be listed is an [`Index`], made anew at each publication
//! and never changed, so that whoever renders a playlist from it may keep the text with it.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use super::cut::Rendition;
use super::state::Kind;
use super::{Cause, Code, Fault};
use crate::mux::Time;

/// Segments that wait to be written; a film's run is held back when they are this many.
const QUEUE: usize = 64;
/// No segment of ours is larger: what a directory shows beyond it is not ours.
const MOST_READ: u64 = 512 * 1024 * 1024;

/// Where all segments of the engine lie.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    root: OwnedFd,
    memory: u64,
    min_free: u64,
    held: Arc<AtomicU64>,
    used: AtomicU64,
    /// All that is held, in the order of a clock's hand.
    clock: Mutex<VecDeque<Weak<Slot>>>,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What is wrong with the storage directory.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StoreError {
    #[error("could not use the storage directory `{}`", path.display())]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another engine uses the storage directory `{}`", path.display())]
    Taken { path: PathBuf },
    #[error("could not start the thread that writes segments")]
    Thread(#[source] io::Error),
}

#[derive(Debug)]
enum Job {
    Write { shelf: Weak<Shelf>, slot: Arc<Slot> },
    Remove(PathBuf),
    RemoveDirectory(PathBuf),
}

/// One piece of media: in memory, on disk, or both.
#[derive(Debug)]
struct Slot {
    name: String,
    session: Uuid,
    length: u64,
    held: Mutex<Option<Bytes>>,
    written: AtomicBool,
    touched: AtomicBool,
    reading: tokio::sync::Mutex<()>,
    store: Weak<Store>,
}

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

impl Store {
    /// Opens the directory, and starts the thread that writes. What engines before left there as sessions
    /// of ours is removed: nothing remembers them.
    pub fn open(dir: &Path, memory: u64, min_free: u64) -> Result<Arc<Self>, StoreError> {
        let failed = |source: io::Error| StoreError::Directory { path: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let root = rustix::fs::open(dir, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        match rustix::fs::flock(&root, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StoreError::Taken { path: dir.to_owned() }),
            Err(error) => return Err(failed(error.into())),
        }
        // A directory that can't be written is found now, not by the first viewer.
        let probe = dir.join(".writable");
        fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe)).map_err(failed)?;
        remove_leftovers(dir).map_err(failed)?;
        let (jobs, orders) = mpsc::channel(QUEUE);
        let store = Arc::new(Self {
            dir: dir.to_owned(),
            root,
            memory,
            min_free,
            held: Arc::new(AtomicU64::new(0)),
            used: AtomicU64::new(0),
            clock: Mutex::new(VecDeque::new()),
            jobs: Mutex::new(Some(jobs)),
            writer: Mutex::new(None),
        });
        let writer = std::thread::Builder::new().name("segments".into()).spawn({
            let store = Arc::downgrade(&store);
            move || write_all(&store, orders)
        });
        *lock(&store.writer) = Some(writer.map_err(StoreError::Thread)?);
        Ok(store)
    }

    /// Bytes on disk.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes in memory.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// The most bytes that may be in memory.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// Bytes free on the file system, for whoever we run as.
    pub fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Whether new work may begin: there is room, and the directory is there.
    pub fn admit(&self) -> Result<(), Fault> {
        let lost = || {
            Fault::new(
                Code::StorageLost,
                Cause::Storage,
                "the storage directory can't be used: look at storage.dir",
            )
        };
        let here = fs::metadata(&self.dir).is_ok_and(|meta| meta.is_dir());
        let stat = rustix::fs::fstatvfs(&self.root).map_err(|_| lost())?;
        if !here {
            return Err(lost());
        }
        // On a small file system the configured floor would forbid everything.
        let floor = self.min_free.min(stat.f_blocks.saturating_mul(stat.f_frsize) / 10);
        if stat.f_bavail.saturating_mul(stat.f_frsize) < floor {
            let reason =
                "too little space is free for new sessions: free some, or lower storage.min_free_bytes";
            return Err(Fault::new(Code::StorageFull, Cause::Storage, reason));
        }
        Ok(())
    }

    /// Waits until there is room in the queue of what is to be written.
    pub(super) async fn ready_to_write(&self) {
        let jobs = lock(&self.jobs).clone();
        if let Some(jobs) = jobs {
            // An error means that the thread has ended: then nothing will be written, and nobody waits.
            drop(jobs.reserve().await);
        }
    }

    /// Ends the thread that writes, after all it has to do. Blocks for that long.
    pub fn close(&self) {
        drop(lock(&self.jobs).take());
        let writer = lock(&self.writer).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the thread that writes segments panicked");
        }
    }

    fn order(&self, job: Job) {
        let jobs = lock(&self.jobs);
        match jobs.as_ref().map(|jobs| jobs.try_send(job)) {
            None | Some(Ok(())) | Some(Err(mpsc::error::TrySendError::Closed(_))) => {}
            Some(Err(mpsc::error::TrySendError::Full(job))) => match job {
                // Only live media comes here with a full queue; it plays from memory.
                Job::Write { .. } => {}
                Job::Remove(path) => drop(fs::remove_file(path)),
                Job::RemoveDirectory(path) => drop(fs::remove_dir_all(path)),
            },
        }
    }

    /// Lets go of what has not been asked for lately, until the rest fits.
    fn make_room(&self) {
        let mut clock = lock(&self.clock);
        let mut left = clock.len() * 2;
        while self.held() > self.memory && left > 0 {
            left -= 1;
            let Some(candidate) = clock.pop_front() else { break };
            let Some(slot) = candidate.upgrade() else { continue };
            let spared = slot.touched.swap(false, Ordering::Relaxed) || !slot.written.load(Ordering::Acquire);
            if spared {
                clock.push_back(candidate);
            } else {
                slot.release();
            }
        }
    }
}

fn write_all(store: &Weak<Store>, mut orders: mpsc::Receiver<Job>) {
    while let Some(job) = orders.blocking_recv() {
        let Some(store) = store.upgrade() else { break };
        match job {
            Job::Write { shelf, slot } => {
                let Some(bytes) = lock(&slot.held).clone() else { continue };
                let Some(shelf) = shelf.upgrade() else { continue };
                match write(&store.dir, &slot, &bytes) {
                    Ok(()) => {
                        slot.written.store(true, Ordering::Release);
                        store.used.fetch_add(slot.length, Ordering::Relaxed);
                        store.make_room();
                    }
                    Err(error) => shelf.in_trouble(&error),
                }
            }
            Job::Remove(path) => {
                let length = fs::metadata(&path).map(|meta| meta.len());
                if fs::remove_file(&path).is_ok() {
                    store.used.fetch_sub(length.unwrap_or(0).min(store.used()), Ordering::Relaxed);
                }
            }
            Job::RemoveDirectory(path) => {
                let lengths = fs::read_dir(&path).into_iter().flatten().flatten();
                let total: u64 =
                    lengths.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum();
                match fs::remove_dir_all(&path) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => tracing::warn!(%error, "could not remove a session's directory"),
                }
                store.used.fetch_sub(total.min(store.used()), Ordering::Relaxed);
            }
        }
    }
}

/// Written under another name first: a file of a segment's name is always whole.
fn write(dir: &Path, slot: &Slot, bytes: &[u8]) -> io::Result<()> {
    let dir = dir.join(slot.session.to_string());
    match rustix::fs::mkdir(&dir, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let temporary = dir.join(format!("{}.part", slot.name));
    let written = fs::File::create(&temporary).and_then(|mut file| file.write_all(bytes));
    let written = written.and_then(|()| fs::rename(&temporary, dir.join(&slot.name)));
    if written.is_err() {
        // It may not exist; what matters is that it does not stay.
        drop(fs::remove_file(&temporary));
    }
    written
}

/// Directories that are named like sessions are ours; all else is left alone.
fn remove_leftovers(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| Uuid::parse_str(name).is_ok_and(|id| id.to_string() == name));
        if ours && entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

impl Slot {
    fn release(&self) {
        let let_go = lock(&self.held).take();
        if let (Some(_), Some(store)) = (let_go, self.store.upgrade()) {
            store.held.fetch_sub(self.length, Ordering::Relaxed);
        }
    }

    fn hold(self: &Arc<Self>, bytes: Bytes, store: &Store) {
        let before = lock(&self.held).replace(bytes);
        if before.is_none() {
            store.held.fetch_add(self.length, Ordering::Relaxed);
            lock(&store.clock).push_back(Arc::downgrade(self));
        }
    }

    async fn bytes(self: &Arc<Self>, store: &Arc<Store>) -> Result<Bytes, Missing> {
        self.touched.store(true, Ordering::Relaxed);
        if let Some(bytes) = lock(&self.held).clone() {
            return Ok(bytes);
        }
        // One reader for all who ask at the same moment.
        let _reading = self.reading.lock().await;
        if let Some(bytes) = lock(&self.held).clone() {
            return Ok(bytes);
        }
        let (slot, from) = (self.clone(), store.clone());
        let read = tokio::task::spawn_blocking(move || slot.read(&from.root)).await;
        match read {
            Ok(Ok(bytes)) => {
                self.hold(bytes.clone(), store);
                store.make_room();
                Ok(bytes)
            }
            Ok(Err(error)) => {
                tracing::warn!(session = %self.session, segment = %self.name, %error, "a segment can't be read back");
                Err(Missing::Lost)
            }
            Err(_) => Err(Missing::Lost),
        }
    }

    fn read(&self, root: &OwnedFd) -> io::Result<Bytes> {
        let path = format!("{}/{}", self.session, self.name);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let mut file = fs::File::from(rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?);
        let meta = file.metadata()?;
        if !meta.is_file() || meta.len() != self.length || meta.len() > MOST_READ {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not the file that was written"));
        }
        let mut bytes = Vec::with_capacity(self.length as usize);
        file.read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.release();
    }
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

    /// Waits for a change of the index, from the one that `seen` saw last.
    pub fn watch(&self) -> watch::Receiver<Arc<Index>> {
        self.index.subscribe()
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
                let new = Arc::new(Slot {
                    name: format!("{rendition}-{}.m4s", made.number),
                    session: self.id,
                    length,
                    held: Mutex::new(None),
                    written: AtomicBool::new(false),
                    touched: AtomicBool::new(true),
                    reading: tokio::sync::Mutex::new(()),
                    store: Arc::downgrade(&self.store),
                });
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
            self.store.order(Job::Write { shelf: Arc::downgrade(self), slot });
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
        let meant = if kind == Kind::Event { (self.segment * 3).seconds().round() as u64 } else { 1 };
        longest.max(meant).max(before)
    }

    fn in_trouble(&self, error: &io::Error) {
        let (code, reason) = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                (Code::StorageFull, "the disk of storage.dir is full")
            }
            _ => (Code::StorageLost, "segments can't be written to storage.dir"),
        };
        tracing::warn!(session = %self.id, %error, "a segment could not be written");
        self.trouble.send_replace(Some(Fault::new(code, Cause::Storage, format!("{reason}: {error}"))));
    }

    fn directory(&self) -> PathBuf {
        self.store.dir.join(self.id.to_string())
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

/// Nothing here panics while it holds a lock; should it, what the lock guards is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
