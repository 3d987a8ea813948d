//! The parser and the store against the real ffmpeg: text subtitles of every kind, from the beginning and
//! after a jump, with the options that put a run in its place.
//!
//! The media are made on the spot. Where ffmpeg is not installed the tests say so and pass.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use super::*;
use crate::ffmpeg::LEAD;

const SUBRIP: &str = "1\n00:00:01,000 --> 00:00:03,500\n<i>one</i> & two\n\n2\n00:00:05,000 --> 00:00:06,000\n\
    second\nline two &amp; {curly}\n\n3\n00:00:08,000 --> 00:00:14,000\n<font color=\"red\">long</font> 3 < 4\n";
const ASS: &str = "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize, PrimaryColour, \
    SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, \
    BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding\n\
    Style: Default,Arial,20,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0\n\
    Style: Heavy,Arial,20,&Hffffff,&Hffffff,&H0,&H0,-1,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0\n\n[Events]\n\
    Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n\
    Dialogue: 0,0:00:01.00,0:00:03.50,Default,,0,0,0,,{\\i1}one{\\i0} & two\n\
    Dialogue: 0,0:00:02.00,0:00:04.00,Heavy,,0,0,0,,{\\p1}m 0 0 l 100 0 100 100 0 100{\\p0}\n\
    Dialogue: 0,0:00:05.00,0:00:06.00,Default,,0,0,0,,{\\an8\\pos(10,10)}second\\Nline\\htwo\n\
    Dialogue: 0,0:00:05.50,0:00:06.50,Default,,0,0,0,,{\\p1}m 0 0 l 9 0 9 9{\\p0}behind a drawing\n\
    Dialogue: 0,0:00:08.00,0:00:14.00,Default,,0,0,0,,long\\N\\Na --> b\n\
    Dialogue: 0,0:00:09.00,0:00:10.00,Default,,0,0,0,,{\\p1}m -5.5 0 b 1 2 3 4 5 6 s 1 2 3 4 c\n";
const WEBVTT: &str = "WEBVTT\n\n1\n00:01.000 --> 00:03.500 line:10%\n<v Bob><i>one</i></v> &amp; two\n\n\
    00:05.000 --> 00:06.000\nsecond &nbsp;\n<c.red>line two</c> {curly}\n\n00:08.000 --> 00:14.000\nlong 3 &lt; 4\n";

/// When the pictures of the made films begin: what a run takes off with `-itsoffset`.
const ORIGIN: &str = "-0.480367";

/// A cue as it is to be: start and end in milliseconds of the film, and its text.
type Shown = (i64, i64, &'static str);

/// What the tracks show; the sources are 0.480367 s later, which is rounded alike in every run.
const PLAIN: [Shown; 3] = [
    (520, 3_020, "<i>one</i> &amp; two"),
    (4_520, 5_520, "second\nline two &amp; {curly}"),
    (7_520, 13_520, "long 3 &lt; 4"),
];
const STYLED: [Shown; 4] = [
    (520, 3_020, "<i>one</i> &amp; two"),
    (4_520, 5_520, "second\nline\u{a0}two"),
    (5_020, 6_020, "behind a drawing"),
    (7_520, 13_520, "long\na --&gt; b"),
];
const SPOKEN: [Shown; 3] = [
    (520, 3_020, "<i>one</i> &amp; two"),
    (4_520, 5_520, "second \u{a0}\nline two {curly}"),
    (7_520, 13_520, "long 3 &lt; 4"),
];

struct Media {
    directory: tempfile::TempDir,
}

impl Media {
    /// A Matroska file with SubRip, ASS and WebVTT, and an MP4 file with mov_text, each beside 20 s of video
    /// with a key frame a second.
    fn make() -> Option<Self> {
        let found = std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("ffmpeg").is_file()));
        if !found {
            eprintln!("skipped: ffmpeg is not installed");
            return None;
        }
        let media = Self { directory: tempfile::tempdir().unwrap() };
        for (name, text) in [("a.srt", SUBRIP), ("a.ass", ASS), ("a.vtt", WEBVTT)] {
            std::fs::write(media.path(name), text).unwrap();
        }
        media.ffmpeg("-f lavfi -i testsrc2=d=20:s=128x72:r=25 -c:v libx264 -bf 0 -g 25", "v.mp4");
        media.ffmpeg("-i v.mp4 -i a.srt -i a.ass -i a.vtt -map 0 -map 1 -map 2 -map 3 -c copy", "a.mkv");
        media.ffmpeg("-i v.mp4 -i a.srt -map 0 -map 1 -c:v copy -c:s mov_text", "a.mp4");
        Some(media)
    }

    fn ffmpeg(&self, options: &str, name: &str) {
        let output = options.split(' ').chain([name]);
        run(self.directory.path(), ["-y"].into_iter().chain(output));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What a run brings of a track: its cues, read from a pipe.
    fn track(&self, before: &str, name: &str, stream: u32, after: &str) -> Vec<Cue> {
        let options = format!(
            "{before} -itsoffset {ORIGIN} -copyts -i {name} -map 0:{stream} -c:s webvtt {after} \
             -output_ts_offset {LEAD} -avoid_negative_ts disabled -f webvtt -flush_packets 1 pipe:1"
        );
        let bytes = run(self.directory.path(), options.split_ascii_whitespace());
        let mut parser = Parser::new(LEAD);
        let mut cues = parser.feed(&bytes);
        cues.extend(parser.finish());
        cues
    }
}

/// Runs ffmpeg in a folder and gives what it wrote on its standard output.
#[expect(clippy::disallowed_methods, reason = "a test's child, waited for right here")]
fn run<'a>(folder: &Path, args: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut process = Process::new("ffmpeg");
    process.args(["-nostdin", "-v", "error"]).args(args).current_dir(folder);
    process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = process.spawn().expect("it is installed");
    let mut bytes = Vec::new();
    child.stdout.take().expect("it is piped").read_to_end(&mut bytes).unwrap();
    assert!(child.wait().unwrap().success(), "{process:?}");
    bytes
}

fn check(found: &[Cue], expected: &[Shown], what: &str) {
    let found: Vec<_> = found
        .iter()
        .map(|cue| (cue.start.ticks_in(1_000), cue.end.ticks_in(1_000), cue.text.as_str()))
        .collect();
    assert_eq!(found, expected, "{what}");
}

/// Every track: its file, its stream and what it shows.
const TRACKS: [(&str, u32, &[Shown]); 4] =
    [("a.mkv", 1, &PLAIN), ("a.mkv", 2, &STYLED), ("a.mkv", 3, &SPOKEN), ("a.mp4", 1, &PLAIN)];

#[test]
fn text_subtitles_of_every_kind_come_in_film_time() {
    let Some(media) = Media::make() else { return };
    for (name, stream, expected) in TRACKS {
        check(&media.track("", name, stream, ""), expected, &format!("{name} {stream}"));
    }
}

#[test]
fn a_jump_moves_no_cue_and_an_end_shortens_none() {
    let Some(media) = Media::make() else { return };
    for (name, stream, expected) in TRACKS {
        for seeking in ["-ss 4.5", "-noaccurate_seek -ss 4.5"] {
            let what = format!("{seeking} {name} {stream}");
            check(&media.track(seeking, name, stream, ""), &expected[1..], &what);
            // The last one begins before the end of the run and goes on beyond it.
            check(&media.track(seeking, name, stream, "-to 9"), &expected[1..], &format!("{what} -to 9"));
        }
        let last = expected.len() - 1;
        let until = media.track("", name, stream, "-to 7");
        check(&until, &expected[..last], &format!("{name} {stream} -to 7"));
        // Entered while the last cue is shown.
        let within = media.track("-ss 12", name, stream, "");
        let survivors = if name == "a.mp4" { &expected[last..] } else { &[] };
        check(&within, survivors, &format!("-ss 12 {name} {stream}"));
    }
}

#[test]
fn runs_that_overlap_fill_the_store_as_one_would() {
    let Some(media) = Media::make() else { return };
    for (name, stream, _) in TRACKS {
        let fill = |runs: &[(&str, &str)]| {
            let store = Cues::new(1);
            for (before, after) in runs {
                for cue in media.track(before, name, stream, after) {
                    assert_eq!(store.insert(0, cue), None);
                }
            }
            store.whole(0, Time::ZERO)
        };
        let jumping = fill(&[("-ss 7", ""), ("-ss 4.5", "-to 9"), ("", "-to 6"), ("-ss 12", "")]);
        assert_eq!(jumping, fill(&[("", "")]), "{name} {stream}");
    }
}
