//! What is copied and what is encoded, and how: from a probe and the settings, once for a session's life.
//!
//! Every later run uses the same [`Decision`], since pictures of different encoders, sizes or rates can't stand
//! in one rendition.

use std::fmt;

use super::probe::{FieldOrder, Probe, Stream};
use super::rate::{frame_rate, value};
use crate::mux::{Rate, Time};

/// What the configuration and the request ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The largest picture, counted as in "1080p"; `None` leaves the source's.
    pub max_height: Option<u32>,
    /// Bits against faithfulness.
    pub quality: Quality,
    /// Whether to deinterlace where the probe can't tell. Progressive frames pass through untouched.
    pub deinterlace_fallback: bool,
    /// The encoder's threads. Fixed, since the bytes it makes depend on them.
    pub threads: u32,
    /// The length of a segment: audio that misses more than one at an end of the film is padded, so encoded.
    pub segment: Time,
}

/// Bits against faithfulness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Quality {
    High,
    Medium,
    Low,
}

/// Whether an input is joined or has a beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Live,
    Film,
}

/// What becomes of an input's streams. An output exists only for what stands here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The video, if the input has any.
    pub video: Option<Track<VideoEncode>>,
    /// The sound tracks, in input order: `audio-{n}` is number *n* of these.
    pub audio: Vec<Track<AudioEncode>>,
    /// The subtitles that are text, in input order: `sub-{n}` is number *n* of these.
    pub subtitles: Vec<SubtitleTrack>,
}

/// What becomes of one stream. It is copied unless a reason speaks against it.
///
/// `Display` is the sentence that operators see: `copy (h264 640x360)`, `encode (hevc, 10-bit)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track<E> {
    /// Its number in the input; unknown where nobody probed.
    pub stream: Option<u32>,
    /// The source's codec.
    pub codec: Option<String>,
    /// The source in a few words, such as `640x360`.
    pub shape: String,
    /// Its language, as the source writes it.
    pub language: Option<String>,
    /// Its title, as the source writes it.
    pub title: Option<String>,
    /// Whether the source names it the default of its kind.
    pub default: bool,
    /// Why it is encoded; empty means copied.
    pub reasons: Vec<Reason>,
    /// How it is encoded if it is: known also for what is copied, in case a reason turns up later.
    pub encode: E,
}

/// A subtitle stream that is offered as WebVTT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubtitleTrack {
    /// Its number in the input.
    pub stream: u32,
    /// The source's codec.
    pub codec: String,
    /// Its language, as the source writes it.
    pub language: Option<String>,
    /// Its title, as the source writes it.
    pub title: Option<String>,
    /// Whether the source names it the default of its kind.
    pub default: bool,
    /// Whether the source wants it shown even to those who asked for none.
    pub forced: bool,
}

/// What is done with a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How<'a, E> {
    /// Its packets are taken as they are.
    Copy,
    /// It is decoded and encoded so.
    Encode(&'a E),
}

/// All that freezes a video encode: two runs with the same values fit together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoEncode {
    /// The constant rate of the output.
    pub rate: Rate,
    /// Width and height of the output, even, of square pixels; `None` where the source's aren't known.
    pub size: Option<(u32, u32)>,
    /// The limit, where the size has to be found out by ffmpeg.
    pub max_height: Option<u32>,
    /// Whether interlaced frames are made one picture.
    pub deinterlace: bool,
    /// What its colours are.
    pub colour: Colour,
    /// Constant quality: lower is better.
    pub crf: u8,
    /// What constant quality may cost at the most, in kbit/s.
    pub ceiling: u32,
    /// The encoder's threads.
    pub threads: u32,
}

/// What a source's colours are, as far as the filters must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// YUV in standard dynamic range.
    Standard,
    /// Red, green and blue.
    Rgb,
    /// High dynamic range, to be brought down. The tone-mapper refuses what isn't tagged.
    High {
        /// Whether primaries and matrix are tagged too.
        tagged: bool,
    },
}

/// All that freezes an audio encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioEncode {
    /// Samples per second.
    pub sample_rate: u32,
    /// kbit/s.
    pub bit_rate: u32,
    /// The source's clock is coarser than its samples: where its packets truly lie is known from their length.
    pub snap: Option<Snap>,
}

/// How packets of a coarse clock are put where they belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snap {
    /// Samples in a packet of the source.
    pub packet: u32,
    /// When the audio begins, counted from the origin.
    pub start: Time,
}

/// Why a stream is encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Nobody may probe this input.
    NotProbed,
    /// Players don't know this codec.
    Codec,
    /// More bits a sample than players decode.
    BitDepth(u32),
    /// Chroma that players don't decode, such as `4:2:2`, or a pixel format of another kind.
    Pixels(String),
    /// Nobody knows what the pixels are.
    PixelsUnknown,
    /// Nobody knows how large the picture is.
    SizeUnknown,
    /// Two fields a frame.
    Interlaced,
    /// Larger than the settings allow.
    TooLarge(u32),
    /// AVI has no presentation times to copy.
    Avi,
    /// Not AAC-LC.
    Profile(String),
    /// More than two channels, or unknown.
    Channels(Option<u32>),
    /// A sample rate that players don't know.
    SampleRate(Option<u32>),
    /// It begins or ends more than a segment away from the video.
    Apart,
    /// Key frames too far apart to cut at.
    KeyFrames,
    /// Nothing tells where it may be cut: why not.
    NoIndex(String),
}

/// Every sound track of a film is in every run, since a run for each would cost a connection more; each costs a
/// twentieth of a core.
const MOST_SOUNDS: usize = 4;
const MOST_SUBTITLES: usize = 8;

/// Decides for an input. Without a probe a picture and a sound are taken to exist, and are encoded.
pub fn decide(probe: Option<&Probe>, kind: Kind, settings: &Settings) -> Decision {
    let Some(probe) = probe else {
        return Decision {
            video: Some(video_track(None, None, settings)),
            audio: vec![Track {
                stream: None,
                codec: None,
                shape: String::new(),
                language: None,
                title: None,
                default: false,
                reasons: vec![Reason::NotProbed],
                encode: audio_encode(None),
            }],
            subtitles: Vec::new(),
        };
    };
    let audio = |stream| audio_track(probe, stream, kind, settings);
    Decision {
        video: probe.video().map(|stream| video_track(Some(probe), Some(stream), settings)),
        audio: match kind {
            Kind::Live => probe.audio().into_iter().map(audio).collect(),
            Kind::Film => probe.sounds().take(MOST_SOUNDS).map(audio).collect(),
        },
        subtitles: match kind {
            Kind::Live => Vec::new(),
            // ffmpeg takes no notice of what maps their times to the picture's.
            Kind::Film if probe.container() == Some(super::Container::Hls) => Vec::new(),
            Kind::Film => probe.texts().take(MOST_SUBTITLES).map(subtitle_track).collect(),
        },
    }
}

impl Decision {
    /// Encodes the video for a reason that only became known later.
    pub fn encode_video(&mut self, reason: Reason) {
        if let Some(video) = &mut self.video {
            video.encode_because(reason);
        }
    }

    /// Encodes the audio for a reason that only became known later.
    pub fn encode_audio(&mut self, reason: Reason) {
        for audio in &mut self.audio {
            audio.encode_because(reason.clone());
        }
    }
}

impl<E> Track<E> {
    /// What is done with it.
    pub fn how(&self) -> How<'_, E> {
        if self.is_copied() { How::Copy } else { How::Encode(&self.encode) }
    }

    /// Whether its packets are taken as they are.
    pub fn is_copied(&self) -> bool {
        self.reasons.is_empty()
    }

    fn encode_because(&mut self, reason: Reason) {
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }
}

impl<E> fmt::Display for Track<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codec = self.codec.as_deref().unwrap_or("unknown");
        if self.is_copied() {
            let space = if self.shape.is_empty() { "" } else { " " };
            return write!(f, "copy ({codec}{space}{})", self.shape);
        }
        write!(f, "encode ({codec}")?;
        // The codec stands there already.
        for reason in self.reasons.iter().filter(|reason| **reason != Reason::Codec) {
            write!(f, ", {reason}")?;
        }
        write!(f, ")")
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotProbed => write!(f, "not probed"),
            Self::Codec => write!(f, "codec"),
            Self::BitDepth(bits) => write!(f, "{bits}-bit"),
            Self::Pixels(name) => write!(f, "{name}"),
            Self::PixelsUnknown => write!(f, "pixels unknown"),
            Self::SizeUnknown => write!(f, "size unknown"),
            Self::Interlaced => write!(f, "interlaced"),
            Self::TooLarge(max) => write!(f, "over {max}p"),
            Self::Avi => write!(f, "from AVI"),
            Self::Profile(name) => write!(f, "{name}"),
            Self::Channels(Some(channels)) => write!(f, "{channels} channels"),
            Self::Channels(None) => write!(f, "channels unknown"),
            Self::SampleRate(Some(rate)) => write!(f, "{rate} Hz"),
            Self::SampleRate(None) => write!(f, "sample rate unknown"),
            Self::Apart => write!(f, "apart from the video"),
            Self::KeyFrames => write!(f, "key frames too far apart"),
            Self::NoIndex(why) => write!(f, "{why}"),
        }
    }
}

fn video_track(probe: Option<&Probe>, stream: Option<&Stream>, settings: &Settings) -> Track<VideoEncode> {
    let reasons = match stream {
        None => vec![Reason::NotProbed],
        Some(stream) => video_reasons(stream, settings, probe.and_then(Probe::container)),
    };
    let shape = stream.and_then(|s| Some(format!("{}x{}", s.width?, s.height?))).unwrap_or_default();
    Track {
        stream: stream.map(|s| s.index),
        codec: stream.and_then(|s| s.codec.clone()),
        shape,
        language: stream.and_then(|s| s.language.clone()),
        title: stream.and_then(|s| s.title.clone()),
        default: stream.is_some_and(|s| s.is_default),
        reasons,
        encode: video_encode(stream, settings),
    }
}

fn video_reasons(stream: &Stream, settings: &Settings, container: Option<super::Container>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if stream.codec.as_deref() != Some("h264") {
        reasons.push(Reason::Codec);
    }
    match stream.pixel_format.as_deref() {
        None => reasons.push(Reason::PixelsUnknown),
        Some("yuv420p" | "yuvj420p") => {}
        Some(format) => match depth(format) {
            8 => reasons.push(Reason::Pixels(chroma(format).unwrap_or(format).to_owned())),
            bits => reasons.push(Reason::BitDepth(bits)),
        },
    }
    if stream.field_order == Some(FieldOrder::Interlaced) {
        reasons.push(Reason::Interlaced);
    }
    match (stream.width, stream.height, settings.max_height) {
        (None, _, _) | (_, None, _) => reasons.push(Reason::SizeUnknown),
        (Some(width), Some(height), Some(max)) if width.min(height) > max => {
            reasons.push(Reason::TooLarge(max))
        }
        _ => {}
    }
    if container == Some(super::Container::Avi) {
        reasons.push(Reason::Avi);
    }
    reasons
}

/// Bits a sample, by the pixel format's name: `yuv420p10le`, `p010le`, `gray12be`.
fn depth(format: &str) -> u32 {
    let name = format.trim_end_matches("le").trim_end_matches("be");
    if let Some(bits) = name.strip_prefix("p0").or_else(|| name.strip_prefix("p2")) {
        return bits.parse().unwrap_or(8);
    }
    let digits = name.len() - name.bytes().rev().take_while(u8::is_ascii_digit).count();
    let is_planar = name[..digits].ends_with('p') || name.starts_with("gray");
    name[digits..].parse().ok().filter(|bits| is_planar && (9..=16).contains(bits)).unwrap_or(8)
}

fn chroma(format: &str) -> Option<&'static str> {
    let known = [("422", "4:2:2"), ("444", "4:4:4"), ("440", "4:4:0"), ("411", "4:1:1"), ("410", "4:1:0")];
    known
        .into_iter()
        .find(|(digits, _)| format.starts_with("yuv") && format.contains(digits))
        .map(|(_, name)| name)
}

fn video_encode(stream: Option<&Stream>, settings: &Settings) -> VideoEncode {
    let rate = stream.map_or(Rate { num: 25, den: 1 }, frame_rate);
    let size = stream.and_then(|stream| output_size(stream, settings.max_height));
    VideoEncode {
        rate,
        size,
        max_height: settings.max_height,
        deinterlace: match stream.and_then(|stream| stream.field_order) {
            Some(FieldOrder::Interlaced) => true,
            Some(FieldOrder::Progressive) => false,
            None => settings.deinterlace_fallback,
        },
        colour: stream.map_or(Colour::Standard, colour),
        crf: match settings.quality {
            Quality::High => 20,
            Quality::Medium => 26,
            Quality::Low => 32,
        },
        ceiling: ceiling(size.map_or(settings.max_height, |(w, h)| Some(w.min(h))), rate, settings.quality),
        threads: settings.threads.max(1),
    }
}

/// Down only, square pixels, even numbers. The limit counts on the shorter side, so that a film held upright
/// keeps as many pixels as one held across.
fn output_size(stream: &Stream, max: Option<u32>) -> Option<(u32, u32)> {
    const LONGEST: f64 = 8192.0;
    let (width, height) = (stream.width?, stream.height?);
    let (across, down) = stream.pixel_aspect.unwrap_or((1, 1));
    let mut width = f64::from(width) * f64::from(across) / f64::from(down);
    let mut height = f64::from(height);
    if stream.rotation.is_some_and(|degrees| degrees % 180 != 0) {
        std::mem::swap(&mut width, &mut height);
    }
    let by_limit = max.map_or(1.0, |max| f64::from(max) / width.min(height));
    let factor = by_limit.min(LONGEST / width.max(height)).min(1.0);
    // The small addition keeps 719.9999 from becoming 718.
    let even = |pixels: f64| ((pixels * factor / 2.0 + 1e-6).floor() as u32 * 2).max(2);
    Some((even(width), even(height)))
}

fn colour(stream: &Stream) -> Colour {
    if matches!(stream.color_transfer.as_deref(), Some("smpte2084" | "arib-std-b67")) {
        return Colour::High { tagged: stream.color_primaries.is_some() && stream.color_space.is_some() };
    }
    let format = stream.pixel_format.as_deref().unwrap_or_default();
    let rgb = ["rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "x2rgb", "x2bgr", "pal8"];
    if rgb.iter().any(|prefix| format.starts_with(prefix)) { Colour::Rgb } else { Colour::Standard }
}

/// Constant quality has no upper bound of its own, and a playlist must declare one.
fn ceiling(lines: Option<u32>, rate: Rate, quality: Quality) -> u32 {
    let [high, medium, low] = match lines.unwrap_or(1080) {
        0..=480 => [2_500, 1_800, 1_200],
        481..=720 => [5_000, 3_500, 2_200],
        721..=1088 => [8_000, 5_500, 3_500],
        _ => [25_000, 16_000, 10_000],
    };
    let kbits = match quality {
        Quality::High => high,
        Quality::Medium => medium,
        Quality::Low => low,
    };
    if value(rate) > 30.5 { kbits * 3 / 2 } else { kbits }
}

fn audio_track(probe: &Probe, stream: &Stream, kind: Kind, settings: &Settings) -> Track<AudioEncode> {
    let mut reasons = Vec::new();
    if stream.codec.as_deref() != Some("aac") {
        reasons.push(Reason::Codec);
    } else if stream.profile.as_deref() != Some("LC") {
        reasons.push(Reason::Profile(stream.profile.clone().unwrap_or_else(|| "profile unknown".to_owned())));
    }
    if stream.channels.is_none_or(|channels| channels > 2) {
        reasons.push(Reason::Channels(stream.channels));
    }
    if !matches!(stream.sample_rate, Some(44_100 | 48_000)) {
        reasons.push(Reason::SampleRate(stream.sample_rate));
    }
    // A live join catches each stream somewhere; only a film's ends mean something.
    if kind == Kind::Film && probe.video().is_some_and(|video| lie_apart(video, stream, settings.segment)) {
        reasons.push(Reason::Apart);
    }
    let channels = match stream.channels {
        Some(1) => "mono",
        Some(2) => "stereo",
        _ => "surround",
    };
    let shape = match stream.sample_rate {
        Some(rate) => format!("{channels} {} kHz", f64::from(rate) / 1000.0),
        None => channels.to_owned(),
    };
    Track {
        stream: Some(stream.index),
        codec: stream.codec.clone(),
        shape,
        language: stream.language.clone(),
        title: stream.title.clone(),
        default: stream.is_default,
        reasons,
        encode: audio_encode(snap(probe, stream)),
    }
}

fn subtitle_track(stream: &Stream) -> SubtitleTrack {
    SubtitleTrack {
        stream: stream.index,
        codec: stream.codec.clone().unwrap_or_default(),
        language: stream.language.clone(),
        title: stream.title.clone(),
        default: stream.is_default,
        forced: stream.is_forced,
    }
}

fn lie_apart(video: &Stream, audio: &Stream, segment: Time) -> bool {
    let apart = |a: Time, b: Time| a - b > segment || b - a > segment;
    let (Some(video_start), Some(audio_start)) = (video.start, audio.start) else { return false };
    let ends = video.duration.zip(audio.duration);
    apart(video_start, audio_start)
        || ends.is_some_and(|(video, audio)| apart(video_start + video, audio_start + audio))
}

/// Matroska and Flash count milliseconds; many transport streams were made from them. An MP3 file's start lies
/// inside a packet, so there is no grid to snap to.
fn snap(probe: &Probe, stream: &Stream) -> Option<Snap> {
    let is_coarse =
        stream.clock.zip(stream.sample_rate).is_some_and(|(clock, rate)| value(clock) < f64::from(rate));
    let is_transport_stream = probe.container() == Some(super::Container::MpegTs);
    if probe.format_name.as_deref() == Some("mp3") || !(is_coarse || is_transport_stream) {
        return None;
    }
    Some(Snap { packet: stream.samples_per_packet()?, start: stream.start? - probe.origin()? })
}

fn audio_encode(snap: Option<Snap>) -> AudioEncode {
    AudioEncode { sample_rate: 48_000, bit_rate: 192, snap }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::ffmpeg) const SETTINGS: Settings = Settings {
        max_height: Some(1080),
        quality: Quality::High,
        deinterlace_fallback: true,
        threads: 2,
        segment: Time::new(2, 1),
    };

    /// A probe of one stream of each kind, with a few fields changed.
    pub(in crate::ffmpeg) fn probe(format: &str, video: &str, audio: &str) -> Probe {
        let stream = |index: u32, defaults: &str, changes: &str| {
            let mut all: serde_json::Value = serde_json::from_str(defaults).unwrap();
            let changes: serde_json::Value = serde_json::from_str(&format!("{{{changes}}}")).unwrap();
            all["index"] = index.into();
            all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            all
        };
        let video = stream(
            0,
            r#"{"codec_type":"video","codec_name":"h264","width":640,"height":360,"pix_fmt":"yuv420p",
                "field_order":"progressive","r_frame_rate":"25/1","avg_frame_rate":"25/1",
                "time_base":"1/90000","start_pts":0}"#,
            video,
        );
        let audio = stream(
            1,
            r#"{"codec_type":"audio","codec_name":"aac","profile":"LC","channels":2,"sample_rate":"48000",
                "time_base":"1/48000","start_pts":0}"#,
            audio,
        );
        let root = serde_json::json!({"streams": [video, audio],
            "format": {"format_name": format, "start_time": "0.000000"}});
        Probe::parse(root.to_string().as_bytes()).unwrap()
    }

    fn check_video(format: &str, changes: &str, expected: &str) {
        let decision = decide(Some(&probe(format, changes, "")), Kind::Film, &SETTINGS);
        assert_eq!(decision.video.unwrap().to_string(), expected, "{changes}");
    }

    fn check_audio(changes: &str, expected: &str) {
        let decision = decide(Some(&probe("mov", "", changes)), Kind::Film, &SETTINGS);
        assert_eq!(decision.audio[0].to_string(), expected, "{changes}");
    }

    #[test]
    fn video_that_every_player_decodes_is_copied_and_anything_else_says_why_not() {
        check_video("mov,mp4", "", "copy (h264 640x360)");
        check_video("mov,mp4", r#""pix_fmt":"yuvj420p","field_order":"unknown""#, "copy (h264 640x360)");
        check_video("mov,mp4", r#""side_data_list":[{"rotation":-90}]"#, "copy (h264 640x360)");
        check_video("mov,mp4", r#""width":1080,"height":1920"#, "copy (h264 1080x1920)");
        check_video("mov,mp4", r#""codec_name":"hevc","pix_fmt":"yuv420p10le""#, "encode (hevc, 10-bit)");
        check_video("mov,mp4", r#""codec_name":"hevc""#, "encode (hevc)");
        check_video("mov,mp4", r#""pix_fmt":"yuv422p""#, "encode (h264, 4:2:2)");
        check_video("mov,mp4", r#""pix_fmt":"gbrp""#, "encode (h264, gbrp)");
        check_video("mov,mp4", r#""pix_fmt":"p010le""#, "encode (h264, 10-bit)");
        check_video("mov,mp4", r#""pix_fmt":null"#, "encode (h264, pixels unknown)");
        check_video("mov,mp4", r#""width":0"#, "encode (h264, size unknown)");
        check_video("mpegts", r#""field_order":"tt""#, "encode (h264, interlaced)");
        check_video("mov,mp4", r#""width":3840,"height":2160"#, "encode (h264, over 1080p)");
        check_video("avi", "", "encode (h264, from AVI)");
    }

    #[test]
    fn audio_that_every_player_decodes_is_copied_and_anything_else_says_why_not() {
        check_audio("", "copy (aac stereo 48 kHz)");
        check_audio(r#""sample_rate":"44100","channels":1"#, "copy (aac mono 44.1 kHz)");
        check_audio(r#""codec_name":"ac3","channels":6"#, "encode (ac3, 6 channels)");
        check_audio(r#""codec_name":"mp2""#, "encode (mp2)");
        check_audio(r#""profile":"HE-AAC","sample_rate":"24000""#, "encode (aac, HE-AAC, 24000 Hz)");
        check_audio(r#""channels":0"#, "encode (aac, channels unknown)");
        check_audio(r#""start_pts":144000"#, "encode (aac, apart from the video)");
        check_audio(r#""start_pts":48000"#, "copy (aac stereo 48 kHz)");
    }

    #[test]
    fn a_live_join_does_not_care_where_the_streams_were_caught() {
        let probe = probe("mpegts", "", r#""start_pts":480000"#);
        assert!(decide(Some(&probe), Kind::Live, &SETTINGS).audio[0].is_copied());
    }

    /// A film of many tracks: `kind codec more` each.
    fn tracks(streams: &[(&str, &str, &str)]) -> Probe {
        let stream = |(index, (kind, codec, more)): (usize, &(&str, &str, &str))| {
            let text = format!(
                r#"{{"index":{index},"codec_type":"{kind}","codec_name":"{codec}","profile":"LC","channels":2,
                    "sample_rate":"48000","time_base":"1/1000","start_pts":0{more}}}"#
            );
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        };
        let streams: Vec<_> = streams.iter().enumerate().map(stream).collect();
        let root = serde_json::json!({"streams": streams, "format": {"format_name": "matroska,webm"}});
        Probe::parse(root.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_film_offers_up_to_four_sounds_in_input_order_with_what_they_say_of_themselves() {
        let french = r#","tags":{"language":"fre","title":"\u001b[2JVF"},"disposition":{"default":1}"#;
        let probe = tracks(&[
            ("video", "h264", ""),
            ("audio", "unknown", ""),
            ("audio", "aac", ""),
            ("audio", "ac3", french),
            ("audio", "aac", r#","sample_rate":"0""#),
            ("audio", "aac", r#","tags":{"language":"und","title":"Commentary"}"#),
            ("audio", "mp2", ""),
            ("audio", "aac", ""),
        ]);
        let audio = decide(Some(&probe), Kind::Film, &SETTINGS).audio;
        assert_eq!(audio.iter().map(|track| track.stream.unwrap()).collect::<Vec<_>>(), [2, 3, 5, 6]);
        assert_eq!(audio.iter().map(Track::is_copied).collect::<Vec<_>>(), [true, false, true, false]);
        assert_eq!(audio[1].language.as_deref(), Some("fre"));
        assert_eq!(audio[1].title.as_deref(), Some("\u{fffd}[2JVF"));
        assert_eq!(audio.iter().map(|track| track.default).collect::<Vec<_>>(), [false, true, false, false]);
        assert_eq!((audio[2].language.as_deref(), audio[2].title.as_deref()), (None, Some("Commentary")));
        let live = decide(Some(&probe), Kind::Live, &SETTINGS).audio;
        assert_eq!(live.iter().map(|track| track.stream.unwrap()).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_sound_that_never_showed_is_offered_only_where_there_is_no_other() {
        let probe = tracks(&[("audio", "aac", r#","sample_rate":"0""#)]);
        assert_eq!(decide(Some(&probe), Kind::Film, &SETTINGS).audio.len(), 1);
    }

    #[test]
    fn subtitles_that_are_text_are_offered_and_pictures_of_text_are_not() {
        let forced = r#","tags":{"language":"ger"},"disposition":{"forced":1}"#;
        let mut streams = vec![
            ("video", "h264", ""),
            ("subtitle", "hdmv_pgs_subtitle", ""),
            ("subtitle", "subrip", forced),
            ("subtitle", "dvb_subtitle", ""),
            ("subtitle", "ass", r#","disposition":{"default":1}"#),
        ];
        let decision = decide(Some(&tracks(&streams)), Kind::Film, &SETTINGS);
        let german = SubtitleTrack {
            stream: 2,
            codec: "subrip".to_owned(),
            language: Some("ger".to_owned()),
            title: None,
            default: false,
            forced: true,
        };
        assert_eq!(decision.subtitles[0], german);
        assert_eq!((decision.subtitles[1].stream, decision.subtitles[1].default), (4, true));
        assert_eq!(decision.subtitles.len(), 2);
        streams.extend([("subtitle", "mov_text", ""); 10]);
        assert_eq!(decide(Some(&tracks(&streams)), Kind::Film, &SETTINGS).subtitles.len(), MOST_SUBTITLES);
        assert!(decide(Some(&tracks(&streams)), Kind::Live, &SETTINGS).subtitles.is_empty());
    }

    #[test]
    fn without_a_probe_both_streams_are_encoded() {
        let decision = decide(None, Kind::Live, &SETTINGS);
        let (video, audio) = (decision.video.unwrap(), &decision.audio[0]);
        assert_eq!(video.to_string(), "encode (unknown, not probed)");
        assert_eq!((video.stream, audio.stream), (None, None));
        assert_eq!((video.encode.size, video.encode.deinterlace), (None, true));
    }

    #[test]
    fn a_reason_that_turns_up_later_makes_a_copy_an_encode_and_is_said_once() {
        let mut decision = decide(Some(&probe("mov", "", "")), Kind::Film, &SETTINGS);
        assert_eq!(decision.video.as_ref().unwrap().how(), How::Copy);
        decision.encode_video(Reason::KeyFrames);
        decision.encode_video(Reason::KeyFrames);
        let video = decision.video.unwrap();
        assert_eq!(video.to_string(), "encode (h264, key frames too far apart)");
        assert_eq!(video.how(), How::Encode(&video.encode));
        assert!(decision.audio[0].is_copied());
    }

    #[test]
    fn pictures_are_made_smaller_never_larger_even_and_of_square_pixels() {
        let check = |max: Option<u32>, changes: &str, expected: (u32, u32)| {
            let probe = probe("mov", changes, "");
            assert_eq!(output_size(probe.video().unwrap(), max), Some(expected), "{max:?} {changes}");
        };
        check(Some(1080), r#""width":640,"height":360"#, (640, 360));
        check(Some(1080), r#""width":641,"height":361"#, (640, 360));
        check(Some(720), r#""width":3840,"height":2160"#, (1280, 720));
        check(None, r#""width":3840,"height":2160"#, (3840, 2160));
        check(Some(720), r#""width":720,"height":576,"sample_aspect_ratio":"64:45""#, (1024, 576));
        check(Some(480), r#""width":720,"height":576,"sample_aspect_ratio":"64:45""#, (852, 480));
        check(Some(1080), r#""width":1920,"height":1080,"side_data_list":[{"rotation":90}]"#, (1080, 1920));
        check(Some(480), r#""width":1920,"height":1080,"side_data_list":[{"rotation":-90}]"#, (480, 852));
        check(Some(1080), r#""width":1,"height":1"#, (2, 2));
        check(None, r#""width":16384,"height":64,"sample_aspect_ratio":"15:1""#, (8192, 2));
    }

    #[test]
    fn only_audio_with_a_coarse_clock_is_snapped_and_never_an_mp3_file() {
        let check = |format: &str, changes: &str, expected: Option<u32>| {
            let decision = decide(Some(&probe(format, "", changes)), Kind::Film, &SETTINGS);
            let snap = decision.audio[0].encode.snap;
            assert_eq!(snap.map(|snap| snap.packet), expected, "{format} {changes}");
        };
        check("mov,mp4", r#""codec_name":"ac3""#, None);
        check("matroska,webm", r#""codec_name":"ac3","time_base":"1/1000""#, Some(1536));
        check("mpegts", r#""time_base":"1/90000""#, Some(1024));
        check("mpegts", r#""codec_name":"mp2","time_base":"1/90000""#, Some(1152));
        check("matroska,webm", r#""codec_name":"opus","time_base":"1/1000""#, None);
        check("mp3", r#""codec_name":"mp3","time_base":"1/14112000""#, None);
    }

    #[test]
    fn high_dynamic_range_is_brought_down_only_where_the_probe_says_so() {
        let check = |changes: &str, expected: Colour| {
            let probe = probe("mov", changes, "");
            assert_eq!(colour(probe.video().unwrap()), expected, "{changes}");
        };
        check(r#""pix_fmt":"yuv420p10le""#, Colour::Standard);
        check(r#""color_transfer":"smpte2084""#, Colour::High { tagged: false });
        check(
            r#""color_transfer":"arib-std-b67","color_primaries":"bt2020","color_space":"bt2020nc""#,
            Colour::High { tagged: true },
        );
        check(r#""pix_fmt":"gbrp""#, Colour::Rgb);
    }
}
