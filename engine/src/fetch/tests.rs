//! Sources on loopback that answer, refuse, redirect, trickle and fall silent.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::address::Network;

const LIMIT: Duration = Duration::from_secs(20);

fn rules(networks: &[&str], files: &[&Path], sources: &[Source]) -> Arc<Rules> {
    let input = Input {
        allow_networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
        files: files.iter().map(|path| path.to_path_buf()).collect(),
        ..Input::default()
    };
    Arc::new(Rules::new(&input, sources))
}

fn loopback() -> Arc<Rules> {
    rules(&["127.0.0.0/8", "::1/128"], &[], &[])
}

fn fetcher(rules: &Arc<Rules>) -> Fetcher {
    Fetcher::new(Arc::clone(rules), &Input::default()).unwrap()
}

/// A source that answers every request with what `answer` makes of its path, and remembers the requests.
struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

/// What a source sends: these bytes, and then an end or silence.
struct Answer {
    bytes: Vec<u8>,
    then: Then,
}

enum Then {
    Close,
    Silence,
    /// So many more bytes, one packet at a time, and then silence.
    Trickle(usize),
}

impl Server {
    async fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), Arc::clone(&requests));
        // The runtime of the test owns these tasks and ends them with itself.
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answer), Arc::clone(&seen)));
            }
        });
        Self { port, requests }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn request(&self, index: usize) -> String {
        self.requests.lock().unwrap()[index].to_ascii_lowercase()
    }

    async fn ask(&self, path: &str) -> Result<FirstBytes, FetchError> {
        ask(&self.url(path), &loopback(), LIMIT).await
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: Arc<impl Fn(&str) -> Answer>,
    seen: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    seen.lock().unwrap().push(head);
    let answer = answer(&path);
    stream.write_all(&answer.bytes).await?;
    match answer.then {
        Then::Close => stream.shutdown().await,
        then => {
            if let Then::Trickle(packets) = then {
                for _ in 0..packets {
                    stream.write_all(&[0x47; 188]).await?;
                    stream.flush().await?;
                    tokio::task::yield_now().await;
                }
            }
            // Until the client leaves: that is how a test sees that it did.
            stream.read(&mut [0]).await.map(drop)
        }
    }
}

fn answer(head: &str, body: &[u8]) -> Answer {
    let bytes = [b"HTTP/1.1 ", head.as_bytes(), b"\r\n\r\n", body].concat();
    Answer { bytes, then: Then::Close }
}

fn redirect_to(location: &str) -> Answer {
    answer(&format!("302 Found\r\nLocation: {location}\r\nContent-Length: 0"), b"")
}

async fn ask(url: &str, rules: &Arc<Rules>, limit: Duration) -> Result<FirstBytes, FetchError> {
    let address = Address::parse(url, rules)?;
    fetcher(rules).first_bytes(&address, rules.source_for(&address, None), limit).await
}

#[tokio::test]
async fn a_range_is_asked_for_and_a_206_tells_the_length_of_the_whole() {
    let server = Server::start(|_| {
        let head = "206 Partial Content\r\nContent-Range: bytes 0-65535/9000000\r\nContent-Length: 65536\r\nContent-Type: video/mp4";
        answer(head, &[7; 65536])
    })
    .await;
    let first = server.ask("/film.mp4#t=10").await.unwrap();
    assert_eq!((first.bytes.len(), first.ranges, first.length), (65536, true, Some(9_000_000)));
    assert_eq!(first.content_type.as_deref(), Some("video/mp4"));
    assert_eq!(first.final_url.as_str(), server.url("/film.mp4"));
    let request = server.request(0);
    assert!(request.starts_with("get /film.mp4 http/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nrange: bytes=0-65535\r\n"), "{request}");
    assert!(request.contains("\r\nuser-agent: vlc/"), "{request}");
}

async fn ask_part(server: &Server, path: &str, from: u64, length: u64) -> Result<Bytes, FetchError> {
    let rules = loopback();
    let address = Address::parse(&server.url(path), &rules)?;
    fetcher(&rules).range(&address, None, from, length, LIMIT).await
}

fn part(range: &str, body: &[u8]) -> Answer {
    let head = format!("206 Partial Content\r\nContent-Range: {range}\r\nContent-Length: {}", body.len());
    answer(&head, body)
}

#[tokio::test]
async fn a_part_is_asked_for_and_comes_whole_or_shortened_by_the_end_of_the_file() {
    let server = Server::start(|path| match path {
        "/whole" => part("bytes 1000-1003/2000", b"part"),
        "/end" => part("bytes 1000-1001/1002", b"pa"),
        "/longer" => answer("206 Whatever\r\nContent-Range: bytes 1000-1003/*", b"part and more"),
        _ => redirect_to("/whole"),
    })
    .await;
    for (path, expected) in [("/whole", "part"), ("/end", "pa"), ("/longer", "part"), ("/moved", "part")] {
        let bytes = ask_part(&server, path, 1_000, 4).await.unwrap();
        assert_eq!(&bytes[..], expected.as_bytes(), "{path}");
    }
    assert!(server.request(0).contains("\r\nrange: bytes=1000-1003\r\n"), "{}", server.request(0));
    assert_eq!(ask_part(&server, "/whole", 1_000, 0).await, Ok(Bytes::new()));
}

#[tokio::test]
async fn anything_but_the_part_that_was_asked_for_is_an_error() {
    let server = Server::start(|path| match path {
        "/all" => answer("200 OK", b"the whole film"),
        "/earlier" => part("bytes 0-3/2000", b"film"),
        "/more" => part("bytes 1000-1004/2000", b"parts"),
        "/backwards" => part("bytes 1000-3/2000", b"film"),
        "/open" => part("bytes 1000-/2000", b"film"),
        "/unsaid" => answer("206 Partial Content", b"film"),
        "/short" => answer("206 Whatever\r\nContent-Range: bytes 1000-1003/2000", b"pa"),
        "/gone" => answer("404 Not Found", b""),
        _ => answer("416 Range Not Satisfiable\r\nContent-Range: bytes */900", b""),
    })
    .await;
    let wrong = FetchError::unreachable(Reason::Part);
    for path in ["/all", "/earlier", "/more", "/backwards", "/open", "/unsaid"] {
        assert_eq!(ask_part(&server, path, 1_000, 4).await, Err(wrong.clone()), "{path}");
    }
    let check = async |path: &str| ask_part(&server, path, 1_000, 4).await.unwrap_err();
    assert_eq!(check("/short").await, FetchError::unreachable(Reason::Closed));
    assert_eq!(check("/gone").await, FetchError::NotFound { status: 404 });
    assert_eq!(check("/behind").await, FetchError::Status { status: 416 });
}

#[tokio::test]
async fn a_part_that_does_not_come_ends_at_the_limit() {
    let server = Server::start(|_| {
        let head = "206 Partial Content\r\nContent-Range: bytes 0-3/9\r\nContent-Length: 4";
        Answer { then: Then::Silence, ..answer(head, b"fi") }
    })
    .await;
    let rules = loopback();
    let address = Address::parse(&server.url("/"), &rules).unwrap();
    let asked = fetcher(&rules).range(&address, None, 0, 4, Duration::from_millis(200)).await;
    assert_eq!(asked, Err(FetchError::TimedOut));
}

#[tokio::test]
async fn a_part_of_a_file_is_read_under_the_same_rules() {
    let directory = tempfile::tempdir().unwrap();
    let rules = rules(&[], &[directory.path()], &[]);
    let film = directory.path().join("film.mkv");
    std::fs::write(&film, b"the film").unwrap();
    let address = Address::parse(film.to_str().unwrap(), &rules).unwrap();
    let fetcher = fetcher(&rules);
    let ask = async |from, length| fetcher.range(&address, None, from, length, LIMIT).await;
    assert_eq!(ask(4, 2).await.unwrap(), "fi");
    assert_eq!(ask(4, u64::MAX).await.unwrap(), "film");
    assert_eq!(ask(u64::MAX, 4).await.unwrap(), "");
    std::fs::remove_file(&film).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &film).unwrap();
    assert_eq!(ask(0, 4).await, Err(FetchError::Forbidden(AddressError::NotRegular)));
}

#[tokio::test]
async fn a_server_without_ranges_is_read_no_further_than_the_first_bytes() {
    let server = Server::start(|_| Answer {
        then: Then::Silence,
        ..answer("200 OK\r\nContent-Length: 1000000", &[7; 300_000])
    })
    .await;
    let first = server.ask("/").await.unwrap();
    assert_eq!((first.bytes.len(), first.ranges, first.length), (65536, false, Some(1_000_000)));
}

#[tokio::test]
async fn a_short_answer_is_taken_whole() {
    let server = Server::start(|_| answer("200 OK", b"#EXTM3U\n")).await;
    let first = server.ask("/list.m3u8").await.unwrap();
    assert_eq!((&first.bytes[..], first.ranges, first.length), (&b"#EXTM3U\n"[..], false, None));
}

#[tokio::test]
async fn a_status_becomes_what_it_means() {
    let server =
        Server::start(|path| answer(&format!("{} Whatever\r\nContent-Length: 2", &path[1..]), b"no")).await;
    for (status, expected) in [
        (401, FetchError::Refused { status: 401 }),
        (403, FetchError::Refused { status: 403 }),
        (404, FetchError::NotFound { status: 404 }),
        (410, FetchError::NotFound { status: 410 }),
        (304, FetchError::Status { status: 304 }),
        (416, FetchError::Status { status: 416 }),
        (429, FetchError::Status { status: 429 }),
        (500, FetchError::Status { status: 500 }),
        (503, FetchError::Status { status: 503 }),
    ] {
        assert_eq!(server.ask(&format!("/{status}")).await, Err(expected));
    }
}

#[tokio::test]
async fn nothing_is_told_from_something() {
    let server = Server::start(|path| match path {
        "/length" => answer("200 OK\r\nContent-Length: 0", b""),
        "/close" => answer("200 OK", b""),
        "/range" => answer("416 Range Not Satisfiable\r\nContent-Range: bytes */0\r\nContent-Length: 0", b""),
        _ => answer("204 No Content", b""),
    })
    .await;
    for path in ["/length", "/close", "/range", "/204"] {
        assert_eq!(server.ask(path).await, Err(FetchError::Empty), "{path}");
    }
}

#[tokio::test]
async fn a_part_that_is_not_the_beginning_is_not_taken_for_it() {
    let server = Server::start(|path| match path {
        "/none" => answer("206 Partial Content\r\nContent-Length: 4", b"part"),
        _ => answer("206 Partial Content\r\nContent-Range: bytes 10-13/14\r\nContent-Length: 4", b"part"),
    })
    .await;
    for path in ["/none", "/other"] {
        assert_eq!(server.ask(path).await, Err(FetchError::unreachable(Reason::Protocol)), "{path}");
    }
}

#[tokio::test]
async fn redirects_are_followed_while_every_hop_is_allowed() {
    let server = Server::start(|path| match path {
        "/" => redirect_to("next?a=1"),
        "/next?a=1" => redirect_to("/film#here"),
        _ => answer("200 OK", b"film"),
    })
    .await;
    let first = server.ask("/").await.unwrap();
    assert_eq!((&first.bytes[..], first.final_url.as_str()), (&b"film"[..], server.url("/film").as_str()));
}

#[tokio::test]
async fn a_redirect_to_a_forbidden_address_is_not_followed() {
    let server = Server::start(|path| {
        redirect_to(match path {
            "/metadata" => "http://169.254.169.254/latest/",
            "/decimal" => "http://2852039166/",
            "/private" => "//10.0.0.1/",
            "/file" => "file:///etc/passwd",
            _ => "gopher://127.0.0.1/",
        })
    })
    .await;
    let link_local = || {
        FetchError::Forbidden(AddressError::Network {
            host: "169.254.169.254".into(),
            network: Network::LinkLocal,
        })
    };
    let protocol = |scheme: &str| FetchError::Forbidden(AddressError::Protocol { scheme: scheme.into() });
    assert_eq!(server.ask("/metadata").await, Err(link_local()));
    assert_eq!(server.ask("/decimal").await, Err(link_local()));
    assert!(matches!(server.ask("/private").await, Err(FetchError::Forbidden(_))));
    assert_eq!(server.ask("/file").await, Err(protocol("file")));
    assert_eq!(server.ask("/gopher").await, Err(protocol("gopher")));
}

#[tokio::test]
async fn a_name_that_leads_to_a_forbidden_network_is_not_connected_to() {
    let server = Server::start(|path| match path {
        "/away" => redirect_to("http://localhost:1/"),
        _ => answer("200 OK", b"film"),
    })
    .await;
    let closed = rules(&[], &[], &[]);
    let url = format!("http://localhost:{}/", server.port);
    let expected = AddressError::Network { host: "localhost".into(), network: Network::Loopback };
    assert_eq!(ask(&url, &closed, LIMIT).await, Err(FetchError::Forbidden(expected.clone())));
    assert!(server.requests.lock().unwrap().is_empty());
    assert_eq!(&ask(&url, &loopback(), LIMIT).await.unwrap().bytes[..], b"film");

    // A source that the config names is allowed as written; what it redirects to is not.
    let own = rules(&[], &[], &[source(&server.url("/"))]);
    assert_eq!(&ask(&server.url("/"), &own, LIMIT).await.unwrap().bytes[..], b"film");
    assert_eq!(ask(&server.url("/away"), &own, LIMIT).await, Err(FetchError::Forbidden(expected.clone())));
    let own = rules(&[], &[], &[source(&url)]);
    assert_eq!(&ask(&url, &own, LIMIT).await.unwrap().bytes[..], b"film");
    assert_eq!(ask(&format!("{url}away"), &own, LIMIT).await, Err(FetchError::Forbidden(expected)));
}

#[tokio::test]
async fn a_ring_of_redirects_ends() {
    let server = Server::start(|path| redirect_to(if path == "/a" { "/b" } else { "/a" })).await;
    assert_eq!(server.ask("/a").await, Err(FetchError::unreachable(Reason::Redirects)));
    assert_eq!(server.requests.lock().unwrap().len(), REDIRECTS + 1);
}

#[tokio::test]
async fn a_live_source_is_left_when_it_has_shown_enough() {
    let server = Server::start(|_| Answer { then: Then::Trickle(20), ..answer("200 OK", b"") }).await;
    let first = server.ask("/channel").await.unwrap();
    assert!((ENOUGH..=20 * 188).contains(&first.bytes.len()), "{}", first.bytes.len());
    assert!(first.bytes.iter().all(|byte| *byte == 0x47));
}

#[tokio::test]
async fn at_the_limit_five_packets_are_enough_and_four_are_not() {
    let server = Server::start(|path| {
        let packets = path[1..].parse().unwrap();
        Answer { then: Then::Trickle(packets), ..answer("200 OK", b"") }
    })
    .await;
    let short = Duration::from_secs(1);
    assert_eq!(ask(&server.url("/5"), &loopback(), short).await.unwrap().bytes.len(), 5 * 188);
    assert_eq!(ask(&server.url("/4"), &loopback(), short).await, Err(FetchError::TimedOut));
}

#[tokio::test]
async fn silence_ends_at_the_limit() {
    let server = Server::start(|_| Answer { bytes: Vec::new(), then: Then::Silence }).await;
    let result = ask(&server.url("/"), &loopback(), Duration::from_millis(200)).await;
    assert_eq!(result, Err(FetchError::TimedOut));
}

#[tokio::test]
async fn what_is_no_answer_is_told_apart() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let refused = ask(&format!("http://127.0.0.1:{port}/"), &loopback(), LIMIT).await;
    assert_eq!(refused, Err(FetchError::unreachable(Reason::Refused)));

    let closing = Server::start(|_| Answer { bytes: Vec::new(), then: Then::Close }).await;
    assert_eq!(closing.ask("/").await, Err(FetchError::unreachable(Reason::Closed)));

    let nonsense =
        Server::start(|_| Answer { bytes: b"ICY 200 OK\r\n\r\nfilm".to_vec(), then: Then::Close }).await;
    assert_eq!(nonsense.ask("/").await, Err(FetchError::unreachable(Reason::Protocol)));

    let broken = Server::start(|_| answer("200 OK\r\nContent-Length: 9000", b"film")).await;
    assert_eq!(broken.ask("/").await, Err(FetchError::unreachable(Reason::Closed)));

    // The label is longer than DNS allows, so that no resolver needs to be asked.
    let missing = format!("http://{}.invalid/", "a".repeat(70));
    assert_eq!(ask(&missing, &loopback(), LIMIT).await, Err(FetchError::unreachable(Reason::Dns)));
}

#[tokio::test]
async fn a_failed_handshake_is_told_from_a_failed_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream.read(&mut [0; 1024]).await.map(drop)
    });
    let result = ask(&format!("https://127.0.0.1:{port}/"), &loopback(), LIMIT).await;
    assert_eq!(result, Err(FetchError::unreachable(Reason::Tls)));
}

fn source(prefix: &str) -> Source {
    let headers = [("Referer", "http://tv.example.com/"), ("Cookie", "who=me")];
    Source {
        id: "own".into(),
        matches: vec![prefix.parse().unwrap()],
        user_agent: Some(UserAgent::Text("TestBox/1".into())),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
    }
}

#[tokio::test]
async fn a_source_gets_its_own_headers_and_no_other_server_gets_its_credentials() {
    let other = Server::start(|_| answer("200 OK", b"film")).await;
    let elsewhere = other.url("/film");
    let server = Server::start(move |_| redirect_to(&elsewhere)).await;
    let rules = rules(&["127.0.0.0/8"], &[], &[source(&server.url("/"))]);
    let credentials = format!("http://user:pass@127.0.0.1:{}/", server.port);
    ask(&credentials, &rules, LIMIT).await.unwrap();
    let request = server.request(0);
    for header in [
        "user-agent: testbox/1",
        "referer: http://tv.example.com/",
        "cookie: who=me",
        "authorization: basic ",
    ] {
        assert!(request.contains(&format!("\r\n{header}")), "{header}: {request}");
    }
    let request = other.request(0);
    assert!(request.contains("\r\nuser-agent: testbox/1\r\n"), "{request}");
    assert!(request.contains("\r\nreferer: http://tv.example.com/\r\n"), "{request}");
    assert!(!request.contains("cookie") && !request.contains("authorization"), "{request}");
}

#[tokio::test]
async fn a_file_is_read_like_a_server_that_knows_ranges() {
    let directory = tempfile::tempdir().unwrap();
    let rules = rules(&[], &[directory.path()], &[]);
    let film = directory.path().join("film.mkv");
    std::fs::write(&film, vec![7; 100_000]).unwrap();
    let first = ask(film.to_str().unwrap(), &rules, LIMIT).await.unwrap();
    assert_eq!((first.bytes.len(), first.ranges, first.length), (65536, true, Some(100_000)));

    std::fs::write(&film, b"").unwrap();
    assert_eq!(ask(film.to_str().unwrap(), &rules, LIMIT).await, Err(FetchError::Empty));
    let missing = directory.path().join("missing.mkv");
    assert_eq!(
        ask(missing.to_str().unwrap(), &rules, LIMIT).await,
        Err(FetchError::NotFound { status: 404 })
    );
}

#[tokio::test]
async fn a_file_that_was_replaced_after_it_was_allowed_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let rules = rules(&[], &[directory.path()], &[]);
    let film = directory.path().join("film.mkv");
    std::fs::write(&film, b"film").unwrap();
    let address = Address::parse(film.to_str().unwrap(), &rules).unwrap();
    let fetcher = fetcher(&rules);
    for replace in [
        (|film: &Path| std::os::unix::fs::symlink("/etc/passwd", film).unwrap()) as fn(&Path),
        // A FIFO without a writer would hold an ordinary open for ever.
        |film| rustix::fs::mkfifoat(rustix::fs::CWD, film, 0o600.into()).unwrap(),
    ] {
        std::fs::remove_file(&film).unwrap();
        replace(&film);
        let result = fetcher.first_bytes(&address, None, LIMIT).await;
        assert_eq!(result, Err(FetchError::Forbidden(AddressError::NotRegular)));
    }
}
