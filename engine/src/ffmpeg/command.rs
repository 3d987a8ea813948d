//! A plan becomes an argument list.
//!
//! ffmpeg writes one fragmented MP4 (or WebVTT) a stream, each on a pipe of its own, and no file. The lists of a film make
//! any part of it fit exactly to any other: all times count from the first video frame, encoded pictures lie on
//! a grid of whole frames, encoded audio on a grid of whole packets, and copied samples keep what they have.

use super::LEAD;
use super::decide::{AudioEncode, Decision, How, SubtitleTrack, Track, VideoEncode};
use super::filter::{self, Span, micros};
use super::input::{self, Container, Input, Purpose};
use super::probe::Probe;
use crate::mux::Time;

/// One run of ffmpeg, as it was planned.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// What to open, and how.
    pub input: Input,
    /// What is known about it.
    pub probe: Option<Probe>,
    /// Its times jump on the way: ffmpeg puts one behind the other what it reads. Such an input is played from
    /// its beginning only.
    pub clock_jumps: bool,
    /// What becomes of its streams, the same for all runs of a session.
    pub decision: Decision,
    /// Which part of it.
    pub place: Place,
    /// Whether a film's subtitles are put out as well.
    ///
    /// Text is sparse, and ffmpeg notices that an output is past its end only when a packet of it comes: with
    /// subtitles a run that has an end reads on to the next cue, at worst to the end of the film, and gives out
    /// what its encoders and last fragments still hold only then. So leave [`Film::until`] open in the middle of a
    /// film, and end the run when all that is wanted of it has come.
    pub subtitles: bool,
}

/// Which part of an input a run plays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// From wherever it is joined.
    Live,
    /// A stretch of something with a beginning.
    Film(Film),
}

/// A stretch of a film, in film time: zero is the first video frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Film {
    /// The boundary at which the first wanted segment begins; zero is the beginning.
    pub from: Time,
    /// How far before it the input is entered.
    pub preroll: Preroll,
    /// Where output may stop at the latest; `None` goes on to the input's end.
    pub until: Option<Time>,
    /// Where an encoded video gets its key frames: at most 10,000, since one argument holds no more.
    pub key_frames: Vec<Time>,
}

/// How far before its boundary a run enters the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preroll {
    /// As far as each container's way of seeking asks for.
    Usual,
    /// Three times as far: for a second try, when the first missed its boundary.
    Tripled,
}

/// What ffmpeg is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its arguments. Output number *i* stands in them as `pipe:@out`*i*`@`.
    pub args: Vec<String>,
    /// What comes on each output.
    pub outputs: Vec<Output>,
}

/// What comes on an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Output {
    /// Blocks of `-progress`.
    Progress,
    /// Fragmented MP4 of the video.
    Video,
    /// Fragmented MP4 of a sound track, counted as in [`Decision::audio`].
    Audio(u8),
    /// WebVTT of a subtitle track, counted as in [`Decision::subtitles`]. Its times are the film's and [`LEAD`].
    Subtitles(u8),
}

const MOST_KEY_FRAMES: usize = 10_000;
/// Audio that is copied past the end, so that the last wanted packet is surely there.
const AUDIO_AFTER: Time = Time::from_millis(200);
/// What stands in the place of a secret where arguments are shown.
const MASK: &str = "***";

/// The argument list of a run.
pub fn command(job: &Job) -> Command {
    let mut command = Command { args: Vec::new(), outputs: Vec::new() };
    command.push(&["-nostdin", "-hide_banner", "-nostats", "-v", "level+warning"]);
    // 9.0 looks at signals once per period, so a long one would make every stop slow.
    command.push(&["-stats_period", "0.2", "-progress"]);
    command.output(Output::Progress);

    let (purpose, before) = match &job.place {
        Place::Live => (Purpose::Live, Vec::new()),
        Place::Film(film) => (Purpose::Film, entrance(job, film)),
    };
    command.args.extend(input::arguments(&job.input, purpose, before));

    if let Some(video) = &job.decision.video {
        command.video(video, &job.place);
    }
    for (n, audio) in (0..).zip(&job.decision.audio) {
        command.audio(n, audio, &job.place);
    }
    if let Place::Film(film) = &job.place
        && job.subtitles
    {
        for (n, track) in (0..).zip(&job.decision.subtitles) {
            command.subtitles(n, track, film);
        }
    }
    command
}

/// Arguments fit to be shown: what is known to be secret is struck, whatever it stands in, and so is the
/// value of every request header.
pub fn masked(args: &[String], secrets: &[String]) -> Vec<String> {
    let mut secrets: Vec<&str> =
        secrets.iter().map(String::as_str).filter(|secret| !secret.is_empty()).collect();
    // A secret may be part of another one.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let mut after_headers = false;
    args.iter()
        .map(|arg| {
            if std::mem::replace(&mut after_headers, arg == "-headers") {
                return arg.lines().map(masked_header).collect::<Vec<_>>().join("; ");
            }
            secrets.iter().fold(arg.clone(), |shown, secret| shown.replace(secret, MASK))
        })
        .collect()
}

fn masked_header(line: &str) -> String {
    format!("{}: {MASK}", line.split(':').next().unwrap_or_default())
}

/// The options that put a film's run in its place: where the input is entered, and where zero is.
fn entrance(job: &Job, film: &Film) -> Vec<String> {
    let mut args = Vec::new();
    let origin = job.probe.as_ref().and_then(Probe::origin);
    if film.from > Time::ZERO {
        let video = job.decision.video.as_ref().map(Track::is_copied);
        let is_audio_copied = job.decision.audio.iter().all(Track::is_copied);
        // It would hide from `fps` and the deinterlacer the frames that they need to find the grid.
        if video == Some(false) || !is_audio_copied {
            args.push("-noaccurate_seek".to_owned());
        }
        let zero = origin.unwrap_or(Time::ZERO);
        let start = job.probe.as_ref().and_then(|probe| probe.start).unwrap_or(zero);
        // ffmpeg counts from the earliest time of any stream.
        let seek = entry_point(job, film) + zero - start;
        if seek > Time::ZERO {
            args.extend(["-ss".to_owned(), micros(seek)]);
        }
    }
    if job.clock_jumps {
        // Only without `-copyts` it closes the jumps of a transport stream; it then counts from the earliest
        // stream.
        let earliest = job.probe.as_ref().and_then(|probe| probe.start);
        if let (Some(origin), Some(earliest)) = (origin, earliest) {
            args.extend(["-itsoffset".to_owned(), micros(earliest - origin)]);
        }
        return args;
    }
    // `-start_at_zero` would count from the earliest stream: half a frame off the grid where audio leads.
    if let Some(origin) = origin {
        args.extend(["-itsoffset".to_owned(), micros(-origin), "-copyts".to_owned()]);
    } else if film.from > Time::ZERO {
        args.push("-copyts".to_owned());
    }
    args
}

/// Where a later run enters its input, in film time: early enough for all that it must make, and for copied
/// video at a place from which this container's seeking finds the boundary's key frame.
fn entry_point(job: &Job, film: &Film) -> Time {
    let container = job.input.container.or_else(|| job.probe.as_ref()?.container());
    let factor = match film.preroll {
        Preroll::Usual => 1,
        Preroll::Tripled => 3,
    };
    let second = Time::from_secs(factor);
    // Seeking by an index lands at or before the target. Transport streams and playlists land on the first key
    // frame after it, which may be a whole group of pictures later.
    let over = match container {
        Some(Container::Mp4 | Container::Matroska) => Time::from_millis(300) * factor,
        Some(Container::Avi) => second,
        _ => second * 10,
    };
    let is_audio_copied = job.decision.audio.iter().all(Track::is_copied);
    match job.decision.video.as_ref().map(|video| (video.how(), video)) {
        Some((How::Copy, video)) => {
            if container == Some(Container::Mp4) && is_audio_copied && film.preroll == Preroll::Usual {
                // Lands on the boundary itself, and reads nothing in vain.
                return film.from + filter::quarter_frame(&video.encode);
            }
            // In Matroska landing on the boundary spoils its first decode times, in a transport stream any
            // later target loses the segment.
            film.from - second
        }
        _ => {
            let leads = job.decision.audio.iter().filter_map(|track| match track.how() {
                How::Encode(encode) => Some(filter::audio_lead(encode, film.from)),
                How::Copy => None,
            });
            leads.fold(film.from, Time::min) - over
        }
    }
}

impl Command {
    fn video(&mut self, track: &Track<VideoEncode>, place: &Place) {
        self.map(track.stream, "0:V:0");
        match track.how() {
            How::Copy => {
                self.push(&["-c:v", "copy"]);
                self.common();
                self.end_of_copy(place, Time::ZERO);
            }
            How::Encode(encode) => {
                self.encoded_video(encode, place);
                self.common();
                self.push(&["-video_track_timescale", "90000"]);
            }
        }
        self.push(&["-f", "mp4", "-movflags"]);
        match place {
            // Without a duration a fragment would be a whole group of pictures, and complete one group late.
            Place::Live => self.push(&[
                "+empty_moov+delay_moov+default_base_moof+frag_discont+skip_trailer+frag_keyframe",
                "-frag_duration",
                "200000",
                "-flush_packets",
                "1",
            ]),
            Place::Film(_) => {
                self.push(&["+frag_keyframe+delay_moov+default_base_moof+frag_discont+skip_trailer"]);
            }
        }
        self.output(Output::Video);
    }

    fn audio(&mut self, n: u8, track: &Track<AudioEncode>, place: &Place) {
        self.map(track.stream, "0:a:0");
        match track.how() {
            How::Copy => {
                // Always: the muxer's own choice looks at the first packet only, which after a join in
                // mid-stream is a torn one. Harmless where the source has no ADTS headers.
                self.push(&["-c:a", "copy", "-bsf:a", "aac_adtstoasc"]);
                self.common();
                self.end_of_copy(place, AUDIO_AFTER);
            }
            How::Encode(encode) => {
                let bit_rate = format!("{}k", encode.bit_rate);
                let sample_rate = encode.sample_rate.to_string();
                self.push(&["-af", &filter::audio(encode, span(place))]);
                self.push(&["-c:a", "aac", "-b:a", &bit_rate, "-ac", "2", "-ar", &sample_rate]);
                self.common();
            }
        }
        self.push(&["-f", "mp4", "-movflags"]);
        match place {
            // A packet each: a part of audio is then ready as soon as the video's.
            Place::Live => self.push(&[
                "+empty_moov+delay_moov+default_base_moof+frag_discont+skip_trailer",
                "-frag_duration",
                "20000",
                "-flush_packets",
                "1",
            ]),
            // Without a duration all audio would be one fragment. With a second the end of the first segment,
            // a second long itself, would lie in the second fragment, and wait until that is made too.
            Place::Film(_) => self.push(&[
                "+delay_moov+default_base_moof+frag_discont+skip_trailer",
                "-frag_duration",
                "200000",
            ]),
        }
        self.output(Output::Audio(n));
    }

    /// The time options are those of the other outputs, and so the cues' times are: ffmpeg moves them by
    /// `-itsoffset` and `-output_ts_offset` and, with `-copyts`, not by the seek. WebVTT has no times below zero;
    /// with the lead none occur. A cue that began before the place where the input was entered may be missing:
    /// MP4 keeps it, Matroska doesn't.
    fn subtitles(&mut self, n: u8, track: &SubtitleTrack, film: &Film) {
        self.push(&["-map", &format!("0:{}", track.stream), "-c:s", "webvtt"]);
        self.common();
        if let Some(until) = film.until {
            self.push(&["-to", &micros(until)]);
        }
        self.push(&["-f", "webvtt", "-flush_packets", "1"]);
        self.output(Output::Subtitles(n));
    }

    fn encoded_video(&mut self, encode: &VideoEncode, place: &Place) {
        let (crf, threads) = (encode.crf.to_string(), encode.threads.to_string());
        let (ceiling, buffer) = (format!("{}k", encode.ceiling), format!("{}k", encode.ceiling * 2));
        let time_base = format!("{}:{}", encode.rate.den, encode.rate.num);
        self.push(&["-vf", &filter::video(encode, span(place))]);
        self.push(&["-fps_mode:v", "passthrough", "-enc_time_base", &time_base]);
        self.push(&["-c:v", "libx264", "-preset", "veryfast"]);
        match place {
            Place::Live => self.push(&["-tune", "zerolatency"]),
            // A segment waits for as many pictures as the encoder looks ahead. Half of what the preset has costs
            // 0.1 dB of SSIM at the same size, and each start and jump comes a tenth sooner.
            Place::Film(_) => self.push(&["-rc-lookahead", "5"]),
        }
        self.push(&["-crf", &crf, "-maxrate", &ceiling, "-bufsize", &buffer, "-threads:v", &threads]);
        // Reordered pictures would need a composition delay, which players treat differently.
        self.push(&["-bf", "0", "-pix_fmt", "yuv420p"]);
        // Key frames where they were planned and nowhere else.
        self.push(&["-g", "99999", "-keyint_min", "1", "-sc_threshold", "0"]);
        let keys = match place {
            Place::Live => {
                // From the last one on: a count from zero would force several in a row where times begin late.
                let second = micros(Time::from_secs(1) - filter::quarter_frame(encode));
                format!("expr:if(isnan(prev_forced_t),1,gte(t,prev_forced_t+{second}))")
            }
            Place::Film(film) => key_frames(film, filter::quarter_frame(encode)),
        };
        if !keys.is_empty() {
            self.push(&["-force_key_frames", &keys]);
        }
    }

    /// By its number, and never as "if there is one": on an output of its own that falls back to a stream of
    /// another kind. Where nobody probed, the first of its kind that is no cover.
    fn map(&mut self, stream: Option<u32>, otherwise: &str) {
        let stream = stream.map_or_else(|| otherwise.to_owned(), |index| format!("0:{index}"));
        self.push(&["-map", &stream]);
    }

    /// One clock for all outputs, and nothing of what the source says about itself.
    fn common(&mut self) {
        self.push(&["-map_metadata", "-1", "-map_chapters", "-1"]);
        self.push(&["-output_ts_offset", &micros(LEAD), "-avoid_negative_ts", "disabled"]);
    }

    fn end_of_copy(&mut self, place: &Place, after: Time) {
        if let Place::Film(Film { until: Some(until), .. }) = place {
            self.push(&["-to", &micros(*until + after)]);
        }
    }

    fn output(&mut self, output: Output) {
        self.args.push(format!("pipe:@out{}@", self.outputs.len()));
        self.outputs.push(output);
    }

    fn push(&mut self, items: &[&str]) {
        self.args.extend(items.iter().map(|item| (*item).to_owned()));
    }
}

fn span(place: &Place) -> Span {
    match place {
        Place::Live => Span::Live,
        Place::Film(film) => Span::Film { from: film.from, until: film.until },
    }
}

/// A list of times rather than a rule: a rule loses its second key frame in a run that begins later.
fn key_frames(film: &Film, early: Time) -> String {
    let times =
        film.key_frames.iter().take(MOST_KEY_FRAMES).map(|time| micros((*time - early).max(Time::ZERO)));
    times.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffmpeg::decide::tests::{SETTINGS, probe};
    use crate::ffmpeg::{Kind, Quality, Reason, Settings, Transport, decide};

    fn film(from: i64, until: Option<i64>) -> Film {
        let keys = (from..until.unwrap_or(from + 8)).step_by(2).map(Time::from_secs).collect();
        Film {
            from: Time::from_secs(from),
            preroll: Preroll::Usual,
            until: until.map(Time::from_secs),
            key_frames: keys,
        }
    }

    fn remote(container: Container) -> Input {
        Input {
            address: "http://films.example.com/a".to_owned(),
            transport: Transport::Http { ranges: true },
            container: Some(container),
            user_agent: Some("VLC/3.0.20 LibVLC/3.0.20".to_owned()),
            headers: Vec::new(),
            tls_verify: true,
            by_mfra: false,
        }
    }

    fn local(container: Container) -> Input {
        Input {
            address: "/films/a".to_owned(),
            transport: Transport::File,
            user_agent: None,
            ..remote(container)
        }
    }

    /// A job over a made-up probe: H.264 and AAC, with a few fields changed.
    fn job(input: Input, format: &str, video: &str, audio: &str, place: Place) -> Job {
        let probe = probe(format, video, audio);
        let kind = if place == Place::Live { Kind::Live } else { Kind::Film };
        let decision = decide(Some(&probe), kind, &SETTINGS);
        Job { input, probe: Some(probe), clock_jumps: false, decision, place, subtitles: false }
    }

    /// One option and its values a line, so that a change reads well.
    fn lines(command: &Command) -> String {
        let mut text = String::new();
        for arg in &command.args {
            let is_option = arg.starts_with('-') && arg[1..].starts_with(|c: char| c.is_ascii_alphabetic());
            let separator = if is_option || arg.starts_with("pipe:") { "\n" } else { " " };
            text.push_str(if text.is_empty() { "" } else { separator });
            text.push_str(arg);
        }
        format!("{text}\n\noutputs: {:?}", command.outputs)
    }

    fn check(name: &str, job: &Job) {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(name, lines(&command(job)));
        });
    }

    const HEVC: &str = r#""codec_name":"hevc""#;
    const AC3: &str = r#""codec_name":"ac3","channels":6"#;
    const TS_VIDEO: &str = r#""start_pts":324259200"#;
    const TS_AUDIO: &str = r#""start_pts":324257280,"time_base":"1/90000""#;

    /// The example that the measurements were made with: video at 3602.88 s, audio 21 ms before it.
    fn transport_stream(input: Input, video: &str, audio: &str, place: Place) -> Job {
        let join = |a: &str, b: &str| if b.is_empty() { a.to_owned() } else { format!("{a},{b}") };
        let mut job = job(input, "mpegts", &join(TS_VIDEO, video), &join(TS_AUDIO, audio), place.clone());
        let probe = job.probe.as_mut().unwrap();
        probe.start = Time::parse_decimal("3602.858667");
        job
    }

    #[test]
    fn a_live_channel_is_copied() {
        check("live_copy", &transport_stream(remote(Container::MpegTs), "", "", Place::Live));
    }

    #[test]
    fn a_live_channel_is_encoded() {
        let interlaced = r#""codec_name":"mpeg2video","width":720,"height":576,"sample_aspect_ratio":"64:45",
            "field_order":"tt""#;
        let mp2 = r#""codec_name":"mp2""#;
        check("live_encode", &transport_stream(remote(Container::MpegTs), interlaced, mp2, Place::Live));
    }

    #[test]
    fn a_live_channel_keeps_its_video_and_gets_other_audio() {
        check(
            "live_copy_video_encode_audio",
            &transport_stream(remote(Container::MpegTs), "", AC3, Place::Live),
        );
    }

    #[test]
    fn a_live_playlist_is_opened_by_its_name() {
        check("live_hls", &job(remote(Container::Hls), "hls", "", "", Place::Live));
    }

    #[test]
    fn a_live_channel_that_nobody_may_probe_is_encoded() {
        let decision = decide(None, Kind::Live, &SETTINGS);
        let input = Input { address: "https://tv.example.com/1".to_owned(), ..remote(Container::MpegTs) };
        let job =
            Job { input, probe: None, clock_jumps: false, decision, place: Place::Live, subtitles: false };
        check("live_unprobed", &job);
    }

    #[test]
    fn a_film_is_copied_from_its_beginning() {
        check(
            "film_copy_start_mp4",
            &job(remote(Container::Mp4), "mov,mp4", "", "", Place::Film(film(0, None))),
        );
        check(
            "film_copy_start_mkv",
            &job(local(Container::Matroska), "matroska", "", "", Place::Film(film(0, None))),
        );
        check(
            "film_copy_start_ts",
            &transport_stream(local(Container::MpegTs), "", "", Place::Film(film(0, Some(6)))),
        );
    }

    #[test]
    fn a_film_is_encoded_from_its_beginning() {
        check(
            "film_encode_start",
            &job(remote(Container::Mp4), "mov,mp4", HEVC, AC3, Place::Film(film(0, None))),
        );
        let high = r#""codec_name":"hevc","pix_fmt":"yuv420p10le","color_transfer":"smpte2084","width":3840,"height":2160"#;
        check(
            "film_encode_start_hdr_until",
            &job(local(Container::Matroska), "matroska", high, AC3, Place::Film(film(0, Some(6)))),
        );
    }

    #[test]
    fn a_film_is_encoded_on_from_a_boundary() {
        check(
            "film_encode_later_ts",
            &transport_stream(
                local(Container::MpegTs),
                HEVC,
                r#""codec_name":"mp2""#,
                Place::Film(film(30, Some(36))),
            ),
        );
        let coarse = r#""codec_name":"ac3","channels":6,"time_base":"1/1000","start_pts":21"#;
        let video = r#""codec_name":"vp9","time_base":"1/1000","start_pts":42,"r_frame_rate":"30000/1001","avg_frame_rate":"30000/1001""#;
        check(
            "film_encode_later_mkv",
            &job(remote(Container::Matroska), "matroska", video, coarse, Place::Film(film(30, None))),
        );
    }

    #[test]
    fn the_measured_example_comes_out_as_it_was_measured() {
        let job = transport_stream(local(Container::MpegTs), HEVC, r#""codec_name":"mp2""#, {
            let keys = [9, 12, 15].map(Time::from_secs).into();
            Place::Film(Film { key_frames: keys, ..film(9, Some(18)) })
        });
        let args = command(&job).args;
        let line = args.join(" ");
        assert!(!args.contains(&"-ss".to_owned()), "it would be negative");
        for part in [
            "-itsoffset -3602.88 -copyts",
            "fps=25/1,trim=start=8.99:end=17.99,",
            "-force_key_frames 8.99,11.99,14.99",
            "apad,atrim=start=8.917333:end=18.048",
            "-enc_time_base 1:25",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    #[test]
    fn a_film_is_copied_on_from_a_boundary() {
        let place = || Place::Film(film(30, Some(36)));
        check("film_copy_later_mp4", &job(remote(Container::Mp4), "mov,mp4", "", "", place()));
        check("film_copy_later_mkv", &job(remote(Container::Matroska), "matroska", "", "", place()));
        check("film_copy_later_ts", &transport_stream(remote(Container::MpegTs), "", "", place()));
    }

    #[test]
    fn a_second_try_enters_three_times_as_early() {
        let seek = |job: &Job| {
            let args = command(job).args;
            args.iter().position(|arg| arg == "-ss").map(|at| args[at + 1].clone())
        };
        let place = |preroll| Place::Film(Film { preroll, ..film(60, Some(66)) });
        let mp4 = |video: &str, preroll| job(local(Container::Mp4), "mov,mp4", video, "", place(preroll));
        assert_eq!(seek(&mp4("", Preroll::Usual)).as_deref(), Some("60.01"));
        assert_eq!(seek(&mp4("", Preroll::Tripled)).as_deref(), Some("57"));
        assert_eq!(seek(&mp4(HEVC, Preroll::Usual)).as_deref(), Some("59.7"));
        assert_eq!(seek(&mp4(HEVC, Preroll::Tripled)).as_deref(), Some("59.1"));
        let ts = |video: &str, preroll| transport_stream(local(Container::MpegTs), video, "", place(preroll));
        assert_eq!(seek(&ts("", Preroll::Usual)).as_deref(), Some("59.021333"));
        assert_eq!(seek(&ts(HEVC, Preroll::Usual)).as_deref(), Some("50.021333"));
        assert_eq!(seek(&ts(HEVC, Preroll::Tripled)).as_deref(), Some("30.021333"));
    }

    #[test]
    fn one_stream_is_copied_and_the_other_encoded() {
        let place = || Place::Film(film(30, Some(36)));
        check("film_copy_video_encode_audio", &job(local(Container::Mp4), "mov,mp4", "", AC3, place()));
        check("film_encode_video_copy_audio", &job(local(Container::Mp4), "mov,mp4", HEVC, "", place()));
    }

    #[test]
    fn a_film_of_one_stream_gets_one_output() {
        let mut song = job(local(Container::Mp4), "mov,mp4", "", "", Place::Film(film(30, Some(36))));
        song.probe.as_mut().unwrap().streams.remove(0);
        song.decision.video = None;
        check("film_audio_only_copy", &song);
        let mut song =
            job(local(Container::Other), "mp3", "", r#""codec_name":"mp3""#, Place::Film(film(30, None)));
        song.probe.as_mut().unwrap().streams.remove(0);
        song.decision.video = None;
        check("film_audio_only_encode", &song);
        let mut silent = job(local(Container::Mp4), "mov,mp4", HEVC, "", Place::Film(film(0, None)));
        silent.decision.audio.clear();
        check("film_video_only_encode", &silent);
    }

    #[test]
    fn a_server_without_ranges_is_never_asked_to_reconnect() {
        let input = Input { transport: Transport::Http { ranges: false }, ..remote(Container::Mp4) };
        check("film_copy_start_without_ranges", &job(input, "mov,mp4", "", "", Place::Film(film(0, None))));
    }

    #[test]
    fn the_quality_and_a_late_reason_show_in_the_arguments() {
        let probe = probe("mov,mp4", "", "");
        let settings = Settings { max_height: Some(240), quality: Quality::Low, threads: 4, ..SETTINGS };
        let mut decision = decide(Some(&probe), Kind::Film, &settings);
        decision.encode_video(Reason::KeyFrames);
        let place = Place::Film(film(0, None));
        check(
            "film_encode_small_low",
            &Job {
                input: local(Container::Mp4),
                probe: Some(probe),
                clock_jumps: false,
                decision,
                place,
                subtitles: false,
            },
        );
    }

    #[test]
    fn a_film_of_many_tracks_gets_an_output_for_each() {
        let mut many = job(local(Container::Matroska), "matroska", "", "", Place::Film(film(30, Some(36))));
        let second =
            Track { stream: Some(2), reasons: vec![Reason::Codec], ..many.decision.audio[0].clone() };
        many.decision.audio.push(second);
        many.decision.subtitles = [3, 5]
            .map(|stream| SubtitleTrack {
                stream,
                codec: "subrip".to_owned(),
                language: None,
                title: None,
                default: false,
                forced: false,
            })
            .into();
        many.subtitles = true;
        check("film_many_tracks", &many);
        many.subtitles = false;
        let outputs = [Output::Progress, Output::Video, Output::Audio(0), Output::Audio(1)];
        assert_eq!(command(&many).outputs, outputs);
    }

    #[test]
    fn an_argument_never_holds_more_key_frames_than_fit() {
        let keys = (0..20_000).map(Time::from_secs).collect();
        let place = Place::Film(Film { key_frames: keys, ..film(0, None) });
        let args = command(&job(local(Container::Mp4), "mov,mp4", HEVC, "", place)).args;
        let list = &args[args.iter().position(|arg| arg == "-force_key_frames").unwrap() + 1];
        assert_eq!(list.split(',').count(), MOST_KEY_FRAMES);
        assert!(list.starts_with("0,0.99,1.99,"));
        assert!(list.len() < 128 * 1024);
    }

    #[test]
    fn what_is_secret_is_struck_wherever_it_stands() {
        let args: Vec<String> = [
            "-headers",
            "Cookie: k=hunter2\r\nReferer: http://a/\r\n",
            "-i",
            "http://a/live/bob/hunter2/1.ts",
            "-user_agent",
            "x",
        ]
        .map(str::to_owned)
        .into();
        let shown =
            masked(&args, &["bob".to_owned(), "hunter2".to_owned(), "hunter".to_owned(), String::new()]);
        assert_eq!(
            shown,
            ["-headers", "Cookie: ***; Referer: ***", "-i", "http://a/live/***/***/1.ts", "-user_agent", "x"]
        );
    }
}
