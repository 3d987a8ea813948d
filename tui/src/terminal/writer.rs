//! Writes to the terminal on a thread of its own.
//!
//! A terminal may stop reading: somebody pressed ^S, or the link is dead and nobody knows yet. Whoever
//! writes then stands still. Here that is this thread, while keys, signals and the connection go on; frames
//! wait in a slot for one, and none is drawn while it is taken.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags},
    io::Errno,
};
use tokio::sync::Notify;

/// The hand of the thread that writes.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    slot: Mutex<Slot>,
    filled: Condvar,
    emptied: Condvar,
    idle: Notify,
}

#[derive(Debug, Default)]
struct Slot {
    waiting: Option<Vec<u8>>,
    writing: bool,
    broken: bool,
    closed: bool,
}

/// The terminal is gone.
#[derive(Debug, thiserror::Error)]
#[error("the terminal is gone")]
pub(crate) struct Gone;

impl Writer {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        Self::with(write_all)
    }

    fn with(write: impl Fn(&[u8]) -> Result<(), Errno> + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        thread::Builder::new().name("terminal".to_owned()).spawn(move || theirs.run(write))?;
        Ok(Self { shared })
    }

    /// Whether everything is written.
    pub(crate) fn is_idle(&self) -> bool {
        self.shared.lock().is_idle()
    }

    /// Waits until everything is written.
    pub(crate) async fn idle(&self) -> Result<(), Gone> {
        loop {
            let woken = self.shared.idle.notified();
            {
                let slot = self.shared.lock();
                if slot.broken {
                    return Err(Gone);
                }
                if slot.is_idle() {
                    return Ok(());
                }
            }
            woken.await;
        }
    }

    /// Hands over bytes. If some are waiting still, these follow them.
    pub(crate) fn send(&self, bytes: Vec<u8>) {
        let mut slot = self.shared.lock();
        match &mut slot.waiting {
            Some(waiting) => waiting.extend_from_slice(&bytes),
            empty => *empty = Some(bytes),
        }
        self.shared.filled.notify_one();
    }

    /// Writes the last bytes, and waits for it no longer than `limit`.
    pub(crate) fn finish(&self, bytes: &[u8], limit: Duration) {
        self.send(bytes.to_vec());
        let end = Instant::now() + limit;
        let mut slot = self.shared.lock();
        while !slot.is_idle() && !slot.broken {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            slot = self.shared.emptied.wait_timeout(slot, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Writer {
    /// The thread ends by itself once it has nothing to do. One that stands in a write ends with the
    /// process: there is no way to call it back.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_one();
    }
}

impl Shared {
    /// A panic of the other side leaves the slot as usable as it was.
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, write: impl Fn(&[u8]) -> Result<(), Errno>) {
        let mut slot = self.lock();
        loop {
            if let Some(bytes) = slot.waiting.take() {
                slot.writing = true;
                drop(slot);
                let result = write(&bytes);
                slot = self.lock();
                slot.writing = false;
                slot.broken |= result.is_err();
                if slot.waiting.is_none() || slot.broken {
                    self.emptied.notify_all();
                    self.idle.notify_one();
                }
            } else if slot.closed {
                return;
            } else {
                slot = self.filled.wait(slot).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Slot {
    fn is_idle(&self) -> bool {
        self.waiting.is_none() && !self.writing
    }
}

/// Writes all of it to the terminal, past the buffer of standard output, which would cut a frame in pieces.
pub(super) fn write_all(mut bytes: &[u8]) -> Result<(), Errno> {
    let terminal = rustix::stdio::stdout();
    while !bytes.is_empty() {
        match rustix::io::write(terminal, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            // Whoever shares the terminal with us may have made it non-blocking.
            Err(Errno::AGAIN) => {
                let mut waited = [PollFd::new(&terminal, PollFlags::OUT)];
                rustix::event::poll(&mut waited, None)
                    .or_else(|e| if e == Errno::INTR { Ok(0) } else { Err(e) })?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_terminal_that_stopped_reading_holds_up_nobody_but_the_thread() {
        let (release, gate) = mpsc::channel::<()>();
        let (written, seen) = mpsc::channel();
        let writer = Writer::with(move |bytes| {
            gate.recv().ok();
            written.send(bytes.to_vec()).ok();
            Ok(())
        })
        .unwrap();
        writer.send(b"one".to_vec());
        assert!(!writer.is_idle());
        writer.finish(b"leave", Duration::from_millis(20));
        assert!(!writer.is_idle(), "the wait has a limit");
        release.send(()).unwrap();
        release.send(()).unwrap();
        let limit = Duration::from_secs(10);
        let all = [seen.recv_timeout(limit).unwrap(), seen.recv_timeout(limit).unwrap_or_default()].concat();
        assert_eq!(all, b"oneleave");
    }

    #[tokio::test]
    async fn a_terminal_that_is_gone_is_told() {
        let writer = Writer::with(|_| Err(Errno::IO)).unwrap();
        writer.send(b"frame".to_vec());
        assert!(writer.idle().await.is_err());
    }
}
