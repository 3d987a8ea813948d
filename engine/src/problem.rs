//! The one place where a failure becomes a status and a stable code, for both listeners.
//!
//! Every answer that is no success is a [`Refusal`], sent as `application/problem+json` (RFC 9457). What
//! warp itself rejects, because no route wanted the request, becomes one in [`recover`], once, at the root.

use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use sluice_protocol::{Problem, code};
use warp::reply::{Reply, Response};

use crate::session::{Code, Fault};

/// An answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    detail: String,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
}

/// The machine's word for what went wrong.
pub fn word(code: Code) -> &'static str {
    row(code).1
}

/// The table of the contract.
fn row(code: Code) -> (StatusCode, &'static str) {
    match code {
        Code::BadRequest => (StatusCode::BAD_REQUEST, code::BAD_REQUEST),
        Code::ForbiddenAddress => (StatusCode::FORBIDDEN, code::FORBIDDEN_ADDRESS),
        Code::NotMedia => (StatusCode::UNPROCESSABLE_ENTITY, code::INPUT_NOT_MEDIA),
        Code::Unsupported => (StatusCode::UNPROCESSABLE_ENTITY, code::INPUT_UNSUPPORTED),
        Code::Protected => (StatusCode::UNPROCESSABLE_ENTITY, code::INPUT_PROTECTED),
        Code::NotFound => (StatusCode::BAD_GATEWAY, code::INPUT_NOT_FOUND),
        Code::Refused => (StatusCode::BAD_GATEWAY, code::INPUT_REFUSED),
        Code::Unreachable => (StatusCode::BAD_GATEWAY, code::INPUT_UNREACHABLE),
        Code::Truncated => (StatusCode::BAD_GATEWAY, code::INPUT_TRUNCATED),
        Code::FfmpegMissing => (StatusCode::SERVICE_UNAVAILABLE, code::FFMPEG_MISSING),
        Code::Transcode => (StatusCode::INTERNAL_SERVER_ERROR, code::TRANSCODE_FAILED),
        Code::TimedOut => (StatusCode::GATEWAY_TIMEOUT, code::TIMED_OUT),
        Code::Unkillable => (StatusCode::INTERNAL_SERVER_ERROR, code::UNKILLABLE),
        Code::StorageFull => (StatusCode::INSUFFICIENT_STORAGE, code::STORAGE_FULL),
        Code::StorageLost => (StatusCode::INSUFFICIENT_STORAGE, code::STORAGE_LOST),
        Code::AtCapacity => (StatusCode::SERVICE_UNAVAILABLE, code::ENGINE_AT_CAPACITY),
        Code::Held => (StatusCode::SERVICE_UNAVAILABLE, code::HELD),
        Code::NoSession => (StatusCode::NOT_FOUND, code::SESSION_NOT_FOUND),
        Code::Ended => (StatusCode::GONE, code::SESSION_ENDED),
        Code::Changed => (StatusCode::CONFLICT, code::CHANGED),
        Code::NotResumable => (StatusCode::CONFLICT, code::NOT_RESUMABLE),
        Code::NotSeekable => (StatusCode::CONFLICT, code::NOT_SEEKABLE),
        Code::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, code::SHUTTING_DOWN),
        Code::Busy => (StatusCode::SERVICE_UNAVAILABLE, code::BUSY),
        Code::Internal => (StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL),
    }
}

impl Refusal {
    /// `detail` is a sentence that a person can act on; line breaks and the like are taken out of it.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if detail.contains(char::is_control) {
            detail = detail.replace(char::is_control, " ");
        }
        Self { status, code, detail, retry_after: None, allow: None }
    }

    /// The request makes no sense.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code::BAD_REQUEST, detail)
    }

    /// Nobody may ask this without a token.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code::UNAUTHORIZED, detail)
    }

    /// A page of another site asks.
    pub fn forbidden_origin(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code::FORBIDDEN_ORIGIN, detail)
    }

    /// There is nothing at that address.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code::NOT_FOUND, detail)
    }

    /// No session has that id, or it is no id.
    pub fn session_not_found(id: &str) -> Self {
        let shown: String = id.chars().take(64).collect();
        Self::new(StatusCode::NOT_FOUND, code::SESSION_NOT_FOUND, format!("no session has the id {shown}"))
    }

    /// What is asked for is planned, and not here. `what` begins the sentence: `pins are`.
    pub fn not_yet(what: &str) -> Self {
        Self::not_found(format!("{what} not in this version of the engine; a later one will have it"))
    }

    /// The engine as a whole can't work now, whatever status the failure has elsewhere.
    pub fn unavailable(fault: impl Into<Self>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, ..fault.into() }
    }

    /// The address exists, but not for that method.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let detail = format!("this address answers {allow} only");
        let refusal = Self::new(StatusCode::METHOD_NOT_ALLOWED, code::METHOD_NOT_ALLOWED, detail);
        Self { allow: Some(allow), ..refusal }
    }

    /// The body has more bytes than are read.
    pub fn too_large(limit: u64) -> Self {
        let detail = format!("the body of this request may have {limit} bytes at most");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, code::TOO_LARGE, detail)
    }

    /// Too much to do at the moment.
    pub fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code::BUSY, detail).retry_after(Duration::from_secs(1))
    }

    /// The same, with the advice to wait that long.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The machine's word for it.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The body it is answered with.
    pub fn problem(&self) -> Problem {
        Problem {
            kind: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            code: self.code.to_owned(),
        }
    }
}

impl From<&Fault> for Refusal {
    fn from(fault: &Fault) -> Self {
        let (status, code) = row(fault.code);
        Self { retry_after: fault.retry_after, ..Self::new(status, code, fault.reason.as_str()) }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::from(&fault)
    }
}

impl Reply for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.problem()).unwrap_or_default();
        let mut response = body.into_response();
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        // A failure that a cache remembers outlives its cause.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A filter may reject with one, where it has no reply to give.
impl warp::reject::Reject for Refusal {}

/// What no route answered, as a problem.
pub fn recover(rejection: &warp::Rejection) -> Response {
    refusal(rejection).into_response()
}

/// The gravest first: a route that wanted the request and could not read it says more than one that did not
/// want it.
fn refusal(rejection: &warp::Rejection) -> Refusal {
    use warp::reject::{
        InvalidHeader, InvalidQuery, LengthRequired, MethodNotAllowed, MissingHeader, PayloadTooLarge,
        UnsupportedMediaType,
    };
    if let Some(refusal) = rejection.find::<Refusal>() {
        return refusal.clone();
    }
    if rejection.find::<PayloadTooLarge>().is_some() {
        let detail = "the body of this request is too large";
        return Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, code::TOO_LARGE, detail);
    }
    if let Some(error) = rejection.find::<warp::body::BodyDeserializeError>() {
        let why = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
        return Refusal::bad_request(format!("the body is not the JSON that this address reads: {why}"));
    }
    if rejection.find::<LengthRequired>().is_some() {
        return Refusal::bad_request("a body needs its length beforehand: send Content-Length");
    }
    if rejection.find::<UnsupportedMediaType>().is_some() {
        return Refusal::bad_request("the body must be JSON: send it with Content-Type: application/json");
    }
    if rejection.find::<InvalidQuery>().is_some() {
        return Refusal::bad_request("the part of the address after `?` can't be read");
    }
    if let Some(header) = rejection.find::<MissingHeader>() {
        return Refusal::bad_request(format!("the header `{}` is missing", header.name()));
    }
    if let Some(header) = rejection.find::<InvalidHeader>() {
        return Refusal::bad_request(format!("the header `{}` can't be read", header.name()));
    }
    if rejection.find::<MethodNotAllowed>().is_some() {
        let detail = "this address does not answer that method";
        return Refusal::new(StatusCode::METHOD_NOT_ALLOWED, code::METHOD_NOT_ALLOWED, detail);
    }
    if rejection.is_not_found() {
        return Refusal::not_found("there is nothing at this address");
    }
    tracing::warn!(?rejection, "a request was rejected in a way that no answer is meant for");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL, "the engine can't answer this request")
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::BodyExt as _;
    use serde::Deserialize;
    use warp::Filter as _;
    use warp::hyper::service::Service as _;

    use super::*;
    use crate::session::Cause;

    /// Sends a request to a route that rejects or answers it.
    async fn ask(request: Request<String>) -> (StatusCode, http::HeaderMap, Problem) {
        #[derive(Deserialize)]
        struct Asked {
            n: u8,
        }
        let read = warp::path!("read")
            .and(warp::post())
            .and(warp::body::content_length_limit(32))
            .and(warp::body::json())
            .map(|asked: Asked| asked.n.to_string().into_response());
        let search = warp::path!("search")
            .and(warp::get())
            .and(warp::query())
            .map(|asked: Asked| asked.n.to_string().into_response());
        let head =
            warp::path!("head").and(warp::header::<u8>("x-n")).map(|n: u8| n.to_string().into_response());
        let own = warp::path!("own").and_then(|| async {
            Err::<Response, _>(warp::reject::custom(Refusal::unauthorized("send a token")))
        });
        let routes = read.or(search).unify().or(head).unify().or(own).unify();
        let routes =
            routes.recover(async |rejection| Ok::<_, std::convert::Infallible>(recover(&rejection))).unify();
        let service = hyper_util::service::TowerToHyperService::new(warp::service(routes));
        let response = service.call(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, head.headers, serde_json::from_slice(&body).unwrap())
    }

    fn request(method: &str, target: &str, body: &str) -> Request<String> {
        let request = Request::builder().method(method).uri(target).header("content-length", body.len());
        request.body(body.to_owned()).unwrap()
    }

    #[tokio::test]
    async fn what_no_route_answers_is_a_problem_with_a_word() {
        for (method, target, body, status, code) in [
            ("GET", "/nothing", "", 404, code::NOT_FOUND),
            ("GET", "/read", "", 405, code::METHOD_NOT_ALLOWED),
            ("POST", "/read", "{\"n\":", 400, code::BAD_REQUEST),
            ("POST", "/read", "{\"n\": \"a\\nb\"}", 400, code::BAD_REQUEST),
            ("POST", "/read", "{\"n\": 1, \"more\": \"and more and more\"}", 413, code::TOO_LARGE),
            ("GET", "/search?n=many", "", 400, code::BAD_REQUEST),
            ("GET", "/head", "", 400, code::BAD_REQUEST),
            ("GET", "/own", "", 401, code::UNAUTHORIZED),
        ] {
            let (got, headers, problem) = ask(request(method, target, body)).await;
            assert_eq!(
                (got.as_u16(), problem.status, problem.code.as_str()),
                (status, status, code),
                "{target}"
            );
            assert_eq!(headers[CONTENT_TYPE], "application/problem+json");
            assert_eq!(headers[CACHE_CONTROL], "no-store");
            assert_eq!(problem.kind, "about:blank");
            assert!(!problem.detail.is_empty() && !problem.detail.contains(char::is_control), "{problem:?}");
            assert_eq!(headers.contains_key(WWW_AUTHENTICATE), status == 401);
        }
    }

    #[test]
    fn every_code_has_its_status_and_its_word() {
        for (code, status, word) in [
            (Code::BadRequest, 400, "bad_request"),
            (Code::ForbiddenAddress, 403, "forbidden_address"),
            (Code::NotMedia, 422, "input_not_media"),
            (Code::Unsupported, 422, "input_unsupported"),
            (Code::Protected, 422, "input_protected"),
            (Code::NotFound, 502, "input_not_found"),
            (Code::Refused, 502, "input_refused"),
            (Code::Unreachable, 502, "input_unreachable"),
            (Code::Truncated, 502, "input_truncated"),
            (Code::FfmpegMissing, 503, "ffmpeg_missing"),
            (Code::Transcode, 500, "transcode_failed"),
            (Code::TimedOut, 504, "timed_out"),
            (Code::Unkillable, 500, "unkillable"),
            (Code::StorageFull, 507, "storage_full"),
            (Code::StorageLost, 507, "storage_lost"),
            (Code::AtCapacity, 503, "engine_at_capacity"),
            (Code::Held, 503, "held"),
            (Code::NoSession, 404, "session_not_found"),
            (Code::Ended, 410, "session_ended"),
            (Code::Changed, 409, "changed"),
            (Code::NotResumable, 409, "not_resumable"),
            (Code::NotSeekable, 409, "not_seekable"),
            (Code::ShuttingDown, 503, "shutting_down"),
            (Code::Busy, 503, "busy"),
            (Code::Internal, 500, "internal"),
        ] {
            let refusal = Refusal::from(Fault::new(code, Cause::Internal, "so it is"));
            let problem = refusal.problem();
            assert_eq!((problem.status, problem.code.as_str(), super::word(code)), (status, word, word));
            assert_eq!(refusal.into_response().status().as_u16(), status);
            assert_eq!(problem.detail, "so it is");
        }
    }

    #[test]
    fn who_has_to_wait_is_told_whole_seconds_and_never_too_few() {
        let mut fault = Fault::refusal(Code::Held, "held");
        for (wait, seconds) in
            [(None, None), (Some(1_000), Some("1")), (Some(1_001), Some("2")), (Some(1), Some("1"))]
        {
            fault.retry_after = wait.map(Duration::from_millis);
            let response = Refusal::from(&fault).into_response();
            assert_eq!(response.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap()), seconds);
        }
    }

    #[test]
    fn an_engine_that_is_not_ready_says_why_and_is_unavailable() {
        let fault = Fault::new(Code::StorageFull, Cause::Storage, "too little space is free");
        let refusal = Refusal::unavailable(fault);
        assert_eq!((refusal.status().as_u16(), refusal.code()), (503, code::STORAGE_FULL));
    }

    #[test]
    fn what_is_not_there_yet_says_that_it_comes() {
        let problem = Refusal::not_yet("pins are").problem();
        assert_eq!((problem.status, problem.code.as_str()), (404, code::NOT_FOUND));
        assert_eq!(problem.detail, "pins are not in this version of the engine; a later one will have it");
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        let response = Refusal::method_not_allowed("GET, POST").into_response();
        assert_eq!(response.headers()[ALLOW], "GET, POST");
    }
}
