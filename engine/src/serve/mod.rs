//! The accept loop under both listeners: deadlines, caps, peers, draining.
//!
//! It speaks HTTP/1.1 only and knows nothing of routes. It promises that a client which is slow, silent or
//! gone costs no more than its own connection, and that connection not for long.
//!
//! ```text
//! accept -> Room: a seat, or the longest idle one makes room, or 503
//!        -> hyper over Patient: deadline for heads, and for readers that stop or trickle
//!        -> the service, with the Peer among the request's extensions
//! ```

mod room;
mod stall;
pub mod unix;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use room::{Room, Seat};
use stall::{Patient, Stream};

/// A head may be no larger than this, nor may what waits to be copied for a client that reads slowly.
const MAX_BUFFER: usize = 16 * 1024;

/// More headers are answered with 431.
const MAX_HEADERS: usize = 64;

/// Descriptors and memory come back when connections end; to ask again at once would only burn the CPU
/// that could end them.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Who sent a request. It stands in the request's extensions, and comes from the kernel, never from text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP, from this address.
    Tcp(SocketAddr),
    /// Over the Unix socket.
    Unix {
        /// The peer's user when it connected.
        uid: u32,
        /// The peer's group when it connected.
        gid: u32,
        /// For the log only: the number may be somebody else's by now.
        pid: Option<i32>,
    },
}

/// What clients connect to.
#[derive(Debug)]
pub enum Listener {
    /// Viewers and their players.
    Tcp(TcpListener),
    /// The operator.
    Unix(unix::Socket),
}

/// What clients may take.
#[derive(Clone)]
pub struct Limits {
    /// At this many connections, the longest idle one is closed for each new one. If none is idle, the new
    /// one gets 503.
    pub connections: usize,
    /// The same for one IPv4 address, or for one IPv6 network of 64 bits.
    pub per_address: usize,
    /// For a request's head to arrive whole, counted from when it could have begun: it also ends silent
    /// and idle connections.
    pub header: Duration,
    /// In this time, a client for whom something waits to be sent has to take 64 KiB of it.
    pub stall: Duration,
    /// Addresses that stand for many clients, and so are not counted one by one.
    pub exempt: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
}

/// Serves until `shutdown`, then closes the listener and what is idle, lets answers in flight finish for at
/// most `drain`, and ends the rest. When it returns, or is dropped, no connection is left.
pub async fn serve<S, B>(
    mut listener: Listener,
    service: S,
    limits: Limits,
    shutdown: CancellationToken,
    drain: Duration,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let room = Arc::new(Room::new(limits.connections, limits.per_address));
    let mut connections = JoinSet::new();
    let mut exhausted = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                said(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // The client has changed its mind; the next one is not concerned.
            Err(error) if is_about_one_client(&error) => continue,
            Err(error) => {
                if !exhausted {
                    tracing::warn!(%error, "cannot accept connections, trying on");
                }
                exhausted = true;
                tokio::select! {
                    () = sleep(EXHAUSTED_PAUSE) => continue,
                    () = shutdown.cancelled() => break,
                }
            }
        };
        exhausted = false;
        stream.prepare(limits.stall);
        let counted = peer.address().filter(|&address| !(limits.exempt)(address));
        match room.admit(counted, shutdown.child_token()) {
            Some(seat) => {
                let service = service.clone();
                let (header, stall) = (limits.header, limits.stall);
                connections.spawn(converse(stream, peer, service, seat, header, stall));
            }
            None => {
                tracing::debug!(?peer, "no room for a connection");
                stream.refuse();
            }
        }
    }

    // Nobody can connect any more, but no other engine may begin before the last answer has been given.
    let _lock = listener.close();
    let drained = timeout(drain, async {
        while let Some(ended) = connections.join_next().await {
            said(ended);
        }
    });
    if drained.await.is_err() {
        tracing::warn!(connections = connections.len(), "ending connections that did not finish in time");
        connections.shutdown().await;
    }
}

/// One connection from its first byte to its end.
async fn converse<S, B>(stream: Stream, peer: Peer, service: S, seat: Seat, header: Duration, stall: Duration)
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let activity = seat.activity();
    let answer = service_fn(|mut request: Request<Incoming>| {
        let busy = activity.busy();
        request.extensions_mut().insert(peer);
        let response = service.call(request);
        async move { Ok::<_, S::Error>(response.await?.map(|body| busy.until_sent(body))) }
    });
    let io = TokioIo::new(Patient::new(stream, stall, Arc::clone(activity)));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header)
            .max_buf_size(MAX_BUFFER)
            .max_headers(MAX_HEADERS)
            .serve_connection(io, answer)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = seat.asked_to_leave() => {
            // What hyper takes for work in progress includes half a head; a client that never sends the
            // other half must not keep its seat for that.
            if activity.idle_since().is_some() {
                return;
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::debug!(?peer, %error, cause, "a connection ended early");
    }
}

/// A handler that panics ends its own connection, and must not go unseen.
fn said(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a request handler panicked");
    }
}

fn is_about_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | WouldBlock)
}

impl Peer {
    /// Where it is, if it is not on this machine.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip().to_canonical()),
            Self::Unix { .. } => None,
        }
    }
}

impl Listener {
    /// Cancel safe.
    async fn accept(&mut self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Stream::Tcp(stream), Peer::Tcp(address)))
            }
            Self::Unix(socket) => {
                let stream = socket.accept().await?;
                let peer = stream.peer_cred()?;
                Ok((Stream::Unix(stream), Peer::Unix { uid: peer.uid(), gid: peer.gid(), pid: peer.pid() }))
            }
        }
    }

    /// Whoever connects from now on learns that nobody listens.
    fn close(self) -> Option<unix::Lock> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(socket) => Some(socket.close()),
        }
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits")
            .field("connections", &self.connections)
            .field("per_address", &self.per_address)
            .field("header", &self.header)
            .field("stall", &self.stall)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_accepted_over_tcp_sends_without_delay_and_gives_up_in_time() {
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = inner.local_addr().unwrap();
        let mut listener = Listener::Tcp(inner);
        let client = tokio::net::TcpStream::connect(address).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        stream.prepare(Duration::from_secs(30));

        assert_eq!(peer, Peer::Tcp(client.local_addr().unwrap()));
        let Stream::Tcp(stream) = stream else { panic!("a TCP listener accepts TCP") };
        assert!(stream.nodelay().unwrap());
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&stream).unwrap(), 30_000);
    }

    #[test]
    fn only_failures_that_concern_every_client_make_the_loop_wait() {
        for errno in [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE, rustix::io::Errno::NOBUFS] {
            assert!(!is_about_one_client(&errno.into()), "{errno}");
        }
        for errno in [rustix::io::Errno::CONNABORTED, rustix::io::Errno::INTR] {
            assert!(is_about_one_client(&errno.into()), "{errno}");
        }
    }

    #[test]
    fn an_ipv4_peer_on_an_ipv6_listener_has_an_ipv4_address() {
        let peer = Peer::Tcp("[::ffff:192.0.2.7]:1234".parse().unwrap());
        assert_eq!(peer.address(), Some("192.0.2.7".parse().unwrap()));
        assert_eq!(Peer::Unix { uid: 0, gid: 0, pid: None }.address(), None);
    }
}
