//! Bytes of segments: held in memory within a bound, written by one I/O thread, read back whole.
//!
//! It knows pieces by their names and nothing of playlists; what a piece is for is the shelf's business.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

use bytes::Bytes;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use tokio::sync::{Notify, mpsc, watch};
use uuid::Uuid;

use super::shelf::Missing;
use super::{Cause, Code, Fault, Heals};

/// Segments that wait to be written: at so many a film's run is held back until there are fewer.
const QUEUE: usize = 64;
/// At so many even live ones are no longer written; they play from memory, and leave it with their window.
const MOST_WAITING: usize = 1024;
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
    /// Unbounded, since removals must neither be lost nor overtake the writes before them; writes are counted.
    jobs: Mutex<Option<mpsc::UnboundedSender<Job>>>,
    waiting: AtomicUsize,
    fewer: Notify,
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
pub(super) enum Job {
    /// What goes wrong is told there.
    Write {
        slot: Weak<Slot>,
        trouble: watch::Sender<Option<Fault>>,
    },
    Remove(PathBuf),
    RemoveDirectory(PathBuf),
}

/// One piece of media: in memory, on disk, or both.
#[derive(Debug)]
pub(super) struct Slot {
    pub name: String,
    session: Uuid,
    pub length: u64,
    held: Mutex<Option<Bytes>>,
    written: AtomicBool,
    touched: AtomicBool,
    reading: tokio::sync::Mutex<()>,
    store: Weak<Store>,
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
        let (jobs, orders) = mpsc::unbounded_channel();
        let store = Arc::new(Self {
            dir: dir.to_owned(),
            root,
            memory,
            min_free,
            held: Arc::new(AtomicU64::new(0)),
            used: AtomicU64::new(0),
            clock: Mutex::new(VecDeque::new()),
            jobs: Mutex::new(Some(jobs)),
            waiting: AtomicUsize::new(0),
            fewer: Notify::new(),
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
    pub async fn admit(self: &Arc<Self>) -> Result<(), Fault> {
        let store = self.clone();
        // It asks the file system, which may take its time.
        let looked = tokio::task::spawn_blocking(move || store.look()).await;
        looked.unwrap_or_else(|_| {
            Err(Fault::new(Code::Internal, Cause::Internal, "looking at storage panicked"))
        })
    }

    fn look(&self) -> Result<(), Fault> {
        let lost = || {
            Fault::new(
                Code::StorageLost,
                Cause::Storage,
                "the storage directory can't be used: look at storage.dir",
            )
            .heals(Heals::Never)
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
            return Err(Fault::new(Code::StorageFull, Cause::Storage, reason).heals(Heals::Never));
        }
        Ok(())
    }

    /// Waits until there is room in the queue of what is to be written.
    pub(super) async fn ready_to_write(&self) {
        loop {
            let fewer = self.fewer.notified();
            tokio::pin!(fewer);
            // Enabled before looking: a write that ends in between would wake nobody otherwise.
            fewer.as_mut().enable();
            if self.waiting.load(Ordering::Acquire) < QUEUE {
                return;
            }
            fewer.await;
        }
    }

    /// Where a session's pieces lie.
    pub(super) fn directory(&self, session: Uuid) -> PathBuf {
        self.dir.join(session.to_string())
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

    pub(super) fn order(&self, job: Job) {
        if let Job::Write { .. } = job {
            if self.waiting.load(Ordering::Acquire) >= MOST_WAITING {
                return;
            }
            self.waiting.fetch_add(1, Ordering::AcqRel);
        }
        if let Some(jobs) = lock(&self.jobs).as_ref() {
            // The thread ends after the last sender only.
            drop(jobs.send(job));
        }
    }

    /// Lets go of what has not been asked for lately, until the rest fits.
    pub(super) fn make_room(&self) {
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

fn write_all(store: &Weak<Store>, mut orders: mpsc::UnboundedReceiver<Job>) {
    while let Some(job) = orders.blocking_recv() {
        let Some(store) = store.upgrade() else { break };
        match job {
            Job::Write { slot, trouble } => {
                store.waiting.fetch_sub(1, Ordering::AcqRel);
                store.fewer.notify_waiters();
                // It may have left its window while it waited.
                let Some(slot) = slot.upgrade() else { continue };
                let Some(bytes) = lock(&slot.held).clone() else { continue };
                match write(&store.dir, &slot, &bytes) {
                    Ok(()) => {
                        slot.written.store(true, Ordering::Release);
                        store.used.fetch_add(slot.length, Ordering::Relaxed);
                        store.make_room();
                    }
                    Err(error) => {
                        tracing::warn!(session = %slot.session, %error, "a segment could not be written");
                        trouble.send_replace(Some(fault(&error)));
                    }
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

/// What a failed write means for whoever wanted it.
fn fault(error: &io::Error) -> Fault {
    let (code, reason) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (Code::StorageFull, "the disk of storage.dir is full")
        }
        _ => (Code::StorageLost, "segments can't be written to storage.dir"),
    };
    Fault::new(code, Cause::Storage, format!("{reason}: {error}"))
}

impl Slot {
    /// The piece of that name of a session, neither held nor written yet.
    pub(super) fn new(name: String, session: Uuid, length: u64, store: &Arc<Store>) -> Arc<Self> {
        Arc::new(Self {
            name,
            session,
            length,
            held: Mutex::new(None),
            written: AtomicBool::new(false),
            touched: AtomicBool::new(true),
            reading: tokio::sync::Mutex::new(()),
            store: Arc::downgrade(store),
        })
    }

    fn release(&self) {
        let let_go = lock(&self.held).take();
        if let (Some(_), Some(store)) = (let_go, self.store.upgrade()) {
            store.held.fetch_sub(self.length, Ordering::Relaxed);
        }
    }

    pub(super) fn hold(self: &Arc<Self>, bytes: Bytes, store: &Store) {
        let before = lock(&self.held).replace(bytes);
        if before.is_none() {
            store.held.fetch_add(self.length, Ordering::Relaxed);
            let mut clock = lock(&store.clock);
            clock.push_back(Arc::downgrade(self));
            // What is gone needs no place; windows leave theirs behind in the order they came.
            while clock.front().is_some_and(|oldest| oldest.strong_count() == 0) {
                clock.pop_front();
            }
        }
    }

    pub(super) async fn bytes(self: &Arc<Self>, store: &Arc<Store>) -> Result<Bytes, Missing> {
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

/// Nothing here panics while it holds a lock; should it, what the lock guards is still whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
