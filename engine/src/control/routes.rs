//! One function per route: HTTP in, a call on the registry, the protocol's types out.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use sluice_protocol::{PinOrder, ResumeOrder, Sessions, StartOrder, StopOrder};
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply as _};

use super::events::Feed;
use super::operators::{Operator, Operators};
use super::request::{Query, order, query};
use super::{Facts, logs, shape};
use crate::metrics::{self, Format};
use crate::problem::{Refusal, recover, word};
use crate::serve::Peer;
use crate::session::{Cause, Fault, Force, Handle, Id, Registry, Resumption, Snapshot, Start, Stop};

/// A hold that is to last longer is one until resumed.
const LONGEST_HOLD: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);
/// A session answers an order at once, or it has too much to do.
const ORDER_LIMIT: Duration = Duration::from_secs(10);

/// What the routes work with.
struct Desk {
    registry: Arc<Registry>,
    facts: Arc<Facts>,
    feed: Arc<Feed>,
    operators: Operators,
}

type Answer = Result<Response, Refusal>;
type Route = BoxedFilter<(Response,)>;

/// The route table of the control socket.
pub fn routes(registry: Arc<Registry>, facts: Arc<Facts>, feed: Arc<Feed>) -> Route {
    let desk = Arc::new(Desk { registry, facts, feed, operators: Operators::default() });
    let known = sessions(&desk).or(session(&desk)).unify().or(orders(&desk)).unify();
    let known = known.or(streams(&desk)).unify().or(engine(&desk)).unify();
    let known = known.or(metrics(&desk)).unify().or(later()).unify();
    known.recover(async |rejection| Ok::<_, std::convert::Infallible>(recover(&rejection))).unify().boxed()
}

/// `GET /v1/engine`.
fn engine(desk: &Arc<Desk>) -> Route {
    let path = warp::path!("v1" / "engine");
    let get = path.and(warp::get()).and(with(desk)).map(|desk: Arc<Desk>| {
        warp::reply::json(&shape::engine(&desk.registry, &desk.facts)).into_response()
    });
    get.or(path.map(|| refuse_method("GET"))).unify().boxed()
}

/// `GET /v1/sessions` and `POST /v1/sessions`.
fn sessions(desk: &Arc<Desk>) -> Route {
    let path = warp::path!("v1" / "sessions");
    let list = path
        .and(warp::get())
        .and(query())
        .and(with(desk))
        .map(|query, desk: Arc<Desk>| answer(list(&desk, &query)));
    let start = path.and(warp::post()).and(peer()).and(order()).and(with(desk)).then(
        async |peer, order: Result<StartOrder, _>, desk: Arc<Desk>| {
            answer(match order {
                Ok(order) => start(&desk, desk.operators.of(peer).await, order).await,
                Err(refusal) => Err(refusal),
            })
        },
    );
    list.or(start).unify().or(path.map(|| refuse_method("GET, POST"))).unify().boxed()
}

/// `GET /v1/sessions/{id}` and `DELETE /v1/sessions/{id}`.
fn session(desk: &Arc<Desk>) -> Route {
    let path = warp::path!("v1" / "sessions" / String);
    let get = path.and(warp::get()).and(with(desk)).map(|id: String, desk: Arc<Desk>| {
        answer(find(&desk, &id).map(|handle| warp::reply::json(&shape::detail(&handle)).into_response()))
    });
    let forget = path.and(warp::delete()).and(peer()).and(with(desk)).then(
        async |id: String, peer, desk: Arc<Desk>| {
            answer(forget(&desk, desk.operators.of(peer).await, &id).await)
        },
    );
    get.or(forget).unify().or(path.map(|_| refuse_method("GET, DELETE"))).unify().boxed()
}

/// `POST /v1/sessions/{id}/stop`, `…/resume`, `…/restart` and `…/pin`.
fn orders(desk: &Arc<Desk>) -> Route {
    let stop = warp::path!("v1" / "sessions" / String / "stop")
        .and(warp::post())
        .and(peer())
        .and(order())
        .and(with(desk))
        .then(async |id: String, peer, order: Result<StopOrder, _>, desk: Arc<Desk>| {
            answer(match order {
                Ok(order) => stop(&desk, desk.operators.of(peer).await, &id, order).await,
                Err(refusal) => Err(refusal),
            })
        });
    let anew = warp::path!("v1" / "sessions" / String / "restart").map(|id| (id, Resumption::Restart));
    let again = warp::path!("v1" / "sessions" / String / "resume").map(|id| (id, Resumption::Resume));
    let again = again.or(anew).unify().and(warp::post()).and(peer()).and(order()).and(with(desk)).then(
        async |(id, how): (String, Resumption), peer, order: Result<ResumeOrder, _>, desk: Arc<Desk>| {
            answer(match order {
                Ok(order) => resume(&desk, desk.operators.of(peer).await, &id, how, order).await,
                Err(refusal) => Err(refusal),
            })
        },
    );
    let pin = warp::path!("v1" / "sessions" / String / "pin")
        .and(warp::post())
        .and(peer())
        .and(order())
        .and(with(desk))
        .then(async |id: String, peer, order: Result<PinOrder, _>, desk: Arc<Desk>| {
            answer(match order {
                Ok(order) => pin(&desk, desk.operators.of(peer).await, &id, order).await,
                Err(refusal) => Err(refusal),
            })
        });
    let other = warp::path!("v1" / "sessions" / String / String).and_then(async |_, what: String| {
        let known = matches!(what.as_str(), "stop" | "resume" | "restart" | "pin");
        if known { Ok(refuse_method("POST")) } else { Err(warp::reject::not_found()) }
    });
    stop.or(again).unify().or(pin).unify().or(other).unify().boxed()
}

/// `GET /v1/sessions/{id}/logs` and `GET /v1/events`: answers without an end of their own.
fn streams(desk: &Arc<Desk>) -> Route {
    let path = warp::path!("v1" / "sessions" / String / "logs");
    let log = path
        .and(warp::get())
        .and(query())
        .and(with(desk))
        .map(|id: String, query, desk: Arc<Desk>| answer(log(&desk, &id, &query)));
    let log = log.or(path.map(|_| refuse_method("GET"))).unify();
    let path = warp::path!("v1" / "events");
    let events = path
        .and(warp::get())
        .and(query())
        .and(with(desk))
        .map(|query, desk: Arc<Desk>| answer(events(&desk, &query)));
    log.or(events).unify().or(path.map(|| refuse_method("GET"))).unify().boxed()
}

/// What later versions answer.
fn later() -> Route {
    let probes = warp::path!("v1" / "probes").map(|| not_yet("the probe cache is"));
    let reload = warp::path!("v1" / "reload").map(|| not_yet("reloading the config is"));
    probes.or(reload).unify().boxed()
}

/// `GET /metrics`.
fn metrics(desk: &Arc<Desk>) -> Route {
    let path = warp::path!("metrics");
    let get = path.and(warp::get()).and(warp::header::headers_cloned()).and(with(desk)).then(
        async |headers: HeaderMap, desk: Arc<Desk>| {
            let scraped = desk.registry.scrape(Format::asked(&headers)).await;
            answer(scraped.map(warp::Reply::into_response).map_err(Refusal::from))
        },
    );
    get.or(path.map(|| refuse_method("GET"))).unify().boxed()
}

/// What a path asks for, for those who count.
pub fn route(path: &str) -> metrics::Route {
    let mut parts = path.split('/').skip(1);
    match [parts.next(), parts.next(), parts.next(), parts.next(), parts.next()] {
        [Some("metrics"), None, ..] => metrics::Route::Metrics,
        [Some("v1"), Some("engine"), None, ..] => metrics::Route::Engine,
        [Some("v1"), Some("sessions"), None, ..] => metrics::Route::Sessions,
        [Some("v1"), Some("sessions"), Some(_), None, _] => metrics::Route::Session,
        [Some("v1"), Some("sessions"), Some(_), Some("logs"), None] => metrics::Route::Logs,
        [Some("v1"), Some("sessions"), Some(_), Some(_), None] => metrics::Route::Order,
        [Some("v1"), Some("events"), None, ..] => metrics::Route::Events,
        [Some("v1"), Some("probes"), None, ..] => metrics::Route::Probes,
        [Some("v1"), Some("reload"), None, ..] => metrics::Route::Reload,
        _ => metrics::Route::Other,
    }
}

fn list(desk: &Desk, query: &Query) -> Answer {
    let handles = desk.registry.list(query.flag("history")?);
    let sessions = handles.iter().map(|handle| shape::session(&handle.snapshot())).collect();
    Ok(warp::reply::json(&Sessions { sessions }).into_response())
}

async fn start(desk: &Desk, operator: Operator, order: StartOrder) -> Answer {
    if order.url.is_empty() {
        return Err(Refusal::bad_request("`url` is missing: the address of what is to be played"));
    }
    if order.start_at.is_some_and(|at| !at.is_finite() || at < 0.0) {
        return Err(Refusal::bad_request("`start_at` must be a number of seconds, 0 or more"));
    }
    let asked = Start {
        url: order.url,
        content_type: order.content_type,
        title: order.title,
        source_id: order.source_id,
        user: order.user,
        deinterlace_fallback: order.deinterlace_fallback.unwrap_or(false),
        start_at: order.start_at,
        pinned: order.pinned,
        by: Some(operator.who.clone()),
    };
    let starting = desk.registry.world().metrics.starting();
    let outcome = desk.registry.start(asked, None, Cause::Operator).await;
    starting.ended(outcome.as_ref().map(drop).map_err(|fault| word(fault.code)));
    let id = outcome.as_ref().map(|started| started.handle.id()).ok();
    let result = outcome.as_ref().map(|_| ()).map_err(|fault| fault.code);
    desk.registry.acted(operator.who.clone(), "start", id, result);
    operator.did("start", id, result);
    Ok(warp::reply::json(&shape::started(&outcome?)).into_response())
}

async fn stop(desk: &Desk, operator: Operator, id: &str, order: StopOrder) -> Answer {
    let id = parse(id)?;
    let hold_for = order.hold_for.map(hold_time).transpose()?;
    let (force, what) = if order.force { (Force::Yes, "force") } else { (Force::No, "stop") };
    let stop = Stop { force, hold_for };
    let outcome = desk.registry.stop(id, stop, operator.who.clone(), order.generation);
    done(&operator, what, id, in_time(outcome).await)
}

async fn resume(desk: &Desk, operator: Operator, id: &str, how: Resumption, order: ResumeOrder) -> Answer {
    let id = parse(id)?;
    let what = match how {
        Resumption::Resume => "resume",
        Resumption::Restart => "restart",
    };
    let outcome = desk.registry.resume(id, how, operator.who.clone(), order.generation);
    done(&operator, what, id, in_time(outcome).await)
}

async fn pin(desk: &Desk, operator: Operator, id: &str, order: PinOrder) -> Answer {
    let id = parse(id)?;
    let what = if order.pinned { "pin" } else { "unpin" };
    let outcome = desk.registry.pin(id, order.pinned, operator.who.clone());
    done(&operator, what, id, in_time(outcome).await)
}

async fn forget(desk: &Desk, operator: Operator, id: &str) -> Answer {
    let id = parse(id)?;
    let outcome = desk.registry.forget(id, operator.who.clone()).await;
    done(&operator, "forget", id, outcome)
}

fn log(desk: &Desk, id: &str, query: &Query) -> Answer {
    let handle = find(desk, id)?;
    let asked = logs::Asked::parse(query)?;
    Ok(logs::tail(handle.log().clone(), asked, desk.feed.ending()))
}

fn events(desk: &Desk, query: &Query) -> Answer {
    let after = query.number("after")?;
    // An epoch that is none of ours is another engine's, however it looks.
    let epoch = query.get("epoch").and_then(|epoch| epoch.parse().ok());
    Ok(desk.feed.follow(after.zip(epoch)))
}

async fn in_time(
    outcome: impl Future<Output = Result<Arc<Snapshot>, Fault>>,
) -> Result<Arc<Snapshot>, Fault> {
    tokio::time::timeout(ORDER_LIMIT, outcome).await.unwrap_or_else(|_| {
        let mut fault = Fault::refusal(
            crate::session::Code::Busy,
            "the session did not answer in time; look at it again",
        );
        fault.retry_after = Some(Duration::from_secs(1));
        Err(fault)
    })
}

fn done(operator: &Operator, what: &'static str, id: Id, outcome: Result<Arc<Snapshot>, Fault>) -> Answer {
    operator.did(what, Some(id), outcome.as_ref().map(|_| ()).map_err(|fault| fault.code));
    Ok(warp::reply::json(&shape::session(&*outcome?)).into_response())
}

fn hold_time(seconds: f64) -> Result<Duration, Refusal> {
    let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| *time <= LONGEST_HOLD);
    time.ok_or_else(|| {
        let years = LONGEST_HOLD.as_secs() / (366 * 24 * 60 * 60);
        Refusal::bad_request(format!(
            "`hold_for` is from 0 to {years} years in seconds; leave it out to hold until resumed"
        ))
    })
}

fn find(desk: &Desk, id: &str) -> Result<Handle, Refusal> {
    Ok(desk.registry.get(parse(id)?)?)
}

/// Only the form that we give ids: what else the parser takes would make two addresses of one session.
fn parse(id: &str) -> Result<Id, Refusal> {
    let parsed = Id::try_parse(id).ok().filter(|parsed| parsed.to_string() == id);
    parsed.ok_or_else(|| Refusal::session_not_found(id))
}

fn answer(answer: Answer) -> Response {
    answer.unwrap_or_else(Refusal::into_response)
}

fn refuse_method(allow: &'static str) -> Response {
    Refusal::method_not_allowed(allow).into_response()
}

fn not_yet(what: &str) -> Response {
    Refusal::not_yet(what).into_response()
}

fn peer() -> impl Filter<Extract = (Option<Peer>,), Error = std::convert::Infallible> + Copy {
    warp::ext::optional()
}

fn with(
    desk: &Arc<Desk>,
) -> impl Filter<Extract = (Arc<Desk>,), Error = std::convert::Infallible> + Clone + use<> {
    let desk = desk.clone();
    warp::any().map(move || desk.clone())
}
