//! The only part that talks to the engine: HTTP and JSON over its control socket.

mod feed;
mod socket;

#[cfg(test)]
mod tests;

use std::{
    marker::PhantomData,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Method, RequestBuilder, Response};
use serde::{Serialize, de::DeserializeOwned};
use sluice_protocol::{
    Detail, Engine, Event, LogRecord, PinOrder, Problem, ResumeOrder, Session, Sessions, StartOrder, Started,
    StopOrder,
};
use uuid::Uuid;

pub(crate) use feed::Feeds;

/// A local socket that does not answer by then has nobody behind it.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// For questions.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// For orders: ending an ffmpeg that does not want to takes a while.
const ORDER_LIMIT: Duration = Duration::from_secs(60);
/// For a start: the engine answers when there is something to play, or when its own limit is over.
const START_LIMIT: Duration = Duration::from_secs(180);
/// The feed ticks every second, so this much silence means that nobody is there any more.
const FEED_SILENCE: Duration = Duration::from_secs(10);
/// A line of a stream is at most this long: a snapshot of many thousand sessions.
const LONGEST_LINE: usize = 64 * 1024 * 1024;

/// Why the engine could not be asked, or what it said instead.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no socket anywhere.
    #[error("the engine is not reachable: no control socket at {}; is sluiced running?", list(.tried))]
    NoSocket {
        /// Where it was looked for.
        tried: Vec<PathBuf>,
    },
    /// There is a socket, and nobody behind it.
    #[error("the engine is not reachable at {} ({why}); tried {}", .socket.display(), list(.tried))]
    Unreachable {
        /// Which.
        socket: PathBuf,
        /// Where it was looked for, this one last.
        tried: Vec<PathBuf>,
        /// What the system said.
        why: String,
    },
    /// There is a socket that we may not use.
    #[error("no permission to use {}: {advice}", .socket.display())]
    Denied {
        /// Which.
        socket: PathBuf,
        /// What to do about it.
        advice: String,
    },
    /// The engine refused.
    #[error("{}", .0.detail)]
    Refused(Problem),
    /// It was asked, and no whole answer came.
    #[error("the engine did not answer: {why}")]
    Unanswered {
        /// How it ended.
        why: String,
    },
    /// It answered what this console does not understand.
    #[error("the engine's answer to `{what}` can't be read")]
    Garbled {
        /// To what.
        what: String,
        #[source]
        source: serde_json::Error,
    },
    /// A line of a stream has no end.
    #[error("the engine sent a line of more than {} MiB", LONGEST_LINE / 1024 / 1024)]
    Endless,
    /// Our own HTTP client could not be made.
    #[error("the HTTP client could not be set up")]
    Setup(#[source] reqwest::Error),
}

/// A way to ask one engine.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    socket: PathBuf,
    tried: Vec<PathBuf>,
    /// Something odd about the socket that the operator should know.
    pub(crate) warning: Option<String>,
}

/// Which lines of a log are wanted.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct LogQuery {
    /// The last so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tail: Option<usize>,
    /// And those that come.
    pub(crate) follow: bool,
    /// At least this grave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) level: Option<&'static str>,
    /// After this sequence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<u64>,
}

impl Client {
    /// Finds the engine's socket; `asked` is what `--socket` says. Nothing is sent yet.
    pub(crate) fn find(asked: Option<&Path>) -> Result<Self, Error> {
        let found = socket::find(socket::candidates(asked))?;
        // Built beside the engine, reqwest has TLS in it and asks who does it, though a socket has none. An
        // error means that somebody has said so already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder()
            .unix_socket(found.path.as_path())
            .connect_timeout(CONNECT_LIMIT)
            // Variables that name a proxy mean the network, not a socket of this machine.
            .no_proxy()
            .build()
            .map_err(Error::Setup)?;
        Ok(Self { http, socket: found.path, tried: found.tried, warning: found.warning })
    }

    /// The engine.
    pub(crate) async fn engine(&self) -> Result<Engine, Error> {
        self.ask("v1/engine").await
    }

    /// All sessions, with those in history if wanted.
    pub(crate) async fn sessions(&self, history: bool) -> Result<Vec<Session>, Error> {
        let sessions: Sessions =
            self.ask(if history { "v1/sessions?history=true" } else { "v1/sessions" }).await?;
        Ok(sessions.sessions)
    }

    /// One session in full.
    pub(crate) async fn session(&self, id: Uuid) -> Result<Detail, Error> {
        self.ask(&format!("v1/sessions/{id}")).await
    }

    /// Starts or joins a session.
    pub(crate) async fn start(&self, order: &StartOrder) -> Result<Started, Error> {
        self.order("v1/sessions", order, START_LIMIT).await
    }

    /// Stops a session and holds it.
    pub(crate) async fn stop(&self, id: Uuid, order: StopOrder) -> Result<Session, Error> {
        self.order(&format!("v1/sessions/{id}/stop"), &order, ORDER_LIMIT).await
    }

    /// Lets a session go on.
    pub(crate) async fn resume(&self, id: Uuid, order: ResumeOrder) -> Result<Session, Error> {
        self.order(&format!("v1/sessions/{id}/resume"), &order, ORDER_LIMIT).await
    }

    /// Stops a session and lets it go on at once.
    pub(crate) async fn restart(&self, id: Uuid, order: ResumeOrder) -> Result<Session, Error> {
        self.order(&format!("v1/sessions/{id}/restart"), &order, ORDER_LIMIT).await
    }

    /// Lets a session go on with nobody watching, or no longer.
    pub(crate) async fn pin(&self, id: Uuid, order: PinOrder) -> Result<Session, Error> {
        self.order(&format!("v1/sessions/{id}/pin"), &order, ORDER_LIMIT).await
    }

    /// Forgets an ended or held session.
    pub(crate) async fn forget(&self, id: Uuid) -> Result<(), Error> {
        let path = format!("v1/sessions/{id}");
        self.send(self.request(Method::DELETE, &path).timeout(ORDER_LIMIT)).await?;
        Ok(())
    }

    /// The engine's feed.
    pub(crate) async fn events(&self) -> Result<Lines<Event>, Error> {
        let response = self.send_in(self.request(Method::GET, "v1/events"), FEED_SILENCE).await?;
        Ok(Lines::new(response, "v1/events".to_owned(), Some(FEED_SILENCE)))
    }

    /// A session's log. Silence means nothing there: an ffmpeg may have nothing to say for hours.
    pub(crate) async fn logs(&self, id: Uuid, query: LogQuery) -> Result<Lines<LogRecord>, Error> {
        let path = format!("v1/sessions/{id}/logs");
        let response = self.send_in(self.request(Method::GET, &path).query(&query), ANSWER_LIMIT).await?;
        Ok(Lines::new(response, path, None))
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.decode(path, self.request(Method::GET, path).timeout(ANSWER_LIMIT)).await
    }

    async fn order<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<T, Error> {
        self.decode(path, self.request(Method::POST, path).json(body).timeout(limit)).await
    }

    async fn decode<T: DeserializeOwned>(&self, path: &str, request: RequestBuilder) -> Result<T, Error> {
        let body = self.send(request).await?.bytes().await.map_err(|error| self.fault(&error))?;
        serde_json::from_slice(&body).map_err(|source| Error::Garbled { what: path.to_owned(), source })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://sluice/{path}"))
    }

    /// Sends where only the head of the answer is limited, because the body is a stream.
    async fn send_in(&self, request: RequestBuilder, limit: Duration) -> Result<Response, Error> {
        tokio::time::timeout(limit, self.send(request))
            .await
            .unwrap_or_else(|_| Err(Error::Unanswered { why: format!("nothing came within {limit:?}") }))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|error| self.fault(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.bytes().await.map_err(|error| self.fault(&error))?;
        Err(Error::Refused(serde_json::from_slice(&body).unwrap_or_else(|_| Problem {
            kind: "about:blank".to_owned(),
            title: status.to_string(),
            status: status.as_u16(),
            detail: format!("the engine answered {status} without a reason"),
            code: String::new(),
        })))
    }

    fn fault(&self, error: &reqwest::Error) -> Error {
        let why = innermost(error);
        if !error.is_connect() {
            let why = if error.is_timeout() { "it took too long".to_owned() } else { why };
            return Error::Unanswered { why };
        }
        if is_denied(error) {
            return Error::Denied { socket: self.socket.clone(), advice: socket::advice(&self.socket) };
        }
        let why = if error.is_timeout() { format!("no answer within {CONNECT_LIMIT:?}") } else { why };
        Error::Unreachable { socket: self.socket.clone(), tried: self.tried.clone(), why }
    }
}

/// A stream of JSON records, one a line.
#[derive(Debug)]
pub(crate) struct Lines<T> {
    response: Response,
    what: String,
    silence: Option<Duration>,
    buffer: Vec<u8>,
    records: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    fn new(response: Response, what: String, silence: Option<Duration>) -> Self {
        Self { response, what, silence, buffer: Vec::new(), records: PhantomData }
    }

    /// The lines that came together, as they came; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<String>>, Error> {
        loop {
            let Some(chunk) = self.chunk().await? else { return Ok(None) };
            let searched = self.buffer.len();
            self.buffer.extend_from_slice(&chunk);
            if let Some(end) = self.buffer[searched..].iter().rposition(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(searched + end + 1);
                let whole = std::mem::replace(&mut self.buffer, rest);
                let text = String::from_utf8_lossy(&whole);
                let lines: Vec<_> =
                    text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
                if !lines.is_empty() {
                    return Ok(Some(lines));
                }
            }
            if self.buffer.len() > LONGEST_LINE {
                return Err(Error::Endless);
            }
        }
    }

    /// What a line says.
    pub(crate) fn decode(&self, line: &str) -> Result<T, Error> {
        serde_json::from_str(line).map_err(|source| Error::Garbled { what: self.what.clone(), source })
    }

    async fn chunk(&mut self) -> Result<Option<bytes::Bytes>, Error> {
        let chunk = self.response.chunk();
        let chunk = match self.silence {
            Some(limit) => tokio::time::timeout(limit, chunk)
                .await
                .map_err(|_| Error::Unanswered { why: format!("it was silent for {limit:?}") })?,
            None => chunk.await,
        };
        chunk.map_err(|error| Error::Unanswered { why: innermost(&error) })
    }
}

/// The last cause: what the system said, without the layers above it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn is_denied(error: &reqwest::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && error.kind() == std::io::ErrorKind::PermissionDenied
        {
            return true;
        }
        cause = error.source();
    }
    false
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
