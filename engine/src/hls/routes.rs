//! One function per route: HTTP in, a call on the session, HTTP out.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, CONTENT_TYPE, USER_AGENT, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use sluice_protocol::Subtitle;
use warp::filters::BoxedFilter;
use warp::reply::Response as Reply;
use warp::{Filter, Reply as _};

use super::media::{self, Asked};
use super::playlist::{self, End};
use crate::access::{self, Denied};
use crate::config::{Container, Server};
use crate::metrics::{self, Format};
use crate::problem::{Refusal, recover, word};
use crate::serve::Peer;
use crate::session::{
    Cause, Code, Fault, Handle, Id, Label, Missing, Registry, Start, Started, State, Unserved, Viewer,
};

/// A start's body is a handful of fields.
const MOST_BODY: u64 = 64 * 1024;
/// No film is longer: a hundred years.
const LAST_MOMENT: f64 = 3.2e9;
/// A user agent is only there to tell viewers apart.
const MOST_AGENT: usize = 256;

/// What the routes work with.
#[derive(Debug)]
pub struct Playback {
    /// All sessions.
    pub registry: Arc<Registry>,
    /// Who may ask, and by which names.
    pub server: Server,
    /// This machine's name.
    pub machine: String,
    /// Whether ffmpeg was found when the engine started.
    pub ffmpeg_found: bool,
    /// What the address to open offers.
    pub container: Container,
}

/// The body of a start, as netv's players send it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StartBody {
    url: String,
    content_type: Option<String>,
    title: Option<String>,
    source_id: Option<Text>,
    series_id: Option<Text>,
    episode_id: Option<Text>,
    series_name: Option<String>,
    deinterlace_fallback: Option<Flag>,
    /// Where to begin: a hint on a timeline; an event begins at its beginning, whatever it says.
    start_at: Option<Number>,
}

/// Players send ids as text or as numbers.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    Text(String),
    Number(i64),
}

/// `1`, `0`, true, false, also as text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Flag {
    Bool(bool),
    Number(u8),
    Text(String),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Number {
    Number(f64),
    Text(String),
}

#[derive(Debug, Serialize)]
struct StartAnswer {
    session_id: Id,
    playlist: String,
    subtitles: Vec<Subtitle>,
    duration: Option<f64>,
    seek_offset: f64,
    transcoded_duration: f64,
    state: &'static str,
}

#[derive(Debug, Serialize)]
struct Progress {
    segment_count: u64,
    duration: Option<f64>,
    state: &'static str,
    transcoded_duration: f64,
}

#[derive(Debug, Serialize)]
struct SeekAnswer {
    ok: bool,
    session_id: Id,
    segment: u64,
    time: f64,
    playlist: String,
}

#[derive(Debug, Deserialize)]
struct SeekQuery {
    time: Option<Number>,
}

#[derive(Debug, Deserialize)]
struct ClearQuery {
    url: String,
}

/// The route table of the playback listener.
pub fn routes(playback: Arc<Playback>) -> BoxedFilter<(Reply,)> {
    let with = {
        let playback = playback.clone();
        warp::any().map(move || playback.clone())
    };
    let caller = warp::ext::get::<Peer>().and(warp::header::headers_cloned());
    let body = warp::body::content_length_limit(MOST_BODY);

    // The hot ones first. A path of one session's media never has another meaning.
    let media = warp::path("transcode")
        .and(warp::path::param::<Id>())
        .and(warp::path::tail())
        .and(get_or_head())
        .and(container())
        .and(with.clone())
        .and(caller)
        .then(
            async |id, rest: warp::path::Tail, asked, playback: Arc<Playback>, peer, headers: HeaderMap| {
                let container: Container = Option::unwrap_or(asked, playback.container);
                let rest = match (rest.as_str(), container) {
                    ("stream.m3u8", Container::Ts) => "ts.m3u8",
                    (rest, _) => rest,
                };
                answer(serve_media(&playback, id, rest, &viewer(peer, &headers), &headers).await)
            },
        );
    let leave_delete = warp::path!("transcode" / Id).and(warp::delete());
    let leave_post = warp::path!("transcode" / Id / "stop").and(warp::post());
    let leave = leave_delete.or(leave_post).unify().and(with.clone()).and(caller).then(
        async |id, playback: Arc<Playback>, peer, headers: HeaderMap| {
            answer(
                guarded(&playback, &headers)
                    .and_then(|()| leave_session(&playback, id, &viewer(peer, &headers))),
            )
        },
    );
    let progress =
        warp::path!("transcode" / "progress" / Id).and(get_or_head()).and(with.clone()).and(caller).then(
            async |id, playback: Arc<Playback>, peer, headers: HeaderMap| {
                answer(
                    guarded(&playback, &headers)
                        .and_then(|()| tell_progress(&playback, id, &viewer(peer, &headers))),
                )
            },
        );
    let seek = warp::path!("transcode" / "seek" / Id)
        .and(warp::get().or(warp::post()).unify())
        .and(warp::query())
        .and(with.clone())
        .and(caller)
        .then(async |id, query: SeekQuery, playback: Arc<Playback>, peer, headers: HeaderMap| {
            if let Err(refusal) = guarded(&playback, &headers) {
                return answer(Err(refusal));
            }
            answer(seek_session(&playback, id, &query, &viewer(peer, &headers)).await)
        });
    let start_post = warp::path!("transcode" / "start").and(warp::post()).and(body).and(warp::body::json());
    let start_get = warp::path!("transcode" / "start").and(warp::get()).and(warp::query());
    let start = start_post.or(start_get).unify().and(with.clone()).and(caller).then(
        async |start: StartBody, playback: Arc<Playback>, peer, headers: HeaderMap| {
            answer(start_session(&playback, start, peer, &headers).await)
        },
    );
    let clear = warp::path!("transcode-clear")
        .and(warp::delete())
        .and(warp::query())
        .and(with.clone())
        .and(caller)
        .then(async |query: ClearQuery, playback: Arc<Playback>, peer, headers: HeaderMap| {
            answer(clear_session(&playback, &query.url, peer, &headers).await)
        });
    let health = warp::path!("healthz").and(get_or_head()).map(|| plain("ok\n"));
    let ready = warp::path!("readyz")
        .and(get_or_head())
        .and(with.clone())
        .then(async |playback: Arc<Playback>| answer(readiness(&playback).await));
    let preflight =
        preflight_method().and(warp::path::full()).and(with.clone()).and(warp::header::headers_cloned()).map(
            |path: warp::path::FullPath, playback: Arc<Playback>, headers: HeaderMap| {
                preflight(&playback, path.as_str(), &headers)
            },
        );
    let subtitles = warp::path!("subs" / Id / String).and(get_or_head()).and(with.clone()).and(caller).then(
        async |id, file: String, playback: Arc<Playback>, peer, headers: HeaderMap| {
            answer(serve_subtitles(&playback, id, &file, &viewer(peer, &headers), &headers))
        },
    );
    let channels = warp::path!("live" / ..).and(get_or_head()).map(|| not_yet("configured channels are"));
    let list = warp::path!("channels.m3u").and(get_or_head()).map(|| not_yet("configured channels are"));
    let stranger = warp::path!("transcode" / String / ..)
        .and(get_or_head())
        .map(|id: String| answer(Err(Refusal::session_not_found(&id))));
    let metrics = warp::path!("metrics").and(get_or_head()).and(with.clone()).and(caller).then(
        async |playback: Arc<Playback>, peer, headers: HeaderMap| {
            scrape(&playback, peer, &headers).await.unwrap_or_else(Refusal::into_response)
        },
    );

    let api = leave.or(progress).unify().or(seek).unify().or(start).unify().or(clear).unify();
    let rest = health
        .or(ready)
        .unify()
        .or(preflight)
        .unify()
        .or(subtitles)
        .unify()
        .or(channels)
        .unify()
        .or(list)
        .unify();
    let rest = rest.or(metrics).unify().or(stranger).unify();
    let shared = playback;
    let guarded = api
        .and(warp::header::headers_cloned())
        .map(move |reply, headers| with_origin(&shared, reply, &headers));
    media
        .or(guarded)
        .unify()
        .or(rest)
        .unify()
        .recover(async |rejection| Ok::<_, std::convert::Infallible>(recover(&rejection)))
        .unify()
        .boxed()
}

async fn serve_media(
    playback: &Playback,
    id: Id,
    rest: &str,
    viewer: &Viewer,
    headers: &HeaderMap,
) -> Result<Reply, Refusal> {
    let asked = Asked::parse(rest).ok_or_else(|| Refusal::not_found("no session has such a file"))?;
    if let Asked::NotYet(what) = asked {
        return Err(Refusal::not_yet(what));
    }
    let handle = playback.registry.get(id)?;
    if let Some(fault) = handle.held() {
        return Err(fault.into());
    }
    match asked {
        Asked::Multivariant | Asked::Playlist(_) | Asked::SubtitlePlaylist(_) | Asked::TransportPlaylist => {
            handle.heard(viewer);
            let index = if wants_to_go(&handle) { playable(&handle).await? } else { handle.shelf().index() };
            // Of a film that failed nothing more will come: without an end a player would ask for ever.
            let end = if handle.snapshot().state == State::Failed { End::Failed } else { End::AsMade };
            match asked {
                Asked::Playlist(rendition) => {
                    if !index.shapes.iter().any(|shape| shape.rendition == rendition) {
                        return Err(Refusal::not_found("the session has no such rendition"));
                    }
                    let name = format!("{rendition} {end:?}");
                    let text = index.rendered(&name, || playlist::media(&index, rendition, end));
                    Ok(media::playlist(text))
                }
                Asked::SubtitlePlaylist(track) => {
                    if index.has_subtitle(track) != Some(true) {
                        return Err(Refusal::not_found("the session has no such subtitles"));
                    }
                    let name = format!("sub-{track} {end:?}");
                    Ok(media::playlist(index.rendered(&name, || playlist::subtitles(&index, track, end))))
                }
                Asked::TransportPlaylist => {
                    let name = format!("ts {end:?}");
                    Ok(media::playlist(index.rendered(&name, || playlist::transport_stream(&index, end))))
                }
                _ => Ok(media::playlist(index.rendered("stream", || playlist::multivariant(&index)))),
            }
        }
        Asked::Init(rendition, name) => {
            handle.heard(viewer);
            let served = handle.shelf().init(rendition, &name).ok_or_else(|| gone(&handle))?;
            Ok(media::init(served, rendition, headers))
        }
        Asked::Segment(rendition, number) => match handle.segment(viewer, rendition, number).await {
            Ok(served) => Ok(media::segment(served, rendition, headers)),
            Err(unserved) => Err(refused(&handle, unserved)),
        },
        Asked::SubtitleSegment(track, number) => match handle.subtitle_segment(viewer, track, number).await {
            Ok(served) => Ok(media::subtitle_segment(served, headers)),
            Err(unserved) => Err(refused(&handle, unserved)),
        },
        Asked::TransportStream(number) => match handle.transport_stream(viewer, number).await {
            Ok(served) => Ok(media::transport_stream(served, headers)),
            Err(unserved) => Err(refused(&handle, unserved)),
        },
        Asked::NotYet(_) => Err(Refusal::not_found("no session has such a file")),
    }
}

fn serve_subtitles(
    playback: &Playback,
    id: Id,
    file: &str,
    viewer: &Viewer,
    headers: &HeaderMap,
) -> Result<Reply, Refusal> {
    let handle = playback.registry.get(id)?;
    if let Some(fault) = handle.held() {
        return Err(fault.into());
    }
    let served = media::whole_subtitle(file).and_then(|track| handle.subtitles(viewer, track));
    served.map(|served| media::subtitles(served, headers)).ok_or_else(|| gone(&handle))
}

/// Whether a playlist request has to wait, or to make it go on: a rest of a film that is whole does not.
fn wants_to_go(handle: &Handle) -> bool {
    match handle.snapshot().state {
        State::Running | State::Ahead | State::Complete => false,
        // What was made of a film before it failed stays playable.
        State::Failed => handle.shelf().index().segments.is_empty(),
        // So does what was made of one that is being made again.
        State::Starting | State::Backoff | State::Stopping if has_film(handle) => false,
        State::Starting | State::Backoff | State::Stopping | State::Stopped | State::Ended => true,
    }
}

fn has_film(handle: &Handle) -> bool {
    let index = handle.shelf().index();
    index.kind.is_film() && !index.segments.is_empty()
}

async fn playable(handle: &Handle) -> Result<Arc<crate::session::Index>, Refusal> {
    let snapshot = handle.snapshot();
    if snapshot.state == State::Ended && !snapshot.revivable {
        return Err(ended().into());
    }
    if snapshot.state == State::Stopped && has_film(handle) {
        // What exists of a film is served at once; what does not is made meanwhile.
        handle.nudge();
        return Ok(handle.shelf().index());
    }
    handle.playable(Cause::Demand).await?;
    Ok(handle.shelf().index())
}

fn ended() -> Fault {
    Fault::refusal(Code::Ended, "the session has ended and its segments are gone: start it again")
}

fn refused(handle: &Handle, unserved: Unserved) -> Refusal {
    match unserved {
        Unserved::Missing(Missing::Absent) => gone(handle),
        Unserved::Missing(Missing::Lost) => {
            Fault::refusal(Code::StorageLost, "the segment can't be read from storage any more").into()
        }
        Unserved::Refused(fault) => fault.into(),
    }
}

fn gone(handle: &Handle) -> Refusal {
    let snapshot = handle.snapshot();
    if snapshot.state == State::Ended && !snapshot.revivable {
        return ended().into();
    }
    Refusal::not_found("there is no such segment, or not any more")
}

async fn start_session(
    playback: &Playback,
    body: StartBody,
    peer: Peer,
    headers: &HeaderMap,
) -> Result<Reply, Refusal> {
    admitted(playback, peer, headers)?;
    if body.url.is_empty() {
        return Err(Refusal::bad_request("`url` is missing: the address of what is to be played"));
    }
    let wrong = || Refusal::bad_request("start_at is a number of seconds, 0 or more");
    let start_at = body.start_at.map(|at| at.moment().ok_or_else(wrong)).transpose()?;
    let start = Start {
        url: body.url,
        content_type: body.content_type,
        title: body.title,
        source_id: body.source_id.map(Text::into_string),
        user: None,
        deinterlace_fallback: body.deinterlace_fallback.map(Flag::meaning).transpose()?.unwrap_or(false),
        start_at,
        pinned: false,
        by: None,
    };
    let starting = playback.registry.world().metrics.starting();
    let outcome = playback.registry.start(start, Some(&viewer(peer, headers)), Cause::Viewer).await;
    starting.ended(outcome.as_ref().map(drop).map_err(|fault| word(fault.code)));
    let Started { handle, snapshot } = outcome?;
    Ok(warp::reply::json(&StartAnswer {
        session_id: handle.id(),
        playlist: playlist_address(handle.id()),
        subtitles: subtitles(&handle),
        duration: snapshot.duration,
        seek_offset: 0.0,
        transcoded_duration: snapshot.playable(),
        state: snapshot.state.name(),
    })
    .into_response())
}

fn tell_progress(playback: &Playback, id: Id, viewer: &Viewer) -> Result<Reply, Refusal> {
    let handle = playback.registry.get(id)?;
    if let Some(fault) = handle.held() {
        return Err(fault.into());
    }
    let snapshot = handle.snapshot();
    if snapshot.state != State::Ended {
        handle.heard(viewer);
    }
    let progress = Progress {
        // What a player has just fetched counts, whether the session has heard of it or not.
        segment_count: handle.shelf().index().segments.len() as u64,
        duration: snapshot.duration,
        state: snapshot.state.name(),
        transcoded_duration: snapshot.playable(),
    };
    Ok(warp::reply::json(&progress).into_response())
}

/// The first is the default: a player that shows one shows that.
fn subtitles(handle: &Handle) -> Vec<Subtitle> {
    let labels = handle.shelf().index().labels.clone();
    let tracks = labels.iter().flat_map(|labels| &labels.subtitles);
    let subtitle = |(n, label): (usize, &Label)| Subtitle {
        url: format!("/subs/{}/sub{n}.vtt", handle.id()),
        lang: label.language.clone(),
        label: label.name.clone(),
        default: n == 0,
    };
    tracks.enumerate().map(subtitle).collect()
}

fn playlist_address(id: Id) -> String {
    format!("/transcode/{id}/stream.m3u8")
}

async fn seek_session(
    playback: &Playback,
    id: Id,
    query: &SeekQuery,
    viewer: &Viewer,
) -> Result<Reply, Refusal> {
    let moment = query.time.as_ref().and_then(Number::moment);
    let moment = moment.ok_or_else(|| Refusal::bad_request("time is a number of seconds, 0 or more"))?;
    let handle = playback.registry.get(id)?;
    if let Some(fault) = handle.held() {
        return Err(fault.into());
    }
    let segment = handle.seek(viewer, moment).await?;
    let answer =
        SeekAnswer { ok: true, session_id: id, segment, time: moment, playlist: playlist_address(id) };
    Ok(warp::reply::json(&answer).into_response())
}

fn leave_session(playback: &Playback, id: Id, viewer: &Viewer) -> Result<Reply, Refusal> {
    if let Ok(handle) = playback.registry.get(id) {
        handle.leave(viewer);
    }
    Ok(warp::reply::json(&serde_json::json!({ "status": "stopped" })).into_response())
}

async fn clear_session(
    playback: &Playback,
    url: &str,
    peer: Peer,
    headers: &HeaderMap,
) -> Result<Reply, Refusal> {
    admitted(playback, peer, headers)?;
    let cleared = playback.registry.clear(url, &viewer(peer, headers)).await?;
    Ok(warp::reply::json(&serde_json::json!({ "status": "cleared", "session_id": cleared })).into_response())
}

async fn readiness(playback: &Playback) -> Result<Reply, Refusal> {
    let world = playback.registry.world();
    if world.shutdown.is_cancelled() {
        return Err(Fault::refusal(Code::ShuttingDown, "the engine is shutting down").into());
    }
    if !playback.ffmpeg_found {
        return Err(Fault::refusal(Code::FfmpegMissing, "ffmpeg was not found: look at ffmpeg.path").into());
    }
    world.store.admit().await.map_err(Refusal::unavailable)?;
    Ok(plain("ready\n"))
}

fn preflight(playback: &Playback, path: &str, headers: &HeaderMap) -> Reply {
    let mut reply = StatusCode::NO_CONTENT.into_response();
    let is_media = path
        .strip_prefix("/transcode/")
        .or_else(|| path.strip_prefix("/subs/"))
        .and_then(|rest| rest.split('/').next())
        .is_some_and(|first| first.parse::<Id>().is_ok());
    let answers = reply.headers_mut();
    if is_media {
        media::open_to_all(answers);
    } else if let Some(origin) = access::allowed_origin(headers, &playback.server) {
        answers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answers.insert(VARY, HeaderValue::from_static("Origin"));
    }
    answers
        .insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, DELETE, OPTIONS"));
    answers
        .insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Content-Type, Range, If-None-Match"));
    answers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    reply
}

async fn scrape(playback: &Playback, peer: Peer, headers: &HeaderMap) -> Result<Reply, Refusal> {
    admitted(playback, peer, headers)?;
    Ok(playback.registry.scrape(Format::asked(headers)).await?.into_response())
}

/// What a path asks for, for those who count.
pub fn route(path: &str) -> metrics::Route {
    use metrics::Route;

    let path = path.strip_prefix('/').unwrap_or(path);
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    match (first, rest) {
        ("transcode", "start") => Route::Start,
        ("transcode-clear", "") => Route::Clear,
        ("healthz" | "readyz", "") => Route::Health,
        ("metrics", "") => Route::Metrics,
        ("channels.m3u", "") | ("live", _) => Route::Channel,
        ("subs", _) => Route::Subtitles,
        ("transcode", rest) => match rest.split_once('/') {
            None | Some((_, "stop")) => Route::Leave,
            Some(("progress", _)) => Route::Progress,
            Some(("seek", _)) => Route::Seek,
            Some((_, file)) => match Asked::parse(file) {
                Some(
                    Asked::Multivariant
                    | Asked::Playlist(_)
                    | Asked::TransportPlaylist
                    | Asked::SubtitlePlaylist(_),
                ) => Route::Playlist,
                Some(Asked::Init(..)) => Route::Init,
                Some(Asked::Segment(..) | Asked::TransportStream(_) | Asked::NotYet(_)) => Route::Segment,
                Some(Asked::SubtitleSegment(..)) => Route::Subtitles,
                None => Route::Other,
            },
        },
        _ => Route::Other,
    }
}

/// Routes that start or remove something: who asks, and from which page.
fn admitted(playback: &Playback, peer: Peer, headers: &HeaderMap) -> Result<(), Refusal> {
    access::admit_start(address(peer), headers, &playback.server, &playback.machine).map_err(denied)
}

/// Routes that tell or change something of a session whose id the caller knows: from which page.
fn guarded(playback: &Playback, headers: &HeaderMap) -> Result<(), Refusal> {
    access::admit_page(headers, &playback.server, &playback.machine).map_err(denied)
}

fn denied(denied: Denied) -> Refusal {
    match denied {
        Denied::Unauthorized(says) => Refusal::unauthorized(says),
        Denied::ForbiddenOrigin(says) => Refusal::forbidden_origin(says),
    }
}

/// Pages of an allowed origin may read the answer.
fn with_origin(playback: &Playback, mut reply: Reply, headers: &HeaderMap) -> Reply {
    if let Some(origin) = access::allowed_origin(headers, &playback.server) {
        reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        reply.headers_mut().append(VARY, HeaderValue::from_static("Origin"));
    }
    reply
}

fn answer(outcome: Result<Reply, Refusal>) -> Reply {
    outcome.unwrap_or_else(|refusal| {
        let mut reply = refusal.into_response();
        media::open_to_all(reply.headers_mut());
        reply
    })
}

fn not_yet(what: &str) -> Reply {
    Refusal::not_yet(what).into_response()
}

fn plain(text: &'static str) -> Reply {
    let mut reply = Reply::new(Bytes::from_static(text.as_bytes()).into());
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    reply
}

/// What the query asks for, if it does: `container=ts` or `container=fmp4`.
fn container() -> impl Filter<Extract = (Option<Container>,), Error = std::convert::Infallible> + Clone {
    let asked = warp::query::raw().map(|query: String| {
        query.split('&').find_map(|pair| match pair {
            "container=ts" => Some(Container::Ts),
            "container=fmp4" => Some(Container::Fmp4),
            _ => None,
        })
    });
    asked.or(warp::any().map(|| None)).unify()
}

/// hyper leaves the body of an answer to HEAD out by itself.
fn get_or_head() -> impl Filter<Extract = (), Error = warp::Rejection> + Clone {
    warp::get().or(warp::head()).unify()
}

/// Unlike `warp::options`, this does not turn every unknown path into one that knows OPTIONS only.
fn preflight_method() -> impl Filter<Extract = (), Error = warp::Rejection> + Clone {
    warp::method()
        .and_then(
            async |method: Method| {
                if method == Method::OPTIONS { Ok(()) } else { Err(warp::reject::not_found()) }
            },
        )
        .untuple_one()
}

fn viewer(peer: Peer, headers: &HeaderMap) -> Viewer {
    let agent = headers
        .get(USER_AGENT)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).chars().take(MOST_AGENT).collect());
    Viewer { address: address(peer), user_agent: agent }
}

fn address(peer: Peer) -> IpAddr {
    match peer {
        Peer::Tcp(address) => address.ip().to_canonical(),
        // Playback has no Unix listener; whoever could use one is on this machine.
        Peer::Unix { .. } => IpAddr::from([127, 0, 0, 1]),
    }
}

impl Text {
    fn into_string(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

impl Number {
    /// A moment of a film, in seconds.
    fn moment(&self) -> Option<f64> {
        let seconds = match self {
            Self::Number(seconds) => Some(*seconds),
            Self::Text(text) => text.parse().ok(),
        };
        seconds.filter(|seconds: &f64| (0.0..=LAST_MOMENT).contains(seconds))
    }
}

impl Flag {
    fn meaning(self) -> Result<bool, Refusal> {
        match self {
            Self::Bool(flag) => Ok(flag),
            Self::Number(0) => Ok(false),
            Self::Number(1) => Ok(true),
            Self::Text(text) if matches!(text.as_str(), "1" | "true") => Ok(true),
            Self::Text(text) if matches!(text.as_str(), "" | "0" | "false") => Ok(false),
            Self::Number(_) | Self::Text(_) => {
                Err(Refusal::bad_request("deinterlace_fallback is 1, 0, true or false"))
            }
        }
    }
}
