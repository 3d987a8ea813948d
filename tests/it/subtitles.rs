//! Subtitles of a film are shown when its lines are spoken, wherever the viewer has jumped to.

use m3u8_rs::AlternativeMediaType;
use reqwest::Url;
use sluice_protocol::{Started, State};
use sluice_tests::media::{FILM, lines};
use sluice_tests::splices::Order;
use sluice_tests::{Engine, Origin, Setup, boxes, wait_for};

const LIMIT: std::time::Duration = sluice_tests::engine::LIMIT;

/// A line as WebVTT has it: when it is shown, until when, in seconds, and what it says.
type Cue = (f64, f64, String);

/// The cues of a file, its time map taken into account.
fn cues(file: &str) -> Vec<Cue> {
    assert!(file.starts_with("WEBVTT"), "{file}");
    let map = file.lines().find_map(|line| line.strip_prefix("X-TIMESTAMP-MAP="));
    let shift = map.map_or(0.0, |map| {
        let mpegts = map.split(',').find_map(|part| part.strip_prefix("MPEGTS:")).unwrap();
        let local = map.split(',').find_map(|part| part.strip_prefix("LOCAL:")).unwrap();
        mpegts.parse::<f64>().unwrap() / 90_000.0 - seconds(local)
    });
    let blocks = file.split("\n\n").filter_map(|block| {
        let (times, text) = block.lines().position(|line| line.contains("-->")).map(|at| {
            let mut lines = block.lines().skip(at);
            (lines.next().unwrap(), lines.collect::<Vec<_>>().join("\n"))
        })?;
        let (from, to) = times.split_once("-->").unwrap();
        let to = to.split_whitespace().next().unwrap();
        Some((seconds(from.trim()) + shift, seconds(to) + shift, text))
    });
    blocks.collect()
}

/// `01:02:03.450` or `02:03.450`.
fn seconds(time: &str) -> f64 {
    time.split(':').fold(0.0, |all, part| all * 60.0 + part.parse::<f64>().unwrap())
}

fn assert_same(found: &[Cue], expected: &[Cue], what: &str) {
    let same = |(one, other): (&Cue, &Cue)| {
        (one.0 - other.0).abs() < 0.002 && (one.1 - other.1).abs() < 0.002 && one.2.trim() == other.2
    };
    assert!(
        found.len() == expected.len() && found.iter().zip(expected).all(same),
        "{what}: {found:#?} in place of {expected:#?}"
    );
}

async fn text(engine: &Engine, address: Url) -> String {
    let answer = engine.client().get(address.clone()).send().await.unwrap();
    assert!(answer.status().is_success(), "{address}: {}", answer.status());
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/vtt"), "{address}");
    answer.text().await.unwrap()
}

/// By how much the picture of a session is late: what its subtitles have to follow.
async fn delay(engine: &Engine, started: &Started) -> f64 {
    let video = engine.stream(started).await.video().await;
    let ticks = f64::from(boxes::timescale(&video.init(0).await));
    boxes::samples(&video.fetch(0).await)[0].shown as f64 / ticks
}

/// Fetches every segment of every subtitle in this order, and looks whether each has its lines.
async fn assert_lines(engine: &Engine, started: &Started, order: Order, languages: &[[&str; 2]]) {
    let stream = engine.stream(started).await;
    let offered = stream.alternatives(AlternativeMediaType::Subtitles);
    assert_eq!(offered.len(), languages.len(), "{offered:?}");
    let late = delay(engine, started).await;
    let truth: Vec<Cue> =
        lines().into_iter().map(|(from, to, text)| (from + late, to + late, text)).collect();
    let video = stream.video().await;
    let boundaries = video.boundaries();
    let mut lists = vec![];
    for ((media, address), language) in offered.iter().zip(languages) {
        assert!(media.language.as_deref().is_some_and(|said| language.contains(&said)), "{media:?}");
        assert!(!media.name.is_empty());
        let list = stream.rendition(address).await;
        assert!(list.list().end_list);
        assert_eq!(list.boundaries(), boundaries, "all lists have the same segments");
        lists.push(list);
    }
    for number in order.of(video.segments.len() as u64) {
        video.fetch(number).await;
        let span = boundaries[number as usize] + late..boundaries[number as usize + 1] + late;
        let expected: Vec<Cue> =
            truth.iter().filter(|(from, to, _)| *from < span.end && *to > span.start).cloned().collect();
        for list in &lists {
            let file = text(engine, list.segments[&number].address.clone()).await;
            let mut found = cues(&file);
            found.sort_by(|one, other| one.0.total_cmp(&other.0));
            assert_same(&found, &expected, &format!("{} segment {number}", list.address));
        }
    }
}

#[tokio::test]
async fn lines_of_every_subtitle_are_right_when_a_film_is_played() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = engine.play(&origin.url("/files/tracks.mkv"), "movie").await;
    let languages = [["en", "eng"], ["de", "ger"], ["fr", "fre"]];
    assert_lines(&engine, &started, Order::Playing, &languages).await;
    assert_eq!(started.subtitles.len(), 3);
    for (index, (subtitle, language)) in started.subtitles.iter().zip(languages).enumerate() {
        assert_eq!(subtitle.url, format!("/subs/{}/sub{index}.vtt", started.session_id));
        assert!(subtitle.lang.as_deref().is_some_and(|lang| language.contains(&lang)), "{subtitle:?}");
        assert_eq!(subtitle.default, index == 0);
        assert!(!subtitle.label.is_empty());
    }
    engine.until_state(started.session_id, State::Complete).await;
    let late = delay(&engine, &started).await;
    let truth: Vec<Cue> =
        lines().into_iter().map(|(from, to, text)| (from + late, to + late, text)).collect();
    for subtitle in &started.subtitles {
        let whole = cues(&text(&engine, engine.url(&subtitle.url)).await);
        assert_same(&whole, &truth, &subtitle.url);
    }
}

#[tokio::test]
async fn lines_are_right_after_every_jump() {
    let origin = Origin::start().await;
    let engine = Setup::default().set("sessions.ahead", "\"1s\"").start().await;
    // MP4 finds the line that began before a jump; Matroska has it only once a run has come by.
    let started = engine.play_from(&origin.url("/files/subtitled.mp4"), f64::from(FILM) - 0.5).await;
    assert_lines(&engine, &started, Order::Backwards, &[["en", "eng"]]).await;
}

#[tokio::test]
async fn a_whole_subtitle_is_a_header_until_there_is_more() {
    let origin = Origin::start().await;
    let engine = Setup::default().set("sessions.ahead", "\"1s\"").start().await;
    let started = engine.play(&origin.url("/files/subtitled.mp4"), "movie").await;
    let address = engine.url(&started.subtitles[0].url);
    let early = cues(&text(&engine, address.clone()).await);
    assert!(early.len() < lines().len(), "{early:?}");
    let video = engine.stream(&started).await.video().await;
    for number in Order::Shuffled(3).of(video.segments.len() as u64) {
        video.fetch(number).await;
    }
    wait_for(LIMIT, "all lines", || async {
        (cues(&text(&engine, address.clone()).await).len() == lines().len()).then_some(())
    })
    .await;
}
