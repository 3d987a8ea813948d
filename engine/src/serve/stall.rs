//! The bytes of one connection, and patience with whoever takes them.
//!
//! A reader that stops, or takes a few bytes at a time, would hold an answer in memory for as long as it
//! likes. So the first write that has to wait opens a window; a reader that has not taken [`ENOUGH`] when
//! the window closes is cut off.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep, sleep};

use super::room::Activity;

/// What a reader has to take within one window. With the usual 30 s: 2 KB/s.
const ENOUGH: usize = 64 * 1024;

/// Best effort: the client may have sent its request already, and then sees a reset.
const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Either kind of connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A [`Stream`] that ends with `TimedOut` when its reader stalls.
#[derive(Debug)]
pub(super) struct Patient {
    stream: Stream,
    stall: Duration,
    window: Option<Window>,
    activity: Arc<Activity>,
}

#[derive(Debug)]
struct Window {
    taken: usize,
    end: Pin<Box<Sleep>>,
}

impl Stream {
    /// What holds for all connections. A connection that is gone already notices by itself.
    pub(super) fn prepare(&self, stall: Duration) {
        if let Self::Tcp(stream) = self {
            // Without it, each answer in two writes waits for a delayed acknowledgement: 44 ms.
            stream.set_nodelay(true).ok();
            // What we have written and closed is the kernel's to keep, out of our sight. It must not keep
            // megabytes for clients that never take them.
            let limit = u32::try_from(stall.as_millis()).unwrap_or(u32::MAX);
            rustix::net::sockopt::set_tcp_user_timeout(stream, limit).ok();
        }
    }

    /// Says that there is no room, if it can be said without waiting.
    pub(super) fn refuse(self) {
        self.send_now(&[IoSlice::new(REFUSAL)]).ok();
    }

    /// Forgets what has been written but not taken, so that the kernel does not keep it.
    fn abandon(&self) {
        if let Self::Tcp(stream) = self {
            stream.set_zero_linger().ok();
        }
    }

    /// Asks the socket itself. The reactor reports a socket as writable only when a third of its buffer is
    /// free, which a slow but honest reader of a large buffer may not reach for a long time.
    fn send_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut space: [MaybeUninit<u8>; 0] = [];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(rustix::net::sendmsg(self.as_fd(), slices, &mut control, flags)?)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Patient {
    pub(super) fn new(stream: Stream, stall: Duration, activity: Arc<Activity>) -> Self {
        Self { stream, stall, window: None, activity }
    }

    /// Accounts for one attempt to write `slices`.
    fn judge(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        attempt: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match attempt {
            Poll::Ready(Ok(taken)) => {
                self.count(taken, slices);
                Poll::Ready(Ok(taken))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.activity.set_unsent(true);
                let stall = self.stall;
                let window =
                    self.window.get_or_insert_with(|| Window { taken: 0, end: Box::pin(sleep(stall)) });
                ready!(window.end.as_mut().poll(context));
                self.close_window(context, slices)
            }
        }
    }

    fn count(&mut self, taken: usize, slices: &[IoSlice<'_>]) {
        if taken == slices.iter().map(|slice| slice.len()).sum::<usize>() {
            self.window = None;
            self.activity.set_unsent(false);
        } else if let Some(window) = &mut self.window {
            window.taken += taken;
        }
    }

    fn close_window(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let now = self.stream.send_now(slices).unwrap_or(0);
        let Some(window) = &mut self.window else { return Poll::Pending };
        if window.taken + now < ENOUGH {
            self.stream.abandon();
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        window.taken = 0;
        window.end.as_mut().reset(Instant::now() + self.stall);
        if now > 0 {
            self.count(now, slices);
            return Poll::Ready(Ok(now));
        }
        // Polled once more, for the waker of the new window.
        window.end.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Patient {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let attempt = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        };
        self.judge(context, slices, attempt)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
