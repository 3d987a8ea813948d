//! The tools of these tests do what they say, so that a red test means the engine.

use std::time::Duration;

use sluice_tests::frames::{assert_gapless, beeps, numbers, pictures, sound_behind_picture};
use sluice_tests::media::{FILM, RATE};
use sluice_tests::stand_in::{Captured, Introduction, Order, Orders, Script, Step};
use sluice_tests::{Air, Media, Origin, boxes, wait_for};

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_film_counts_its_frames() {
    let found = numbers(&*Media::ready().path("film.mp4")).await;
    let expected: Vec<u16> = (0..(FILM * RATE) as u16).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn the_film_in_other_containers_is_the_same_film() {
    for file in ["film.mkv", "film.ts", "video_only.mp4"] {
        let found = numbers(&*Media::ready().path(file)).await;
        assert_eq!(found.len(), (FILM * RATE) as usize, "{file}");
        assert_gapless(&found);
    }
}

#[tokio::test]
async fn a_beep_goes_with_the_first_frame_of_each_second() {
    let film = Media::ready().path("film.mp4");
    let (pictures, beeps) = (pictures(&*film).await, beeps(&*film).await);
    assert_eq!(beeps.len(), FILM as usize);
    let behind = sound_behind_picture(&pictures, &beeps);
    assert!(behind.abs() < 0.005, "the sound lies {behind} s behind the picture");
}

#[tokio::test]
async fn a_range_is_answered_with_just_that_range() {
    let origin = Origin::start().await;
    let client = reqwest::Client::new();
    let film = std::fs::read(Media::ready().path("film.mp4")).unwrap();
    for (range, expected) in [("bytes=10-19", &film[10..20]), ("bytes=-5", &film[film.len() - 5..])] {
        let answer = client.get(origin.url("/files/film.mp4")).header("range", range).send().await.unwrap();
        assert_eq!(answer.status(), 206);
        assert_eq!(answer.bytes().await.unwrap(), expected);
    }
    let answer =
        client.get(origin.url("/norange/film.mp4")).header("range", "bytes=10-19").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.bytes().await.unwrap(), film);
    assert_eq!(origin.asked().len(), 3);
    assert_eq!(origin.asked()[0].range.as_deref(), Some("bytes=10-19"));
}

#[tokio::test]
async fn a_source_cuts_stalls_refuses_and_redirects_as_asked() {
    let origin = Origin::start().await;
    let client = reqwest::Client::new();
    let get = |target: &str| client.get(origin.url(target)).send();
    assert_eq!(get("/status/403").await.unwrap().status(), 403);
    assert_eq!(get("/nothing").await.unwrap().status(), 404);
    assert_eq!(get("/redirect?to=/status/410").await.unwrap().status(), 410);
    assert!(get("/redirect-ring").await.is_err());
    assert!(get("/cut/film.mp4?after=5000").await.unwrap().bytes().await.is_err());
    let stalled = get("/stall/film.mp4?after=5000").await.unwrap();
    assert!(stalled.content_length().unwrap() > 5000);
    assert!(tokio::time::timeout(Duration::from_millis(300), stalled.bytes()).await.is_err());
    let film = std::fs::read(Media::ready().path("film.mp4")).unwrap();
    let chunked = get("/chunked/film.mp4").await.unwrap();
    assert_eq!(chunked.content_length(), None);
    assert_eq!(chunked.bytes().await.unwrap(), film);
}

#[tokio::test]
async fn the_channel_goes_on_at_its_own_speed_for_every_viewer() {
    let origin = Origin::start().await;
    let client = reqwest::Client::new();
    let watch = async |query: &str| {
        let mut answer = client.get(origin.url(&format!("/live/channel.ts{query}"))).send().await.unwrap();
        let mut got = Vec::new();
        let end = tokio::time::Instant::now() + Duration::from_secs(5);
        while let Ok(Ok(Some(bytes))) = tokio::time::timeout_at(end, answer.chunk()).await {
            got.extend_from_slice(&bytes);
        }
        let mut found = numbers(&got[..]).await;
        // Cut anywhere, a stream ends with a frame whose neighbours, shown before it, were to come after it.
        found.truncate(found.len() - 4);
        found
    };
    let (plain, burst) = tokio::join!(watch(""), watch("?burst=4"));
    assert_gapless(&plain);
    assert_gapless(&burst);
    // Five seconds of broadcast, less what came before the first key frame and what the muxer delays.
    assert!(plain.len() > 25 && plain.len() < 130, "{} frames in five seconds", plain.len());
    assert!(burst.len() >= plain.len() + 40, "{} frames with a burst, {} without", burst.len(), plain.len());
}

#[tokio::test]
async fn the_channel_can_be_muted_refused_and_cut() {
    let origin = Origin::start().await;
    let client = reqwest::Client::new();
    let get = || client.get(origin.url("/live/channel.ts")).send();
    let mut answer = get().await.unwrap();
    assert!(answer.chunk().await.unwrap().is_some());
    assert_eq!(origin.watching(), 1);
    origin.put_on_air(Air::Mute);
    // What was under way may still come; then nothing does.
    let silent =
        async { while tokio::time::timeout(Duration::from_millis(400), answer.chunk()).await.is_ok() {} };
    tokio::time::timeout(LIMIT, silent).await.unwrap();
    origin.put_on_air(Air::On);
    assert!(answer.chunk().await.unwrap().is_some());
    origin.drop_viewers();
    while let Ok(Some(_)) = answer.chunk().await {}
    wait_for(LIMIT, "the viewer to be gone", || async { (origin.watching() == 0).then_some(()) }).await;
    origin.put_on_air(Air::Refused(503));
    assert_eq!(get().await.unwrap().status(), 503);
}

/// What the engine asks of ffmpeg for a film, in short: one pipe a stream.
fn arguments(input: &str) -> Vec<String> {
    format!(
        "-nostdin -v level+warning -progress pipe:7 -i {input} \
         -map 0:0 -c copy -f mp4 -movflags +empty_moov+delay_moov+default_base_moof+frag_keyframe pipe:5 \
         -map 0:1 -c copy -f mp4 -movflags +empty_moov+delay_moov+default_base_moof -frag_duration 200000 pipe:6"
    )
    .split_whitespace()
    .map(str::to_owned)
    .collect()
}

#[tokio::test]
async fn captured_fragments_are_the_film_again() {
    let film = Media::ready().path("film.mp4");
    let captured = Captured::by_ffmpeg(&arguments("whatever"), film.to_str().unwrap()).await;
    let orders =
        captured.orders(&[Step::Progress { position: 40_000, end: false }, Step::Rest, Step::Exit(0)]);
    let mut outputs = std::collections::BTreeMap::<u32, Vec<u8>>::new();
    for order in &orders {
        if let Order::Write { pipe, from, length } = order {
            outputs.entry(*pipe).or_default().extend(&captured.bytes[*from..from + length]);
        }
    }
    assert_eq!(outputs.keys().collect::<Vec<_>>(), [&5, &6]);
    assert_eq!(numbers(&outputs[&5][..]).await.len(), (FILM * RATE) as usize);
    assert_eq!(beeps(&outputs[&6][..]).await.len(), FILM as usize);
    assert_eq!(boxes::kinds(&outputs[&5])[..3], ["ftyp", "moov", "moof"]);
    assert!(matches!(&orders[0], Order::Say { pipe: 7, .. }), "{:?}", orders[0]);
    assert!(matches!(orders.last(), Some(Order::Exit(0))));
}

#[tokio::test]
async fn the_desk_gives_each_run_its_own_orders() {
    let origin = Origin::start().await;
    let script =
        Script::new([Step::Fragments(3), Step::Exit(1)]).then([Step::Torn, Step::gate("on"), Step::Rest]);
    let address = origin.script("twice", "/files/film.mp4", script);
    let client = reqwest::Client::new();
    let ask = async || {
        let introduction = Introduction { pid: 1, arguments: arguments(&address) };
        let answer =
            client.post(origin.url("/orders/twice/run")).body(serde_json::to_vec(&introduction).unwrap());
        serde_json::from_slice::<Orders>(&answer.send().await.unwrap().bytes().await.unwrap()).unwrap()
    };
    let (first, second) = (ask().await, ask().await);
    assert_eq!((first.run, first.orders.len()), (0, 4));
    assert_eq!(second.run, 1);
    assert!(matches!(second.orders[1], Order::Gate(_)));
    assert_eq!(origin.runs("twice").len(), 2);

    let through = tokio::spawn(client.get(origin.url("/orders/twice/gate/on")).send());
    wait_for(LIMIT, "someone at the gate", || async { (origin.waiting_at("on") == 1).then_some(()) }).await;
    origin.open_gate("on");
    assert!(through.await.unwrap().unwrap().status().is_success());
    assert_eq!(origin.waiting_at("on"), 0);
}
