//! The tools of these tests do what they say, so that a red test means the engine.

use std::process::Stdio;
use std::time::Duration;

use portable_pty::CommandBuilder;
use rustix::process::{Pid, Signal, kill_process};
use sluice_tests::frames::{assert_gapless, beeps, numbers, pictures, sound_behind_picture};
use sluice_tests::media::{FILM, RATE};
use sluice_tests::splices::{self, Film, compare, fetch};
use sluice_tests::stand_in::{Captured, Introduction, Order, Orders, Script, Step};
use sluice_tests::terminal::Terminal;
use sluice_tests::wait::becomes_true;
use sluice_tests::{Air, Engine, Media, Origin, boxes, built, client, leftovers, wait_for};

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
async fn the_proof_of_splices_sees_what_is_missing_doubled_or_moved() {
    let (origin, engine) = (Origin::start().await, Engine::start().await);
    let started = engine.play(&origin.url("/files/clip.mp4"), "movie").await;
    let mut lists = engine.stream(&started).await.renditions().await;
    for list in &mut lists {
        list.until_ended(LIMIT).await;
    }
    let film = Film::copied("clip.mp4");
    let read = async || fetch(lists.clone(), splices::Order::Shuffled(1)).await;
    compare(film, read().await).await;
    for rendition in [0, 1] {
        for wrong in ["missing", "doubled", "moved"] {
            let mut tracks = read().await;
            let segments = &mut tracks[rendition].segments;
            match wrong {
                "missing" => drop(segments.remove(&1)),
                "doubled" => drop(segments.insert(1, segments[&1].repeat(2))),
                _ => drop(segments.insert(1, segments[&0].clone())),
            }
            let compared = tokio::spawn(compare(film, tracks)).await;
            assert!(compared.is_err(), "rendition {rendition} with a segment {wrong} passed");
        }
    }
}

#[tokio::test]
async fn a_range_is_answered_with_just_that_range() {
    let origin = Origin::start().await;
    let http = client::plain();
    let film = std::fs::read(Media::ready().path("film.mp4")).unwrap();
    for (range, expected) in [("bytes=10-19", &film[10..20]), ("bytes=-5", &film[film.len() - 5..])] {
        let answer = http.get(origin.url("/files/film.mp4")).header("range", range).send().await.unwrap();
        assert_eq!(answer.status(), 206);
        assert_eq!(answer.bytes().await.unwrap(), expected);
    }
    let answer =
        http.get(origin.url("/norange/film.mp4")).header("range", "bytes=10-19").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.bytes().await.unwrap(), film);
    assert_eq!(origin.asked().len(), 3);
    assert_eq!(origin.asked()[0].range.as_deref(), Some("bytes=10-19"));
}

#[tokio::test]
async fn a_source_cuts_stalls_refuses_and_redirects_as_asked() {
    let origin = Origin::start().await;
    let http = client::plain();
    let get = |target: &str| http.get(origin.url(target)).send();
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
    let http = client::plain();
    let watch = async |query: &str| {
        let mut answer = http.get(origin.url(&format!("/live/channel.ts{query}"))).send().await.unwrap();
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
    let http = client::plain();
    let get = || http.get(origin.url("/live/channel.ts")).send();
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
    let output = "-output_ts_offset 10 -avoid_negative_ts disabled -f mp4";
    let flags = "-movflags +delay_moov+default_base_moof+frag_discont+skip_trailer";
    format!(
        "-nostdin -v level+warning -progress pipe:7 -itsoffset 0 -copyts -i {input} \
         -map 0:0 -c copy {output} {flags}+frag_keyframe pipe:5 \
         -map 0:1 -c copy {output} {flags} -frag_duration 200000 pipe:6"
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
    let http = client::plain();
    let ask = async || {
        let introduction = Introduction { pid: 1, arguments: arguments(&address) };
        let answer =
            http.post(origin.url("/orders/twice/run")).body(serde_json::to_vec(&introduction).unwrap());
        serde_json::from_slice::<Orders>(&answer.send().await.unwrap().bytes().await.unwrap()).unwrap()
    };
    let (first, second) = (ask().await, ask().await);
    assert_eq!((first.run, first.orders.len()), (0, 4));
    assert_eq!(second.run, 1);
    assert!(matches!(second.orders[1], Order::Gate(_)));
    assert_eq!(origin.runs("twice").len(), 2);

    let through = tokio::spawn(http.get(origin.url("/orders/twice/gate/on")).send());
    wait_for(LIMIT, "someone at the gate", || async { (origin.waiting_at("on") == 1).then_some(()) }).await;
    origin.open_gate("on");
    assert!(through.await.unwrap().unwrap().status().is_success());
    assert_eq!(origin.waiting_at("on"), 0);
}

/// Starts the stand-in on an address with a script, its output on a pipe of ours.
#[expect(clippy::disallowed_methods, reason = "the rule is the engine's; a test may start the stand-in")]
fn stand_in(origin: &Origin, script: Script) -> tokio::process::Child {
    let address = origin.script("alone", "/files/film.mp4", script);
    let output = "-map 0:0 -c copy -f mp4 -movflags +delay_moov+default_base_moof+frag_keyframe pipe:1";
    tokio::process::Command::new(built::program("fake-ffmpeg"))
        .args(["-i", &address])
        .args(output.split_whitespace())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn the_stand_in_writes_real_fragments_speaks_and_ends_as_told() {
    let origin = Origin::start().await;
    let script = Script::new([Step::say("[error] so it is"), Step::Rest, Step::Exit(3)]);
    let output = stand_in(&origin, script).wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(output.stderr, b"[error] so it is\n");
    assert_eq!(numbers(&output.stdout[..]).await.len(), (FILM * RATE) as usize);
    let output = stand_in(&origin, Script::new([Step::Die(6)])).wait_with_output().await.unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(6));
}

#[tokio::test]
async fn the_stand_in_hears_a_polite_end_unless_told_otherwise() {
    let origin = Origin::start().await;
    for (steps, hears) in
        [(vec![Step::gate("shut")], true), (vec![Step::IgnoreTerm, Step::gate("shut")], false)]
    {
        let mut child = stand_in(&origin, Script::new(steps));
        wait_for(LIMIT, "the gate", || async { (origin.waiting_at("shut") == 1).then_some(()) }).await;
        let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let patience = if hears { LIMIT } else { Duration::from_millis(500) };
        let ended = tokio::time::timeout(patience, child.wait()).await;
        assert_eq!(ended.is_ok(), hears);
        drop(child);
        wait_for(LIMIT, "the gate to be left", || async { (origin.waiting_at("shut") == 0).then_some(()) })
            .await;
    }
}

#[tokio::test]
async fn the_stand_in_is_the_real_one_for_addresses_without_a_script() {
    let version = |program: &str| {
        #[expect(
            clippy::disallowed_methods,
            reason = "the rule is the engine's; a test may ask for a version"
        )]
        let output = std::process::Command::new(program).arg("-version").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(version(built::program("fake-ffmpeg").to_str().unwrap()), version("ffmpeg"));
}

#[tokio::test]
async fn a_terminal_shows_what_a_program_writes_and_remembers_how_it_was() {
    let mut command = CommandBuilder::new("sh");
    command.args([
        "-c",
        "stty raw -echo; printf '\\033[?1049h\\033[?25lhello'; read -r line; printf 'size '; stty size",
    ]);
    let mut terminal = Terminal::run(command, 80, 24);
    terminal.until_shows("hello").await;
    assert!(terminal.is_alternate() && terminal.hides_cursor());
    let restored = tokio::time::timeout(Duration::from_millis(200), terminal.assert_restored()).await;
    assert!(restored.is_err(), "a raw line is not what it was");
    terminal.resize(100, 30);
    terminal.press("\n");
    terminal.until_shows("size 30 100").await;
    assert_eq!(terminal.ended().await, 0);
}

#[test]
fn a_mark_finds_the_processes_that_carry_it() {
    let mark = uuid::Uuid::new_v4().to_string();
    #[expect(clippy::disallowed_methods, reason = "the rule is the engine's; a test may start a shell")]
    let mut child = std::process::Command::new("sh")
        .args(["-c", "sleep 600 & exec sleep 600"])
        .env(leftovers::MARK, &mark)
        .spawn()
        .unwrap();
    assert!(becomes_true(LIMIT, || leftovers::of(&mark)
        .iter()
        .filter(|process| process.name == "sleep")
        .count()
        == 2));
    assert_eq!(leftovers::of("another"), vec![]);
    for process in leftovers::of(&mark) {
        kill_process(Pid::from_raw(process.pid).unwrap(), Signal::KILL).unwrap();
    }
    child.wait().unwrap();
    assert!(becomes_true(LIMIT, || leftovers::of(&mark).is_empty()));
}
