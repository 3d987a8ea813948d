//! Asks a source directly, under the rules for addresses: the first bytes of an input, by which its
//! container is told, whether its server knows ranges, and then parts of it.
//!
//! Every redirect is looked at before it is followed, and every answer of the resolver before it is
//! connected to. A connection lasts no longer than its question: sources count them.

mod failure;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue,
    LOCATION, PROXY_AUTHORIZATION, RANGE, USER_AGENT,
};
use http::{Method, StatusCode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder, Response, redirect, retry};
use rustix::fs::OFlags;
use tokio::time::{Instant, timeout_at};
use url::Url;

pub use self::failure::{FetchError, Reason};
use crate::address::{Address, AddressError, Place, Rules};
use crate::config::{Input, Source, UserAgent};

/// Enough for every container's beginning, a page of a playlist included.
const FIRST_BYTES: usize = 64 * 1024;

/// So many tell a container apart in practice: ten packets of a transport stream, any box or EBML head.
const ENOUGH: usize = 2 * 1024;

/// A live source sends at the pace of its media: once there is enough, it is not waited for much longer.
const SETTLE: Duration = Duration::from_millis(50);

/// With five packets a transport stream can still be told; with less, a trickle was in vain.
const LEAST: usize = 5 * 188;

const REDIRECTS: usize = 5;

/// A server that doesn't take a connection in this time is not there; the whole question has its own limit.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// What ffmpeg calls itself where the config leaves that to it: a source must see one client.
const FFMPEGS_OWN: &str = "Lavf/59.27.100";

/// Asks sources.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: Client,
    rules: Arc<Rules>,
    user_agent: UserAgent,
}

/// The beginning of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstBytes {
    /// At least one byte, at most 64 KiB.
    pub bytes: Bytes,
    /// Whether the server answered with the range that was asked for (206). A file always does.
    pub ranges: bool,
    /// The length of the whole, where it is known.
    pub length: Option<u64>,
    /// What the server calls it.
    pub content_type: Option<String>,
    /// Where it was found, after all redirects. It may carry credentials.
    pub final_url: Url,
}

/// Why there is nothing to ask with.
#[derive(Debug, thiserror::Error)]
#[error("could not set up the HTTP client")]
pub struct SetUpError(#[source] reqwest::Error);

impl Fetcher {
    /// A fetcher under `rules`.
    pub fn new(rules: Arc<Rules>, input: &Input) -> Result<Self, SetUpError> {
        // reqwest takes the process's provider, and there is only one to choose. That another part of the
        // process was first does no harm.
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            tracing::debug!("a TLS provider is already installed");
        }
        let client = match builder(&rules, input).build() {
            Err(error) if input.tls_verify => {
                // A machine without any certificate authority still plays from plain HTTP.
                tracing::warn!(error = %root_cause(&error), "no https source can be verified");
                builder(&rules, input).tls_certs_only([]).build()
            }
            built => built,
        }
        .map_err(SetUpError)?;
        Ok(Self { client, rules, user_agent: input.user_agent.clone() })
    }

    /// The first bytes of `address`, asked for as `source` wants it, within `limit`. When this returns, or
    /// is dropped, the connection is gone.
    pub async fn first_bytes(
        &self,
        address: &Address,
        source: Option<&Source>,
        limit: Duration,
    ) -> Result<FirstBytes, FetchError> {
        let deadline = Instant::now() + limit;
        match address.place() {
            Place::Http(url) => {
                let (response, final_url) =
                    timeout_at(deadline, self.open(url, source, 0, FIRST_BYTES as u64))
                        .await
                        .map_err(|_| FetchError::TimedOut)??;
                read_answer(response, final_url, deadline).await
            }
            Place::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file(&path));
                let read = timeout_at(deadline, read).await.map_err(|_| FetchError::TimedOut)?;
                read.map_err(|_| FetchError::unreachable(Reason::Closed))?
            }
        }
    }

    /// `length` bytes of `address` from `from` on, or fewer where it ends before, within `limit`. A server that
    /// sends anything else has failed. When this returns, or is dropped, the connection is gone.
    pub async fn range(
        &self,
        address: &Address,
        source: Option<&Source>,
        from: u64,
        length: u64,
        limit: Duration,
    ) -> Result<Bytes, FetchError> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        let deadline = Instant::now() + limit;
        match address.place() {
            Place::Http(url) => {
                let asked = async {
                    let (response, _) = self.open(url, source, from, length).await?;
                    read_part(response, from, length).await
                };
                timeout_at(deadline, asked).await.map_err(|_| FetchError::TimedOut)?
            }
            Place::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file_part(&path, from, length));
                let read = timeout_at(deadline, read).await.map_err(|_| FetchError::TimedOut)?;
                read.map_err(|_| FetchError::unreachable(Reason::Closed))?
            }
        }
    }

    /// Asks for a range, following redirects under the rules, until there is an answer with a body.
    async fn open(
        &self,
        url: &Url,
        source: Option<&Source>,
        from: u64,
        length: u64,
    ) -> Result<(Response, Url), FetchError> {
        let range = format!("bytes={from}-{}", from.saturating_add(length - 1));
        let range = HeaderValue::from_str(&range).expect("digits are a header value");
        let first = url.origin();
        let mut url = url.clone();
        for _ in 0..=REDIRECTS {
            self.rules.admit(&url)?;
            if self.rules.is_named_elsewhere(&url) {
                // The client's resolver sees no port; it would take this host for the one in the config.
                self.rules.resolve_url(&url).await?;
            }
            let mut headers = self.headers(source, url.origin() == first);
            headers.insert(RANGE, range.clone());
            let request = self.client.request(Method::GET, url.clone()).headers(headers);
            let response = request.send().await.map_err(|error| FetchError::of_client(&error))?;
            let Some(next) = redirection(&response, &url)? else {
                return Ok((response, url));
            };
            url = next;
        }
        Err(FetchError::unreachable(Reason::Redirects))
    }

    fn headers(&self, source: Option<&Source>, at_home: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let user_agent = source.and_then(|source| source.user_agent.as_ref()).unwrap_or(&self.user_agent);
        // The config has refused whatever is no header; a value that slipped through is left out.
        if let Ok(value) = HeaderValue::from_str(user_agent.text().unwrap_or(FFMPEGS_OWN)) {
            headers.insert(USER_AGENT, value);
        }
        for (name, value) in source.map(|source| source.headers.as_slice()).unwrap_or_default() {
            let (Ok(name), Ok(mut value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
            else {
                continue;
            };
            // What proves who we are to one server is not for the one that it sends us to.
            if at_home || ![AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(&name) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        headers
    }
}

fn builder(rules: &Arc<Rules>, input: &Input) -> ClientBuilder {
    Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .pool_max_idle_per_host(0)
        .connect_timeout(CONNECT_LIMIT)
        .tls_danger_accept_invalid_certs(!input.tls_verify)
        .dns_resolver(Resolver(Arc::clone(rules)))
}

/// Resolves under the rules, so that what was checked is what is connected to.
struct Resolver(Arc<Rules>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = Arc::clone(&self.0);
        Box::pin(async move {
            let found = rules.resolve_name(name.as_str()).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Where the server sends us, if it does.
fn redirection(response: &Response, from: &Url) -> Result<Option<Url>, FetchError> {
    let follow = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let Some(location) = response.headers().get(LOCATION).filter(|_| follow) else { return Ok(None) };
    let nonsense = || FetchError::unreachable(Reason::Protocol);
    // Servers write what is no ASCII as it is; the URL parser knows what to do with it.
    let location = std::str::from_utf8(location.as_bytes()).map_err(|_| nonsense())?;
    let mut next = from.join(location).map_err(|_| nonsense())?;
    next.set_fragment(None);
    Ok(Some(next))
}

async fn read_answer(
    mut response: Response,
    final_url: Url,
    deadline: Instant,
) -> Result<FirstBytes, FetchError> {
    let (ranges, length) = match response.status() {
        StatusCode::OK => (false, number(response.headers(), &CONTENT_LENGTH)),
        // A part that is not the beginning is not what was asked for.
        StatusCode::PARTIAL_CONTENT => {
            let range = content_range(response.headers()).filter(|range| range.from == 0);
            (true, range.ok_or(FetchError::unreachable(Reason::Protocol))?.length)
        }
        status if is_nothing(status, response.headers()) => return Err(FetchError::Empty),
        status => return Err(FetchError::of_status(status)),
    };
    let text = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = text.map(str::to_owned);
    let bytes = read_body(&mut response, deadline).await?;
    Ok(FirstBytes { bytes, ranges, length, content_type, final_url })
}

/// Reads until there is all that was asked for, or enough and no more for the moment.
async fn read_body(response: &mut Response, deadline: Instant) -> Result<Bytes, FetchError> {
    let mut bytes = BytesMut::new();
    let mut until = deadline;
    while bytes.len() < FIRST_BYTES {
        match timeout_at(until, response.chunk()).await {
            Ok(Ok(Some(chunk))) => {
                bytes.extend_from_slice(&chunk[..chunk.len().min(FIRST_BYTES - bytes.len())])
            }
            Ok(Ok(None)) => break,
            // A server that breaks off has still shown what it has.
            Ok(Err(_)) if bytes.len() >= LEAST => break,
            Ok(Err(error)) => return Err(FetchError::of_client(&error)),
            Err(_) if bytes.len() >= LEAST => break,
            Err(_) => return Err(FetchError::TimedOut),
        }
        if bytes.len() >= ENOUGH && until == deadline {
            until = deadline.min(Instant::now() + SETTLE);
        }
    }
    if bytes.is_empty() { Err(FetchError::Empty) } else { Ok(bytes.freeze()) }
}

/// The part and nothing but the part.
async fn read_part(mut response: Response, from: u64, length: u64) -> Result<Bytes, FetchError> {
    let wrong = FetchError::unreachable(Reason::Part);
    match response.status() {
        StatusCode::PARTIAL_CONTENT => {}
        StatusCode::OK => return Err(wrong),
        status => return Err(FetchError::of_status(status)),
    }
    let range = content_range(response.headers()).filter(|range| range.from == from);
    let part = range.and_then(|range| range.to?.checked_sub(from)?.checked_add(1));
    let part = part.filter(|part| *part <= length).and_then(|part| usize::try_from(part).ok());
    let Some(part) = part else { return Err(wrong) };
    let mut bytes = BytesMut::with_capacity(part);
    while bytes.len() < part {
        let chunk = response.chunk().await.map_err(|error| FetchError::of_client(&error))?;
        let chunk = chunk.ok_or(FetchError::unreachable(Reason::Closed))?;
        bytes.extend_from_slice(&chunk[..chunk.len().min(part - bytes.len())]);
    }
    Ok(bytes.freeze())
}

fn is_nothing(status: StatusCode, headers: &HeaderMap) -> bool {
    let empty = status == StatusCode::RANGE_NOT_SATISFIABLE
        && headers.get(CONTENT_RANGE).is_some_and(|value| value.as_bytes() == b"bytes */0");
    empty || status == StatusCode::NO_CONTENT
}

/// What a `Content-Range` says of a part.
struct Range {
    from: u64,
    /// The last byte. Some servers leave it out for the beginning.
    to: Option<u64>,
    /// Of the whole, where it is known.
    length: Option<u64>,
}

fn content_range(headers: &HeaderMap) -> Option<Range> {
    let value = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, length) = value.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (from, to) = range.split_once('-')?;
    let from = from.trim().parse().ok()?;
    Some(Range { from, to: to.trim().parse().ok(), length: length.trim().parse().ok() })
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// Opens a file, and tells its length. The path is one that the rules have seen, but that was a moment ago: what
/// is there now must be neither a link nor something whose opening waits.
fn open_file(path: &Path) -> Result<(File, u64), FetchError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path);
    let file = open.map_err(|error| FetchError::of_file(&error))?;
    let metadata = file.metadata().map_err(|error| FetchError::of_file(&error))?;
    if !metadata.is_file() {
        return Err(FetchError::Forbidden(AddressError::NotRegular));
    }
    Ok((file, metadata.len()))
}

fn read_file(path: &Path) -> Result<FirstBytes, FetchError> {
    let (file, length) = open_file(path)?;
    let bytes = read_beginning(file).map_err(|error| FetchError::of_file(&error))?;
    if bytes.is_empty() {
        return Err(FetchError::Empty);
    }
    let final_url = Url::from_file_path(path).map_err(|()| FetchError::unreachable(Reason::Protocol))?;
    Ok(FirstBytes { bytes, ranges: true, length: Some(length), content_type: None, final_url })
}

fn read_file_part(path: &Path, from: u64, length: u64) -> Result<Bytes, FetchError> {
    let (file, whole) = open_file(path)?;
    let part = usize::try_from(whole.saturating_sub(from).min(length));
    let mut bytes = vec![0; part.map_err(|_| FetchError::unreachable(Reason::Part))?];
    file.read_exact_at(&mut bytes, from).map_err(|error| FetchError::of_file(&error))?;
    Ok(bytes.into())
}

fn read_beginning(file: File) -> std::io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(FIRST_BYTES);
    file.take(FIRST_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

fn root_cause(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .last()
        .map_or_else(String::new, ToString::to_string)
}
