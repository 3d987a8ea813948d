//! A film of known duration is a timeline: all of it can be asked for from the first second, and what is asked for
//! is made, once, and joins exactly.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use m3u8_rs::{AlternativeMediaType, MediaPlaylistType};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use sluice_protocol::{Cause, Detail, Kind, PastRun, Segments, Started, State, StopOrder, code};
use sluice_tests::engine::{LIMIT, decoded};
use sluice_tests::frames::numbers;
use sluice_tests::media::{CHANNEL, FILM, RATE};
use sluice_tests::playlist::Stream;
use sluice_tests::splices::{self, Film, Order, Random, prove, runs};
use sluice_tests::{Engine, Origin, Setup, client};

/// What a viewer waits for a segment at the most, and what the engine allows itself: `sessions.start_timeout`.
const PATIENCE: Duration = Duration::from_secs(30);

/// A film of ten minutes that is copied.
const LONG: &str = "/files/long.mp4";

/// A player that is known by its name.
fn viewer(name: &str) -> Client {
    client::builder().user_agent(name).timeout(LIMIT).build().unwrap()
}

async fn text(engine: &Engine, target: &str) -> String {
    let answer = engine.get(target).await;
    assert!(answer.status().is_success(), "{target}: {}", answer.status());
    answer.text().await.unwrap()
}

/// The path of a file of a session.
fn path(started: &Started, file: &str) -> String {
    format!("transcode/{}/{file}", started.session_id)
}

fn exists(detail: &Detail, number: u64) -> bool {
    detail.segment_map.iter().any(|Segments { first, last }| (*first..=*last).contains(&number))
}

/// Asks for a segment of the picture and answers its bytes, which must come while a player still waits.
async fn fetch(who: &Client, engine: &Engine, started: &Started, number: u64) -> Vec<u8> {
    let asked = who.get(engine.url(&path(started, &format!("video/{number}.m4s")))).send();
    let answer = tokio::time::timeout(PATIENCE, asked).await.expect("a player is served in time").unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "segment {number}\n{}", engine.said());
    answer.bytes().await.unwrap().to_vec()
}

async fn small_ahead() -> Engine {
    Setup::default().set("sessions.ahead", "\"1s\"").start().await
}

#[tokio::test]
async fn the_playlist_covers_the_whole_film_from_the_first_second() {
    let (origin, engine) = (Origin::start().await, small_ahead().await);
    for (file, seconds) in [("long.mp4", f64::from(CHANNEL)), ("deep.mkv", 8.0), ("film.ts", f64::from(FILM))]
    {
        let started = engine.play(&origin.url(&format!("/files/{file}")), "movie").await;
        assert_eq!(started.seek_offset, 0.0, "{file}");
        assert_eq!(
            Some(started.transcoded_duration),
            started.duration,
            "{file}: every moment can be asked for"
        );
        let stream = engine.stream(&started).await;
        let mut lists = stream.renditions().await;
        lists.push(stream.transport_stream().await);
        for list in &lists {
            let what = format!("{file}: {}", list.address);
            assert_eq!(list.list().playlist_type, Some(MediaPlaylistType::Vod), "{what}");
            assert!(list.list().end_list && list.list().media_sequence == 0, "{what}");
            assert!((list.length() - seconds).abs() < 0.1, "{what} is {} s long", list.length());
            assert_eq!(list.boundaries(), lists[0].boundaries(), "{what}: all lists have the same segments");
            let longest = list.segments.values().map(|segment| segment.duration).fold(0.0, f32::max);
            assert!(longest.round() as u64 <= list.list().target_duration, "{what}");
        }
        let detail = engine.detail(started.session_id).await;
        assert_eq!(detail.session.kind, Some(Kind::Timeline), "{file}");
        let listed = lists[0].segments.len() as u64;
        assert!(
            detail.session.segments < listed,
            "{file}: {} of {listed} were made",
            detail.session.segments
        );
        let progress: Value =
            decoded(engine.get(&format!("transcode/progress/{}", started.session_id)).await).await.unwrap();
        assert_eq!(progress["transcoded_duration"].as_f64(), started.duration, "{file}");
        assert!(progress["segment_count"].as_u64().unwrap() < listed, "{file}");
    }
}

/// Every segment from a run of its own. `just test-long` shows the same of all other kinds of film.
async fn joins_exactly(film: Film, orders: &[Order]) {
    let (origin, engine) = (Origin::start().await, splices::engine().await);
    for order in orders {
        prove(&engine, &origin, film, *order).await;
    }
}

#[tokio::test]
async fn segments_of_many_runs_of_a_copied_mp4_join_exactly() {
    joins_exactly(Film::copied("clip.mp4"), &[Order::Backwards, Order::Shuffled(4)]).await;
}

#[tokio::test]
async fn segments_of_many_runs_of_a_copied_matroska_film_join_exactly() {
    joins_exactly(Film::copied("clip.mkv"), &[Order::Backwards]).await;
}

#[tokio::test]
async fn segments_of_many_runs_of_a_copied_transport_stream_join_exactly() {
    joins_exactly(Film::copied("wrap.ts"), &[Order::Backwards]).await;
}

#[tokio::test]
async fn segments_of_many_runs_of_an_encoded_film_join_exactly() {
    joins_exactly(Film::encoded("cinema.mp4", "24000/1001"), &[Order::Backwards, Order::Shuffled(4)]).await;
}

#[tokio::test]
async fn segments_of_many_runs_of_an_encoded_transport_stream_join_exactly() {
    joins_exactly(Film::encoded("deep_late.ts", "25"), &[Order::Backwards]).await;
}

#[tokio::test]
async fn many_requests_for_one_missing_segment_are_one_run() {
    let (origin, engine) = (Origin::start().await, small_ahead().await);
    let started = engine.play(&origin.url(LONG), "movie").await;
    let before = runs(&engine, &started).await;
    let viewers: Vec<Client> = (0..20).map(|n| viewer(&format!("player {n}"))).collect();
    let fetched = join_all(viewers.iter().map(|who| fetch(who, &engine, &started, 200))).await;
    assert!(fetched.iter().all(|bytes| *bytes == fetched[0]));
    assert_eq!(runs(&engine, &started).await, before + 1);
}

/// All runs of a session that were seen, by number.
#[derive(Default)]
struct Ledger(BTreeMap<u32, PastRun>);

impl Ledger {
    /// Looks again. The engine remembers the last runs only, so this is done often.
    async fn note(&mut self, engine: &Engine, started: &Started) -> Detail {
        let detail = engine.detail(started.session_id).await;
        self.0.extend(detail.past_runs.iter().map(|run| (run.run, run.clone())));
        detail
    }

    /// How many segments the runs have made, all together.
    fn made(&self, boundaries: &[f64]) -> usize {
        let made = |run: &PastRun| {
            let to = run.to.unwrap_or(run.from);
            // A run ends with its last picture, not with the time that this one is shown for.
            boundaries.windows(2).filter(|span| span[0] > run.from - 0.01 && span[1] < to + 0.1).count()
        };
        self.0.values().map(made).sum()
    }
}

#[tokio::test]
async fn viewers_who_jump_about_have_each_segment_made_once() {
    let origin = Origin::start().await;
    let engine = Setup::default().set("sessions.ahead", "\"4s\"").start().await;
    let started = engine.play(&origin.url(LONG), "movie").await;
    let video = engine.stream(&started).await.video().await;
    let last = video.segments.len() as u64;
    let mut ledger = Ledger::default();
    let watching = join_all((0..5).map(|n| {
        let (who, engine, started) = (viewer(&format!("player {n}")), &engine, &started);
        async move {
            let mut random = Random::new(n);
            for _ in 0..10 {
                let place = random.below(last);
                for number in place..(place + 1 + random.below(3)).min(last) {
                    fetch(&who, engine, started, number).await;
                }
            }
        }
    }));
    tokio::pin!(watching);
    loop {
        let detail = ledger.note(&engine, &started).await;
        assert!(detail.session.runs.len() <= 2, "{:?}", detail.session.runs);
        if tokio::time::timeout(Duration::from_millis(50), &mut watching).await.is_ok() {
            break;
        }
    }
    // An end of all runs, so that each says how far it came.
    engine.operate(started.session_id, "stop", StopOrder::default()).await;
    engine.until_state(started.session_id, State::Stopped).await;
    let detail = ledger.note(&engine, &started).await;
    let all = ledger.0.keys().next_back().copied().unwrap();
    assert_eq!(ledger.0.len(), all as usize, "every run was seen");
    let exist: u64 = detail.segment_map.iter().map(|range| range.last - range.first + 1).sum();
    assert_eq!(detail.session.segments, exist);
    assert_eq!(ledger.made(&video.boundaries()) as u64, exist, "{:?}", ledger.0);
}

#[tokio::test]
async fn a_seek_prepares_its_moment_and_changes_no_playlist() {
    let (origin, engine) = (Origin::start().await, small_ahead().await);
    let started = engine.play(&origin.url(LONG), "movie").await;
    let list = path(&started, "video.m3u8");
    let before = text(&engine, &list).await;
    let boundaries = engine.stream(&started).await.video().await.boundaries();
    for (method, time) in
        [(Method::POST, 321.5), (Method::GET, 100.25), (Method::POST, 0.0), (Method::GET, 599.5)]
    {
        let target = format!("transcode/seek/{}?time={time}", started.session_id);
        let answer: Value = decoded(engine.ask(method, &target, None).await).await.unwrap();
        assert_eq!(answer["ok"], true, "{answer}");
        assert_eq!(answer["session_id"], json!(started.session_id));
        assert_eq!(answer["playlist"], json!(started.playlist));
        assert!(answer["time"].is_number(), "{answer}");
        let number = answer["segment"].as_u64().unwrap();
        let span = boundaries[number as usize]..boundaries[number as usize + 1];
        assert!(span.contains(&time), "{time} s is not in segment {number}, {span:?}");
        assert!(exists(&engine.detail(started.session_id).await, number), "segment {number} exists");
    }
    assert_eq!(text(&engine, &list).await, before);
    let refused =
        decoded::<Value>(engine.get(&format!("transcode/seek/{}?time=never", started.session_id)).await);
    assert_eq!(refused.await.unwrap_err().status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_has_no_timeline_cannot_be_sought() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    for (target, content_type) in [("/live/channel.ts?burst=6", "live"), ("/norange/clip.mp4", "movie")] {
        let started = engine.play(&origin.url(target), content_type).await;
        assert_ne!(engine.detail(started.session_id).await.session.kind, Some(Kind::Timeline), "{target}");
        let answer = engine.get(&format!("transcode/seek/{}?time=3", started.session_id)).await;
        let refused = decoded::<Value>(answer).await.unwrap_err();
        assert_eq!(
            (refused.status, refused.problem.code.as_str()),
            (StatusCode::CONFLICT, code::NOT_SEEKABLE)
        );
    }
}

#[tokio::test]
async fn a_source_without_ranges_is_played_as_it_comes() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = engine.play(&origin.url("/norange/clip.mp4"), "movie").await;
    let mut video = engine.stream(&started).await.video().await;
    assert_eq!(video.list().playlist_type, Some(MediaPlaylistType::Event));
    video.until_ended(LIMIT).await;
    assert_eq!(numbers(&video.whole().await[..]).await, (0..8 * RATE as u16).collect::<Vec<_>>());
    assert_eq!(engine.detail(started.session_id).await.session.kind, Some(Kind::Event));
}

#[tokio::test]
async fn an_idle_film_plays_on_at_the_same_address() {
    let origin = Origin::start().await;
    let engine =
        Setup::default().set("sessions.idle_timeout", "\"2s\"").set("sessions.ahead", "\"1s\"").start().await;
    let started = engine.play(&origin.url(LONG), "movie").await;
    let who = viewer("player");
    let kept = fetch(&who, &engine, &started, 0).await;
    let session = engine.until_state(started.session_id, State::Stopped).await;
    assert_eq!(session.cause, Cause::Idle);
    engine.until_no_ffmpeg().await;
    // What exists is served as it is, and what doesn't is made.
    assert_eq!(fetch(&who, &engine, &started, 0).await, kept);
    assert!(!fetch(&who, &engine, &started, 250).await.is_empty());
    let list = engine.stream(&started).await.video().await;
    assert!(list.list().end_list);
    assert_ne!(engine.detail(started.session_id).await.session.state, State::Stopped);
}

#[tokio::test]
async fn a_stopped_film_plays_on_at_the_same_address_once_it_is_resumed() {
    let (origin, engine) = (Origin::start().await, small_ahead().await);
    let started = engine.play(&origin.url(LONG), "movie").await;
    let who = viewer("player");
    let kept = fetch(&who, &engine, &started, 40).await;
    engine.operate(started.session_id, "stop", StopOrder::default()).await;
    engine.until_state(started.session_id, State::Stopped).await;
    engine.until_no_ffmpeg().await;
    for file in ["stream.m3u8", "video/40.m4s", "video/200.m4s"] {
        let answer = engine.get(&path(&started, file)).await;
        assert!(answer.headers().contains_key("retry-after"), "{file}");
        let refused = decoded::<Value>(answer).await.unwrap_err();
        assert_eq!(
            (refused.status, refused.problem.code.as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, code::HELD)
        );
    }
    assert_eq!(engine.ffmpegs().len(), 0, "a held film starts nothing");
    engine.operate(started.session_id, "resume", json!({})).await;
    assert_eq!(fetch(&who, &engine, &started, 40).await, kept);
    for number in [41, 200, 201, 3] {
        assert!(!fetch(&who, &engine, &started, number).await.is_empty());
    }
    assert!(engine.stream(&started).await.video().await.list().end_list);
}

#[tokio::test]
async fn past_the_end_is_nothing() {
    let (origin, engine) = (Origin::start().await, small_ahead().await);
    let started = engine.play(&origin.url(LONG), "movie").await;
    let end = engine.stream(&started).await.video().await.segments.len();
    for file in [format!("video/{end}.m4s"), "audio-0/99999.m4s".to_owned(), format!("ts/{end}.ts")] {
        let refused = decoded::<Value>(engine.get(&path(&started, &file)).await).await.unwrap_err();
        let expected = (StatusCode::NOT_FOUND, code::NOT_FOUND);
        assert_eq!((refused.status, refused.problem.code.as_str()), expected, "{file}");
    }
    let runs = engine.detail(started.session_id).await.session.runs;
    assert!(runs.len() <= 1, "nothing was started for them: {runs:?}");
}

#[tokio::test]
async fn where_one_run_may_live_two_viewers_far_apart_are_both_served() {
    let origin = Origin::start().await;
    let engine =
        Setup::default().set("sessions.runs_per_session", "1").set("sessions.ahead", "\"4s\"").start().await;
    let started = engine.play(&origin.url(LONG), "movie").await;
    let watch = async |name: &str, from: u64| {
        let who = viewer(name);
        for number in from..from + 8 {
            fetch(&who, &engine, &started, number).await;
        }
    };
    let watching = async { tokio::join!(watch("one", 10), watch("other", 200)) };
    tokio::pin!(watching);
    while tokio::time::timeout(Duration::from_millis(20), &mut watching).await.is_err() {
        assert!(engine.ffmpegs().len() <= 1, "{:?}", engine.ffmpegs());
    }
    // Each change of place costs a run. With eight segments each, no more than one a segment may be needed.
    assert!(runs(&engine, &started).await <= 12, "the slot went to and fro");
}

#[tokio::test]
async fn where_one_run_may_live_a_jump_ends_the_old_run_first() {
    let origin = Origin::start().await;
    let engine = Setup::default().set("sessions.runs_per_session", "1").start().await;
    // So slow that the first run is in the middle of its work.
    let started = engine.play(&origin.url(LONG), "movie").await;
    let who = viewer("player");
    for number in [0, 200, 100, 290] {
        fetch(&who, &engine, &started, number).await;
    }
    let detail = engine.detail(started.session_id).await;
    let mut all: Vec<_> = detail.past_runs.iter().map(|run| (run.started_at, Some(run.ended_at))).collect();
    assert!(all.len() >= 3, "{all:?}");
    assert!(detail.session.runs.len() <= 1);
    all.sort();
    for pair in all.windows(2) {
        assert!(pair[0].1 <= Some(pair[1].0), "a run began before another had ended: {all:?}");
    }
}

#[tokio::test]
async fn a_jump_needs_no_run_for_what_exists() {
    let (origin, engine) = (Origin::start().await, small_ahead().await);
    let started = engine.play(&origin.url("/files/film.mp4"), "movie").await;
    let who = viewer("player");
    let count = engine.stream(&started).await.video().await.segments.len() as u64;
    for number in 0..count {
        fetch(&who, &engine, &started, number).await;
    }
    engine.until_state(started.session_id, State::Complete).await;
    let before = runs(&engine, &started).await;
    for number in Order::Shuffled(7).of(count) {
        fetch(&who, &engine, &started, number).await;
    }
    assert_eq!(runs(&engine, &started).await, before);
    engine.until_no_ffmpeg().await;
}

#[tokio::test]
async fn the_same_film_is_offered_as_transport_stream() {
    let origin = Origin::start().await;
    let engine =
        Setup::default().set("sessions.ahead", "\"1s\"").set("transcode.container", "\"ts\"").start().await;
    let started = engine.play(&origin.url("/files/clip.mp4"), "movie").await;
    let list = text(&engine, &path(&started, "ts.m3u8")).await;
    assert!(list.contains("#EXT-X-PLAYLIST-TYPE:VOD") && list.contains("#EXT-X-ENDLIST"), "{list}");
    assert!(!list.contains("#EXT-X-MAP"), "{list}");
    assert_eq!(text(&engine, &started.playlist).await, list, "`transcode.container` says what is offered");
    let asked = text(&engine, &format!("{}?container=fmp4", started.playlist)).await;
    assert!(asked.contains("#EXT-X-STREAM-INF"), "{asked}");
    let segment = engine.get(&path(&started, "ts/2.ts")).await;
    assert_eq!(segment.headers()["content-type"], "video/mp2t");
    let plain = Engine::start().await;
    let started = plain.play(&origin.url("/files/clip.mp4"), "movie").await;
    let asked = text(&plain, &format!("{}?container=ts", started.playlist)).await;
    assert_eq!(asked, text(&plain, &path(&started, "ts.m3u8")).await);
}

#[tokio::test]
async fn all_sound_is_offered_with_its_language_and_name() {
    let (origin, engine) = (Origin::start().await, small_ahead().await);
    let started = engine.play(&origin.url("/files/tracks.mkv"), "movie").await;
    let stream = engine.stream(&started).await;
    let offered = stream.alternatives(AlternativeMediaType::Audio);
    assert_eq!(offered.len(), 2, "{offered:?}");
    for ((media, address), (language, name)) in
        offered.iter().zip([(["en", "eng"], "Stereo"), (["fr", "fre"], "Surround")])
    {
        assert!(media.language.as_deref().is_some_and(|said| language.contains(&said)), "{media:?}");
        assert!(media.name.contains(name), "{media:?}");
        assert!(address.path().contains("/audio-"), "{address}");
    }
    assert!(offered[0].0.default && !offered[1].0.default, "{offered:?}");
    for list in stream.renditions().await {
        assert!(!list.fetch(9).await.is_empty());
    }
}

/// As netv's page does it: one start by GET, progress now and then, a jump that is nothing but a request for another
/// segment, and a beacon when the page is left.
#[tokio::test]
async fn a_player_made_for_netv_plays_jumps_and_leaves() {
    let (origin, engine) = (Origin::start().await, small_ahead().await);
    let who = viewer("Mozilla/5.0 (X11; Linux x86_64) netv");
    let address = origin.url(LONG);
    let query = [("url", address.as_str()), ("content_type", "movie"), ("deinterlace_fallback", "1")];
    let started: Started =
        decoded(who.get(engine.url("transcode/start")).query(&query).send().await.unwrap()).await.unwrap();
    let body =
        json!({"url": address, "content_type": "movie", "series_id": null, "deinterlace_fallback": true});
    let joined: Started =
        decoded(who.post(engine.url("transcode/start")).json(&body).send().await.unwrap()).await.unwrap();
    assert_eq!(joined.session_id, started.session_id, "both forms ask for the same");
    assert!(started.duration.is_some_and(|seconds| (seconds - f64::from(CHANNEL)).abs() < 0.1));

    let progress = async || -> Value {
        let target = format!("transcode/progress/{}", started.session_id);
        decoded(who.get(engine.url(&target)).send().await.unwrap()).await.unwrap()
    };
    let video = Stream::open(&who, engine.url(&started.playlist)).await.video().await;
    let mut counted = 0;
    for time in [0.0, 300.0, 590.0, 45.0] {
        let number = video.boundaries().iter().position(|at| *at > time).unwrap() as u64 - 1;
        for number in number..number + 3 {
            fetch(&who, &engine, &started, number).await;
        }
        let told = progress().await;
        let count = told["segment_count"].as_u64().unwrap();
        assert!(count >= counted + 3, "{told}");
        counted = count;
        assert_eq!(told["duration"].as_f64(), started.duration, "{told}");
    }

    let beacon = who.post(engine.url(&format!("transcode/{}/stop", started.session_id)));
    let beacon = beacon.header("content-type", "text/plain;charset=UTF-8").body("bye").send().await.unwrap();
    assert_eq!(decoded::<Value>(beacon).await.unwrap(), json!({"status": "stopped"}));
    let session = engine.until_state(started.session_id, State::Stopped).await;
    assert_eq!(session.cause, Cause::Viewer);
    engine.until_no_ffmpeg().await;
    assert_eq!(progress().await["state"], "stopped", "asking how far it is starts nothing");
}
