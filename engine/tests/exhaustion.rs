//! What happens when the process runs out of descriptors. In a process of its own, because it takes them
//! from everybody in it.

#![expect(clippy::unwrap_used, reason = "all of this file is a test, its helpers too")]

use std::convert::Infallible;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::service::service_fn;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sluice_engine::process::{Exit, Launcher, Order, SpawnError};
use sluice_engine::serve::{Limits, Listener, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(60);

/// Opens files until no more can be opened.
fn take_all_descriptors() -> Vec<File> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(200), maximum }).unwrap();
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[tokio::test]
async fn without_descriptors_starts_fail_and_clients_wait_until_there_are_some() {
    let launcher = Launcher::start(PathBuf::from(env!("CARGO_BIN_EXE_sluiced"))).unwrap();
    let order = Order {
        program: PathBuf::from("true"),
        args: Vec::new(),
        outputs: Vec::new(),
        stdout: None,
        label: "test".to_owned(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();

    let taken = take_all_descriptors();
    let shutdown = CancellationToken::new();
    let limits =
        Limits { connections: 10, per_address: 10, header: LIMIT, stall: LIMIT, exempt: Arc::new(|_| false) };
    let service = service_fn(async |_| Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello")))));
    let server = tokio::spawn(serve(Listener::Tcp(listener), service, limits, shutdown.clone(), LIMIT));

    for _ in 0..20 {
        let result = launcher.spawn(order.clone()).await;
        assert!(matches!(result, Err(SpawnError::Io { .. })), "{result:?}");
    }
    let mut first = [0; 12];
    assert!(timeout(Duration::from_millis(250), client.read(&mut first)).await.is_err());

    // With any count of descriptors between none and enough, a start fails without losing one.
    let mut taken = taken;
    let mut child = loop {
        match launcher.spawn(order.clone()).await {
            Ok(child) => break child,
            Err(SpawnError::Io { .. }) => drop(taken.pop().expect("no descriptor was lost")),
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(timeout(LIMIT, child.process.exited()).await.unwrap(), Exit::Code(0));
    drop(child);
    drop(taken);
    timeout(LIMIT, client.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    drop(client);
    shutdown.cancel();
    timeout(LIMIT, server).await.unwrap().unwrap();
}
