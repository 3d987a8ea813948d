//! Cuts and misfits over samples made for it.

use bytes::Bytes;

use super::*;
use crate::mux::{Item, Reader};

const RATE: Rate = Rate { num: 25, den: 1 };
const FRAME: i64 = 3600;
const SOUND: Rendition = Rendition::Audio(0);

fn track(init: &[u8]) -> Arc<Track> {
    let items = Reader::new(Time::ZERO).feed(init).expect("the fixture is whole");
    match &items[..] {
        [Item::Track(track)] => track.clone(),
        other => panic!("not one track: {other:?}"),
    }
}

fn cutter(plan: Plan) -> Cutter {
    let mut cutter = Cutter::new(plan);
    cutter.begin(Rendition::Video, track(include_bytes!("../fixtures/video-init.mp4"))).expect("it is clear");
    cutter.begin(SOUND, track(include_bytes!("../fixtures/audio-init.mp4"))).expect("it is clear");
    cutter
}

/// Frames `from..to` at 25 a second, a key frame every `gop`, shifted by `delay` between dts and pts.
fn frames(from: i64, to: i64, gop: i64, delay: i64) -> Vec<Sample> {
    let frame = |n: i64| Sample {
        dts: n * FRAME - delay,
        pts: n * FRAME,
        duration: FRAME as u32,
        sync: n % gop == 0,
        // One unit of one byte, with its length before it.
        data: Bytes::from_static(&[0, 0, 0, 1, 0x41]),
    };
    (from..to).map(frame).collect()
}

fn packets(from: i64, to: i64) -> Vec<Sample> {
    let packet = |n: i64| Sample {
        dts: n * 1024,
        pts: n * 1024,
        duration: 1024,
        sync: true,
        data: Bytes::from_static(&[0]),
    };
    (from..to).map(packet).collect()
}

fn encoded(from: i64) -> Plan {
    let rate = Some(RATE);
    Plan {
        kind: Kind::Event,
        first: 0,
        from: Time::from_secs(from),
        axis: (from > 0).then_some(Axis { origin: Time::ZERO, delay: Time::ZERO }),
        video: Some(Flow::Encoded { rate }),
        audio: Some(Flow::Encoded { rate: None }),
        segment: Time::from_secs(2),
        cuts: (1..=10).map(|n| Time::from_secs(from + 2 * n)).collect(),
        lenient: None,
    }
}

fn copied(kind: Kind) -> Plan {
    Plan {
        kind,
        video: Some(Flow::Copied { start: None }),
        audio: Some(Flow::Copied { start: Some(Time::ZERO) }),
        cuts: Vec::new(),
        ..encoded(0)
    }
}

fn counts(cuts: &[Cut]) -> Vec<(u64, usize, usize)> {
    let count = |samples: &Option<Vec<Sample>>| samples.as_ref().map_or(0, Vec::len);
    cuts.iter().map(|cut| (cut.number, count(&cut.video), count(&cut.audio))).collect()
}

#[test]
fn an_encoded_film_is_cut_on_the_grid_and_its_priming_dropped() {
    let mut cutter = cutter(encoded(0));
    cutter.push(SOUND, packets(-1, 200)).expect("sound fits");
    let cuts = cutter.push(Rendition::Video, frames(0, 101, 50, 0)).expect("the picture fits");
    // 2 s are 93.75 packets: a packet belongs where it starts.
    assert_eq!(counts(&cuts), [(0, 50, 94), (1, 50, 94)]);
    assert_eq!(
        cuts[1].audio.as_ref().and_then(|audio| audio.first()).map(|first| first.pts),
        Some(94 * 1024)
    );
}

#[test]
fn any_chunking_gives_the_same_cuts() {
    let whole = {
        let mut cutter = cutter(encoded(0));
        cutter.push(SOUND, packets(-1, 400)).expect("sound fits");
        cutter.push(Rendition::Video, frames(0, 190, 50, 0)).expect("the picture fits")
    };
    let mut cutter = cutter(encoded(0));
    let mut cuts = Vec::new();
    let (mut picture, mut sound) = (frames(0, 190, 50, 0).into_iter(), packets(-1, 400).into_iter());
    loop {
        let (some, more): (Vec<_>, Vec<_>) =
            (picture.by_ref().take(7).collect(), sound.by_ref().take(11).collect());
        if some.is_empty() && more.is_empty() {
            break;
        }
        cuts.extend(cutter.push(Rendition::Video, some).expect("the picture fits"));
        cuts.extend(cutter.push(SOUND, more).expect("sound fits"));
    }
    assert_eq!(cuts, whole);
}

#[test]
fn a_missing_frame_is_not_published_and_a_gap_where_it_was_seen_twice() {
    let mut picture = frames(0, 101, 50, 0);
    picture.remove(60);
    let mut strict = cutter(encoded(0));
    strict.push(SOUND, packets(0, 300)).expect("sound fits");
    let misfit = strict.push(Rendition::Video, picture.clone()).expect_err("a frame is missing");
    assert_eq!(misfit, Misfit::Frames { number: 1, expected: 50, found: 49 });

    let mut lenient = cutter(Plan { lenient: Some(1), ..encoded(0) });
    lenient.push(SOUND, packets(0, 300)).expect("sound fits");
    let cuts = lenient.push(Rendition::Video, picture).expect("the place is kept");
    assert_eq!(cuts.iter().map(|cut| cut.gap).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_later_run_begins_on_its_boundary_and_drops_what_comes_before() {
    let mut cutter = cutter(Plan { first: 2, ..encoded(4) });
    // Encoded sound has its pre-roll of four packets: A(4 s) = 188.
    cutter.push(SOUND, packets(184, 400)).expect("sound fits");
    let cuts = cutter.push(Rendition::Video, frames(100, 151, 50, 0)).expect("the picture fits");
    assert_eq!(counts(&cuts), [(2, 50, 94)]);
}

#[test]
fn a_later_run_is_not_taken_for_a_silent_track_because_one_track_comes_first() {
    let mut cutter = cutter(Plan { first: 30, ..encoded(60) });
    let from = 60 * 48_000 / 1024;
    cutter.push(SOUND, packets(from, from + 10)).expect("the picture may come later");
    cutter.push(Rendition::Video, frames(1500, 1510, 50, 0)).expect("the sound came before");
}

#[test]
fn a_run_that_misses_its_boundary_is_found_out() {
    let mut cutter = cutter(Plan {
        first: 2,
        axis: Some(Axis { origin: Time::ZERO, delay: Time::ZERO }),
        from: Time::from_secs(4),
        ..copied(Kind::Event)
    });
    let misfit = cutter.push(Rendition::Video, frames(150, 160, 50, 0)).expect_err("it begins too late");
    assert_eq!(misfit, Misfit::NotOnBoundary { expected: Time::from_secs(4), found: Time::from_secs(6) });
}

#[test]
fn a_copied_film_is_cut_at_the_first_key_frame_after_the_segment_duration() {
    let mut cutter = cutter(copied(Kind::Event));
    cutter.push(SOUND, packets(0, 400)).expect("sound fits");
    let cuts = cutter.push(Rendition::Video, frames(0, 200, 30, 2 * FRAME)).expect("the picture fits");
    assert_eq!(counts(&cuts).iter().map(|cut| cut.1).collect::<Vec<_>>(), [60, 60, 60]);
    assert_eq!(cutter.axis().map(|axis| axis.delay), Some(Time::from_millis(80)));
}

#[test]
fn key_frames_too_far_apart_are_found_before_anything_is_published() {
    let mut cutter = cutter(copied(Kind::Event));
    let misfit = cutter.push(Rendition::Video, frames(0, 250, 250, 0)).expect_err("10 s without a key frame");
    assert_eq!(misfit, Misfit::LongGop { longest: Time::from_secs(6) });
}

#[test]
fn a_channel_drops_all_that_comes_before_its_first_key_frame() {
    let mut cutter = cutter(copied(Kind::Window));
    cutter.push(SOUND, packets(0, 300)).expect("sound fits");
    let cuts = cutter.push(Rendition::Video, frames(20, 101, 50, 0)).expect("the picture fits");
    let first = &cuts[0];
    assert_eq!((first.start, first.end), (Time::ZERO, Time::from_secs(2)));
    let audio = first.audio.as_ref().and_then(|audio| audio.first()).map(|sample| sample.pts);
    // The first packet at or after the key frame at 2 s.
    assert_eq!(audio, Some(94 * 1024 - 96_000));
}

#[test]
fn a_hole_in_the_sound_of_a_film_is_a_misfit() {
    let mut sound = packets(0, 300);
    sound.drain(50..60);
    let mut cutter = cutter(copied(Kind::Event));
    cutter.push(SOUND, sound).expect("a hole shows when the segment is whole");
    let misfit = cutter.push(Rendition::Video, frames(0, 101, 50, 0)).expect_err("sound is missing");
    assert!(matches!(misfit, Misfit::AudioHole { number: 0, .. }), "{misfit}");
}

#[test]
fn the_end_of_the_input_closes_the_last_segment() {
    let mut cutter = cutter(copied(Kind::Event));
    cutter.push(SOUND, packets(0, 140)).expect("sound fits");
    cutter.push(Rendition::Video, frames(0, 75, 50, 0)).expect("the picture fits");
    cutter.finish(SOUND).expect("nothing is wrong");
    let cuts = cutter.finish(Rendition::Video).expect("nothing is wrong");
    assert_eq!((cuts.len(), cuts[0].last, cuts[0].end), (1, true, Time::from_secs(3)));
}

#[test]
fn a_channel_that_breaks_off_shows_no_picture_whose_neighbours_never_came() {
    let mut cutter = cutter(copied(Kind::Window));
    let mut picture = frames(0, 53, 50, 4 * FRAME);
    // Sent in the order 50, 52, 51: the stream broke off before 51.
    picture.remove(51);
    picture[51].dts = picture[50].dts + FRAME;
    cutter.push(SOUND, packets(0, 110)).expect("sound fits");
    let mut cuts = cutter.push(Rendition::Video, picture).expect("the picture fits");
    cuts.extend(cutter.finish(SOUND).expect("nothing is wrong"));
    cuts.extend(cutter.finish(Rendition::Video).expect("nothing is wrong"));
    assert_eq!(cuts.last().map(|cut| (cut.last, cut.end)), Some((true, Time::from_millis(2_040))));
}

#[test]
fn a_silent_track_does_not_wait_for_ever() {
    let mut cutter = cutter(copied(Kind::Window));
    let misfit = cutter.push(Rendition::Video, frames(0, 1000, 50, 0)).expect_err("no sound for 40 s");
    assert!(matches!(misfit, Misfit::Silent { .. }), "{misfit}");
}
