//! What is played is what the source sent: every frame once, sound where it belongs, and HTTP as players expect it.

#![expect(clippy::disallowed_methods, reason = "the rule is the engine's; a test may run ffprobe")]

use std::path::Path;

use m3u8_rs::MediaPlaylistType;
use reqwest::{Method, StatusCode};
use sluice_protocol::{Kind, Started, State, code};
use sluice_tests::engine::{LIMIT, decoded};
use sluice_tests::frames::{Input, assert_gapless, beeps, numbers, pictures, sound_behind_picture};
use sluice_tests::media::{FILM, RATE};
use sluice_tests::playlist::Rendition;
use sluice_tests::{Engine, Media, Origin, Setup, wait_for};

/// How far the sound may drift from where the source has it, in seconds.
const DRIFT: f64 = 0.020;

async fn offset_of(path: &Path) -> f64 {
    sound_behind_picture(&pictures(path).await, &beeps(path).await)
}

/// Plays `file` to its end and answers both renditions as one file each.
async fn play_whole(engine: &Engine, origin: &Origin, file: &str) -> (Started, Vec<u8>, Vec<u8>) {
    let started = engine.play(&origin.url(&format!("/files/{file}")), "movie").await;
    let stream = engine.stream(&started).await;
    let (mut video, mut audio) = (stream.video().await, stream.audio().await);
    video.until_ended(LIMIT).await;
    audio.until_ended(LIMIT).await;
    assert_list_is_true(&video);
    assert_list_is_true(&audio);
    assert_eq!(
        video.segments.keys().collect::<Vec<_>>(),
        audio.segments.keys().collect::<Vec<_>>(),
        "all renditions have the same segment numbers"
    );
    (started, video.whole().await, audio.whole().await)
}

fn assert_list_is_true(rendition: &Rendition) {
    let list = rendition.list();
    for (sequence, segment) in &rendition.segments {
        let rounded = segment.duration.round() as u64;
        assert!(rounded <= list.target_duration, "segment {sequence} lasts longer than the target duration");
        assert!(segment.duration > 0.0, "segment {sequence} lasts nothing");
    }
}

/// Asserts that the sound lies from the picture as it does in the source.
async fn assert_in_sync(video: impl Into<Input>, audio: impl Into<Input>, source: f64) {
    let served = sound_behind_picture(&pictures(video).await, &beeps(audio).await);
    assert!(
        (served - source).abs() <= DRIFT,
        "the sound lies {served} s behind the picture, at the source {source} s"
    );
}

#[tokio::test]
async fn a_film_that_is_copied_keeps_every_frame_and_its_sound() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let (started, video, audio) = play_whole(&engine, &origin, "film.mp4").await;
    assert_eq!(numbers(&video[..]).await, (0..(FILM * RATE) as u16).collect::<Vec<_>>());
    assert_eq!(beeps(&audio[..]).await.len(), FILM as usize);
    assert_in_sync(&video[..], &audio[..], offset_of(&Media::ready().path("film.mp4")).await).await;
    let session = engine.until_state(started.session_id, State::Complete).await;
    assert_eq!(session.kind, Some(Kind::Timeline));
    assert!(session.video.is_some_and(|video| video.contains("copy")));
}

#[tokio::test]
async fn a_film_plays_from_every_container() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    for file in ["film.mkv", "film.ts", "index_last.mp4"] {
        let (_, video, audio) = play_whole(&engine, &origin, file).await;
        assert_eq!(numbers(&video[..]).await, (0..(FILM * RATE) as u16).collect::<Vec<_>>(), "{file}");
        assert_in_sync(&video[..], &audio[..], offset_of(&Media::ready().path(file)).await).await;
    }
}

#[tokio::test]
async fn a_film_that_is_encoded_keeps_every_frame_and_its_sound() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let (started, video, audio) = play_whole(&engine, &origin, "hevc.mp4").await;
    assert_eq!(numbers(&video[..]).await, (0..8 * RATE as u16).collect::<Vec<_>>());
    assert_in_sync(&video[..], &audio[..], offset_of(&Media::ready().path("hevc.mp4")).await).await;
    assert!(
        engine.detail(started.session_id).await.session.video.is_some_and(|video| video.contains("encode"))
    );
}

#[tokio::test]
async fn a_film_with_few_key_frames_is_encoded_and_keeps_every_frame() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let (started, video, _) = play_whole(&engine, &origin, "sparse.mp4").await;
    assert_eq!(numbers(&video[..]).await, (0..22 * RATE as u16).collect::<Vec<_>>());
    let video = engine.detail(started.session_id).await.session.video;
    assert!(video.as_ref().is_some_and(|video| video.contains("encode")), "{video:?}");
}

#[tokio::test]
async fn frame_rates_that_are_no_whole_numbers_keep_every_frame() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let (_, video, _) = play_whole(&engine, &origin, "ntsc.mp4").await;
    let found = numbers(&video[..]).await;
    assert_eq!(found, numbers(&*Media::ready().path("ntsc.mp4")).await);
    assert_gapless(&found);
}

#[tokio::test]
async fn interlaced_mpeg2_is_shown_frame_by_frame() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let (_, video, audio) = play_whole(&engine, &origin, "interlaced.ts").await;
    // Two numbered pictures are woven into each frame; which of the two remains is the deinterlacer's choice.
    let found: Vec<u16> = numbers(&video[..]).await.into_iter().map(|number| number / 2).collect();
    assert_gapless(&found);
    assert!(found.len() >= 8 * RATE as usize - 2, "{} frames of eight seconds", found.len());
    assert!(beeps(&audio[..]).await.len() >= 7);
}

#[tokio::test]
async fn a_film_without_sound_has_no_audio_rendition() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = engine.play(&origin.url("/files/video_only.mp4"), "movie").await;
    let stream = engine.stream(&started).await;
    assert_eq!(stream.audio, None);
    let mut video = stream.video().await;
    video.until_ended(LIMIT).await;
    assert_eq!(numbers(&video.whole().await[..]).await.len(), (FILM * RATE) as usize);
}

#[tokio::test]
async fn sound_alone_plays_as_the_one_variant() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = engine.play(&origin.url("/files/audio_only.m4a"), "movie").await;
    let stream = engine.stream(&started).await;
    assert_eq!(stream.video, None);
    let mut audio = stream.audio().await;
    audio.until_ended(LIMIT).await;
    assert!(audio.address.path().ends_with("/audio-0.m3u8"));
    assert_eq!(beeps(&audio.whole().await[..]).await.len(), FILM as usize);
}

#[tokio::test]
async fn the_channel_keeps_every_frame_and_its_sound() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = engine.play(&origin.url("/live/channel.ts"), "live").await;
    let stream = engine.stream(&started).await;
    let (mut video, mut audio) = (stream.video().await, stream.audio().await);
    video.until_segments(LIMIT, 6).await;
    audio.until_segments(LIMIT, 6).await;
    assert_list_is_true(&video);
    assert!(
        !video.list().end_list && video.list().playlist_type.is_none(),
        "a window has no end and no type"
    );
    let (pictures, whole) = (video.whole().await, audio.whole().await);
    let found = numbers(&pictures[..]).await;
    assert_gapless(&found);
    assert!(found.len() >= 6 * RATE as usize, "{} frames in six segments", found.len());
    assert_in_sync(&pictures[..], &whole[..], offset_of(&Media::ready().path("channel.ts")).await).await;
    assert_eq!(engine.detail(started.session_id).await.session.kind, Some(Kind::Window));
}

#[tokio::test]
async fn a_window_slides_and_what_left_it_is_gone() {
    let origin = Origin::start().await;
    let engine = Setup::default().set("transcode.live_dvr", "\"6s\"").start().await;
    let started = engine.play(&origin.url("/live/channel.ts?burst=8"), "live").await;
    let stream = engine.stream(&started).await;
    let (mut video, mut audio) = (stream.video().await, stream.audio().await);
    let first = video.segments.values().next().unwrap().address.clone();
    while video.list().media_sequence < 2 {
        let seen = video.segments.len() + 1;
        video.until_segments(LIMIT, seen).await;
    }
    audio.reload().await;
    video.reload().await;
    assert!(
        video.list().media_sequence.abs_diff(audio.list().media_sequence) <= 1,
        "all renditions slide together"
    );
    let length: f32 = video.list().segments.iter().map(|segment| segment.duration).sum();
    assert!(length < 15.0, "a window of 6 s lists {length} s");
    // Players that are late may still fetch what has left the list a moment ago, and no more after that.
    let gone = wait_for(LIMIT, "the first segment to be gone", || async {
        let answer = engine.client().get(first.clone()).send().await.unwrap();
        if answer.status().is_success() { None } else { decoded::<serde_json::Value>(answer).await.err() }
    })
    .await;
    assert_eq!((gone.status, gone.problem.code.as_str()), (StatusCode::NOT_FOUND, code::NOT_FOUND));
}

#[tokio::test]
async fn a_channel_comes_back_after_its_source_was_gone() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = engine.play(&origin.url("/live/channel.ts?burst=4"), "live").await;
    let mut video = engine.stream(&started).await.video().await;
    origin.drop_viewers();
    let end = tokio::time::Instant::now() + LIMIT;
    while !video.segments.values().any(|segment| segment.discontinuity) {
        assert!(tokio::time::Instant::now() < end, "no second run was joined to the first");
        let seen = video.segments.len() + 1;
        video.until_segments(LIMIT, seen).await;
    }
    for stretch in video.stretches().await {
        assert_gapless(&numbers(&stretch[..]).await);
    }
    assert!(engine.detail(started.session_id).await.session.restarts >= 1);
}

#[tokio::test]
async fn ffprobe_reads_the_whole_film_from_the_one_address() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = engine.play(&origin.url("/files/film.mp4"), "movie").await;
    engine.until_state(started.session_id, State::Complete).await;
    let probed = tokio::process::Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-count_packets",
            "-show_entries",
            "stream=codec_name,nb_read_packets",
            "-of",
            "json",
        ])
        .arg(engine.url(&started.playlist).as_str())
        .output()
        .await
        .unwrap();
    assert!(probed.status.success(), "{}", String::from_utf8_lossy(&probed.stderr));
    let probed: serde_json::Value = serde_json::from_slice(&probed.stdout).unwrap();
    let packets = |codec: &str| -> u32 {
        let streams = probed["streams"].as_array().unwrap();
        let stream = streams.iter().find(|stream| stream["codec_name"] == codec).unwrap();
        stream["nb_read_packets"].as_str().unwrap().parse().unwrap()
    };
    assert_eq!(packets("h264"), FILM * RATE);
    assert!(packets("aac").abs_diff(FILM * 48_000 / 1024) <= 2, "{} packets of sound", packets("aac"));
}

#[tokio::test]
async fn the_playlists_say_what_was_made() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = engine.play(&origin.url("/files/film.mp4"), "movie").await;
    let stream = engine.stream(&started).await;
    let main = &stream.variants.variants[0];
    let codecs = main.codecs.as_deref().unwrap();
    assert!(codecs.contains("avc1.") && codecs.contains("mp4a.40.2"), "{codecs}");
    let resolution = main.resolution.unwrap();
    assert_eq!((resolution.width, resolution.height), (640, 360));
    assert_eq!(main.frame_rate, Some(25.0));
    assert!(main.bandwidth > 50_000, "{} bit/s", main.bandwidth);
    let mut video = stream.video().await;
    video.until_ended(LIMIT).await;
    assert_eq!(video.list().playlist_type, Some(MediaPlaylistType::Vod));
    assert!(video.list().independent_segments);
    let length: f32 = video.segments.values().map(|segment| segment.duration).sum();
    assert!((length - FILM as f32).abs() < 0.1, "the list is {length} s long");
}

#[tokio::test]
async fn media_is_served_as_players_ask_for_it() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = engine.play(&origin.url("/files/film.mp4"), "movie").await;
    let mut video = engine.stream(&started).await.video().await;
    video.until_ended(LIMIT).await;
    let segment = video.segments[&0].clone();
    let client = engine.client();
    let get = |address: &reqwest::Url| client.get(address.clone());
    let header = |answer: &reqwest::Response, name: &str| {
        answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };

    let whole = get(&segment.address).send().await.unwrap();
    assert_eq!(whole.status(), StatusCode::OK);
    for (name, expected) in [
        ("content-type", "video/mp4"),
        ("cache-control", "max-age=3600"),
        ("access-control-allow-origin", "*"),
        ("access-control-expose-headers", "Content-Length, Content-Range, ETag"),
    ] {
        assert_eq!(header(&whole, name), expected, "{name}");
    }
    let etag = header(&whole, "etag");
    assert!(etag.starts_with('"') && etag.len() > 2, "{etag:?} is a strong ETag");
    let bytes = whole.bytes().await.unwrap();

    let same = get(&segment.address).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!((same.status(), header(&same, "etag")), (StatusCode::NOT_MODIFIED, etag.clone()));
    assert!(same.bytes().await.unwrap().is_empty());

    let head = client.head(segment.address.clone()).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(header(&head, "content-length"), bytes.len().to_string());
    assert!(head.bytes().await.unwrap().is_empty());

    // Ranges come with a later version: until then the answer to one is the whole, and says so.
    let part = get(&segment.address).header("range", "bytes=100-199").send().await.unwrap();
    assert_eq!((part.status(), header(&part, "accept-ranges").as_str()), (StatusCode::OK, "none"));
    assert_eq!(part.bytes().await.unwrap(), bytes);

    let preflight = client
        .request(Method::OPTIONS, segment.address.clone())
        .header("origin", "https://player.example")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "range")
        .send()
        .await
        .unwrap();
    assert!(preflight.status().is_success());
    assert_eq!(header(&preflight, "access-control-allow-origin"), "*");

    for playlist in [engine.url(&started.playlist), video.address.clone()] {
        let answer = get(&playlist).send().await.unwrap();
        assert_eq!(header(&answer, "content-type"), "application/vnd.apple.mpegurl");
        assert_eq!(header(&answer, "cache-control"), "no-cache");
        assert_eq!(header(&answer, "access-control-allow-origin"), "*");
        assert!(client.head(playlist).send().await.unwrap().status().is_success());
    }
    let init = get(segment.init.as_ref().unwrap()).send().await.unwrap();
    assert_eq!(header(&init, "content-type"), "video/mp4");
    assert!(header(&init, "cache-control").contains("immutable"));

    let past = segment.address.as_str().replace("/0.m4s", "/99999.m4s");
    let past = decoded::<serde_json::Value>(client.get(past).send().await.unwrap()).await.unwrap_err();
    assert_eq!((past.status, past.problem.code.as_str()), (StatusCode::NOT_FOUND, code::NOT_FOUND));
}

#[tokio::test]
async fn a_start_by_get_is_the_start_by_post() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let address = origin.url("/files/film.mp4");
    let posted = engine.play(&address, "movie").await;
    let asked = engine.client().get(engine.url("transcode/start"));
    let got: Started =
        decoded(asked.query(&[("url", address.as_str()), ("content_type", "movie")]).send().await.unwrap())
            .await
            .unwrap();
    assert_eq!(got.session_id, posted.session_id);
    assert_eq!(posted.playlist, format!("/transcode/{}/stream.m3u8", posted.session_id));
    assert!(posted.duration.is_some_and(|duration| (duration - f64::from(FILM)).abs() < 0.1));
    let progress: serde_json::Value =
        decoded(engine.get(&format!("transcode/progress/{}", posted.session_id)).await).await.unwrap();
    assert!(progress["segment_count"].as_u64().unwrap() >= 1);
    for key in ["duration", "state", "transcoded_duration"] {
        assert!(progress.get(key).is_some(), "progress has {key}: {progress}");
    }
}

#[tokio::test]
async fn a_film_is_made_only_so_far_ahead_and_goes_on_when_a_viewer_comes_near() {
    let origin = Origin::start().await;
    let engine = Setup::default().set("sessions.ahead", "\"4s\"").start().await;
    let started = engine.play(&origin.url("/files/film.mp4"), "movie").await;
    let session = engine.until_state(started.session_id, State::Ahead).await;
    assert!(session.produced < f64::from(FILM) / 2.0, "{} s were made ahead of nobody", session.produced);
    let mut video = engine.stream(&started).await.video().await;
    watch_to_the_end(&mut video).await;
    assert_eq!(numbers(&video.whole().await[..]).await, (0..(FILM * RATE) as u16).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_run_that_was_held_back_too_long_is_continued_exactly_by_another() {
    let origin = Origin::start().await;
    let engine = Setup::default()
        .set("sessions.ahead", "\"4s\"")
        .set("sessions.ahead_timeout", "\"1s\"")
        .start()
        .await;
    let started = engine.play(&origin.url("/files/film.mp4"), "movie").await;
    engine.until_state(started.session_id, State::Ahead).await;
    engine.until_no_ffmpeg().await;
    assert_eq!(engine.detail(started.session_id).await.session.state, State::Ahead);
    let stream = engine.stream(&started).await;
    let (mut video, mut audio) = (stream.video().await, stream.audio().await);
    watch_to_the_end(&mut video).await;
    audio.until_ended(LIMIT).await;
    let (pictures, sound) = (video.whole().await, audio.whole().await);
    assert_eq!(numbers(&pictures[..]).await, (0..(FILM * RATE) as u16).collect::<Vec<_>>());
    assert_eq!(beeps(&sound[..]).await.len(), FILM as usize);
    assert_in_sync(&pictures[..], &sound[..], offset_of(&Media::ready().path("film.mp4")).await).await;
    engine.until_state(started.session_id, State::Complete).await;
    let detail = engine.detail(started.session_id).await;
    assert!(detail.past_runs.len() > 1, "{:?}", detail.past_runs);
}

/// Fetches each segment as it is named, as a player does, until the list ends.
async fn watch_to_the_end(video: &mut Rendition) {
    let end = tokio::time::Instant::now() + LIMIT;
    let mut watched = 0;
    while !video.list().end_list {
        assert!(tokio::time::Instant::now() < end, "the film did not end");
        for sequence in watched..video.segments.len() as u64 {
            assert!(!video.fetch(sequence).await.is_empty());
        }
        watched = video.segments.len() as u64;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        video.reload().await;
    }
}
