//! Counts what a listener answers: a service around the one that does the work.
//!
//! All counters of a listener exist from the start, so a request costs two atomic additions, and one for each piece
//! of its body.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Frame, SizeHint};
use hyper::service::Service;
use hyper::{Request, Response, StatusCode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::Labels;

/// What is asked for, as coarse as it takes to tell load from trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Route {
    Playlist,
    Init,
    Segment,
    Subtitles,
    Start,
    Progress,
    Seek,
    Leave,
    Clear,
    Channel,
    Engine,
    Sessions,
    Session,
    Order,
    Logs,
    Events,
    Probes,
    Reload,
    Health,
    Metrics,
    Other,
}

/// What came of a request, by the class of its status.
const STATUSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", ABORTED];
/// The client was gone before there was an answer.
const ABORTED: &str = "aborted";

/// The counters of one listener.
#[derive(Debug)]
pub struct Listener {
    /// In the order of [`Route::ALL`].
    routes: Vec<Tally>,
}

#[derive(Debug, Clone)]
struct Tally {
    /// In the order of [`STATUSES`].
    requests: [Counter; STATUSES.len()],
    bytes: Counter,
}

/// A service whose answers are counted.
#[derive(Debug, Clone)]
pub struct Counted<S> {
    service: S,
    listener: Arc<Listener>,
    route: fn(&str) -> Route,
}

/// A body whose bytes are counted as they leave.
#[derive(Debug)]
pub struct CountedBody<B> {
    body: B,
    bytes: Counter,
}

/// A request without an answer yet.
struct Open<'a> {
    tally: &'a Tally,
    status: Option<StatusCode>,
}

impl Route {
    const ALL: [Self; 21] = [
        Self::Playlist,
        Self::Init,
        Self::Segment,
        Self::Subtitles,
        Self::Start,
        Self::Progress,
        Self::Seek,
        Self::Leave,
        Self::Clear,
        Self::Channel,
        Self::Engine,
        Self::Sessions,
        Self::Session,
        Self::Order,
        Self::Logs,
        Self::Events,
        Self::Probes,
        Self::Reload,
        Self::Health,
        Self::Metrics,
        Self::Other,
    ];
    /// What viewers ask for.
    pub(super) const PLAYBACK: [Self; 13] = [
        Self::Playlist,
        Self::Init,
        Self::Segment,
        Self::Subtitles,
        Self::Start,
        Self::Progress,
        Self::Seek,
        Self::Leave,
        Self::Clear,
        Self::Channel,
        Self::Health,
        Self::Metrics,
        Self::Other,
    ];
    /// What operators ask for.
    pub(super) const CONTROL: [Self; 10] = [
        Self::Engine,
        Self::Sessions,
        Self::Session,
        Self::Order,
        Self::Logs,
        Self::Events,
        Self::Probes,
        Self::Reload,
        Self::Metrics,
        Self::Other,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Playlist => "playlist",
            Self::Init => "init",
            Self::Segment => "segment",
            Self::Subtitles => "subtitles",
            Self::Start => "start",
            Self::Progress => "progress",
            Self::Seek => "seek",
            Self::Leave => "leave",
            Self::Clear => "clear",
            Self::Channel => "channel",
            Self::Engine => "engine",
            Self::Sessions => "sessions",
            Self::Session => "session",
            Self::Order => "order",
            Self::Logs => "logs",
            Self::Events => "events",
            Self::Probes => "probes",
            Self::Reload => "reload",
            Self::Health => "health",
            Self::Metrics => "metrics",
            Self::Other => "other",
        }
    }
}

impl Listener {
    /// Of a listener that has these routes: whatever else is asked of it counts as the last of them.
    pub(super) fn new(
        name: &'static str,
        has: &[Route],
        requests: &Family<Labels<3>, Counter>,
        sent: &Family<Labels<2>, Counter>,
    ) -> Self {
        let tally = |route: Route| {
            let route = if has.contains(&route) { route } else { Route::Other };
            let (listener, route) = (("listener", name), ("route", route.name()));
            Tally {
                requests: STATUSES
                    .map(|status| requests.get_or_create(&[listener, route, ("status", status)]).clone()),
                bytes: sent.get_or_create(&[listener, route]).clone(),
            }
        };
        Self { routes: Route::ALL.map(tally).to_vec() }
    }

    /// The same service, counted; `route` says what a path asks for.
    pub fn count<S>(self: &Arc<Self>, service: S, route: fn(&str) -> Route) -> Counted<S> {
        Counted { service, listener: self.clone(), route }
    }

    fn of(&self, route: Route) -> &Tally {
        &self.routes[route as usize]
    }
}

impl<S, R, B> Service<Request<R>> for Counted<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: 'static,
{
    type Response = Response<CountedBody<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<R>) -> Self::Future {
        let route = (self.route)(request.uri().path());
        let answer = self.service.call(request);
        let listener = self.listener.clone();
        Box::pin(async move {
            let tally = listener.of(route);
            let mut open = Open { tally, status: None };
            let response = answer.await?;
            open.status = Some(response.status());
            Ok(response.map(|body| CountedBody { body, bytes: tally.bytes.clone() }))
        })
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let class = self.status.map_or(STATUSES.len(), |status| usize::from(status.as_u16() / 100));
        self.tally.requests[class.clamp(1, STATUSES.len()) - 1].inc();
    }
}

impl<B: Body + Unpin> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.bytes.inc_by(hyper::body::Buf::remaining(data) as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_its_place() {
        for (place, route) in Route::ALL.into_iter().enumerate() {
            assert_eq!(route as usize, place, "{route:?}");
        }
        let both = Route::PLAYBACK.into_iter().chain(Route::CONTROL);
        assert!(both.into_iter().all(|route| Route::ALL.contains(&route)));
        assert!(
            Route::ALL.iter().all(|route| Route::PLAYBACK.contains(route) || Route::CONTROL.contains(route))
        );
    }

    #[tokio::test]
    async fn answers_are_counted_by_status_and_those_that_nobody_waited_for_too() {
        use http_body_util::{BodyExt as _, Empty, Full};
        use hyper::body::Bytes;
        use hyper::service::service_fn;

        let (requests, sent) = (Family::default(), Family::default());
        let listener = Arc::new(Listener::new("playback", &Route::PLAYBACK, &requests, &sent));
        let service = listener.count(
            service_fn(|request: Request<Empty<Bytes>>| async move {
                if request.uri().path() == "/never" {
                    std::future::pending::<()>().await;
                }
                let status = if request.uri().path() == "/seg" { 200 } else { 404 };
                let body = Full::new(Bytes::from_static(b"12345"));
                Ok::<_, std::convert::Infallible>(Response::builder().status(status).body(body).unwrap())
            }),
            |path| if path == "/seg" { Route::Segment } else { Route::Engine },
        );
        let ask = |path: &str| service.call(Request::builder().uri(path).body(Empty::new()).unwrap());
        for path in ["/seg", "/seg", "/no"] {
            assert_eq!(ask(path).await.unwrap().collect().await.unwrap().to_bytes().len(), 5);
        }
        let mut never = Box::pin(ask("/never"));
        assert!(futures_util::poll!(&mut never).is_pending());
        drop(never);
        let count = |route, status| {
            requests.get_or_create(&[("listener", "playback"), ("route", route), ("status", status)]).get()
        };
        assert_eq!((count("segment", "2xx"), count("segment", "4xx")), (2, 0));
        // A route that the listener does not have is something else.
        assert_eq!((count("other", "4xx"), count("other", "aborted")), (1, 1));
        assert_eq!(sent.get_or_create(&[("listener", "playback"), ("route", "segment")]).get(), 10);
    }
}
