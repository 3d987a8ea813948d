//! Whatever is asked, the answer is a status, a code and one clear sentence; nothing is left on disk and no process
//! behind.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice_protocol::code;
use sluice_tests::engine::{LIMIT, Refused, decoded};
use sluice_tests::{Engine, Origin, Setup, wait_for};

/// Asserts a refusal of this status and code, in a sentence that gives nothing away.
fn assert_refusal(refused: &Refused, status: u16, code: &str) {
    let Refused { status: got, problem } = refused;
    assert_eq!((got.as_u16(), problem.code.as_str()), (status, code), "{problem:?}");
    assert!(
        problem.detail.len() > 10 && !problem.detail.contains('\n'),
        "{:?} is no sentence",
        problem.detail
    );
    for secret in ["/tmp/", "/root/", "panicked", "RUST_BACKTRACE"] {
        assert!(!problem.detail.contains(secret), "{:?} tells {secret}", problem.detail);
    }
}

async fn assert_nothing_left(engine: &Engine) {
    let clean =
        || async { (engine.processes().is_empty() && engine.session_directories().is_empty()).then_some(()) };
    wait_for(LIMIT, "processes and directories to go", clean).await;
    assert!(!engine.said().contains("panicked"), "{}", engine.said());
    assert!(engine.get("healthz").await.status().is_success());
}

#[tokio::test]
async fn what_is_no_media_is_refused_by_name() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (address, status, code) in [
        ("http://nowhere.invalid/film.mp4".to_owned(), 502, code::INPUT_UNREACHABLE),
        (format!("http://{nobody}/film.mp4"), 502, code::INPUT_UNREACHABLE),
        (origin.url("/status/404"), 502, code::INPUT_NOT_FOUND),
        (origin.url("/status/410"), 502, code::INPUT_NOT_FOUND),
        (origin.url("/status/401"), 502, code::INPUT_REFUSED),
        (origin.url("/status/403"), 502, code::INPUT_REFUSED),
        (origin.url("/files/bad/page.html"), 422, code::INPUT_NOT_MEDIA),
        (origin.url("/files/bad/error.json"), 422, code::INPUT_NOT_MEDIA),
        (origin.url("/files/bad/zero.mp4"), 422, code::INPUT_NOT_MEDIA),
        (origin.url("/files/bad/garbage.ts"), 422, code::INPUT_NOT_MEDIA),
        (origin.url("/files/bad/index_lost.mp4"), 422, code::INPUT_NOT_MEDIA),
    ] {
        for content_type in ["movie", "live"] {
            match engine.try_start(&address, content_type).await {
                Err(refused) => assert_refusal(&refused, status, code),
                Ok(started) => panic!("{address} as {content_type} was started: {started:?}"),
            }
        }
    }
    assert_nothing_left(&engine).await;
}

#[tokio::test]
async fn a_source_that_fails_for_a_moment_is_unreachable() {
    let (origin, engine) =
        (Origin::start().await, Setup::default().set("sessions.start_timeout", "\"3s\"").start().await);
    for target in ["/status/500", "/status/503", "/redirect-ring"] {
        let refused = engine.try_start(&origin.url(target), "movie").await.unwrap_err();
        assert!(
            [code::INPUT_UNREACHABLE, code::TIMED_OUT].contains(&refused.problem.code.as_str()),
            "{target}: {:?}",
            refused.problem
        );
    }
    assert_nothing_left(&engine).await;
}

#[tokio::test]
async fn a_source_that_never_answers_is_given_up() {
    let origin = Origin::start().await;
    let engine = Setup::default()
        .set("sessions.probe_timeout", "\"2s\"")
        .set("sessions.start_timeout", "\"3s\"")
        .start()
        .await;
    for target in ["/silent", "/stall/film.mp4?after=3000"] {
        let refused = engine.try_start(&origin.url(target), "movie").await.unwrap_err();
        assert!(
            [code::INPUT_UNREACHABLE, code::TIMED_OUT].contains(&refused.problem.code.as_str()),
            "{target}: {:?}",
            refused.problem
        );
    }
}

#[tokio::test]
async fn a_film_cut_short_is_played_as_far_as_it_goes() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = engine.play(&origin.url("/cut/film.mp4?after=800000"), "movie").await;
    let session = engine.until_state(started.session_id, sluice_protocol::State::Failed).await;
    assert_eq!(session.code.as_deref(), Some(code::INPUT_TRUNCATED));
    assert!(session.segments > 1 && session.reason.is_some());
    let video = engine.stream(&started).await.video().await;
    let found = sluice_tests::frames::numbers(&video.whole().await[..]).await;
    sluice_tests::frames::assert_gapless(&found);
    assert_eq!(found[0], 0);
}

#[tokio::test]
async fn addresses_that_nobody_allowed_are_forbidden() {
    let origin = Origin::start().await;
    let engine = Setup::default().set("input.allow_networks", "[]").start().await;
    let hidden = origin.url("/files/film.mp4").replace("127.0.0.1", "localhost");
    for address in [
        origin.url("/files/film.mp4").as_str(),
        &hidden,
        "http://[::1]/film.mp4",
        "http://[::ffff:127.0.0.1]/film.mp4",
        "http://169.254.169.254/latest/meta-data",
        "http://0.0.0.0/film.mp4",
        "http://2130706433/film.mp4",
        "http://10.0.0.1/film.mp4",
        "file:///etc/passwd",
        "/etc/passwd",
        "concat:/etc/passwd|/etc/hostname",
        "rtsp://example.com/stream",
    ] {
        let refused = engine.try_start(address, "movie").await.unwrap_err();
        assert_refusal(&refused, 403, code::FORBIDDEN_ADDRESS);
    }
    assert!(origin.asked().is_empty(), "nobody asked the source: {:?}", origin.asked());
    assert_nothing_left(&engine).await;
}

#[tokio::test]
async fn a_redirect_into_a_forbidden_network_is_not_followed() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let refused =
        engine.try_start(&origin.url("/redirect?to=http://10.0.0.1/film.mp4"), "movie").await.unwrap_err();
    assert_refusal(&refused, 403, code::FORBIDDEN_ADDRESS);
}

#[tokio::test]
async fn a_missing_ffmpeg_is_said() {
    let origin = Origin::start().await;
    let engine = Setup::default().set("ffmpeg.path", "\"/nowhere/ffmpeg\"").start().await;
    assert_eq!(engine.get("readyz").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(engine.facts().await.ffmpeg, None);
    let refused = engine.try_start(&origin.url("/files/film.mp4"), "movie").await.unwrap_err();
    assert_refusal(&refused, 503, code::FFMPEG_MISSING);
    assert_nothing_left(&engine).await;
}

#[tokio::test]
async fn a_taken_port_is_one_line_and_exit_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refusal = Setup::default().listen(&address).start_refused().await;
    assert_eq!(refusal.code, Some(1), "{}", refusal.said);
    assert!(refusal.said.contains(&address) && !refusal.said.contains("panicked"), "{}", refusal.said);
}

#[tokio::test]
async fn a_socket_in_use_is_one_line_and_exit_1() {
    let engine = Engine::start().await;
    let refusal = Setup::default().socket(engine.socket()).start_refused().await;
    assert_eq!(refusal.code, Some(1), "{}", refusal.said);
    assert!(refusal.said.contains("control.sock") && !refusal.said.contains("panicked"), "{}", refusal.said);
    assert!(engine.get("healthz").await.status().is_success());
    assert_eq!(engine.facts().await.pid as i32, engine.pid(), "the first engine's socket is untouched");
}

#[tokio::test]
async fn a_storage_directory_in_use_is_refused() {
    let engine = Engine::start().await;
    let refusal = Setup::default().storage(engine.storage()).start_refused().await;
    assert_eq!(refusal.code, Some(1), "{}", refusal.said);
}

#[tokio::test]
async fn a_storage_directory_that_cannot_be_written_is_one_line_and_exit_1() {
    // Root may write whatever the mode says, so for root this is a place where nobody can.
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
    let is_root = std::fs::write(place.path().join("probe"), "").is_ok();
    let storage = if is_root { "/proc/sluice".into() } else { place.path().to_path_buf() };
    let refusal = Setup::default().storage(&storage).start_refused().await;
    assert_eq!(refusal.code, Some(1), "{}", refusal.said);
    assert!(refusal.said.contains("storage") && !refusal.said.contains("panicked"), "{}", refusal.said);
}

#[tokio::test]
async fn storage_that_is_lost_later_stops_new_work_and_says_so() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    std::fs::remove_dir_all(engine.storage()).unwrap();
    std::fs::write(engine.storage(), "no directory any more").unwrap();
    let refused = engine.try_start(&origin.url("/files/film.mp4"), "movie").await.unwrap_err();
    assert_refusal(&refused, 507, code::STORAGE_LOST);
    assert_eq!(engine.get("readyz").await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn bodies_that_are_no_request_are_refused() {
    let engine = Engine::start().await;
    let post = async |body: Vec<u8>| {
        let request =
            engine.client().post(engine.url("transcode/start")).header("content-type", "application/json");
        decoded::<Value>(request.body(body).send().await.unwrap()).await.unwrap_err()
    };
    for body in [
        "{\"url\":",
        "",
        "[]",
        "null",
        "{}",
        "{\"url\":5}",
        "{\"url\":\"\"}",
        "{\"url\":\"not an address\"}",
        "{\"url\":\"http://127.0.0.1/\\nx\"}",
        "{\"url\":\"http://127.0.0.1/\",\"content_type\":\"opera\"}",
        "{\"url\":\"http://127.0.0.1/\",\"start_at\":-1}",
    ] {
        assert_refusal(&post(body.into()).await, 400, code::BAD_REQUEST);
    }
    assert_refusal(&post(vec![0xff; 64]).await, 400, code::BAD_REQUEST);
    assert_nothing_left(&engine).await;
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_too_large() {
    let engine = Engine::start().await;
    let address = engine.url("");
    let target = format!("{}:{}", address.host_str().unwrap(), address.port().unwrap());
    // Sent by hand: a client library reports the closed connection in place of the answer that came first.
    let answer =
        raw(&target, "POST /transcode/start HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 10485760\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains(code::TOO_LARGE), "{answer}");
    let body = json!({"url": "x".repeat(1 << 20)});
    let refused = engine.refused_order(Method::POST, "sessions", Some(body)).await;
    assert_refusal(&refused, 413, code::TOO_LARGE);
}

#[tokio::test]
async fn ids_and_paths_that_lead_nowhere_are_not_found() {
    let engine = Engine::start().await;
    let unknown = uuid::Uuid::new_v4();
    for target in [format!("transcode/{unknown}/stream.m3u8"), format!("transcode/progress/{unknown}")] {
        let refused = decoded::<Value>(engine.get(&target).await).await.unwrap_err();
        assert_refusal(&refused, 404, code::SESSION_NOT_FOUND);
    }
    for target in ["transcode/not-a-uuid/stream.m3u8", "transcode/progress/1", "nothing/here", "v1/sessions"]
    {
        let refused = decoded::<Value>(engine.get(target).await).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::NOT_FOUND, "{target}");
    }
    let refused = engine.refused_order(Method::GET, &format!("sessions/{unknown}"), None).await;
    assert_refusal(&refused, 404, code::SESSION_NOT_FOUND);
    let refused = engine.refused_order(Method::GET, "sessions/not-a-uuid", None).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    let refused = decoded::<Value>(engine.ask(Method::PUT, "transcode/start", None).await).await.unwrap_err();
    assert_refusal(&refused, 405, code::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_path_that_climbs_reaches_no_file() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = engine.play(&origin.url("/files/short.mp4"), "movie").await;
    std::fs::write(engine.storage().join("secret.m4s"), "SECRET").unwrap();
    let address = engine.url("");
    let target = format!("{}:{}", address.host_str().unwrap(), address.port().unwrap());
    for climb in [
        "../secret.m4s",
        "video/../../secret.m4s",
        "video/..%2f..%2fsecret.m4s",
        "%2e%2e/secret.m4s",
        "video/00.m4s",
    ] {
        let request = format!(
            "GET /transcode/{}/{climb} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n",
            started.session_id
        );
        let answer = raw(&target, &request);
        assert!(
            answer.starts_with("HTTP/1.1 404") || answer.starts_with("HTTP/1.1 400"),
            "{climb}: {answer}"
        );
        assert!(!answer.contains("SECRET"), "{climb}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_starts_nothing() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let body = json!({"url": origin.url("/files/film.mp4"), "content_type": "movie"});
    for (name, value) in
        [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site"), ("host", "rebound.example:80")]
    {
        let request = engine.client().post(engine.url("transcode/start")).header(name, value).json(&body);
        let refused = decoded::<Value>(request.send().await.unwrap()).await.unwrap_err();
        assert_refusal(&refused, 403, code::FORBIDDEN_ORIGIN);
    }
    let through_a_proxy =
        engine.client().post(engine.url("transcode/start")).header("x-forwarded-for", "1.2.3.4");
    let refused = decoded::<Value>(through_a_proxy.json(&body).send().await.unwrap()).await.unwrap_err();
    assert_refusal(&refused, 401, code::UNAUTHORIZED);
    assert!(origin.asked().is_empty());
}

#[tokio::test]
async fn a_config_that_is_wrong_is_refused_by_name() {
    for (key, value, hint) in [
        ("sessions.idle_timeot", "\"30s\"", "idle_timeout"),
        ("sessions.idle_timeout", "\"soon\"", "idle_timeout"),
        ("storage.max_bytes", "\"20GiB\"", "later"),
        ("server.listen", "\"nowhere\"", "listen"),
    ] {
        let mut setup = Setup::default().set(key, value);
        if key == "server.listen" {
            setup = Setup::default().listen("nowhere");
        }
        let refusal = setup.start_refused().await;
        assert_eq!(refusal.code, Some(2), "{key}: {}", refusal.said);
        assert!(refusal.said.contains(hint), "{key}: {}", refusal.said);
    }
}

/// Sends `request` as it stands and reads what comes until the other side is done.
fn raw(target: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(target).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => break,
            Ok(count) => answer.extend_from_slice(&bytes[..count]),
        }
        let text = String::from_utf8_lossy(&answer);
        // A body of JSON ends with its brace; nothing here is kept alive for more.
        if text.contains("\r\n\r\n") && text.trim_end().ends_with('}') {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}
