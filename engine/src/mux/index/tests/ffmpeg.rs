//! Films of all kinds from the real ffmpeg. Where it is not installed the tests say so and pass.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::*;

const PICTURE: &str = "-f lavfi -i testsrc2=s=96x54:r=25:d=12";
const SOUND: &str = "-f lavfi -i sine=440:r=48000:d=12 -c:a aac";
const X264: &str = "-pix_fmt yuv420p -c:v libx264 -preset veryfast -crf 32";

struct Shop(TempDir);

impl Shop {
    fn open() -> Option<Self> {
        if run(Path::new("."), "ffmpeg", "-version").is_none() {
            eprintln!("skipped: no ffmpeg here");
            return None;
        }
        Some(Self(tempfile::tempdir().unwrap()))
    }

    fn make(&self, name: &str, arguments: &str) {
        let arguments = format!("-nostdin -hide_banner -v error -y {arguments} {name}");
        run(self.0.path(), "ffmpeg", &arguments).expect("ffmpeg is there");
    }

    fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.path().join(name)).unwrap()
    }

    /// Reads the index of a file, with the stream that ffprobe finds in it.
    fn read(&self, name: &str) -> Reading {
        let file = self.file(name);
        let entries = "-v error -select_streams v:0 -show_entries stream=index,id -of csv=p=0";
        let text = run(self.0.path(), "ffprobe", &format!("{entries} {name}")).unwrap();
        let text = String::from_utf8(text).unwrap();
        let (index, id) = text.trim().split_once(',').unwrap();
        let id = id.strip_prefix("0x").and_then(|id| u32::from_str_radix(id, 16).ok());
        let layout = if name.ends_with("mp4") { Layout::Mp4 } else { Layout::Matroska };
        read(layout, Stream { index: index.parse().unwrap(), id }, &file, 65_536)
    }

    /// The key frames that are shown, as a scan of all packets sees them, in microseconds.
    fn scan(&self, name: &str, options: &str) -> Vec<i64> {
        let entries = "-v error -select_streams v:0 -show_entries packet=pts_time,flags -of csv=p=0";
        let text = run(self.0.path(), "ffprobe", &format!("{entries} {options} {name}")).unwrap();
        let lines = String::from_utf8(text).unwrap();
        let keys =
            lines.lines().filter_map(|line| line.split_once(",K")).filter(|(_, rest)| !rest.starts_with('D'));
        keys.map(|(time, _)| microseconds(Time::parse_decimal(time).unwrap())).collect()
    }

    /// The index of a film is what the scan sees, and cheap.
    fn check(&self, name: &str, by: By, count: usize, requests: usize) -> KeyFrames {
        let reading = self.read(name);
        let keys = reading.found.unwrap_or_else(|why| panic!("{name}: {why}"));
        let found: Vec<_> = keys.times.iter().map(|time| microseconds(*time)).collect();
        let option = if by == By::Mfra { "-use_mfra_for pts" } else { "" };
        assert_eq!(found, self.scan(name, option), "{name}");
        assert_eq!((keys.by, found.len()), (by, count), "{name}");
        assert!(reading.requests <= requests, "{name}: {} requests", reading.requests);
        assert!(reading.bytes <= 300_000, "{name}: {} bytes", reading.bytes);
        keys
    }
}

/// As ffprobe rounds.
fn microseconds(time: Time) -> i64 {
    time.ticks_in(1_000_000)
}

#[expect(clippy::disallowed_methods, reason = "a test may wait for a tool; nothing of ours supervises it")]
fn run(directory: &Path, program: &str, arguments: &str) -> Option<Vec<u8>> {
    let output = Command::new(program).current_dir(directory).args(arguments.split_whitespace()).output();
    match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        output => {
            let output = output.expect("it runs");
            let complaints = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program} {arguments}: {complaints}");
            Some(output.stdout)
        }
    }
}

#[test]
fn plain_files_wherever_their_tables_lie() {
    let Some(shop) = Shop::open() else { return };
    shop.make("behind.mp4", &format!("{PICTURE} {SOUND} {X264} -bf 2 -g 50"));
    let behind = shop.check("behind.mp4", By::Moov, 6, 2);
    assert_eq!((behind.end, behind.delay), (Some(Time::from_secs(12)), Some(Time::from_millis(80))));
    shop.make("front.mp4", "-i behind.mp4 -c copy -movflags +faststart");
    assert_eq!(shop.check("front.mp4", By::Moov, 6, 1), behind);
    shop.make("film.mkv", "-i behind.mp4 -c copy");
    shop.check("film.mkv", By::Cues, 6, 1);
    shop.make("first.mkv", "-i behind.mp4 -c copy -cues_to_front 1");
    shop.check("first.mkv", By::Cues, 6, 0);
    shop.make("reserved.mkv", "-i behind.mp4 -c copy -reserve_index_space 40000");
    shop.check("reserved.mkv", By::Cues, 6, 1);
    shop.make("live.mkv", "-i behind.mp4 -c copy -live 1");
    assert_eq!(shop.read("live.mkv").found, Err(NoIndex::Absent));
}

#[test]
fn pictures_at_any_distance() {
    let Some(shop) = Shop::open() else { return };
    let ntsc = "-f lavfi -i testsrc2=s=96x54:r=30000/1001:d=12";
    let irregular = "-bf 3 -g 9999 -sc_threshold 0 -force_key_frames 0,0.4,3.96,4,9.2,11.96";
    let vfr = "-vf select='not(mod(n\\,3))+lt(mod(n\\,50)\\,20)' -fps_mode vfr -bf 2 -g 30";
    let kinds = [
        ("ntsc", format!("{ntsc} {X264} -bf 2 -g 48"), 8),
        ("irregular", format!("{PICTURE} {SOUND} {X264} {irregular}"), 6),
        ("one", format!("{PICTURE} {X264} -bf 2 -g 9999"), 1),
        ("all", format!("{PICTURE} {X264} -g 1"), 300),
        ("vfr", format!("{PICTURE} {SOUND} {X264} {vfr}"), 6),
        ("open", format!("{PICTURE} {X264} -g 25 -bf 3 -x264-params open-gop=1:scenecut=0"), 12),
        ("turned", format!("{PICTURE} {X264} -g 50 -metadata:s:v:0 rotate=90"), 6),
    ];
    for (name, arguments, count) in kinds {
        shop.make(&format!("{name}.mp4"), &arguments);
        shop.check(&format!("{name}.mp4"), By::Moov, count, 2);
        shop.make(&format!("{name}.mkv"), &format!("-i {name}.mp4 -c copy"));
        shop.check(&format!("{name}.mkv"), By::Cues, count, 1);
    }
    assert_eq!(shop.read("ntsc.mp4").found.unwrap().times[1], Time::new(48 * 1_001, 30_000));
}

#[test]
fn the_video_among_many_tracks() {
    let Some(shop) = Shop::open() else { return };
    let other = "-f lavfi -i testsrc2=s=64x36:r=25:d=12";
    let sound = "-f lavfi -i sine=440:r=48000:d=12";
    let maps = "-map 1:a -map 0:v -map 1:a -map 2:v -c:a aac";
    for (name, by) in [("many.mp4", By::Moov), ("many.mkv", By::Cues)] {
        let keys = "-g:v:0 75 -g:v:1 20 -bf:v:0 2";
        shop.make(name, &format!("{PICTURE} {sound} {other} {maps} {X264} {keys}"));
        shop.check(name, by, 4, 2);
    }
}

#[test]
fn edit_lists_that_shift_are_applied_and_others_refused() {
    let Some(shop) = Shop::open() else { return };
    shop.make("film.mp4", &format!("{PICTURE} {SOUND} {X264} -bf 2 -g 50"));
    shop.make("later.mp4", "-itsoffset 0.7 -i film.mp4 -i film.mp4 -map 0:v -map 1:a -c copy");
    let later = shop.check("later.mp4", By::Moov, 6, 2);
    assert_eq!((later.times[0], later.end), (Time::from_millis(700), Some(Time::from_millis(12_700))));
    shop.make("without.mp4", "-i film.mp4 -c copy -use_editlist 0");
    assert_eq!(shop.check("without.mp4", By::Moov, 6, 2).times[0], Time::from_millis(80));
    shop.make("signed.mp4", "-i film.mp4 -c copy -movflags negative_cts_offsets");
    assert_eq!(shop.check("signed.mp4", By::Moov, 6, 2).delay, Some(Time::from_millis(40)));
    shop.make("cut.mp4", "-ss 4 -i film.mp4 -c copy");
    shop.check("cut.mp4", By::Moov, 4, 2);
    shop.make("between.mp4", "-ss 3.3 -i film.mp4 -c copy");
    assert_eq!(shop.read("between.mp4").found, Err(NoIndex::Hidden));

    // By hand: a media time that is earlier than the first picture, and an end before the film's.
    let elst = find(&shop.file("film.mp4"), b"elst");
    let patched = |name: &str, patches: &[(usize, u32)]| {
        let mut file = shop.file("film.mp4");
        for (at, word) in patches {
            file[elst + at..elst + at + 4].copy_from_slice(&word.to_be_bytes());
        }
        std::fs::write(shop.0.path().join(name), file).unwrap();
    };
    patched("early.mp4", &[(16, 0)]);
    assert_eq!(shop.check("early.mp4", By::Moov, 6, 2).times[0], Time::ZERO);
    patched("short.mp4", &[(12, 5_500)]);
    assert_eq!(shop.check("short.mp4", By::Moov, 3, 2).end, Some(Time::from_millis(5_500)));
    patched("nothing.mp4", &[(12, 0)]);
    assert_eq!(shop.read("nothing.mp4").found, Err(NoIndex::Edits));
    patched("slow.mp4", &[(20, 0x8000)]);
    assert_eq!(shop.read("slow.mp4").found, Err(NoIndex::Edits));
}

#[test]
fn fragments_count_as_indexed_where_ffmpeg_can_jump() {
    let Some(shop) = Shop::open() else { return };
    shop.make("film.mp4", &format!("{PICTURE} {SOUND} {X264} -bf 2 -g 50"));
    let fragmented =
        |name: &str, flags: &str| shop.make(name, &format!("-i film.mp4 -c copy -movflags {flags}"));
    fragmented("sidx.mp4", "+frag_keyframe+dash+global_sidx");
    // The index begins at zero, the film two pictures later.
    let sidx = shop.check("sidx.mp4", By::Sidx, 6, 6);
    assert_eq!((sidx.times[0], sidx.end), (Time::from_millis(80), Some(Time::from_millis(12_080))));
    fragmented("edited.mp4", "+frag_keyframe+dash+global_sidx+delay_moov+skip_trailer");
    assert_eq!(shop.check("edited.mp4", By::Sidx, 6, 5).delay, Some(Time::from_millis(80)));
    fragmented("mfra.mp4", "+frag_keyframe+delay_moov");
    shop.check("mfra.mp4", By::Mfra, 6, 6);
    fragmented("empty.mp4", "+frag_keyframe+empty_moov");
    shop.check("empty.mp4", By::Mfra, 6, 6);
    // By an index before each fragment, ffmpeg does not jump; by what is at the end it does.
    fragmented("each.mp4", "+frag_keyframe+dash");
    shop.check("each.mp4", By::Mfra, 6, 6);

    let refused = [
        // The second fragment would be lost.
        ("+frag_keyframe", NoIndex::Fragments),
        ("+frag_keyframe+delay_moov+skip_trailer", NoIndex::Fragments),
        ("+frag_keyframe+dash+skip_trailer", NoIndex::Fragments),
        ("+frag_keyframe+empty_moov+negative_cts_offsets", NoIndex::Signed),
        ("+empty_moov -frag_duration 700000", NoIndex::Inexact),
    ];
    for (flags, why) in refused {
        fragmented("refused.mp4", flags);
        assert_eq!(shop.read("refused.mp4").found, Err(why), "{flags}");
    }
}
