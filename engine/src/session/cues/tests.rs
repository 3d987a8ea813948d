//! The parser in every chunking, and the store under runs that overlap.

use proptest::prelude::*;

use super::*;
use crate::ffmpeg::LEAD;

/// What ffmpeg wrote of an ASS track with drawings, blank lines and what looks like times.
const ASS: &str = "WEBVTT\n\n00:11.023 --> 00:13.523\n<i>one</i> & two 3 < 4 <x>\n\n\
    00:12.023 --> 00:14.023\nm 0 0 l 100 0 100 100 0 100\n\n00:15.023 --> 00:16.023\nsecond\nline two\\hx\n\n\
    00:18.023 --> 00:24.023\nlong\n\nblank --> between\n";

fn cues(bytes: &[u8], lead: Time) -> Vec<Cue> {
    let mut parser = Parser::new(lead);
    let mut cues = parser.feed(bytes);
    cues.extend(parser.finish());
    cues
}

/// What a store holds after a stream came in pieces.
fn whole(pieces: &[&[u8]]) -> String {
    let (store, mut parser) = (Cues::new(1), Parser::new(LEAD));
    let mut told: Vec<Cue> = pieces.iter().flat_map(|piece| parser.feed(piece)).collect();
    told.extend(parser.finish());
    for cue in told {
        assert_eq!(store.insert(0, cue), None);
    }
    store.whole(0, Time::ZERO)
}

fn shown(cues: &[Cue]) -> Vec<String> {
    let show = |cue: &Cue| format!("{:.3} {:.3} {} {}", cue.start, cue.end, cue.settings, cue.text);
    cues.iter().map(show).collect()
}

#[test]
fn cues_come_in_film_time_with_fit_text() {
    let expected = [
        "1.023 3.523  <i>one</i> &amp; two 3 &lt; 4 &lt;x&gt;",
        "5.023 6.023  second\nline two\u{a0}x",
        "8.023 14.023  long\nblank --&gt; between",
    ];
    assert_eq!(shown(&cues(ASS.as_bytes(), LEAD)), expected);
}

#[test]
fn a_cue_is_told_as_soon_as_its_bytes_are_there() {
    let mut parser = Parser::new(Time::ZERO);
    assert!(parser.feed(b"WEBVTT\n").is_empty());
    assert_eq!(shown(&parser.feed(b"\n00:01.000 --> 00:02.000\na\nb\n")), ["1.000 2.000  a\nb"]);
    assert!(parser.feed(b"\n00:02.000 --> 00:0").is_empty());
    assert!(parser.feed(b"3.000\n").is_empty(), "nothing to show yet");
    assert!(parser.feed(b"c").is_empty(), "the line may go on");
    assert_eq!(shown(&parser.finish()), ["2.000 3.000  c"]);
    assert!(parser.finish().is_empty());
}

#[test]
fn times_are_read_in_every_form_that_ffmpeg_writes() {
    let check = |times: &str, expected: &[&str]| {
        let text = format!("WEBVTT\r\n\r\n{times}\r\nx\r\n");
        assert_eq!(shown(&cues(text.as_bytes(), Time::ZERO)), expected, "{times}");
    };
    check("59:59.999 --> 01:00:00.000", &["3599.999 3600.000  x"]);
    check(
        "100:00:00.001 --> 1000:00:00.000 line:10% align:start",
        &["360000.001 3600000.000 line:10% align:start x"],
    );
    check("00:-8.-977 --> 00:-6.-477", &["-8.977 -6.477  x"]);
    check("00:-1.-977 --> 00:04.023", &["-1.977 4.023  x"]);
    for nothing in [
        "00:02.000 --> 00:02.000",
        "00:02.000 --> 00:01.000",
        "00:02 --> 00:03",
        "2.000 --> 00:03.000",
        "1:2:3:4.000 --> 1:2:3:5.000",
        "00:02.00 --> 00:03.000",
        "00:02.000 --> ",
        "99999999999999999999:00:00.000 --> 00:03.000",
        "9000000000000000:00:00.000 --> 00:03.000",
    ] {
        check(nothing, &[]);
    }
}

#[test]
fn a_cue_whose_times_are_unreadable_does_not_spoil_the_one_before() {
    let text =
        "WEBVTT\n\n00:01.000 --> 00:02.000\na\n\n00:03.000 --> 00:02.000\nb\n\n00:04.000 --> 00:05.000\nc\n";
    assert_eq!(shown(&cues(text.as_bytes(), Time::ZERO)), ["1.000 2.000  a", "4.000 5.000  c"]);
}

#[test]
fn what_never_ends_is_cut() {
    let mut text = b"WEBVTT\n\n00:01.000 --> 00:02.000\n".to_vec();
    text.extend([b'x'; 100_000]);
    let line = cues(&text, Time::ZERO).remove(0).text;
    assert_eq!(line.len(), 16 * 1024);

    text.truncate(33);
    text.extend(b"two words & more\n".repeat(10_000));
    let lines = cues(&text, Time::ZERO).remove(0).text;
    assert!(lines.len() <= 16 * 1024 && lines.len() > 16_000, "{}", lines.len());

    let settings = format!("WEBVTT\n\n00:01.000 --> 00:02.000 {}\na\n", "s".repeat(300));
    assert_eq!(shown(&cues(settings.as_bytes(), Time::ZERO)), ["1.000 2.000  a"]);
}

#[test]
fn bytes_that_are_no_text_are_replaced() {
    let text = b"WEBVTT\n\n00:01.000 --> 00:02.000\na\xff\0b\n";
    assert_eq!(shown(&cues(text, Time::ZERO)), ["1.000 2.000  a\u{fffd}b"]);
}

/// Streams of what ffmpeg writes, with what is hard to read mixed in.
fn streams() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "[ -~]{0,12}",
        "[<>&;/\\\\ivh{} m0-9l-]{0,16}",
        "\\PC{0,8}",
        Just(String::new()),
        Just("m 0 0 l 1 1".to_owned()),
        Just("<i>x</i> &amp; y".to_owned()),
    ];
    let block = (8_000_i64..20_000, -100_i64..5_000, prop::collection::vec(line, 1..4)).prop_map(
        |(start, length, lines)| {
            let clock = |millis: i64| format!("00:{:02}.{:03}", millis / 1_000, millis % 1_000);
            format!("\n{} --> {}\n{}\n", clock(start), clock(start + length), lines.join("\n"))
        },
    );
    prop::collection::vec(block, 0..8).prop_map(|blocks| format!("WEBVTT\n{}", blocks.concat()))
}

proptest! {
    #[test]
    fn any_chunking_fills_the_store_alike(stream in streams(), cuts in prop::collection::vec(0.0..1.0, 0..12)) {
        let bytes = stream.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|part: &f64| (part * bytes.len() as f64) as usize).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        let expected = whole(&[bytes]);
        prop_assert_eq!(whole(&pieces), expected.clone());
        prop_assert_eq!(whole(&single), expected);
    }

    #[test]
    fn overlapping_runs_fill_the_store_alike_in_any_order(
        stream in streams(),
        cut in 0.0..1.0_f64,
        order in Just(()).prop_perturb(|(), mut rng| rng.next_u32()),
    ) {
        let all = cues(stream.as_bytes(), LEAD);
        let middle = (cut * all.len() as f64) as usize;
        // The second run enters a little before the first one ended.
        let (first, second) = (&all[..middle], &all[middle.saturating_sub(2)..]);
        let mut mixed: Vec<&Cue> = first.iter().chain(second).collect();
        let turn = order as usize % mixed.len().max(1);
        mixed.rotate_left(turn);
        if order % 2 == 0 {
            mixed.reverse();
        }
        let fill = |cues: &[&Cue]| {
            let store = Cues::new(1);
            for cue in cues {
                assert_eq!(store.insert(0, (*cue).clone()), None);
            }
            store.whole(0, Time::ZERO)
        };
        prop_assert_eq!(fill(&mixed), fill(&all.iter().collect::<Vec<_>>()));
    }

    #[test]
    fn what_is_written_reads_as_the_same_cues(stream in streams()) {
        let store = Cues::new(1);
        for cue in cues(stream.as_bytes(), LEAD) {
            store.insert(0, cue);
        }
        let later = Time::from_secs(3_600);
        let whole = store.whole(0, later);
        let again = Cues::new(1);
        for cue in cues(whole.as_bytes(), later) {
            again.insert(0, cue);
        }
        prop_assert_eq!(again.whole(0, later), whole.clone());

        let (from, to) = (Time::from_secs(1), Time::from_secs(3));
        let segment = store.segment(0, from, to, Time::new(2, 25));
        let read = cues(segment.as_bytes(), Time::ZERO);
        prop_assert!(read.iter().all(|cue| cue.start < to && cue.end > from));
        let blocks = whole.matches(" --> ").count();
        prop_assert_eq!(cues(whole.as_bytes(), later).len(), blocks);
        prop_assert_eq!(read.len(), segment.matches(" --> ").count());
    }

    #[test]
    fn no_bytes_break_the_parser(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let text = whole(&[&bytes]);
        prop_assert!(text.starts_with("WEBVTT\n\n"));
    }
}
