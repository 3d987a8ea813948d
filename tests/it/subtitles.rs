//! Subtitles are right in time wherever a viewer jumps to, and sounds and subtitles can be told apart.

#![expect(clippy::disallowed_methods, reason = "the rule is the engine's; a test may run ffmpeg")]

use std::path::Path;
use std::process::{Command, Stdio};

use m3u8_rs::{AlternativeMedia, AlternativeMediaType, MediaPlaylistType};
use reqwest::{Method, StatusCode};
use serde_json::json;
use sluice_protocol::{Kind, Started, State};
use sluice_tests::engine::LIMIT;
use sluice_tests::frames::pictures;
use sluice_tests::media::{picture, sound};
use sluice_tests::playlist::{Rendition, Stream};
use sluice_tests::{Engine, Origin, wait_for};
use tempfile::TempDir;

/// Seconds of the film.
const LENGTH: u32 = 24;
const SUBRIP: &str = "1\n00:00:00,500 --> 00:00:01,500\nfirst <i>words</i>\n\n2\n00:00:05,000 --> 00:00:11,000\n\
    over three & more\n\n3\n00:00:11,200 --> 00:00:11,800\nmeanwhile\n\n4\n00:00:21,000 --> 00:00:22,000\nlate\n";
const ASS: &str = "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\n\
    Style: Default,Arial,20\n\n[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n\
    Dialogue: 0,0:00:03.00,0:00:03.50,Default,,0,0,0,,{\\an8\\pos(10,10)}{\\i1}above{\\i0}\n\
    Dialogue: 0,0:00:04.00,0:00:04.50,Default,,0,0,0,,{\\p1}m 0 0 l 100 0 100 100{\\p0}\n\
    Dialogue: 0,0:00:17.00,0:00:18.00,Default,,0,0,0,,two\\Nlines\n";

/// Start and end in seconds of the film, and the text.
type Shown = (f64, f64, &'static str);

const PLAIN: [Shown; 4] = [
    (0.5, 1.5, "first <i>words</i>"),
    (5.0, 11.0, "over three &amp; more"),
    (11.2, 11.8, "meanwhile"),
    (21.0, 22.0, "late"),
];
const STYLED: [Shown; 2] = [(3.0, 3.5, "<i>above</i>"), (17.0, 18.0, "two\nlines")];

/// A cue as it was served.
#[derive(Debug, Clone, PartialEq)]
struct Cue {
    start: f64,
    end: f64,
    text: String,
}

/// A source with a film of two sounds and two subtitles: `film.mkv` and `film.mp4` to be copied, `old.mkv` to be
/// encoded.
async fn source() -> (TempDir, Origin) {
    let folder = tempfile::tempdir().unwrap();
    tokio::task::block_in_place(|| make(folder.path()));
    let origin = Origin::of(folder.path()).await;
    (folder, origin)
}

fn make(folder: &Path) {
    std::fs::write(folder.join("a.srt"), SUBRIP).unwrap();
    std::fs::write(folder.join("a.ass"), ASS).unwrap();
    let (picture, sound) = (picture((320, 180), "25", LENGTH), sound(LENGTH));
    let film = "-i a.srt -i a.ass -map 0 -map 1 -map 1 -map 2 -map 3 -c:a aac -b:a 64k -c:s copy \
        -metadata:s:a:0 language=eng -metadata:s:a:1 language=fre -metadata:s:a:1 title=Com\"mentary \
        -metadata:s:s:0 language=ger -metadata:s:s:1 language=eng \
        -disposition:a:0 0 -disposition:a:1 default -disposition:s:0 forced -disposition:s:1 0";
    let copied = "-c:v libx264 -preset veryfast -crf 30 -g 50 -keyint_min 50 -sc_threshold 0 film.mkv";
    let inputs = ["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound];
    ffmpeg(
        folder,
        inputs.into_iter().chain(film.split(' ').filter(|word| !word.is_empty())).chain(copied.split(' ')),
    );
    ffmpeg(folder, "-i film.mkv -map 0 -c copy -c:s mov_text -movflags +faststart film.mp4".split(' '));
    ffmpeg(folder, "-i film.mkv -map 0 -c copy -c:v mpeg4 -q:v 5 -g 50 old.mkv".split(' '));
}

fn ffmpeg<'a>(folder: &Path, arguments: impl Iterator<Item = &'a str>) {
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y"])
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// What a WebVTT text shows, and what it maps its zero to, in ticks of 90 kHz.
fn read(text: &str) -> (Vec<Cue>, Option<u64>) {
    let seconds = |clock: &str| -> f64 {
        clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
    };
    let mut blocks = text.split("\n\n");
    let head = blocks.next().unwrap();
    assert!(head.starts_with("WEBVTT"), "{text}");
    let map = head.split_once("LOCAL:00:00:00.000,MPEGTS:").map(|(_, ticks)| ticks.parse().unwrap());
    let cues = blocks.filter(|block| !block.trim().is_empty()).map(|block| {
        let (times, text) = block.split_once('\n').unwrap();
        let (start, end) = times.split_once(" --> ").unwrap();
        Cue { start: seconds(start), end: seconds(end), text: text.trim_end().to_owned() }
    });
    (cues.collect(), map)
}

fn assert_shows(found: &[Cue], expected: &[Shown], later: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: {found:?}");
    for (cue, (start, end, text)) in found.iter().zip(expected) {
        // Containers round, and a film's first picture may lie a little after its beginning.
        let near = |found: f64, meant: f64| (found - meant - later).abs() < 0.1;
        assert!(near(cue.start, *start) && near(cue.end, *end) && cue.text == *text, "{what}: {found:?}");
    }
}

fn others(stream: &Stream, kind: AlternativeMediaType) -> Vec<&AlternativeMedia> {
    stream.variants.alternatives.iter().filter(|other| other.media_type == kind).collect()
}

async fn subtitles(engine: &Engine, started: &Started, track: u8) -> Rendition {
    let address = engine.url(&started.playlist).join(&format!("sub-{track}.m3u8")).unwrap();
    engine.stream(started).await.rendition(&address).await
}

/// Fetches every segment once in that order. The cues of each, and what they map zero to.
async fn fetch_all(list: &Rendition, order: &[u64]) -> (Vec<Vec<Cue>>, u64) {
    let mut found = vec![Vec::new(); order.len()];
    let mut maps = Vec::new();
    for number in order {
        let (cues, map) = read(&String::from_utf8(list.fetch(*number).await).unwrap());
        found[*number as usize] = cues;
        maps.push(map.expect("a segment says where its zero is"));
    }
    maps.dedup();
    assert_eq!(maps.len(), 1, "all segments lie on one axis: {maps:?}");
    (found, maps[0])
}

/// What of `all` touches a segment.
fn beside(list: &Rendition, number: u64, all: &[Shown]) -> Vec<Shown> {
    let before: f32 = list.segments.range(..number).map(|(_, segment)| segment.duration).sum();
    let (from, to) = (f64::from(before), f64::from(before + list.segments[&number].duration));
    all.iter().filter(|(start, end, _)| *start < to && *end > from).copied().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn subtitles_are_right_in_time_after_jumps_in_any_order() {
    let (_folder, origin) = source().await;
    let engine = Engine::start().await;
    for file in ["film.mkv", "film.mp4", "old.mkv"] {
        let started = engine.play(&origin.url(&format!("/files/{file}")), "movie").await;
        for (track, expected) in [(0, &PLAIN[..]), (1, &STYLED[..])] {
            // Together, since the end corrects itself once it was made.
            let list = subtitles(&engine, &started, track).await;
            let video = engine.stream(&started).await.video().await;
            let what = format!("{file} sub-{track}");
            assert_eq!(list.list().playlist_type, Some(MediaPlaylistType::Vod), "{what}");
            assert!(list.list().end_list, "{what}");
            let lengths = |of: &Rendition| -> Vec<(u64, f32)> {
                of.segments.iter().map(|(number, segment)| (*number, segment.duration)).collect()
            };
            assert_eq!(lengths(&list), lengths(&video), "{what}: cut where the picture is");

            // Backwards, in steps: of the first track each segment comes from a run of its own.
            let mut order: Vec<u64> = (0..list.segments.len() as u64).rev().collect();
            order.sort_by_key(|number| number % 3);
            let (jumping, map) = fetch_all(&list, &order).await;
            for (number, cues) in (0..).zip(&jumping) {
                // Matroska tells no cue that began before the place where it was entered; another run does.
                let from = beside(&list, number, expected);
                let known: Vec<_> =
                    from.iter().filter(|shown| cues.iter().any(|cue| cue.text == shown.2)).copied().collect();
                assert_shows(cues, &known, 0.0, &format!("{what}/{number}"));
                let begin: f32 = list.segments.range(..number).map(|(_, segment)| segment.duration).sum();
                let missing =
                    from.iter().filter(|shown| shown.0 >= f64::from(begin) + 0.1 && !known.contains(shown));
                assert_eq!(missing.collect::<Vec<_>>(), Vec::<&Shown>::new(), "{what}/{number}");
            }
            let (again, _) = fetch_all(&list, &order).await;
            for (number, cues) in (0..).zip(&again) {
                assert_shows(cues, &beside(&list, number, expected), 0.0, &format!("{what}/{number} again"));
            }
            let holders =
                again.iter().filter(|cues| cues.iter().any(|cue| cue.text.starts_with("over three")));
            assert!(
                track == 1 || holders.count() >= 3,
                "{what}: the long cue is in each segment that it touches"
            );

            // The picture's first frame is film time zero, and lies where the subtitles say that zero is.
            let section = video.segments[&0].init.clone().unwrap();
            let mut first =
                engine.client().get(section).send().await.unwrap().bytes().await.unwrap().to_vec();
            first.extend(video.fetch(0).await);
            let shown = pictures(&first[..]).await[0].at;
            assert!((shown - map as f64 / 90_000.0).abs() < 0.001, "{what}: {shown} s against {map} ticks");
        }
        assert_eq!(engine.detail(started.session_id).await.session.warnings, Vec::<String>::new(), "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sounds_and_subtitles_are_told_apart_by_name_and_language() {
    let (_folder, origin) = source().await;
    let engine = Engine::start().await;
    let address = origin.url("/files/film.mkv");
    let started = engine.play(&address, "movie").await;
    let stream = engine.stream(&started).await;
    let named = |kind| -> Vec<_> {
        let list = others(&stream, kind);
        list.into_iter()
            .map(|other| (other.name.clone(), other.language.clone(), other.default, other.forced))
            .collect()
    };
    let of = |name: &str, language: &str, default, forced| {
        (name.to_owned(), Some(language.to_owned()), default, forced)
    };
    assert_eq!(
        named(AlternativeMediaType::Audio),
        [of("English", "en", false, false), of("Com'mentary", "fr", true, false)]
    );
    assert_eq!(
        named(AlternativeMediaType::Subtitles),
        [of("German (forced)", "de", false, true), of("English", "en", false, false)]
    );
    let variant = &stream.variants.variants[0];
    assert_eq!((variant.audio.as_deref(), variant.subtitles.as_deref()), (Some("audio"), Some("subs")));

    let id = started.session_id;
    let told: Vec<_> = started
        .subtitles
        .iter()
        .map(|told| (told.url.clone(), told.lang.as_deref(), told.label.as_str(), told.default))
        .collect();
    let expected = [
        (format!("/subs/{id}/sub0.vtt"), Some("de"), "German (forced)", true),
        (format!("/subs/{id}/sub1.vtt"), Some("en"), "English", false),
    ];
    assert_eq!(told, expected);
    let order = json!({"url": address, "content_type": "movie"});
    let operators: Started = engine.order(Method::POST, "sessions", Some(order)).await;
    assert_eq!(operators.subtitles, started.subtitles);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_subtitle_is_what_is_known_by_now() {
    let (_folder, origin) = source().await;
    let engine = Engine::start().await;
    let started = engine.play(&origin.url("/files/film.mp4"), "movie").await;
    let get = async |target: &str| engine.client().get(engine.url(target)).send().await.unwrap();
    let whole = &started.subtitles[0].url;
    let list = subtitles(&engine, &started, 0).await;

    let early = get(whole).await;
    assert_eq!(early.status(), StatusCode::OK);
    assert_eq!(early.headers()["access-control-allow-origin"], "*");
    assert_eq!(early.headers()["cache-control"], "no-cache");
    assert!(early.headers()["content-type"].to_str().unwrap().starts_with("text/vtt"));
    assert!(early.text().await.unwrap().starts_with("WEBVTT\n\n"));

    let order: Vec<u64> = (0..list.segments.len() as u64).collect();
    let (_, map) = fetch_all(&list, &order).await;
    let late = get(whole).await;
    let etag = late.headers()["etag"].clone();
    let (cues, none) = read(&late.text().await.unwrap());
    assert_eq!(none, None);
    assert_shows(&cues, &PLAIN, map as f64 / 90_000.0, "on the axis of the pictures");
    let same = engine.client().get(engine.url(whole)).header("if-none-match", etag).send().await.unwrap();
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);

    let id = started.session_id;
    for target in [
        format!("/subs/{id}/sub2.vtt"),
        format!("/subs/{id}/sub00.vtt"),
        format!("/subs/{}/sub0.vtt", uuid::Uuid::new_v4()),
        format!("/transcode/{id}/sub-2.m3u8"),
        format!("/transcode/{id}/sub-2/0.vtt"),
        format!("/transcode/{id}/sub-0/{}.vtt", order.len()),
    ] {
        assert_eq!(get(&target).await.status(), StatusCode::NOT_FOUND, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_subtitles_ahead_is_not_taken_to_watch_there() {
    let (_folder, origin) = source().await;
    let engine = Engine::start().await;
    let started = engine.play(&origin.url("/files/film.mkv"), "movie").await;
    engine.stream(&started).await.video().await.fetch(1).await;
    let position = async || engine.detail(started.session_id).await.session.position;
    let before = Some(wait_for(LIMIT, "the viewer to be seen", &position).await);
    subtitles(&engine, &started, 0).await.fetch(8).await;
    assert_eq!(position().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_that_can_only_be_read_once_has_its_subtitles_too() {
    let (_folder, origin) = source().await;
    let engine = Engine::start().await;
    let started = engine.play(&origin.url("/norange/film.mkv"), "movie").await;
    let session = engine.until_state(started.session_id, State::Complete).await;
    assert_eq!(session.kind, Some(Kind::Event));
    let mut list = subtitles(&engine, &started, 0).await;
    list.until_ended(LIMIT).await;
    let order: Vec<u64> = (0..list.segments.len() as u64).collect();
    let (found, _) = fetch_all(&list, &order).await;
    for (number, cues) in (0..).zip(&found) {
        assert_shows(cues, &beside(&list, number, &PLAIN), 0.0, &format!("segment {number}"));
    }
}
