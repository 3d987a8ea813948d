//! The console on a real terminal against a real engine, and its commands as scripts use them.

#![expect(clippy::disallowed_methods, reason = "the rule is the engine's; a test may run the console")]

use std::process::{Output, Stdio};
use std::time::Duration;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use sluice_protocol::{Started, State};
use sluice_tests::engine::LIMIT;
use sluice_tests::stand_in::{Script, Step};
use sluice_tests::terminal::Terminal;
use sluice_tests::{Engine, Origin, Setup, built, wait_for};
use uuid::Uuid;

/// A film and a channel that play, as `just demo` starts them.
struct Stage {
    engine: Engine,
    film: Uuid,
    news: Uuid,
    _origin: Origin,
}

impl Stage {
    async fn set() -> Self {
        // Nobody watches here but the operator.
        let setup = Setup::default().set("sessions.idle_timeout", "\"10m\"");
        let (origin, engine) = (Origin::start().await, setup.start().await);
        let start = async |target: &str, content_type: &str, title: &str| {
            let order = json!({"url": origin.url(target), "content_type": content_type, "title": title});
            engine.order::<Started>(Method::POST, "sessions", Some(order)).await.session_id
        };
        let film = start("/slow/film.mp4?rate=120000", "movie", "Evening Film").await;
        let news = start("/live/channel.ts?burst=6", "live", "News").await;
        Self { film, news, engine, _origin: origin }
    }

    /// The console, with both sessions on its list.
    async fn console(&self, columns: u16, rows: u16) -> Terminal {
        let console = Terminal::console(self.engine.socket(), columns, rows);
        let both =
            |screen: &str| screen.contains("Evening") && screen.contains("News") && screen.contains("LIVE");
        console.until("both sessions", both).await;
        console
    }
}

/// Leaves only the channel on the list.
async fn choose_news(console: &mut Terminal) {
    console.type_slowly(&["/", "News", "\r"]).await;
    // The hints come back when the filter's line is closed: only then is a key an order again.
    console
        .until("the channel alone", |screen| !screen.contains("Evening") && screen.contains("j/k move"))
        .await;
}

/// Presses the key of an act until the console asks about it. After the cursor moved by itself it wants the key
/// again, since the first one may have been meant for another session.
async fn ask(console: &mut Terminal, key: &str) {
    for _ in 0..20 {
        console.press(key);
        tokio::time::sleep(Duration::from_millis(400)).await;
        if asks(&console.text()) {
            return;
        }
    }
    panic!("no question comes:\n{}", console.text());
}

/// Whether a question is on the screen.
fn asks(screen: &str) -> bool {
    screen.contains("y/N") || screen.contains("to confirm")
}

/// Answers the question on the screen with yes, whichever way it asks.
async fn confirm(console: &mut Terminal) {
    let screen = console.until("a question", asks).await;
    let keys: &[&str] = if screen.contains("y/N") { &["y"] } else { &["1", "\r"] };
    // Keys of the first moment don't count: they were pressed before the question could be read.
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        if !asks(&console.text()) {
            return;
        }
        console.type_slowly(keys).await;
    }
    panic!("the question stays:\n{}", console.text());
}

#[tokio::test]
async fn the_list_shows_both_sessions_and_moves() {
    let stage = Stage::set().await;
    for (columns, rows) in [(80, 24), (140, 40), (40, 12)] {
        let mut console = stage.console(columns, rows).await;
        let before = console.text();
        console.until("a figure that moves", |screen| screen != before).await;
        console.press("q");
        assert_eq!(console.ended().await, 0);
        console.assert_restored().await;
    }
}

#[tokio::test]
async fn a_session_is_stopped_after_a_question_and_resumed() {
    let stage = Stage::set().await;
    let mut console = stage.console(80, 24).await;
    choose_news(&mut console).await;
    ask(&mut console, "x").await;
    confirm(&mut console).await;
    stage.engine.until_state(stage.news, State::Stopped).await;
    console.until_shows("HELD").await;
    assert_eq!(stage.engine.detail(stage.film).await.session.hold, None, "the other session is untouched");

    console.press("r");
    let resumed = async {
        // Asking first is the console's choice; the question is answered if it comes.
        while stage.engine.detail(stage.news).await.session.held {
            if asks(&console.text()) {
                confirm(&mut console).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, resumed).await.expect("the session is resumed");
    stage.engine.until_state(stage.news, State::Running).await;
    console
        .until("the session to run again", |screen| screen.contains("RUN") && !screen.contains("HELD"))
        .await;
}

#[tokio::test]
async fn a_question_that_is_declined_does_nothing() {
    let stage = Stage::set().await;
    let mut console = stage.console(80, 24).await;
    choose_news(&mut console).await;
    let generation = stage.engine.detail(stage.news).await.session.generation;
    ask(&mut console, "X").await;
    console.press("\x1b");
    console.until("the question to go", |screen| !asks(screen)).await;
    let session = stage.engine.detail(stage.news).await.session;
    assert_eq!((session.generation, session.held), (generation, false));
}

#[tokio::test]
async fn the_log_of_a_session_runs_on_the_screen() {
    let origin = Origin::start().await;
    let engine = Setup::default().with_stand_in().start().await;
    let script = Script::new([
        Step::Fragments(40),
        Step::say("[warning] the first line"),
        Step::gate("more"),
        Step::say("[error] \x1b[2Jthe second line"),
        Step::Rest,
        Step::Hang,
    ]);
    engine.play(&origin.script("log", "/files/film.mp4", script), "movie").await;
    let mut console = Terminal::console(engine.socket(), 80, 24);
    console.until_shows("film.mp4").await;
    console.press("l");
    console.until_shows("the first line").await;
    console.until_shows("FOLLOW").await;
    origin.open_gate("more");
    let screen = console.until_shows("the second line").await;
    assert!(screen.contains("the first line"), "ffmpeg's text never drives the terminal:\n{screen}");
    console.press("k");
    console.until_shows("PAUSED").await;
    console.press("/");
    console.press("second\r");
    console.until("the match", |screen| screen.contains("1 of 1") || screen.contains("1 match")).await;
}

#[tokio::test]
async fn help_tells_the_keys() {
    let stage = Stage::set().await;
    let mut console = stage.console(80, 24).await;
    console.press("?");
    console.until_shows("half a page down").await;
    // There are more keys than rows.
    for _ in 0..40 {
        console.press("j");
    }
    console.until_shows("stop and hold").await;
}

#[tokio::test]
async fn another_size_is_drawn_at_once() {
    let stage = Stage::set().await;
    let console = stage.console(80, 24).await;
    console.resize(140, 40);
    console
        .until("the wide list", |screen| screen.lines().any(|line| line.trim_end().chars().count() > 100))
        .await;
    console.resize(30, 8);
    console.until_shows("too small").await;
    console.resize(40, 12);
    console.until("the list again", |screen| screen.contains("News") && !screen.contains("too small")).await;
}

#[tokio::test]
async fn signals_end_it_and_give_the_terminal_back() {
    let stage = Stage::set().await;
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let mut console = stage.console(80, 24).await;
        assert!(console.is_alternate());
        console.signal(signal);
        console.ended().await;
        console.assert_restored().await;
    }
}

#[tokio::test]
async fn a_lost_engine_is_said_and_found_again() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("control.sock");
    let (origin, mut engine) = (Origin::start().await, Setup::default().socket(&socket).start().await);
    let order =
        json!({"url": origin.url("/live/channel.ts?burst=6"), "content_type": "live", "title": "News"});
    engine.order::<Started>(Method::POST, "sessions", Some(order)).await;
    let mut console = Terminal::console(&socket, 80, 24);
    console.until_shows("News").await;
    engine.signal(Signal::KILL);
    engine.ended().await;
    let screen = console.until_shows("NOT LIVE").await;
    assert!(screen.contains("News"), "the last data stay:\n{screen}");
    let _another = Setup::default().socket(&socket).start().await;
    console.until("the new engine", |screen| !screen.contains("NOT LIVE") && screen.contains("[LIVE")).await;
    console.press("q");
    assert_eq!(console.ended().await, 0);
}

/// Runs `sluice` with these arguments against the engine.
async fn sluice(engine: &Engine, arguments: &[&str]) -> Output {
    tokio::process::Command::new(built::program("sluice"))
        .arg("--socket")
        .arg(engine.socket())
        .args(arguments)
        .env_remove("SLUICE_SOCKET")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap()
}

/// The same where it must succeed; answers what it wrote.
async fn done(engine: &Engine, arguments: &[&str]) -> String {
    let output = sluice(engine, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn commands_do_what_the_screen_does() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let address = origin.url("/live/channel.ts?burst=6");
    let started = done(&engine, &["start", &address, "--type", "live"]).await;
    assert!(
        started.contains(engine.url("transcode/").as_str()) && started.contains("stream.m3u8"),
        "{started}"
    );
    let id = engine.sessions().await[0].id;
    let short = &id.to_string()[..8];

    assert!(done(&engine, &["ls"]).await.contains(short));
    let listed = objects(&done(&engine, &["ls", "--json"]).await);
    assert_eq!((listed.len(), listed[0]["id"].as_str()), (1, Some(id.to_string().as_str())));
    assert!(done(&engine, &["show", short]).await.contains("channel.ts"));
    done(&engine, &["stop", short]).await;
    engine.until_state(id, State::Stopped).await;
    assert!(engine.sessions().await[0].held);
    done(&engine, &["resume", short]).await;
    engine.until_state(id, State::Running).await;
    done(&engine, &["restart", short]).await;
    engine.until_state(id, State::Running).await;
    for line in objects(&done(&engine, &["logs", short, "-n", "5", "--json"]).await) {
        assert!(line["type"].is_string());
    }
    assert_eq!(objects(&done(&engine, &["engine", "--json"]).await)[0]["pid"], engine.pid());
    done(&engine, &["stop", short, "--force"]).await;
    engine.until_state(id, State::Ended).await;
    done(&engine, &["forget", short]).await;
    assert!(engine.all_sessions().await.is_empty());
    assert_eq!(done(&engine, &["ls", "--json"]).await, "");
}

#[tokio::test]
async fn exit_codes_tell_a_script_what_happened() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let code = async |arguments: &[&str]| sluice(&engine, arguments).await.status.code();
    assert_eq!(code(&["show", "ffffffff"]).await, Some(1));
    assert_eq!(code(&["no-such-command"]).await, Some(2));
    let refused = sluice(&engine, &["start", &origin.url("/status/404")]).await;
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(said.trim_end().lines().count(), 1, "one clear line: {said}");

    let nobody = tempfile::tempdir().unwrap();
    let unreachable = tokio::process::Command::new(built::program("sluice"))
        .arg("--socket")
        .arg(nobody.path().join("control.sock"))
        .arg("ls")
        .output()
        .await
        .unwrap();
    assert_eq!(unreachable.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&unreachable.stderr).contains("control.sock"));
}

#[tokio::test]
async fn a_closed_pipe_ends_a_command_quietly() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    engine.play(&origin.url("/live/channel.ts?burst=6"), "live").await;
    let mut events = tokio::process::Command::new(built::program("sluice"))
        .arg("--socket")
        .arg(engine.socket())
        .args(["events", "--all", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    drop(events.stdout.take());
    let output = tokio::time::timeout(LIMIT, events.wait_with_output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_followed_log_comes_line_by_line() {
    let origin = Origin::start().await;
    let engine = Setup::default().with_stand_in().start().await;
    let script = Script::new([
        Step::Fragments(40),
        Step::gate("go"),
        Step::say("[error] it happened"),
        Step::Rest,
        Step::Exit(0),
    ]);
    let started = engine.play(&origin.script("follow", "/files/film.mp4", script), "movie").await;
    let mut logs = tokio::process::Command::new(built::program("sluice"))
        .arg("--socket")
        .arg(engine.socket())
        .args(["logs", &started.session_id.to_string(), "-f"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    wait_for(LIMIT, "the gate", || async { (origin.waiting_at("go") > 0).then_some(()) }).await;
    origin.open_gate("go");
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(logs.stdout.take().unwrap()));
    let happened = async {
        while !lines.next_line().await.unwrap().expect("the log goes on").contains("it happened") {}
    };
    tokio::time::timeout(LIMIT, happened).await.unwrap();
}
