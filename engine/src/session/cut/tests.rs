//! Cuts and misfits over samples made for it.

use bytes::Bytes;

use super::*;
use crate::mux::{Item, Reader};

const RATE: Rate = Rate { num: 25, den: 1 };
const FRAME: i64 = 3600;
const SOUND: Rendition = Rendition::Audio(0);
const SECOND_SOUND: Rendition = Rendition::Audio(1);
const COARSE: Flow = Flow::Copied { start: Some(Time::ZERO), coarse: true };

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
    for sound in [SOUND, SECOND_SOUND] {
        cutter.begin(sound, track(include_bytes!("../fixtures/audio-init.mp4"))).expect("it is clear");
    }
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
        until: None,
        from: Time::from_secs(from),
        origin: (from > 0).then_some(Time::ZERO),
        delay: (from > 0).then_some(Time::ZERO),
        video: Some(Flow::Encoded { rate }),
        audio: vec![Flow::Encoded { rate: None }],
        segment: Time::from_secs(2),
        cuts: (1..=10).map(|n| Time::from_secs(from + 2 * n)).collect(),
        misfits: 0,
        silences: Vec::new(),
    }
}

fn copied(kind: Kind) -> Plan {
    Plan {
        kind,
        video: Some(Flow::Copied { start: None, coarse: false }),
        audio: vec![COARSE],
        cuts: Vec::new(),
        ..encoded(0)
    }
}

fn counts(cuts: &[Cut]) -> Vec<(u64, usize, usize)> {
    let frames = |cut: &Cut| cut.video.as_ref().map_or(0, Vec::len);
    cuts.iter().map(|cut| (cut.number, frames(cut), cut.audio[0].len())).collect()
}

#[test]
fn an_encoded_film_is_cut_on_the_grid_and_its_priming_dropped() {
    let mut cutter = cutter(encoded(0));
    cutter.push(SOUND, packets(-1, 200)).expect("sound fits");
    let cuts = cutter.push(Rendition::Video, frames(0, 101, 50, 0)).expect("the picture fits");
    // 2 s are 93.75 packets: a packet belongs where it starts.
    assert_eq!(counts(&cuts), [(0, 50, 94), (1, 50, 94)]);
    assert_eq!(cuts[1].audio[0].first().map(|first| first.pts), Some(94 * 1024));
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
fn a_missing_frame_is_not_published_and_a_gap_where_it_was_seen_twice_before() {
    let mut picture = frames(0, 101, 50, 0);
    picture.remove(10);
    let mut strict = cutter(encoded(0));
    strict.push(SOUND, packets(0, 300)).expect("sound fits");
    let misfit = strict.push(Rendition::Video, picture.clone()).expect_err("a frame is missing");
    assert_eq!(misfit, Misfit::Frames { number: 0, expected: 50, found: 49 });
    let mut again = cutter(Plan { misfits: 1, ..encoded(0) });
    again.push(SOUND, packets(0, 300)).expect("sound fits");
    assert_eq!(again.push(Rendition::Video, picture.clone()).expect_err("it still is"), misfit);

    let mut lenient = cutter(Plan { misfits: 2, ..encoded(0) });
    lenient.push(SOUND, packets(0, 300)).expect("sound fits");
    let cuts = lenient.push(Rendition::Video, picture).expect("the place is kept");
    assert_eq!(cuts.iter().map(|cut| cut.gap).collect::<Vec<_>>(), [true, false]);
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
        origin: Some(Time::ZERO),
        delay: Some(Time::ZERO),
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
    let audio = first.audio[0].first().map(|sample| sample.pts);
    // The first packet at or after the key frame at 2 s.
    assert_eq!(audio, Some(94 * 1024 - 96_000));
}

/// How long sound is, and whether it flows without a hole.
fn flows(cut: &Cut, n: usize) -> (usize, bool) {
    let audio = &cut.audio[n];
    (audio.len(), audio.windows(2).all(|pair| pair[1].pts - pair[0].pts == 1024))
}

#[test]
fn a_hole_in_sound_that_is_made_is_a_misfit_and_where_it_is_there_again_the_inputs_own() {
    let mut sound = packets(0, 300);
    sound.drain(50..60);
    let mut strict = cutter(encoded(0));
    strict.push(SOUND, sound.clone()).expect("a hole shows when the segment is whole");
    let misfit = strict.push(Rendition::Video, frames(0, 101, 50, 0)).expect_err("sound is missing");
    assert!(matches!(misfit, Misfit::AudioHole { number: 0, .. }), "{misfit}");
    let mut again = cutter(Plan { misfits: 1, ..encoded(0) });
    again.push(SOUND, sound).expect("sound fits");
    let cuts = again.push(Rendition::Video, frames(0, 101, 50, 0)).expect("silence is played there");
    assert_eq!([flows(&cuts[0], 0), flows(&cuts[1], 0)], [(94, true), (94, true)]);
    assert!(!cuts[0].gap);
}

#[test]
fn holes_in_copied_sound_are_the_inputs_own_and_filled_but_none_is_believed_at_a_splice() {
    let mut sound = packets(0, 400);
    sound.drain(50..160);
    let mut cutter_of_all = cutter(copied(Kind::Event));
    cutter_of_all.push(SOUND, sound).expect("sound fits");
    let cuts = cutter_of_all.push(Rendition::Video, frames(0, 151, 50, 0)).expect("the picture fits");
    let lengths: Vec<_> = cuts.iter().map(|cut| flows(cut, 0)).collect();
    assert_eq!(lengths, [(94, true), (94, true), (94, true)]);
    let joint = [cuts[0].audio[0].last(), cuts[1].audio[0].first()].map(|sample| sample.map(|it| it.pts));
    assert_eq!(joint, [Some(93 * 1024), Some(94 * 1024)]);

    let plan = |misfits| Plan { audio: vec![COARSE], misfits, ..timeline(1) };
    let later = |misfits| {
        let mut cutter = cutter(plan(misfits));
        cutter.push(SOUND, packets(110, 400)).expect("sound fits");
        cutter.push(Rendition::Video, frames(50, 101, 25, 0))
    };
    let misfit = later(0).expect_err("the run may have begun too late");
    assert!(matches!(misfit, Misfit::AudioHole { number: 1, .. }), "{misfit}");
    assert_eq!(flows(&later(1).expect("it did not")[0], 0), (94, true));
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

/// A copied film of two sounds whose cut points are known: a key frame a second, a cut every two.
fn timeline(first: u64) -> Plan {
    let from = Time::from_secs(2 * first as i64);
    Plan {
        kind: Kind::Timeline,
        first,
        from,
        origin: Some(Time::ZERO),
        audio: vec![COARSE, COARSE],
        cuts: (1..=5).map(|n| from + Time::from_secs(2 * n)).collect(),
        ..copied(Kind::Timeline)
    }
}

fn bounds(cuts: &[Cut]) -> Vec<(u64, f64, f64, bool)> {
    cuts.iter().map(|cut| (cut.number, cut.start.seconds(), cut.end.seconds(), cut.last)).collect()
}

#[test]
fn a_segment_waits_for_the_slowest_sound_which_is_read_first() {
    let mut cutter = cutter(Plan { audio: vec![Flow::Encoded { rate: None }; 2], ..encoded(0) });
    assert_eq!(cutter.behind(), None);
    assert!(cutter.push(Rendition::Video, frames(0, 101, 50, 0)).expect("the picture fits").is_empty());
    assert!(cutter.push(SOUND, packets(-1, 200)).expect("sound fits").is_empty());
    assert_eq!((cutter.behind(), cutter.reached()), (Some(SECOND_SOUND), Time::ZERO));
    let cuts = cutter.push(SECOND_SOUND, packets(-1, 100)).expect("sound fits");
    assert_eq!(cuts.len(), 1);
    assert_eq!((cuts[0].audio[0].len(), cuts[0].audio[1].len()), (94, 94));
    // A sound that has ended is not waited for.
    let cuts = cutter.finish(SECOND_SOUND).expect("nothing is wrong");
    assert_eq!((cuts.len(), flows(&cuts[0], 1), cuts[0].unsure), (1, (94, true), true));
    assert_eq!(cutter.behind(), Some(Rendition::Video));
}

#[test]
fn sound_that_falls_silent_is_not_waited_for_and_comes_back_later() {
    let long = |first: u64| {
        let from = Time::from_secs(2 * first as i64);
        Plan { cuts: (1..=40).map(|n| from + Time::from_secs(2 * n)).collect(), ..timeline(first) }
    };
    let mut cutter_of_all = cutter(long(0));
    cutter_of_all.push(SOUND, packets(0, 4000)).expect_err("the picture is waited for");
    let mut cutter_of_all = cutter(long(0));
    let mut cuts = Vec::new();
    cutter_of_all.push(SECOND_SOUND, packets(0, 200)).expect("sound fits");
    for second in 0..50 {
        let sound = packets(second * 47, second * 47 + 47);
        cuts.extend(cutter_of_all.push(SOUND, sound).expect("sound fits"));
        let picture = frames(second * 25, second * 25 + 25, 25, 0);
        cuts.extend(cutter_of_all.push(Rendition::Video, picture).expect("the picture fits"));
    }
    // 30 s before the picture lies what is not waited for any more.
    assert_eq!(cuts.last().map(|cut| cut.end.seconds()), Some(18.0));
    assert!(
        cuts.iter().all(|cut| flows(cut, 1).1 && flows(cut, 1).0 >= 93 && !cut.gap),
        "{:?}",
        counts(&cuts)
    );
    let silences = cutter_of_all.take_silences();
    let (from, to) = (Time::from_secs(6), Time::from_millis(38_960));
    let known = silences.last().copied().expect("there is one");
    assert_eq!((silences[0].from, known.track, known.to), (from, 1, to));
    // What comes too late is dropped, what comes in time is played.
    let cuts = cutter_of_all.push(SECOND_SOUND, packets(300, 1000)).expect("sound fits");
    assert_eq!(cuts.first().map(|cut| (cut.start.seconds(), flows(cut, 1))), Some((18.0, (94, true))));
    let data = &cuts[0].audio[1][0].data;
    assert_eq!(data.len(), 1, "{data:?}");

    // A later run does not wait at all.
    let mut later = cutter(Plan { silences: vec![Silence { track: 1, from, to }], ..long(4) });
    later.push(SOUND, packets(370, 600)).expect("sound fits");
    let cuts = later.push(Rendition::Video, frames(200, 251, 25, 0)).expect("the picture fits");
    assert_eq!((cuts.len(), flows(&cuts[0], 1)), (1, (94, true)));
}

#[test]
fn segments_whose_sound_ended_with_the_input_are_not_sure() {
    let mut cutter = cutter(Plan { audio: vec![COARSE], ..timeline(0) });
    cutter.push(SOUND, packets(0, 120)).expect("sound fits");
    let cuts = cutter.push(Rendition::Video, frames(0, 130, 25, 0)).expect("the picture fits");
    assert_eq!(cuts.iter().map(|cut| cut.unsure).collect::<Vec<_>>(), [false]);
    let mut cuts = cutter.finish(SOUND).expect("nothing is wrong");
    cuts.extend(cutter.finish(Rendition::Video).expect("nothing is wrong"));
    let ends: Vec<_> = cuts.iter().map(|cut| (cut.number, cut.unsure, cut.last, flows(cut, 0))).collect();
    assert_eq!(ends, [(1, true, false, (94, true)), (2, true, true, (56, true))]);
}

#[test]
fn a_copied_timeline_is_cut_where_it_was_planned_and_at_no_other_key_frame() {
    let mut cutter = cutter(timeline(0));
    for sound in [SOUND, SECOND_SOUND] {
        cutter.push(sound, packets(0, 400)).expect("sound fits");
    }
    let cuts = cutter.push(Rendition::Video, frames(0, 151, 25, 2 * FRAME)).expect("the picture fits");
    assert_eq!(counts(&cuts), [(0, 50, 94), (1, 50, 94), (2, 50, 94)]);
    assert_eq!(bounds(&cuts)[2], (2, 4.0, 6.0, false));
    assert_eq!(cutter.axis(), Some(Axis { origin: Time::ZERO, delay: Time::from_millis(80) }));
}

#[test]
fn a_segment_counts_by_the_plan_and_not_by_what_a_coarse_clock_makes_of_it() {
    let mut cutter =
        cutter(Plan { cuts: vec![Time::from_millis(1_999), Time::from_millis(4_001)], ..timeline(0) });
    for sound in [SOUND, SECOND_SOUND] {
        cutter.push(sound, packets(0, 400)).expect("sound fits");
    }
    let cuts = cutter.push(Rendition::Video, frames(0, 101, 25, 0)).expect("the picture fits");
    assert_eq!(bounds(&cuts), [(0, 0.0, 1.999, false), (1, 1.999, 4.001, false)]);
}

#[test]
fn a_cut_whose_key_frame_never_comes_is_found_at_the_next_one_or_at_the_end() {
    let mut picture = frames(0, 120, 25, 0);
    picture[50].sync = false;
    let expected = Misfit::NoKeyFrame { number: 0, expected: Time::from_secs(2) };
    let mut early = cutter(timeline(0));
    assert_eq!(early.push(Rendition::Video, picture.clone()).expect_err("no key frame at 2 s"), expected);
    let mut late = cutter(timeline(0));
    late.push(Rendition::Video, picture[..75].to_vec()).expect("a key frame may still come");
    assert_eq!(late.finish(Rendition::Video).expect_err("none came"), expected);
}

#[test]
fn a_later_run_of_a_timeline_drops_what_comes_before_its_boundary_and_fixes_the_delay() {
    let mut cutter = cutter(timeline(2));
    for sound in [SOUND, SECOND_SOUND] {
        cutter.push(sound, packets(140, 400)).expect("sound fits");
    }
    let cuts = cutter.push(Rendition::Video, frames(75, 151, 25, 2 * FRAME)).expect("the picture fits");
    assert_eq!(counts(&cuts), [(2, 50, 94)]);
    assert_eq!(cuts[0].audio[1].first().map(|sample| sample.pts), Some(188 * 1024));
    assert_eq!(cutter.axis(), Some(Axis { origin: Time::ZERO, delay: Time::from_millis(80) }));
    assert_eq!(cutter.reached(), Time::from_secs(6));
}

/// Frames of groups whose key frame is followed by two that are shown before it.
fn open_groups(from: i64, to: i64) -> Vec<Sample> {
    let mut all = frames(from, to, 25, 4 * FRAME);
    for key in (0..all.len()).rev().filter(|n| all[*n].sync).collect::<Vec<_>>() {
        let shown = all[key].pts;
        for (n, pts) in [(key, shown), (key + 1, shown - 2 * FRAME), (key + 2, shown - FRAME)] {
            if let Some(sample) = all.get_mut(n) {
                sample.pts = pts;
            }
        }
        // What was shown there moves on to where the leading pictures were sent.
        for (n, pts) in [(key.wrapping_sub(2), shown - 4 * FRAME), (key.wrapping_sub(1), shown - 3 * FRAME)] {
            if let Some(sample) = all.get_mut(n) {
                sample.pts = pts;
            }
        }
    }
    all
}

#[test]
fn leading_pictures_stay_with_their_key_frame_but_for_the_first_of_the_film() {
    let leading = |cut: &Cut, start: i64| {
        cut.video.iter().flatten().filter(|sample| sample.pts < start * 90_000).count()
    };
    let run = |first: u64, from: i64| {
        let mut cutter = cutter(Plan { audio: Vec::new(), ..timeline(first) });
        cutter.push(Rendition::Video, open_groups(from, from + 120)).expect("the picture fits")
    };
    let whole = run(0, 0);
    assert_eq!((whole.len(), leading(&whole[0], 0), leading(&whole[1], 2)), (2, 0, 2));
    let later = run(1, 50);
    assert_eq!((later[0].number, leading(&later[0], 2)), (1, 2));
    assert_eq!(later[0].video, whole[1].video);
}

#[test]
fn a_run_that_is_to_end_before_the_film_makes_nothing_beyond() {
    let mut cutter = cutter(Plan { until: Some(2), ..timeline(0) });
    for sound in [SOUND, SECOND_SOUND] {
        cutter.push(sound, packets(0, 200)).expect("sound fits");
    }
    let mut cuts = cutter.push(Rendition::Video, frames(0, 104, 25, 0)).expect("the picture fits");
    cuts.extend(cutter.finish(Rendition::Video).expect("nothing is wrong"));
    assert_eq!(bounds(&cuts), [(0, 0.0, 2.0, false), (1, 2.0, 4.0, false)]);
}

#[test]
fn a_run_that_ends_on_its_boundary_does_not_end_the_film() {
    let mut cutter = cutter(Plan { until: Some(2), kind: Kind::Timeline, ..encoded(0) });
    cutter.push(SOUND, packets(-1, 200)).expect("sound fits");
    let mut cuts = cutter.push(Rendition::Video, frames(0, 100, 50, 0)).expect("the picture fits");
    cuts.extend(cutter.finish(Rendition::Video).expect("nothing is wrong"));
    assert_eq!(bounds(&cuts), [(0, 0.0, 2.0, false), (1, 2.0, 4.0, false)]);
}

#[test]
fn a_film_ends_where_it_ends_and_its_sound_with_it() {
    // Longer than was planned, and shorter.
    for (frames_made, end) in [(290, 11.6), (230, 9.2)] {
        let mut cutter = cutter(timeline(0));
        for sound in [SOUND, SECOND_SOUND] {
            cutter.push(sound, packets(0, 620)).expect("sound fits");
        }
        let mut cuts =
            cutter.push(Rendition::Video, frames(0, frames_made, 25, 0)).expect("the picture fits");
        cuts.extend(cutter.finish(Rendition::Video).expect("nothing is wrong"));
        let last = cuts.last().expect("there are five or six");
        assert_eq!((last.end.seconds(), last.last), (end, true));
        let sound = last.audio[0].last().map(|sample| Time::new(sample.pts, 48_000));
        assert!(sound.is_some_and(|at| at < last.end), "{sound:?}");
        // What the sound still sends is dropped at once.
        cutter.push(SOUND, packets(620, 2000)).expect("nobody waits for it");
        assert!(cutter.waiting_bytes < 1000);
    }
}

#[test]
fn copied_sound_may_begin_late_and_end_early() {
    let late = Flow::Copied { start: Some(Time::new(100 * 1024, 48_000)), coarse: false };
    let mut cutter = cutter(Plan { audio: vec![COARSE, late], ..timeline(1) });
    cutter.push(SOUND, packets(90, 500)).expect("sound fits");
    cutter.push(SECOND_SOUND, packets(100, 150)).expect("sound fits");
    let mut cuts = cutter.push(Rendition::Video, frames(50, 251, 25, 0)).expect("the picture fits");
    cuts.extend(cutter.finish(SECOND_SOUND).expect("nothing is wrong"));
    let second: Vec<_> = cuts.iter().map(|cut| cut.audio[1].len()).collect();
    // Where it has nothing, there is silence; only the film's last packets may be missing.
    assert_eq!(second, [94, 94, 93, 94]);
}

#[test]
fn sound_alone_is_cut_at_the_planned_packets() {
    let cut = |n: i64| Time::new(n * 94 * 1024, 48_000);
    let plan = |first: u64| Plan {
        video: None,
        from: cut(first as i64),
        cuts: (first as i64 + 1..=first as i64 + 5).map(cut).collect(),
        ..timeline(first)
    };
    let mut cutter = cutter(plan(1));
    cutter.push(SOUND, packets(90, 300)).expect("sound fits");
    let mut cuts = cutter.push(SECOND_SOUND, packets(90, 300)).expect("sound fits");
    assert_eq!(cuts.iter().map(|cut| cut.audio[1].len()).collect::<Vec<_>>(), [94, 94]);
    assert_eq!(cuts[0].audio[0].first().map(|sample| sample.pts), Some(94 * 1024));
    cuts.extend(cutter.finish(SOUND).expect("nothing is wrong"));
    cuts.extend(cutter.finish(SECOND_SOUND).expect("nothing is wrong"));
    let last = cuts.last().expect("there are three");
    assert_eq!(
        (last.number, last.start, last.end, last.last),
        (3, cut(3), Time::new(300 * 1024, 48_000), true)
    );
}
