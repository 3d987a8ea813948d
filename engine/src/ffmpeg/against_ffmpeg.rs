//! The argument lists against the real ffmpeg: that it takes every option, and that what comes out lies where
//! it was planned to lie.
//!
//! The media are made on the spot. Where ffmpeg is not installed the tests say so and pass.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output as Finished, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::decide::tests::SETTINGS;
use super::probe;
use super::*;

/// Frames of the made media, a second.
const FPS: i64 = 25;

/// A packet of an output: presentation time in microseconds from the film's zero, size, key frame.
type Packet = (i64, u64, bool);

struct Media {
    directory: tempfile::TempDir,
}

#[expect(clippy::disallowed_methods, reason = "a test's child, waited for right here")]
fn run(program: &str, args: &[&str], stdin: Stdio, stdout: Stdio) -> Finished {
    let mut process = Process::new(program);
    process.args(args).stdin(stdin).stdout(stdout).stderr(Stdio::piped());
    let finished = process.spawn().expect("it is installed").wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&finished.stderr);
    assert!(finished.status.success(), "{program} {}\n{log}", args.join(" "));
    finished
}

impl Media {
    /// An empty folder; what a test names is made when it is first asked for.
    fn start() -> Option<Self> {
        let found = std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("ffmpeg").is_file()));
        if !found {
            eprintln!("skipped: ffmpeg is not installed");
            return None;
        }
        Some(Self { directory: tempfile::tempdir().unwrap() })
    }

    /// Ten seconds with B-frames and a key frame a second, in one of the usual containers.
    fn make(&self, name: &str) {
        if self.path(name).exists() {
            return;
        }
        let options = match name {
            "a.mp4" => {
                let video = "testsrc2=d=10:s=128x72:r=25";
                let audio = "aevalsrc=exprs=0.3*sin(2*PI*220*t)|0.3*sin(2*PI*330*t):s=48000:d=10";
                let x264 = "-c:v libx264 -preset veryfast -bf 3 -g 25 -keyint_min 25 -sc_threshold 0";
                let codecs = format!("{x264} -pix_fmt yuv420p -c:a aac -b:a 96k");
                return self.ffmpeg(&format!("-f lavfi -i {video} -f lavfi -i {audio} {codecs}"), name);
            }
            "a.mkv" => "-map 0 -c copy",
            "a.ts" => "-map 0 -c copy -output_ts_offset 3600",
            "audio.m4a" => "-map 0:a -c copy",
            "audio.mp3" => "-map 0:a -c:a libmp3lame -b:a 64k",
            "video.mp4" => "-map 0:v -c copy",
            "table.mp4" => {
                "-map 0:v -c copy -movflags +frag_keyframe+empty_moov+default_base_moof+delay_moov"
            }
            "fragments.mp4" => {
                "-map 0 -c copy -movflags +frag_keyframe+empty_moov+default_base_moof+delay_moov"
            }
            "ac3.mkv" => "-map 0 -c:v copy -c:a ac3 -ac 6 -b:a 192k",
            "mpeg2.ts" => {
                "-map 0 -vf setfield=tff -c:v mpeg2video -flags +ildct+ilme -g 12 -q:v 5 -c:a mp2 -b:a 128k -output_ts_offset 100"
            }
            "a.avi" => "-map 0 -c:v mpeg4 -q:v 5 -c:a mp3 -b:a 64k",
            "rotated.mp4" => "-map 0 -c copy -t 3 -metadata:s:v:0 rotate=90",
            // Two sounds, one of them encoded by a run, and two texts, one of them in another format.
            "tracks.mkv" | "tracks.mp4" => {
                let cues = [(500, 1500), (3800, 4600), (5000, 5400), (8000, 9000)];
                let time = |millis: i64| format!("00:00:{:02},{:03}", millis / 1000, millis % 1000);
                let cue = |(start, end)| format!("1\n{} --> {}\ncue\n\n", time(start), time(end));
                std::fs::write(self.path("a.srt"), cues.map(cue).concat()).unwrap();
                self.make("a.mp4");
                let (film, text) = (self.path("a.mp4"), self.path("a.srt"));
                let maps = "-map 0:v -map 0:a -map 0:a -map 1 -map 1 -c:v copy -c:a:0 copy -c:a:1 ac3";
                let texts = if name == "tracks.mkv" { "-c:s:0 srt -c:s:1 ass" } else { "-c:s mov_text" };
                let tags = "-metadata:s:a:0 language=eng -metadata:s:a:1 language=fre";
                let inputs = format!("-i {} -i {}", film.display(), text.display());
                return self.ffmpeg(&format!("{inputs} {maps} {texts} {tags}"), name);
            }
            "list.m3u8" => "-map 0 -c copy -f hls -hls_time 2 -hls_list_size 0",
            _ => panic!("{name} was to be made by the test itself"),
        };
        self.make("a.mp4");
        self.ffmpeg(&format!("-i {} {options}", self.path("a.mp4").display()), name);
    }

    fn ffmpeg(&self, options: &str, name: &str) {
        let path = self.path(name);
        let mut args = vec!["-nostdin", "-v", "error"];
        args.extend(options.split(' '));
        args.push(path.to_str().unwrap());
        run("ffmpeg", &args, Stdio::null(), Stdio::null());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn local(&self, name: &str) -> Input {
        let address = self.path(name).to_str().unwrap().to_owned();
        Input { address, ..self.input(name) }
    }

    fn remote(&self, name: &str, server: &Server, ranges: bool) -> Input {
        let address = format!("http://{}/{name}", server.address);
        let headers = vec![("X-One".to_owned(), "1".to_owned()), ("X-Two".to_owned(), "2".to_owned())];
        let user_agent = Some("VLC/3.0.20 LibVLC/3.0.20".to_owned());
        Input { address, transport: Transport::Http { ranges }, headers, user_agent, ..self.input(name) }
    }

    /// The container is what the first bytes say, as in a real start.
    fn input(&self, name: &str) -> Input {
        self.make(name);
        let bytes = std::fs::read(self.path(name)).unwrap();
        let container = sniff(&bytes[..bytes.len().min(65_536)]).container();
        assert!(container.is_some(), "{name}");
        Input {
            address: String::new(),
            transport: Transport::File,
            container,
            user_agent: None,
            headers: Vec::new(),
            tls_verify: true,
            by_mfra: false,
        }
    }

    fn job(&self, input: Input, place: Place) -> Job {
        let args = probe::arguments(&input);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let probe = Probe::parse(&run("ffprobe", &args, Stdio::null(), Stdio::piped()).stdout).unwrap();
        let kind = if place == Place::Live { Kind::Live } else { Kind::Film };
        let decision = decide(Some(&probe), kind, &SETTINGS);
        Job { input, probe: Some(probe), clock_jumps: false, decision, place, subtitles: false }
    }

    /// Runs a job, with the media on descriptors that ffmpeg takes for pipes, and reads what came.
    fn play(&self, job: &Job) -> (Vec<Packet>, Vec<Packet>) {
        let command = command(job);
        let file = |output: Output| self.path(&format!("{output:?}.out"));
        let progress = self.path("progress");
        let named = |output: &Output| (*output, file(*output).to_str().unwrap().to_owned());
        let files: Vec<_> = command.outputs.iter().map(named).collect();
        let place = |output: &Output| match output {
            Output::Progress => progress.to_str().unwrap(),
            // Two descriptors besides the log exist without any help: standard output, and standard input.
            Output::Video => "pipe:1",
            Output::Audio(0) => "pipe:0",
            other => files.iter().find(|(output, _)| output == other).expect("it has a file").1.as_str(),
        };
        let token = |arg: &str| arg.strip_prefix("pipe:@out")?.strip_suffix('@')?.parse::<usize>().ok();
        let args: Vec<&str> = command
            .args
            .iter()
            .map(|arg| token(arg).map_or(arg.as_str(), |i| place(&command.outputs[i])))
            .collect();
        let sink = |output| Stdio::from(File::create(file(output)).unwrap());
        let args: Vec<&str> = ["-y"].into_iter().chain(args).collect();
        run("ffmpeg", &args, sink(Output::Audio(0)), sink(Output::Video));
        let blocks = Parser::default().feed(&std::fs::read(&progress).unwrap());
        assert!(blocks.last().unwrap().end, "{blocks:?}");
        let read =
            |output| if command.outputs.contains(&output) { packets(&file(output)) } else { Vec::new() };
        (read(Output::Video), read(Output::Audio(0)))
    }
}

fn packets(path: &Path) -> Vec<Packet> {
    let fields = "packet=pts_time,size,flags";
    let args = ["-v", "error", "-show_entries", fields, "-of", "csv=p=0", "-i", path.to_str().unwrap()];
    let text = String::from_utf8(run("ffprobe", &args, Stdio::null(), Stdio::piped()).stdout).unwrap();
    let mut packets: Vec<Packet> = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(',');
            let time = Time::parse_decimal(fields.next()?)? - LEAD;
            Some((time.ticks_in(1_000_000), fields.next()?.parse().ok()?, fields.next()?.starts_with('K')))
        })
        .collect();
    packets.sort_unstable();
    packets
}

fn film(from: i64, until: Option<i64>) -> Place {
    Place::Film(Film {
        from: Time::from_secs(from),
        preroll: Preroll::Usual,
        until: until.map(Time::from_secs),
        key_frames: (from..until.unwrap_or(10)).step_by(2).map(Time::from_secs).collect(),
    })
}

const SECOND: i64 = 1_000_000;
/// Clocks of milliseconds and of fifteenths of one round by this.
const SLACK: i64 = 600;

fn near(a: i64, b: i64) -> bool {
    (a - b).abs() <= SLACK
}

/// Encoded video is a frame on every place of the grid, and key frames where they were asked for.
fn check_grid(name: &str, video: &[Packet], from: i64, until: i64) {
    assert_eq!(video.len() as i64, (until - from) * FPS, "{name}");
    for (n, (time, _, is_key)) in video.iter().enumerate() {
        let place = from * SECOND + n as i64 * SECOND / FPS;
        assert!(near(*time, place), "{name}: frame {n} at {time} instead of {place}");
        assert_eq!(*is_key, n as i64 % (2 * FPS) == 0, "{name}: frame {n}");
    }
}

/// Encoded audio is a packet on every place of its grid, from before the first wanted one to past the last.
fn check_audio(name: &str, audio: &[Packet], from: i64, until: i64) {
    let packet = |n: i64| n * 1024 * SECOND / 48_000;
    let first = |seconds: i64| (seconds * 48_000 + 1023) / 1024;
    for n in first(from)..first(until) {
        let found = audio.iter().filter(|(time, _, _)| (time - packet(n)).abs() < 100).count();
        assert_eq!(found, 1, "{name}: packet {n} of {:?}..{:?}", audio.first(), audio.last());
    }
}

/// What a later run copies is what one long run copied, and it is all there.
fn check_same(name: &str, whole: &[Packet], part: &[Packet], from: i64, until: i64) {
    let within = |packets: &[Packet]| -> Vec<Packet> {
        let wanted = |time: i64| time >= from * SECOND - SLACK && time < until * SECOND - SLACK;
        packets.iter().filter(|(time, _, _)| wanted(*time)).copied().collect()
    };
    let (whole, part) = (within(whole), within(part));
    assert!(!whole.is_empty(), "{name}");
    assert_eq!(whole.len(), part.len(), "{name}");
    for (a, b) in whole.iter().zip(&part) {
        assert!(near(a.0, b.0) && a.1 == b.1 && a.2 == b.2, "{name}: {a:?} {b:?}");
    }
}

fn begins_at(video: &[Packet], seconds: i64) -> bool {
    video.iter().any(|(time, _, is_key)| *is_key && near(*time, seconds * SECOND))
}

#[test]
fn encoded_runs_lie_on_one_grid_wherever_they_begin() {
    let Some(media) = Media::start() else { return };
    for name in ["a.mp4", "ac3.mkv", "a.ts", "mpeg2.ts", "a.avi"] {
        for (from, until) in [(0, 4), (4, 8)] {
            let mut job = media.job(media.local(name), film(from, Some(until)));
            job.decision.encode_video(Reason::KeyFrames);
            job.decision.encode_audio(Reason::Apart);
            // One is interlaced, of the other nobody can tell.
            let deinterlace = job.decision.video.as_ref().unwrap().encode.deinterlace;
            assert_eq!(deinterlace, matches!(name, "mpeg2.ts" | "a.avi"), "{name}");
            let (video, audio) = media.play(&job);
            check_grid(name, &video, from, until);
            check_audio(name, &audio, from, until);
        }
    }
}

#[test]
fn copied_runs_hold_the_same_samples_wherever_they_begin() {
    let Some(media) = Media::start() else { return };
    for name in ["a.mp4", "a.mkv", "a.ts"] {
        let job = media.job(media.local(name), film(0, None));
        assert!(job.decision.video.as_ref().unwrap().is_copied(), "{name}");
        assert!(job.decision.audio[0].is_copied(), "{name}");
        let (video, audio) = media.play(&job);
        assert_eq!((video.len(), video[0].0, video[0].2), (250, 0, true), "{name}");
        for preroll in [Preroll::Usual, Preroll::Tripled] {
            for (from, until) in [(4, Some(7)), (5, None)] {
                let Place::Film(film) = film(from, until) else { unreachable!() };
                let job = Job { place: Place::Film(Film { preroll, ..film }), ..job.clone() };
                let (later, later_audio) = media.play(&job);
                let end = until.unwrap_or(10);
                check_same(name, &video, &later, from, end);
                check_same(name, &audio, &later_audio, from, end);
                // Little is made beyond what was asked for.
                assert!(later.last().unwrap().0 < (end + 1) * SECOND, "{name}");
            }
        }
    }
}

#[test]
fn fragmented_films_are_entered_by_their_table_where_they_have_one_track() {
    let Some(media) = Media::start() else { return };
    for (name, by_mfra) in [("table.mp4", true), ("table.mp4", false), ("fragments.mp4", false)] {
        let job = media.job(Input { by_mfra, ..media.local(name) }, film(0, None));
        assert!(job.decision.video.as_ref().unwrap().is_copied(), "{name}");
        let (video, audio) = media.play(&job);
        assert_eq!((video.len(), video[0].0, video[0].2), (250, 0, true), "{name}");
        let (later, later_audio) = media.play(&Job { place: film(5, None), ..job.clone() });
        check_same(name, &video, &later, 5, 10);
        if !audio.is_empty() {
            check_same(name, &audio, &later_audio, 5, 10);
        }
    }
}

#[test]
fn a_stream_whose_clock_leaps_is_one_film_when_ffmpeg_may_mend_it() {
    let Some(media) = Media::start() else { return };
    let parts = [("part1.ts", "-t 5 -output_ts_offset 10"), ("part2.ts", "-output_ts_offset 5000")];
    media.make("a.mp4");
    let mut whole = Vec::new();
    for (name, options) in parts {
        let skip = if name == "part2.ts" { "-ss 5" } else { "-ss 0" };
        media.ffmpeg(&format!("{skip} -i {} -c copy {options}", media.path("a.mp4").display()), name);
        whole.extend(std::fs::read(media.path(name)).unwrap());
    }
    std::fs::write(media.path("leap.ts"), whole).unwrap();
    let job = Job { clock_jumps: true, ..media.job(media.local("leap.ts"), film(0, None)) };
    let (video, audio) = media.play(&job);
    let longest = |packets: &[Packet]| {
        let mut times: Vec<i64> = packets.iter().map(|(time, _, _)| *time).collect();
        times.sort_unstable();
        (times[0], times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap())
    };
    let ((first, step), (_, audio_step)) = (longest(&video), longest(&audio));
    assert!(near(first, 0) && (250..=252).contains(&video.len()), "{first} {}", video.len());
    assert!(step < SECOND && audio_step < SECOND, "{step} {audio_step}");
}

#[test]
fn one_stream_is_copied_and_the_other_encoded_on_one_axis() {
    let Some(media) = Media::start() else { return };
    for name in ["ac3.mkv", "a.ts", "a.mp4"] {
        let whole = media.play(&media.job(media.local(name), film(0, None)));
        let mut job = media.job(media.local(name), film(4, Some(8)));
        job.decision.encode_audio(Reason::Apart);
        let (video, audio) = media.play(&job);
        check_same(name, &whole.0, &video, 4, 8);
        check_audio(name, &audio, 4, 8);
    }
    for name in ["a.mp4", "a.ts"] {
        let whole = media.play(&media.job(media.local(name), film(0, None)));
        let mut job = media.job(media.local(name), film(4, Some(8)));
        job.decision.encode_video(Reason::KeyFrames);
        let (video, audio) = media.play(&job);
        check_grid(name, &video, 4, 8);
        check_same(name, &whole.1, &audio, 4, 8);
    }
}

#[test]
fn a_film_without_an_end_in_the_plan_is_made_to_its_own() {
    let Some(media) = Media::start() else { return };
    for from in [0, 4] {
        let mut job = media.job(media.local("a.mkv"), film(from, None));
        job.decision.encode_video(Reason::KeyFrames);
        job.decision.encode_audio(Reason::Apart);
        let (video, audio) = media.play(&job);
        check_grid("a.mkv", &video, from, 10);
        check_audio("a.mkv", &audio, from, 9);
    }
}

#[test]
fn films_of_one_stream_play_too() {
    let Some(media) = Media::start() else { return };
    let whole = media.play(&media.job(media.local("audio.m4a"), film(0, None))).1;
    let later = media.play(&media.job(media.local("audio.m4a"), film(4, Some(8)))).1;
    check_same("audio.m4a", &whole, &later, 4, 8);
    for (from, until) in [(0, 4), (4, 8)] {
        let job = media.job(media.local("audio.mp3"), film(from, Some(until)));
        assert!(job.decision.video.is_none() && !job.decision.audio[0].is_copied());
        check_audio("audio.mp3", &media.play(&job).1, from, until);
    }
    let (video, audio) = media.play(&media.job(media.local("video.mp4"), film(4, Some(6))));
    assert!(audio.is_empty() && begins_at(&video, 4));
}

#[test]
fn odd_pictures_get_through_their_filters() {
    let Some(media) = Media::start() else { return };
    let x265 = "-c:v libx265 -preset ultrafast -x265-params log-level=none -pix_fmt yuv420p10le";
    let tags = "-color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc";
    let mpeg2 = "-vf setsar=64/45 -c:v mpeg2video -flags +ildct -q:v 9";
    media.ffmpeg(&format!("-f lavfi -i testsrc2=d=2:s=131x73:r=25 {x265} {tags}"), "hdr.mp4");
    media.ffmpeg(
        &format!("-f lavfi -i testsrc2=d=2:s=132x74:r=25 {x265} -color_trc smpte2084"),
        "untagged.mkv",
    );
    media.ffmpeg("-f lavfi -i testsrc2=d=2:s=132x74:r=25 -c:v ffv1 -pix_fmt bgr0", "rgb.mkv");
    media.ffmpeg(&format!("-f lavfi -i testsrc2=d=2:s=720x576:r=25 {mpeg2}"), "sd.mpg");
    let cases =
        [("hdr.mp4", "130x72"), ("untagged.mkv", "132x74"), ("rgb.mkv", "132x74"), ("sd.mpg", "1024x576")];
    for (name, size) in cases {
        let (video, _) = media.play(&media.job(media.local(name), film(0, Some(2))));
        check_grid(name, &video, 0, 2);
        assert_eq!(shown(&media.path("Video.out")), format!("{size} yuv420p"), "{name}");
    }
    let mut job = media.job(media.local("rotated.mp4"), film(0, Some(2)));
    assert!(job.decision.video.as_ref().unwrap().is_copied());
    job.decision.encode_video(Reason::KeyFrames);
    check_grid("rotated.mp4", &media.play(&job).0, 0, 2);
    assert_eq!(shown(&media.path("Video.out")), "72x128 yuv420p");
    // Nobody knows what comes: the filters find out.
    let decision = decide(None, Kind::Film, &SETTINGS);
    let place = film(0, Some(4));
    let job = Job {
        input: media.local("mpeg2.ts"),
        probe: None,
        clock_jumps: false,
        decision,
        place,
        subtitles: false,
    };
    check_grid("mpeg2.ts", &media.play(&job).0, 0, 4);
}

/// Start and end of each cue, in milliseconds of film time.
fn cues(path: &Path) -> Vec<(i64, i64)> {
    let text = std::fs::read_to_string(path).unwrap();
    let time = |text: &str| -> i64 {
        let (minutes, seconds) = text.trim().rsplit_once(':').unwrap();
        let minutes: i64 = minutes.split(':').fold(0, |all, part| all * 60 + part.parse::<i64>().unwrap());
        (Time::from_secs(minutes * 60) + Time::parse_decimal(seconds).unwrap() - LEAD).ticks_in(1000)
    };
    let line = |line: &str| line.split_once(" --> ").map(|(start, end)| (time(start), time(end)));
    text.lines().filter_map(line).collect()
}

#[test]
fn every_track_of_a_film_comes_on_an_output_of_its_own_in_film_time() {
    let Some(media) = Media::start() else { return };
    for name in ["tracks.mkv", "tracks.mp4"] {
        let mut job = media.job(media.local(name), film(0, None));
        job.subtitles = true;
        let languages: Vec<_> = job.decision.audio.iter().map(|track| track.language.clone()).collect();
        assert_eq!(languages, [Some("eng".to_owned()), Some("fre".to_owned())], "{name}");
        assert_eq!(job.decision.subtitles.len(), 2, "{name}");
        let whole = media.play(&job);
        let second = packets(&media.path("Audio(1).out"));
        assert_eq!((whole.0.len(), whole.0[0].0), (250, 0), "{name}");
        check_audio(name, &second, 0, 9);
        let all = cues(&media.path("Subtitles(0).out"));
        assert_eq!(all, [(500, 1500), (3800, 4600), (5000, 5400), (8000, 9000)], "{name}");
        assert_eq!(cues(&media.path("Subtitles(1).out")), all, "{name}");

        job.place = film(4, Some(7));
        let later = media.play(&job);
        check_same(name, &whole.0, &later.0, 4, 7);
        check_same(name, &whole.1, &later.1, 4, 7);
        check_audio(name, &packets(&media.path("Audio(1).out")), 4, 7);
        let later = cues(&media.path("Subtitles(1).out"));
        assert!(
            later.contains(&(5000, 5400)) && later.iter().all(|cue| all.contains(cue)),
            "{name}: {later:?}"
        );
        assert!(!later.contains(&(8000, 9000)), "{name}: {later:?}");
    }
}

/// Size and pixel format of a file's video.
fn shown(path: &Path) -> String {
    let fields = "stream=width,height,pix_fmt";
    let path = path.to_str().unwrap();
    let args = ["-v", "error", "-select_streams", "v", "-show_entries", fields, "-of", "csv=p=0", "-i", path];
    let text = String::from_utf8(run("ffprobe", &args, Stdio::null(), Stdio::piped()).stdout).unwrap();
    text.trim().replacen(',', "x", 1).replacen(',', " ", 1)
}

#[test]
fn live_channels_are_joined_over_http() {
    let Some(media) = Media::start() else { return };
    let server = Server::start(media.directory.path());
    let (video, audio) = media.play(&media.job(media.remote("a.ts", &server, false), Place::Live));
    assert!(video.len() >= 225 && audio.len() > 400, "{} {}", video.len(), audio.len());
    assert!(video.iter().any(|(_, _, is_key)| *is_key));
    // Both outputs are on one clock.
    assert!((video[0].0 - audio[0].0).abs() < SECOND, "{:?} {:?}", video[0], audio[0]);

    let (video, audio) = media.play(&media.job(media.remote("mpeg2.ts", &server, false), Place::Live));
    assert!(video.len() >= 225 && audio.len() > 400, "{} {}", video.len(), audio.len());
    let keys: Vec<i64> = video.iter().filter(|(_, _, is_key)| *is_key).map(|(time, _, _)| *time).collect();
    assert!(keys.len() >= 9, "{keys:?}");
    assert!(keys.windows(2).all(|pair| near(pair[1] - pair[0], SECOND)), "{keys:?}");
    assert!(video.windows(2).all(|pair| near(pair[1].0 - pair[0].0, SECOND / FPS)));
}

#[test]
fn films_are_played_over_http_with_ranges_and_without() {
    let Some(media) = Media::start() else { return };
    let server = Server::start(media.directory.path());
    for name in ["a.mp4", "a.mkv", "a.ts"] {
        let whole = media.play(&media.job(media.remote(name, &server, false), film(0, None)));
        assert_eq!(whole.0.len(), 250, "{name}");
        let later = media.play(&media.job(media.remote(name, &server, true), film(4, Some(7))));
        check_same(name, &whole.0, &later.0, 4, 7);
        check_same(name, &whole.1, &later.1, 4, 7);
    }
}

#[test]
fn playlists_are_played_over_http() {
    let Some(media) = Media::start() else { return };
    media.make("list.m3u8");
    let bytes = std::fs::read(media.path("list.m3u8")).unwrap();
    assert_eq!(sniff(&bytes), Sniff::HlsMedia { ended: true });
    let server = Server::start(media.directory.path());
    let job = media.job(media.remote("list.m3u8", &server, true), film(0, None));
    assert!(job.decision.video.as_ref().unwrap().is_copied());
    assert_eq!(media.play(&job).0.len(), 250);
}

/// Serves the files of a folder over HTTP, with ranges, until it is dropped.
struct Server {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let (folder, over) = (folder.to_owned(), is_over.clone());
        let thread = thread::spawn(move || {
            let mut clients = Vec::new();
            for client in listener.incoming().flatten() {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let folder = folder.clone();
                clients.push(thread::spawn(move || answer(&folder, &client)));
            }
            for client in clients {
                client.join().expect("no answer panics");
            }
        });
        Self { address, is_over, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the loop; if that fails, the loop is over already.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server doesn't panic");
        }
    }
}

/// One request; a client that goes away in the middle is not our trouble.
fn answer(folder: &Path, mut client: &TcpStream) {
    let mut lines = BufReader::new(client).lines();
    let Some(Ok(request)) = lines.next() else { return };
    let headers: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let name = request.split(' ').nth(1).unwrap_or("/").trim_start_matches('/');
    let bytes = std::fs::read(folder.join(name)).unwrap_or_default();
    let range = headers
        .iter()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let from = range
        .and_then(|range| range.split('-').next()?.parse::<usize>().ok())
        .filter(|from| *from < bytes.len());
    let (status, from) = from.map_or(("200 OK", 0), |from| ("206 Partial Content", from));
    let kind =
        if name.ends_with(".m3u8") { "application/vnd.apple.mpegurl" } else { "application/octet-stream" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\nContent-Type: {kind}\r\n\
         Accept-Ranges: bytes\r\nConnection: close\r\n\r\n",
        bytes.len() - from,
        bytes.len().saturating_sub(1),
        bytes.len()
    );
    if client.write_all(head.as_bytes()).is_ok() {
        drop(client.write_all(&bytes[from..]));
    }
}
