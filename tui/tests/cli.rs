//! The program as scripts use it, against a stand-in engine.

#![expect(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod fake;

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use fake::{FakeEngine, session};
use sluice_protocol::{Level, State};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(20);

struct Stage {
    engine: FakeEngine,
    socket: PathBuf,
    _dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        let mut sessions = vec![session(0x7f, "News 24"), session(0x7a, "Dune"), session(0x0d, "Old film")];
        (sessions[2].state, sessions[2].title) = (State::Ended, Some("Old \u{202e}film\u{1b}[2J".to_owned()));
        let engine = FakeEngine::start(&socket, sessions);
        Self { engine, socket, _dir: dir }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        run(&self.socket, arguments).await
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        spawn(&self.socket, arguments)
    }
}

async fn run(socket: &Path, arguments: &[&str]) -> Output {
    let child = spawn(socket, arguments);
    tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("it ends by itself").unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the program itself is what is tested")]
fn spawn(socket: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_sluice"))
        .arg("--socket")
        .arg(socket)
        .args(arguments)
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("SLUICE_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn records(bytes: &[u8]) -> Vec<serde_json::Value> {
    text(bytes).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Checks a refusal: its exit code, one line on standard error, nothing on standard output.
fn refused(output: &Output, code: i32, words: &str) {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(error.contains(words), "{error:?} does not contain {words:?}");
    assert_eq!(error.trim_end().lines().count(), 1, "{error:?}");
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn ls_lists_sessions_as_text_and_as_one_object_a_line() {
    let stage = Stage::new();
    let listed = text(&stage.run(&["ls"]).await.stdout);
    assert!(listed.contains("7f7f7f7f  RUN") && listed.contains("News 24"), "{listed}");
    assert!(!listed.contains("Old"), "{listed}");
    let listed = text(&stage.run(&["ls", "--history"]).await.stdout);
    assert!(listed.contains("ENDED") && listed.contains("Old film"), "{listed:?}");
    assert!(!listed.contains(['\u{1b}', '\u{202e}']));
    let output = stage.run(&["ls", "--json", "--history"]).await;
    assert_eq!(records(&output.stdout).len(), 3);
    assert!(!text(&output.stdout).contains('\u{202e}'), "escaped, not left out");
    assert!(records(&output.stdout).iter().any(|session| session["title"] == "Old \u{202e}film\u{1b}[2J"));
}

#[tokio::test]
async fn an_id_is_any_unique_beginning_and_an_ambiguous_one_names_them_all() {
    let stage = Stage::new();
    let output = stage.run(&["show", "7f", "--json"]).await;
    assert_eq!(records(&output.stdout)[0]["title"], "News 24");
    let shown = text(&stage.run(&["show", "7F7F7F7F-7f7f"]).await.stdout);
    assert!(shown.contains("News 24") && shown.contains("ffmpeg"), "{shown}");
    let output = stage.run(&["stop", "7"]).await;
    refused(&output, 1, "News 24");
    refused(&output, 1, "Dune");
    refused(&stage.run(&["stop", "ee"]).await, 1, "begins with `ee`");
    refused(&stage.run(&["show", &Uuid::nil().to_string()]).await, 1, "there is no such session");
    let asked = stage.engine.world().asked.join("\n");
    assert!(!asked.contains("POST"), "{asked}");
}

#[tokio::test]
async fn acts_say_what_became_of_each_session() {
    let stage = Stage::new();
    let output = stage.run(&["stop", "7f", "7a", "--for", "10m", "--json"]).await;
    assert!(output.status.success());
    let stopped = records(&output.stdout);
    assert_eq!(stopped.len(), 2);
    assert!(stopped.iter().all(|session| session["held"] == true && session["hold"]["until"].is_string()));
    let asked = stage.engine.world().asked.join("\n");
    assert!(asked.contains(r#""hold_for":600.0"#), "{asked}");
    let resumed = text(&stage.run(&["resume", "7f"]).await.stdout);
    assert!(resumed.contains("7f7f7f7f News 24: running"), "{resumed}");
    refused(&stage.run(&["resume", "7f"]).await, 1, "there is nothing to resume");
    refused(&stage.run(&["forget", "7f"]).await, 1, "stop it first");
    assert!(stage.run(&["restart", "7f"]).await.status.success());
    assert!(stage.run(&["stop", "7f", "--force"]).await.status.success());
    assert!(text(&stage.run(&["forget", "7f"]).await.stdout).contains("forgotten"));
    refused(&stage.run(&["--read-only", "stop", "7a"]).await, 1, "--read-only");
}

#[tokio::test]
async fn what_failed_for_one_is_done_for_the_others() {
    let stage = Stage::new();
    let output = stage.run(&["resume", "7f", "0d"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("7f7f7f7f: the session is running"));
    assert!(text(&output.stdout).contains("0d0d0d0d"));
}

#[tokio::test]
async fn start_prints_the_whole_address_to_open() {
    let stage = Stage::new();
    let output = stage.run(&["start", "http://host/film.mkv", "--title", "Film"]).await;
    let address = text(&output.stdout);
    assert!(address.starts_with("http://127.0.0.1:8088/transcode/c8c8c8c8-"), "{address}");
    assert!(address.ends_with("/stream.m3u8\n"), "{address}");
    let asked = stage.engine.world().asked.join("\n");
    assert!(asked.contains(r#""content_type":"auto""#) && asked.contains(r#""title":"Film""#), "{asked}");
    let output = stage.run(&["start", "http://host/film.mkv", "--json"]).await;
    assert!(records(&output.stdout)[0]["address"].as_str().unwrap().starts_with("http://127.0.0.1:8088/"));
    refused(&stage.run(&["start", "http://host/missing.mkv"]).await, 1, "404 Not Found");
}

#[tokio::test]
async fn logs_print_a_tail_and_follow_until_the_session_ends() {
    let stage = Stage::new();
    let id = Uuid::from_bytes([0x7f; 16]);
    ["one", "two", "three"].iter().for_each(|text| stage.engine.world().log(id, Level::Info, text));
    let printed = text(&stage.run(&["logs", "7f", "-n", "2"]).await.stdout);
    assert_eq!(printed.lines().count(), 2, "{printed}");
    assert!(printed.contains("info") && printed.contains("three"), "{printed}");

    let mut child = stage.spawn(&["logs", "7f", "-f", "--json"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        lines.next_line().await.unwrap().unwrap();
    }
    stage.engine.world().log(id, Level::Error, "four");
    let line = tokio::time::timeout(LIMIT, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(line.contains("four"), "{line}");
    // Whoever reads us had enough: that is no failure.
    drop(lines);
    // It learns so by writing, and not by the first line if a sibling was just being born with our end open.
    let status = fake::eventually("it ends", || {
        stage.engine.world().log(id, Level::Error, "more");
        child.try_wait().unwrap()
    })
    .await;
    assert_eq!(status.code(), Some(0));

    let ended = stage.run(&["logs", "0d", "-f"]).await;
    assert!(ended.status.success());
    assert!(text(&ended.stdout).contains("ended"));
}

#[tokio::test]
async fn events_print_changes_as_they_come() {
    let stage = Stage::new();
    let mut child = stage.spawn(&["events", "--json"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    fake::eventually("it listens", || {
        stage.engine.world().asked.iter().any(|asked| asked.contains("events")).then_some(())
    })
    .await;
    assert!(stage.run(&["stop", "7f"]).await.status.success());
    let line = tokio::time::timeout(LIMIT, lines.next_line()).await.unwrap().unwrap().unwrap();
    let change: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&change["type"], &change["to"]), (&"state".into(), &"stopped".into()));
    let line = tokio::time::timeout(LIMIT, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(line.contains(r#""type":"action""#), "{line}");
}

#[tokio::test]
async fn the_engine_is_shown() {
    let stage = Stage::new();
    let shown = text(&stage.run(&["engine"]).await.stdout);
    assert!(shown.contains("http://127.0.0.1:8088") && shown.contains("5.1.6"), "{shown}");
    assert_eq!(records(&stage.run(&["engine", "--json"]).await.stdout)[0]["pid"], 912);
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_exit_three_and_names_where_it_was_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("nobody.sock");
    let output = run(&socket, &["ls"]).await;
    refused(&output, 3, "nobody.sock");
    refused(&output, 3, "/run/sluice/control.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    refused(&run(&socket, &["stop", &Uuid::nil().to_string()]).await, 3, "nobody.sock");
}

#[tokio::test]
async fn usage_is_exit_two_and_what_comes_later_says_so() {
    let stage = Stage::new();
    assert_eq!(stage.run(&["stop"]).await.status.code(), Some(2));
    assert_eq!(stage.run(&["frobnicate"]).await.status.code(), Some(2));
    for later in ["wait", "probes", "reload", "completions"] {
        refused(&stage.run(&[later, "x", "--state", "y"]).await, 1, "not in this version");
    }
    let help = stage.run(&["--help"]).await;
    assert!(help.status.success() && text(&help.stdout).contains("Examples:"));
}

#[tokio::test]
async fn the_screen_refuses_where_there_is_none_and_names_what_to_use() {
    let stage = Stage::new();
    let output = stage.run(&[]).await;
    refused(&output, 1, "not a terminal");
    refused(&output, 1, "logs");
}
