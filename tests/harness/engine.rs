//! The real `sluiced`, with a configuration, directories and a socket of its own.
//!
//! It is known by the mark in its environment, which its children inherit. When it is dropped it is killed,
//! not asked, and the test fails if anything that carries the mark still lives afterwards: so every test here
//! shows in passing that no ffmpeg outlives its engine.

#![expect(clippy::disallowed_methods, reason = "the rule is the engine's; these are the tests' own tools")]
#![expect(clippy::print_stderr, reason = "a failed test shows what it saw")]

use std::fmt::Write as _;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Client, Method, Response, StatusCode, Url};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sluice_protocol::{Detail, Engine as Facts, Problem, Session, Sessions, Started, State};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use uuid::Uuid;

use crate::built;
use crate::client;
use crate::leftovers::{self, MARK, Process};
use crate::playlist::Stream;
use crate::records::Records;
use crate::wait::{becomes_true, wait_for};

/// Ends a broken test; no healthy machine comes near it.
pub const LIMIT: Duration = Duration::from_secs(40);

/// Lines of an engine's log that are kept to be shown when a test fails.
const KEPT_LINES: usize = 400;

/// How an engine is started.
#[derive(Debug, Clone)]
pub struct Setup {
    keys: Vec<(String, String)>,
    listen: String,
    socket: Option<PathBuf>,
    storage: Option<PathBuf>,
}

impl Default for Setup {
    /// Any free port, and media from loopback allowed.
    fn default() -> Self {
        Self {
            keys: vec![("input.allow_networks".to_owned(), r#"["127.0.0.0/8"]"#.to_owned())],
            listen: "127.0.0.1:0".to_owned(),
            socket: None,
            storage: None,
        }
    }
}

impl Setup {
    /// Sets a key of the configuration, such as `sessions.idle_timeout`, to a value as TOML writes it.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.keys.retain(|(known, _)| known != key);
        self.keys.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Runs the ffmpeg that `SLUICE_FFMPEG` names, if it names one: so all that follows is shown of another version.
    #[must_use]
    pub fn with_named_ffmpeg(self) -> Self {
        match std::env::var("SLUICE_FFMPEG") {
            Ok(path) => self.set("ffmpeg.path", &format!("{path:?}")),
            Err(_) => self,
        }
    }

    /// Runs the stand-in in place of ffmpeg. Addresses without a script get the real one.
    #[must_use]
    pub fn with_stand_in(self) -> Self {
        let stand_in = built::program("fake-ffmpeg");
        self.set("ffmpeg.path", &format!("{:?}", stand_in.to_string_lossy()))
    }

    /// Listens for viewers there and nowhere else.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen);
        self
    }

    /// Takes this socket in place of one of its own.
    #[must_use]
    pub fn socket(mut self, path: &Path) -> Self {
        self.socket = Some(path.to_path_buf());
        self
    }

    /// Takes this storage directory in place of one of its own.
    #[must_use]
    pub fn storage(mut self, path: &Path) -> Self {
        self.storage = Some(path.to_path_buf());
        self
    }

    /// Starts it, and waits until it answers on its control socket.
    ///
    /// # Panics
    ///
    /// Where it doesn't; what it wrote is shown.
    pub async fn start(self) -> Engine {
        let mut launched = self.launch();
        // A connection that was idle may be closed in the moment that it is used again.
        let control = http().unix_socket(launched.socket.clone()).pool_max_idle_per_host(0);
        let control = control.build().expect("a client can be made");
        let lines = launched.lines.clone();
        let child = &mut launched.child;
        let answered = until(LIMIT, || {
            assert!(
                child.try_wait().expect("a child can be asked").is_none(),
                "sluiced ended at once:\n{}",
                tail(&lines)
            );
            let asked = control.get("http://sluice/v1/engine").send();
            async move { asked.await.ok()?.json::<Facts>().await.ok() }
        })
        .await;
        let Some(facts) = answered else {
            panic!("sluiced did not answer within {LIMIT:?}:\n{}", tail(&launched.lines))
        };
        let base =
            Url::parse(&format!("http://{}/", facts.listen)).expect("the engine listens on an address");
        Engine { launched, base, playback: http().build().expect("a client can be made"), control }
    }

    /// Starts it where it must refuse, and waits until it ends.
    pub async fn start_refused(self) -> Refusal {
        let mut launched = self.launch();
        let status = tokio::time::timeout(LIMIT, launched.child.wait())
            .await
            .expect("an engine that can't start ends at once")
            .expect("a child can be waited for");
        // The readers end with the pipes, and those end with the process.
        let lines = launched.lines.clone();
        for reader in launched.readers.drain(..) {
            reader.await.expect("a reader does not panic");
        }
        Refusal { code: status.code(), said: tail(&lines) }
    }

    fn launch(self) -> Launched {
        let mark = Uuid::new_v4().to_string();
        let directory =
            tempfile::Builder::new().prefix("sluice-").tempdir().expect("a directory can be made");
        let socket = self.socket.unwrap_or_else(|| directory.path().join("control.sock"));
        let storage = self.storage.unwrap_or_else(|| directory.path().join("storage"));
        let mut config = String::new();
        let own = [("control.socket", &socket), ("storage.dir", &storage)];
        let own = own.map(|(key, path)| (key.to_owned(), format!("{:?}", path.to_string_lossy())));
        for (key, value) in own.iter().chain(&self.keys) {
            writeln!(config, "{key} = {value}").expect("a string takes everything");
        }
        let file = directory.path().join("sluice.toml");
        std::fs::write(&file, config).expect("the configuration can be written");

        let mut child = Command::new(built::program("sluiced"))
            .arg("--config")
            .arg(&file)
            .args(["--listen", &self.listen, "--log", "json"])
            .env(MARK, &mark)
            .env("STATE_DIRECTORY", directory.path().join("state"))
            .env_remove("SLUICE_CONFIG")
            .env_remove("SLUICE_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("sluiced can be started");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let readers = vec![
            tokio::spawn(keep(child.stdout.take().expect("it was asked for"), lines.clone())),
            tokio::spawn(keep(child.stderr.take().expect("it was asked for"), lines.clone())),
        ];
        Launched { child, mark, directory, socket, storage, lines, readers }
    }
}

/// How an engine that could not start ended.
#[derive(Debug)]
pub struct Refusal {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// All that it wrote.
    pub said: String,
}

/// A process that was started, whether or not it serves.
struct Launched {
    child: Child,
    mark: String,
    directory: TempDir,
    socket: PathBuf,
    storage: PathBuf,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Launched {
    fn drop(&mut self) {
        // It may have ended already, by itself or by a test's hand.
        let _killed = self.child.start_kill();
        let gone = becomes_true(Duration::from_secs(5), || {
            self.child.try_wait().is_ok_and(|status| status.is_some()) && leftovers::of(&self.mark).is_empty()
        });
        if std::thread::panicking() {
            eprintln!("--- what sluiced wrote ---\n{}", tail(&self.lines));
        } else {
            assert!(gone, "these outlived the engine: {:?}", leftovers::of(&self.mark));
        }
    }
}

/// A running engine.
pub struct Engine {
    launched: Launched,
    base: Url,
    playback: Client,
    control: Client,
}

/// What a viewer's or an operator's request that was refused got.
#[derive(Debug)]
pub struct Refused {
    /// The status line's number.
    pub status: StatusCode,
    /// The body.
    pub problem: Problem,
}

impl Engine {
    /// With nothing set but what tests need.
    pub async fn start() -> Self {
        Setup::default().start().await
    }

    /// The process number.
    pub fn pid(&self) -> i32 {
        let pid = self.launched.child.id().expect("nobody waited for the engine yet");
        i32::try_from(pid).expect("process numbers are small")
    }

    /// The control socket.
    pub fn socket(&self) -> &Path {
        &self.launched.socket
    }

    /// The storage directory.
    pub fn storage(&self) -> &Path {
        &self.launched.storage
    }

    /// A directory of this engine's own that the test may use too; removed at the end.
    pub fn directory(&self) -> &Path {
        self.launched.directory.path()
    }

    /// The address of `target` on the playback listener.
    pub fn url(&self, target: &str) -> Url {
        self.base.join(target).expect("a test asks for an address")
    }

    /// The client for the playback listener.
    pub fn client(&self) -> &Client {
        &self.playback
    }

    /// What the engine wrote so far.
    pub fn said(&self) -> String {
        tail(&self.launched.lines)
    }

    /// Every process that the engine or its children started and that lives.
    pub fn processes(&self) -> Vec<Process> {
        let engine = self.launched.child.id().and_then(|pid| i32::try_from(pid).ok());
        leftovers::of(&self.launched.mark).into_iter().filter(|process| Some(process.pid) != engine).collect()
    }

    /// The living ffmpegs.
    pub fn ffmpegs(&self) -> Vec<Process> {
        self.processes().into_iter().filter(Process::is_ffmpeg).collect()
    }

    /// The mark of all its processes, for a test that looks after the engine is gone.
    pub fn mark(&self) -> String {
        self.launched.mark.clone()
    }

    /// What lies in the storage directory, as paths from there, directories too.
    pub fn stored(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut directories = vec![self.storage().to_path_buf()];
        while let Some(directory) = directories.pop() {
            // A directory may vanish while it is looked through: then it holds nothing.
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    directories.push(entry.path());
                }
                found.push(entry.path().strip_prefix(self.storage()).expect("it lies there").to_path_buf());
            }
        }
        found.sort();
        found
    }

    /// Directories of sessions in the storage directory.
    pub fn session_directories(&self) -> Vec<PathBuf> {
        let is_session = |path: &PathBuf| path.to_str().is_some_and(|name| Uuid::parse_str(name).is_ok());
        self.stored().into_iter().filter(is_session).collect()
    }

    /// Asks the playback listener.
    pub async fn get(&self, target: &str) -> Response {
        self.ask(Method::GET, target, None).await
    }

    /// Asks the playback listener with any method, and a body if there is one.
    pub async fn ask(&self, method: Method, target: &str, body: Option<Value>) -> Response {
        let request = self.playback.request(method, self.url(target));
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        request.send().await.unwrap_or_else(|error| panic!("{target}: {error}\n{}", self.said()))
    }

    /// Starts or joins, as a player does.
    ///
    /// # Errors
    ///
    /// Where the engine refuses.
    pub async fn try_start(&self, url: &str, content_type: &str) -> Result<Started, Refused> {
        let body = json!({"url": url, "content_type": content_type});
        decoded(self.ask(Method::POST, "transcode/start", Some(body)).await).await
    }

    /// Starts or joins where that must succeed.
    pub async fn play(&self, url: &str, content_type: &str) -> Started {
        match self.try_start(url, content_type).await {
            Ok(started) => started,
            Err(refused) => panic!("{url} was refused: {refused:?}\n{}", self.said()),
        }
    }

    /// Starts a film where a viewer left it, as a player that remembers does.
    pub async fn play_from(&self, url: &str, seconds: f64) -> Started {
        let body = json!({"url": url, "content_type": "movie", "start_at": seconds});
        match decoded(self.ask(Method::POST, "transcode/start", Some(body)).await).await {
            Ok(started) => started,
            Err(refused) => panic!("{url} was refused: {refused:?}\n{}", self.said()),
        }
    }

    /// The playlists of a session.
    pub async fn stream(&self, started: &Started) -> Stream {
        Stream::open(&self.playback, self.url(&started.playlist)).await
    }

    /// Asks the control socket.
    pub async fn control(&self, method: Method, target: &str, body: Option<Value>) -> Response {
        let request = self.control.request(method, format!("http://sluice/v1/{target}"));
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        request.send().await.unwrap_or_else(|error| panic!("{target}: {error}\n{}", self.said()))
    }

    /// Asks the control socket where the answer must be a success.
    pub async fn order<T: DeserializeOwned>(&self, method: Method, target: &str, body: Option<Value>) -> T {
        match decoded(self.control(method, target, body).await).await {
            Ok(answer) => answer,
            Err(refused) => panic!("{target} was refused: {refused:?}\n{}", self.said()),
        }
    }

    /// Asks the control socket where the answer must be a refusal.
    pub async fn refused_order(&self, method: Method, target: &str, body: Option<Value>) -> Refused {
        match decoded::<Value>(self.control(method, target, body).await).await {
            Ok(answer) => panic!("{target} was answered {answer}"),
            Err(refused) => refused,
        }
    }

    /// The engine, as operators see it.
    pub async fn facts(&self) -> Facts {
        self.order(Method::GET, "engine", None).await
    }

    /// The sessions that live.
    pub async fn sessions(&self) -> Vec<Session> {
        self.order::<Sessions>(Method::GET, "sessions", None).await.sessions
    }

    /// All sessions, those in history too.
    pub async fn all_sessions(&self) -> Vec<Session> {
        self.order::<Sessions>(Method::GET, "sessions?history=true", None).await.sessions
    }

    /// One session with all that is known about it.
    pub async fn detail(&self, id: Uuid) -> Detail {
        self.order(Method::GET, &format!("sessions/{id}"), None).await
    }

    /// An operator's order about a session, such as `stop`.
    pub async fn operate(&self, id: Uuid, what: &str, body: impl Serialize) -> Session {
        let body = serde_json::to_value(body).expect("an order is plain values");
        self.order(Method::POST, &format!("sessions/{id}/{what}"), Some(body)).await
    }

    /// Waits until `wanted` is true of a session, and answers the session.
    ///
    /// # Panics
    ///
    /// After [`LIMIT`], with the session as it was last.
    pub async fn until(&self, id: Uuid, what: &str, wanted: impl Fn(&Session) -> bool) -> Session {
        let latest = Mutex::new(None);
        let found = until(LIMIT, || async {
            let session = self.detail(id).await.session;
            let found = wanted(&session).then(|| session.clone());
            *latest.lock().expect("nobody panics here") = Some(session);
            found
        })
        .await;
        found.unwrap_or_else(|| panic!("waited {LIMIT:?} in vain for {what}: {latest:?}\n{}", self.said()))
    }

    /// Waits until a session is in `state`.
    pub async fn until_state(&self, id: Uuid, state: State) -> Session {
        self.until(id, state.name(), |session| session.state == state).await
    }

    /// Waits until no ffmpeg of this engine lives.
    pub async fn until_no_ffmpeg(&self) {
        wait_for(LIMIT, "the last ffmpeg to end", || async { self.ffmpegs().is_empty().then_some(()) }).await;
    }

    /// The event stream.
    pub async fn events(&self) -> Records {
        Records::of(self.control(Method::GET, "events", None).await)
    }

    /// A session's log; `query` is what stands after the question mark.
    pub async fn logs(&self, id: Uuid, query: &str) -> Records {
        Records::of(self.control(Method::GET, &format!("sessions/{id}/logs?{query}"), None).await)
    }

    /// Sends the engine a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid()).expect("process numbers are positive");
        kill_process(pid, signal).expect("the engine is ours to signal");
    }

    /// Waits until the engine has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(LIMIT, self.launched.child.wait())
            .await
            .unwrap_or_else(|_| panic!("sluiced did not end:\n{}", tail(&self.launched.lines)))
            .expect("a child can be waited for")
    }
}

/// Decodes an answer of either listener: a success, or the problem in the body of a refusal.
///
/// # Errors
///
/// Where the engine refused.
///
/// # Panics
///
/// Where the body is neither, or a refusal does not say what it is.
pub async fn decoded<T: DeserializeOwned>(answer: Response) -> Result<T, Refused> {
    let (status, address) = (answer.status(), answer.url().clone());
    let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).map(str::to_owned);
    let body = answer.bytes().await.expect("an answer comes whole");
    let unreadable =
        |error| -> ! { panic!("{address}: {status}, {error}: {}", String::from_utf8_lossy(&body)) };
    if status.is_success() {
        return Ok(serde_json::from_slice(&body).unwrap_or_else(|error| unreadable(error)));
    }
    let problem: Problem = serde_json::from_slice(&body).unwrap_or_else(|error| unreadable(error));
    assert_eq!(kind.as_deref(), Some("application/problem+json"), "{address}: a refusal says what it is");
    assert_eq!(problem.status, status.as_u16(), "{address}: the body repeats the status");
    assert_eq!(problem.kind, "about:blank");
    Err(Refused { status, problem })
}

fn http() -> reqwest::ClientBuilder {
    client::builder().user_agent("sluice-tests").timeout(LIMIT * 2)
}

/// As `wait_for`, for a caller that has more to say than a name when it was in vain.
async fn until<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    mut condition: impl FnMut() -> F,
) -> Option<T> {
    let search = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(limit, search).await.ok()
}

async fn keep(pipe: impl AsyncRead + Unpin, lines: Arc<Mutex<Vec<String>>>) {
    let mut read = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = read.next_line().await {
        let mut lines = lines.lock().expect("nobody panics while holding these lines");
        if lines.len() == KEPT_LINES {
            lines.remove(0);
        }
        lines.push(line);
    }
}

fn tail(lines: &Mutex<Vec<String>>) -> String {
    lines.lock().expect("nobody panics while holding these lines").join("\n")
}
