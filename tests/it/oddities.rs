//! Films that are not what they say, break off, or come from a source that does: what is there is played, nothing
//! loops, nothing wrong is published.

use reqwest::StatusCode;
use sluice_protocol::{Started, State};
use sluice_tests::engine::LIMIT;
use sluice_tests::frames::{assert_gapless, numbers};
use sluice_tests::media::{FILM, RATE};
use sluice_tests::playlist::Rendition;
use sluice_tests::splices::runs;
use sluice_tests::{Engine, Origin, wait_for};

/// Pictures at the end of a file that is cut off, some of which may be missing.
const REORDERED: usize = 4;

/// The path of a segment of the picture.
fn path(started: &Started, number: u64) -> String {
    format!("transcode/{}/video/{number}.m4s", started.session_id)
}

/// Plays to the end as a player does that looks at its list again and again, and answers the list as it then is.
async fn watch_all(engine: &Engine, started: &Started) -> (Rendition, Vec<u16>) {
    let stream = engine.stream(started).await;
    let promised = stream.video().await.segments.len() as u64;
    for number in 0..promised {
        if !engine.get(&path(started, number)).await.status().is_success() {
            break;
        }
    }
    wait_for(LIMIT, "an end of all work", || async {
        let state = engine.detail(started.session_id).await.session.state;
        matches!(state, State::Complete | State::Failed).then_some(())
    })
    .await;
    let video = stream.video().await;
    let shown = numbers(&video.whole().await[..]).await;
    (video, shown)
}

#[tokio::test]
async fn a_header_that_lies_is_corrected_at_the_end() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    for file in ["promises_more.mkv", "promises_less.mkv", "promises_more.mp4", "promises_less.mp4"] {
        let started = engine.play(&origin.url(&format!("/files/{file}")), "movie").await;
        let (video, shown) = watch_all(&engine, &started).await;
        assert!(video.list().end_list, "{file}");
        assert!((video.length() - 8.0).abs() < 0.1, "{file}: the list is {} s long", video.length());
        assert_eq!(shown, (0..8 * RATE as u16).collect::<Vec<_>>(), "{file}");
        let past = path(&started, video.segments.len() as u64);
        assert_eq!(engine.get(&past).await.status(), StatusCode::NOT_FOUND, "{file}");
        let session = engine.detail(started.session_id).await.session;
        assert!(session.duration.is_some_and(|seconds| (seconds - 8.0).abs() < 0.1), "{file}: {session:?}");
    }
}

#[tokio::test]
async fn a_film_that_is_cut_off_ends_where_it_ends() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    for file in ["truncated.mp4", "truncated.mkv", "truncated.ts"] {
        let started = engine.play(&origin.url(&format!("/files/bad/{file}")), "movie").await;
        let (video, shown) = watch_all(&engine, &started).await;
        assert!(video.list().end_list, "{file}");
        assert!(video.length() < f64::from(FILM) - 1.0, "{file}: the list is {} s long", video.length());
        assert_eq!(shown[0], 0, "{file}");
        // The last pictures may lack those between them, which come later in the file.
        assert_gapless(&shown[..shown.len() - REORDERED]);
        assert!(runs(&engine, &started).await < 15, "{file}: it was tried again and again");
        engine.until_no_ffmpeg().await;
    }
}

#[tokio::test]
async fn damage_in_the_middle_costs_no_more_than_itself() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = engine.play(&origin.url("/files/bad/damaged.ts"), "movie").await;
    let (video, _) = watch_all(&engine, &started).await;
    assert!((video.length() - f64::from(FILM)).abs() < 0.2, "the list is {} s long", video.length());
    let missing = video.segments.values().filter(|segment| segment.gap).count();
    assert!(missing < 4, "{missing} segments are missing");
    assert!(runs(&engine, &started).await < 15, "it was tried again and again");
}

#[tokio::test]
async fn a_source_that_breaks_off_again_and_again_loses_nothing() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = engine.play(&origin.url("/breaks/film.mp4?after=300000"), "movie").await;
    let (_, shown) = watch_all(&engine, &started).await;
    assert_eq!(shown, (0..(FILM * RATE) as u16).collect::<Vec<_>>());
}
