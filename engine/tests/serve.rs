//! The accept loop as clients see it, over raw sockets: the fair ones, the slow ones and the gone ones.

#![expect(clippy::unwrap_used, reason = "all of this file is a test, its helpers too")]

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::service::TowerToHyperService;
use sluice_engine::serve::{Limits, Listener, Peer, serve, unix};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use warp::{Filter, Reply};

/// Far more than anything here takes, on any machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A limit that a test waits out.
const SHORT: Duration = Duration::from_millis(300);

/// More than the kernel takes off our hands for a client that does not read.
const LARGE: usize = 48 << 20;

/// A server on a port of its own, and what its handlers share with the test.
struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    ended: JoinHandle<()>,
    /// How many requests to `/wait` have arrived.
    waiting: Arc<AtomicUsize>,
    /// Lets all of them be answered.
    go: Arc<Notify>,
}

fn limits() -> Limits {
    Limits { connections: 100, per_address: 100, header: LIMIT, stall: LIMIT, exempt: Arc::new(|_| false) }
}

async fn start(limits: Limits) -> Server {
    start_draining(limits, LIMIT).await
}

async fn start_draining(limits: Limits, drain: Duration) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let (waiting, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let large = Bytes::from(vec![b'x'; LARGE]);
    let service = {
        let (waiting, go) = (Arc::clone(&waiting), Arc::clone(&go));
        service_fn(move |request: Request<Incoming>| {
            let (waiting, go, large) = (Arc::clone(&waiting), Arc::clone(&go), large.clone());
            async move {
                let body = match request.uri().path() {
                    "/wait" => {
                        let notified = go.notified();
                        waiting.fetch_add(1, Ordering::SeqCst);
                        notified.await;
                        Bytes::from_static(b"waited")
                    }
                    "/large" => large,
                    "/panic" => panic!("as the test asked"),
                    _ => Bytes::from_static(b"hello"),
                };
                Ok::<_, Infallible>(Response::new(Full::new(body)))
            }
        })
    };
    let ended = tokio::spawn(serve(Listener::Tcp(listener), service, limits, shutdown.clone(), drain));
    Server { address, shutdown, ended, waiting, go }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        within_limit(TcpStream::connect(self.address)).await.unwrap()
    }

    /// A client that has asked and waits for its answer.
    async fn occupy(&self) -> TcpStream {
        let before = self.waiting.load(Ordering::SeqCst);
        let mut client = self.connect().await;
        ask(&mut client, "/wait").await;
        eventually("the request arrives", || self.waiting.load(Ordering::SeqCst) > before).await;
        client
    }

    async fn end(self) {
        self.shutdown.cancel();
        within_limit(self.ended).await.unwrap();
    }
}

async fn within_limit<T>(what: impl Future<Output = T>) -> T {
    timeout(LIMIT, what).await.expect("not done in time")
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < LIMIT, "never: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn ask(client: &mut TcpStream, path: &str) {
    client.write_all(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes()).await.unwrap();
}

/// Reads one whole answer with a length: its status and its body.
async fn answer(client: &mut (impl AsyncRead + Unpin)) -> (u16, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within_limit(client.read_u8()).await.expect("closed in mid-answer"));
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.parse().unwrap()];
    within_limit(client.read_exact(&mut body)).await.unwrap();
    (status, String::from_utf8(body).unwrap())
}

async fn is_served(client: &mut TcpStream) {
    ask(client, "/").await;
    assert_eq!(answer(client).await, (200, "hello".to_owned()));
}

/// What arrives until the server closes, in whichever way.
async fn until_closed(client: &mut TcpStream) -> usize {
    read_to_end(client).await.0
}

/// How much arrives until the end, and whether that is a reset.
async fn read_to_end(client: &mut TcpStream) -> (usize, bool) {
    let (mut total, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        match within_limit(client.read(&mut buffer)).await {
            Ok(0) => return (total, false),
            Err(_) => return (total, true),
            Ok(count) => total += count,
        }
    }
}

#[tokio::test]
async fn warp_routes_know_their_peer_on_both_listeners() {
    let routes = warp::path("who")
        .and(warp::ext::get::<Peer>())
        .map(|peer: Peer| format!("{peer:?}"))
        .map(Reply::into_response)
        .boxed();
    let service = TowerToHyperService::new(warp::service(routes));
    let shutdown = CancellationToken::new();
    let request = b"GET /who HTTP/1.1\r\nhost: test\r\n\r\n";

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tcp = tokio::spawn(serve(
        Listener::Tcp(listener),
        service.clone(),
        limits(),
        shutdown.clone(),
        Duration::ZERO,
    ));
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(request).await.unwrap();
    let peer = Peer::Tcp(client.local_addr().unwrap());
    assert_eq!(answer(&mut client).await, (200, format!("{peer:?}")));

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let socket = unix::Socket::bind(&path, None).unwrap();
    let control =
        tokio::spawn(serve(Listener::Unix(socket), service, limits(), shutdown.clone(), Duration::ZERO));
    let mut client = UnixStream::connect(&path).await.unwrap();
    client.write_all(request).await.unwrap();
    let peer = Peer::Unix {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        pid: Some(std::process::id().cast_signed()),
    };
    assert_eq!(answer(&mut client).await, (200, format!("{peer:?}")));

    shutdown.cancel();
    within_limit(tcp).await.unwrap();
    within_limit(control).await.unwrap();
    assert!(!path.exists(), "the name is taken away at the end");
}

#[tokio::test]
async fn silence_and_half_a_head_are_closed_at_the_limit() {
    let server = start(Limits { header: 4 * SHORT, ..limits() }).await;
    let mut silent = server.connect().await;
    let mut half = server.connect().await;
    half.write_all(b"GET / HTTP/1.1\r\nhost: te").await.unwrap();
    let mut kept_alive = server.connect().await;
    is_served(&mut kept_alive).await;

    for client in [&mut silent, &mut half, &mut kept_alive] {
        until_closed(client).await;
    }
    is_served(&mut server.connect().await).await;
    server.end().await;
}

#[tokio::test]
async fn a_dripped_head_does_not_move_its_limit() {
    let server = start(Limits { header: SHORT, ..limits() }).await;
    let mut client = server.connect().await;
    let begin = Instant::now();
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    // A byte within each limit; the server must give up although something always comes.
    while client.write_all(b"x: y\r\n").await.is_ok() {
        assert!(begin.elapsed() < LIMIT, "dripping works for ever");
        sleep(SHORT / 10).await;
    }
    server.end().await;
}

#[tokio::test]
async fn heads_are_bounded_in_count_and_in_size() {
    let server = start(limits()).await;
    let with = |headers: String| format!("GET / HTTP/1.1\r\nhost: test\r\n{headers}\r\n");
    for (headers, expected) in [
        ((0..60).map(|n| format!("h{n}: v\r\n")).collect::<String>(), 200),
        ((0..65).map(|n| format!("h{n}: v\r\n")).collect::<String>(), 431),
        (format!("h: {}\r\n", "v".repeat(20_000)), 431),
    ] {
        let mut client = server.connect().await;
        client.write_all(with(headers).as_bytes()).await.unwrap();
        assert_eq!(answer(&mut client).await.0, expected);
    }
    server.end().await;
}

#[tokio::test]
async fn at_the_cap_the_longest_idle_connection_makes_room() {
    let server = start(Limits { connections: 3, ..limits() }).await;
    let mut busy = server.occupy().await;
    let mut first = server.connect().await;
    is_served(&mut first).await;
    let mut second = server.connect().await;
    is_served(&mut second).await;

    is_served(&mut server.connect().await).await;
    assert_eq!(until_closed(&mut first).await, 0);
    is_served(&mut second).await;
    server.go.notify_waiters();
    assert_eq!(answer(&mut busy).await, (200, "waited".to_owned()));
    server.end().await;
}

#[tokio::test]
async fn half_heads_cannot_keep_others_out() {
    let server = start(Limits { connections: 4, ..limits() }).await;
    let mut halves = Vec::new();
    for _ in 0..4 {
        let mut half = server.connect().await;
        half.write_all(b"GET / HTTP/1.1\r\nhost: te").await.unwrap();
        halves.push(half);
    }
    let mut others = Vec::new();
    for _ in 0..4 {
        let mut other = server.connect().await;
        is_served(&mut other).await;
        others.push(other);
    }
    for half in &mut halves {
        assert_eq!(until_closed(half).await, 0);
    }
    server.end().await;
}

#[tokio::test]
async fn when_all_are_busy_the_newcomer_is_told_so() {
    let server = start(Limits { connections: 2, ..limits() }).await;
    let mut busy = [server.occupy().await, server.occupy().await];
    assert_eq!(answer(&mut server.connect().await).await.0, 503);
    server.go.notify_waiters();
    for client in &mut busy {
        assert_eq!(answer(client).await, (200, "waited".to_owned()));
    }
    is_served(&mut server.connect().await).await;
    server.end().await;
}

#[tokio::test]
async fn an_address_at_its_cap_keeps_nobody_else_out() {
    let exempt: IpAddr = "127.0.0.3".parse().unwrap();
    let server =
        start(Limits { per_address: 1, exempt: Arc::new(move |address| address == exempt), ..limits() })
            .await;
    let from = async |address: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
        socket.connect(server.address).await.unwrap()
    };
    let _busy = server.occupy().await;
    assert_eq!(answer(&mut from("127.0.0.1").await).await.0, 503);
    is_served(&mut from("127.0.0.2").await).await;

    let mut exempt = Vec::new();
    for _ in 0..5 {
        let mut client = from("127.0.0.3").await;
        is_served(&mut client).await;
        exempt.push(client);
    }
    for client in &mut exempt {
        is_served(client).await;
    }
    server.go.notify_waiters();
    server.end().await;
}

#[tokio::test]
async fn seats_come_back_when_clients_leave() {
    let server = start(Limits { connections: 2, ..limits() }).await;
    for _ in 0..10 {
        let one = server.occupy().await;
        let two = server.occupy().await;
        drop((one, two));
        // Nobody is idle now: a newcomer is served only once those two have been noticed to be gone.
        let begin = Instant::now();
        loop {
            let mut client = server.connect().await;
            ask(&mut client, "/").await;
            let mut first = [0; 12];
            if client.read_exact(&mut first).await.is_ok() && &first == b"HTTP/1.1 200" {
                break;
            }
            assert!(begin.elapsed() < LIMIT, "a seat was lost");
            sleep(Duration::from_millis(5)).await;
        }
    }
    server.end().await;
}

#[tokio::test]
async fn a_reader_that_stops_is_cut_off_while_others_are_served() {
    let server = start(Limits { stall: SHORT, ..limits() }).await;
    let mut stopped = server.connect().await;
    ask(&mut stopped, "/large").await;
    let begin = Instant::now();
    let mut other = server.connect().await;
    while begin.elapsed() < 3 * SHORT {
        is_served(&mut other).await;
        sleep(Duration::from_millis(10)).await;
    }
    let (total, reset) = read_to_end(&mut stopped).await;
    assert!(total < LARGE);
    assert!(reset, "the kernel goes on holding what was not taken");
    is_served(&mut other).await;
    server.end().await;
}

#[tokio::test]
async fn a_reader_that_trickles_is_cut_off() {
    let server = start(Limits { stall: SHORT, ..limits() }).await;
    let mut client = server.connect().await;
    ask(&mut client, "/large").await;
    let begin = Instant::now();
    let mut few = [0; 100];
    while begin.elapsed() < 5 * SHORT {
        within_limit(client.read_exact(&mut few)).await.unwrap();
        sleep(Duration::from_millis(20)).await;
    }
    // By now the rest is gone, however fast it is asked for.
    assert!(until_closed(&mut client).await < LARGE / 2);
    server.end().await;
}

/// So slow that its socket does not become writable within a window: the kernel waits until a third of the
/// buffer is free.
#[tokio::test]
async fn a_slow_but_steady_reader_gets_everything() {
    let stall = 4 * SHORT;
    let server = start(Limits { stall, ..limits() }).await;
    let mut client = server.connect().await;
    ask(&mut client, "/large").await;
    let begin = Instant::now();
    let (mut total, mut some) = (0, vec![0; 128 * 1024]);
    while begin.elapsed() < 3 * stall {
        within_limit(client.read_exact(&mut some)).await.expect("cut off");
        total += some.len();
        sleep(stall / 5).await;
    }
    let mut rest = vec![0; LARGE - total];
    within_limit(client.read_exact(&mut rest)).await.expect("cut off");
    server.end().await;
}

#[tokio::test]
async fn what_a_busy_reader_waits_for_does_not_count_as_stalling() {
    let server = start(Limits { stall: SHORT, header: LIMIT, ..limits() }).await;
    let mut client = server.occupy().await;
    sleep(3 * SHORT).await;
    server.go.notify_waiters();
    assert_eq!(answer(&mut client).await, (200, "waited".to_owned()));
    // An idle connection has nothing to take.
    sleep(3 * SHORT).await;
    is_served(&mut client).await;
    server.end().await;
}

#[tokio::test]
async fn shutdown_lets_answers_finish_and_closes_the_rest() {
    let server = start(limits()).await;
    let mut busy = server.occupy().await;
    let mut idle = server.connect().await;
    is_served(&mut idle).await;
    let mut half = server.connect().await;
    half.write_all(b"GET / HT").await.unwrap();
    // So that the half has been accepted before the end.
    is_served(&mut server.connect().await).await;

    server.shutdown.cancel();
    assert_eq!(until_closed(&mut idle).await, 0);
    assert_eq!(until_closed(&mut half).await, 0);
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens any more");
    assert!(!server.ended.is_finished());

    server.go.notify_waiters();
    assert_eq!(answer(&mut busy).await, (200, "waited".to_owned()));
    assert_eq!(until_closed(&mut busy).await, 0);
    within_limit(server.ended).await.unwrap();
}

#[tokio::test]
async fn a_stuck_reader_does_not_hold_the_shutdown_beyond_its_deadline() {
    let server = start_draining(limits(), SHORT).await;
    let mut waiting = server.occupy().await;
    let mut stuck = server.connect().await;
    ask(&mut stuck, "/large").await;
    server.end().await;
    assert_eq!(until_closed(&mut waiting).await, 0);
    assert!(until_closed(&mut stuck).await < LARGE);
}

#[tokio::test]
async fn a_handler_that_panics_ends_its_own_connection_only() {
    let server = start(limits()).await;
    let mut client = server.connect().await;
    let mut unlucky = server.connect().await;
    ask(&mut unlucky, "/panic").await;
    assert_eq!(until_closed(&mut unlucky).await, 0);
    is_served(&mut client).await;
    server.end().await;
}

#[tokio::test]
async fn only_http_1_is_spoken() {
    let server = start(limits()).await;
    let mut client = server.connect().await;
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    within_limit(client.read_to_end(&mut said)).await.ok();
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 4") || said.starts_with(b"HTTP/1.1 505"));
    server.end().await;
}
