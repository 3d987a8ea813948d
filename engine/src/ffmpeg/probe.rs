//! ffprobe: how it is asked, and its JSON as what we know about an input.
//!
//! The JSON repeats what a stranger wrote into a file. Every field may be missing, of another type, absurd or
//! enormous; what can't be believed is unknown, never zero.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::clean;
use super::input::{self, Container, Input, Purpose};
use crate::mux::{Rate, Time};

/// What ffprobe found out about an input.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probe {
    /// The demuxer's names, such as `mov,mp4,m4a,3gp,3g2,mj2`.
    pub format_name: Option<String>,
    /// The earliest time of any stream: what ffmpeg's `-ss` counts from.
    #[serde(serialize_with = "as_seconds")]
    pub start: Option<Time>,
    /// How long it is. Unknown for what is still being sent.
    #[serde(serialize_with = "as_seconds")]
    pub duration: Option<Time>,
    /// Bits per second, of all streams.
    pub bit_rate: Option<u64>,
    /// The title that the file carries.
    pub title: Option<String>,
    /// A packet said that it is encrypted.
    pub encrypted: bool,
    /// The streams, in input order.
    pub streams: Vec<Stream>,
}

/// One stream of an input.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stream {
    /// Its number in the input, which `-map` takes.
    pub index: u32,
    /// The container's own number for it, such as MP4's track; Matroska's is not told.
    pub id: Option<u32>,
    /// What it carries.
    pub kind: StreamKind,
    /// The codec's name; `None` where ffmpeg knows none, and so can't decode it either.
    pub codec: Option<String>,
    /// The codec's tag in the container, such as `avc1`.
    pub tag: Option<String>,
    /// The codec's profile, in ffmpeg's words.
    pub profile: Option<String>,
    /// The tick of its clock, in ticks per second.
    #[serde(serialize_with = "as_text")]
    pub clock: Option<Rate>,
    /// Its first presentation time.
    #[serde(serialize_with = "as_seconds")]
    pub start: Option<Time>,
    /// Its own length, where the container says it.
    #[serde(serialize_with = "as_seconds")]
    pub duration: Option<Time>,
    /// Bits per second.
    pub bit_rate: Option<u64>,
    /// Cover art or a thumbnail: a picture that is no film.
    pub is_picture: bool,
    /// Whether the input names it the default of its kind.
    pub is_default: bool,
    /// Whether the input wants it shown even to those who asked for none of its kind.
    pub is_forced: bool,
    /// ISO 639 code.
    pub language: Option<String>,
    /// The title that the stream carries.
    pub title: Option<String>,
    /// Pixels, before rotation.
    pub width: Option<u32>,
    /// Pixels, before rotation.
    pub height: Option<u32>,
    /// A pixel's width and height, where they differ.
    pub pixel_aspect: Option<(u32, u32)>,
    /// Such as `yuv420p`.
    pub pixel_format: Option<String>,
    /// Whether a frame is one picture or two.
    pub field_order: Option<FieldOrder>,
    /// Such as `smpte2084`.
    pub color_transfer: Option<String>,
    /// Such as `bt2020`.
    pub color_primaries: Option<String>,
    /// Such as `bt2020nc`.
    pub color_space: Option<String>,
    /// Degrees that the display matrix turns the picture by.
    pub rotation: Option<i32>,
    /// The lowest rate that all its times fit.
    #[serde(serialize_with = "as_text")]
    pub real_rate: Option<Rate>,
    /// Frames by duration.
    #[serde(serialize_with = "as_text")]
    pub average_rate: Option<Rate>,
    /// Samples per second.
    pub sample_rate: Option<u32>,
    /// How many channels.
    pub channels: Option<u32>,
}

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum StreamKind {
    Video,
    Audio,
    Subtitle,
    Other,
}

/// Whether a frame is one picture or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldOrder {
    /// One picture a frame.
    Progressive,
    /// Two fields a frame, in any order.
    Interlaced,
}

/// Why ffprobe's answer is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// More than any real input's description.
    #[error("ffprobe answered with {bytes} bytes, more than the {MAX_BYTES} that are read")]
    TooLarge {
        /// How many.
        bytes: usize,
    },
    /// Not JSON, or cut off.
    #[error("ffprobe's answer can't be read")]
    Unreadable(#[source] serde_json::Error),
    /// An answer without a single stream, as ffprobe gives it when it fails.
    #[error("ffprobe found no streams")]
    NoStreams,
}

const MAX_BYTES: usize = 4 << 20;
const MAX_STREAMS: usize = 128;
const MAX_TEXT: usize = 200;
/// Thirty years: no time of an input lies further from zero, and sums of a few such can't overflow.
const MAX_SECONDS: i128 = 1_000_000_000;

/// The arguments for ffprobe. The answer comes on its standard output.
pub fn arguments(input: &Input) -> Vec<String> {
    let head = ["-hide_banner", "-v", "level+warning", "-show_format", "-show_streams", "-of", "json"];
    let mut args: Vec<String> = head.map(str::to_owned).into();
    if input.container == Some(Container::Mp4) {
        // Only a packet shows that it is encrypted: the demuxer names the codec beneath.
        args.extend(["-show_packets", "-read_intervals", "%+#1"].map(str::to_owned));
    }
    args.extend(input::arguments(input, Purpose::Probe, Vec::new()));
    args
}

impl Probe {
    /// Reads ffprobe's answer.
    pub fn parse(json: &[u8]) -> Result<Self, ProbeError> {
        if json.len() > MAX_BYTES {
            return Err(ProbeError::TooLarge { bytes: json.len() });
        }
        let root: Value = serde_json::from_slice(json).map_err(ProbeError::Unreadable)?;
        let streams: Vec<Stream> = root["streams"]
            .as_array()
            .into_iter()
            .flatten()
            .take(MAX_STREAMS)
            .filter_map(Stream::read)
            .collect();
        if streams.is_empty() {
            return Err(ProbeError::NoStreams);
        }
        let format = &root["format"];
        Ok(Self {
            format_name: text(&format["format_name"]),
            start: time(&format["start_time"]),
            duration: time(&format["duration"]).filter(|duration| *duration > Time::ZERO),
            bit_rate: number(&format["bit_rate"]).filter(|rate| *rate > 0),
            title: tag(format, "title"),
            encrypted: names_encryption(&root["packets"]),
            streams,
        })
    }

    /// The video: the first that is a film rather than a cover, and that ffmpeg can decode.
    pub fn video(&self) -> Option<&Stream> {
        self.streams.iter().find(|s| s.kind == StreamKind::Video && !s.is_picture && s.codec.is_some())
    }

    /// The audio: the first that ffmpeg can decode.
    pub fn audio(&self) -> Option<&Stream> {
        self.streams.iter().find(|s| s.kind == StreamKind::Audio && s.codec.is_some())
    }

    /// The sound tracks that ffmpeg can decode, in input order. One whose sample rate is unknown sent no packet
    /// while the input was looked at: it is left out beside others, which would wait for it.
    pub fn sounds(&self) -> impl Iterator<Item = &Stream> {
        let sounds = || self.streams.iter().filter(|s| s.kind == StreamKind::Audio && s.codec.is_some());
        let some_are_known = sounds().any(|s| s.sample_rate.is_some());
        sounds().filter(move |s| s.sample_rate.is_some() || !some_are_known)
    }

    /// The subtitles that are text, in input order.
    pub fn texts(&self) -> impl Iterator<Item = &Stream> {
        self.streams.iter().filter(|s| s.kind == StreamKind::Subtitle && s.is_text())
    }

    /// The stream of this number.
    pub fn stream(&self, index: u32) -> Option<&Stream> {
        self.streams.iter().find(|s| s.index == index)
    }

    /// Where film time begins, in the input's times: the first frame of the video, or of the audio where there
    /// is no video.
    pub fn origin(&self) -> Option<Time> {
        self.video().or_else(|| self.audio()).and_then(|stream| stream.start).or(self.start)
    }

    /// What the input is packed in, by the demuxer that ffprobe chose.
    pub fn container(&self) -> Option<Container> {
        let name = self.format_name.as_deref()?;
        Some(match name.split(',').next().unwrap_or(name) {
            "mpegts" => Container::MpegTs,
            "hls" => Container::Hls,
            "mov" => Container::Mp4,
            "matroska" => Container::Matroska,
            "avi" => Container::Avi,
            _ => Container::Other,
        })
    }

    /// Whether what would be played is encrypted. ffmpeg copies it as if it were not, and says nothing.
    pub fn is_protected(&self) -> bool {
        self.encrypted || self.video().into_iter().chain(self.sounds()).any(Stream::is_protected)
    }
}

fn names_encryption(packets: &Value) -> bool {
    let packets = packets.as_array().into_iter().flatten();
    let side_data = packets.filter_map(|packet| packet["side_data_list"].as_array()).flatten();
    side_data.filter_map(|data| data["side_data_type"].as_str()).any(|kind| kind.starts_with("Encryption"))
}

impl Stream {
    /// Whether its samples are encrypted, by the tag that common encryption puts over the codec's own.
    pub fn is_protected(&self) -> bool {
        self.tag.as_deref().is_some_and(|tag| matches!(tag, "encv" | "enca" | "encs" | "drms" | "drmi"))
    }

    /// Whether it is text that ffmpeg can write as WebVTT; pictures of text it can't.
    fn is_text(&self) -> bool {
        let codec = self.codec.as_deref();
        codec.is_some_and(|codec| matches!(codec, "subrip" | "ass" | "ssa" | "mov_text" | "webvtt" | "text"))
    }

    /// Samples in a packet of the source, where that is fixed.
    pub(super) fn samples_per_packet(&self) -> Option<u32> {
        match self.codec.as_deref()? {
            // The others of the family code two halves, or say one rate and mean another.
            "aac" if self.profile.as_deref() == Some("LC") => Some(1024),
            "ac3" | "eac3" => Some(1536),
            "mp2" | "mp3" => Some(1152),
            _ => None,
        }
    }

    fn read(value: &Value) -> Option<Self> {
        let kind = match value["codec_type"].as_str() {
            Some("video") => StreamKind::Video,
            Some("audio") => StreamKind::Audio,
            Some("subtitle") => StreamKind::Subtitle,
            _ => StreamKind::Other,
        };
        let clock = fraction(&value["time_base"]).map(|(num, den)| Rate { num: den, den: num });
        let flag = |name: &str| number(&value["disposition"][name]) == Some(1);
        Some(Self {
            index: small(&value["index"])?,
            id: hexadecimal(&value["id"]),
            kind,
            codec: text(&value["codec_name"]).filter(|name| name != "unknown" && name != "none"),
            tag: text(&value["codec_tag_string"]).filter(|tag| !tag.starts_with('[')),
            profile: text(&value["profile"]).filter(|profile| profile != "unknown"),
            clock,
            start: ticks(&value["start_pts"], clock).or_else(|| time(&value["start_time"])),
            duration: ticks(&value["duration_ts"], clock)
                .or_else(|| time(&value["duration"]))
                .filter(|duration| *duration > Time::ZERO),
            bit_rate: number(&value["bit_rate"]).filter(|rate| *rate > 0),
            is_picture: flag("attached_pic") || flag("timed_thumbnails") || flag("still_image"),
            is_default: flag("default"),
            is_forced: flag("forced"),
            language: tag(value, "language").filter(|language| language != "und"),
            title: tag(value, "title"),
            width: small(&value["width"]).filter(is_extent),
            height: small(&value["height"]).filter(is_extent),
            pixel_aspect: fraction(&value["sample_aspect_ratio"])
                .filter(|(w, h)| w != h && w.max(h) / w.min(h) < 16),
            pixel_format: text(&value["pix_fmt"]).filter(|format| format != "unknown"),
            field_order: match value["field_order"].as_str() {
                Some("progressive") => Some(FieldOrder::Progressive),
                Some("tt" | "bb" | "tb" | "bt") => Some(FieldOrder::Interlaced),
                _ => None,
            },
            color_transfer: text(&value["color_transfer"]).filter(|name| name != "unknown"),
            color_primaries: text(&value["color_primaries"]).filter(|name| name != "unknown"),
            color_space: text(&value["color_space"]).filter(|name| name != "unknown"),
            rotation: rotation(value),
            real_rate: fraction(&value["r_frame_rate"]).map(|(num, den)| Rate { num, den }),
            average_rate: fraction(&value["avg_frame_rate"]).map(|(num, den)| Rate { num, den }),
            sample_rate: small(&value["sample_rate"]).filter(|rate| (1..=768_000).contains(rate)),
            channels: small(&value["channels"]).filter(|channels| (1..=64).contains(channels)),
        })
    }
}

fn is_extent(pixels: &u32) -> bool {
    (1..=16_384).contains(pixels)
}

fn text(value: &Value) -> Option<String> {
    let text = value.as_str()?.trim();
    let short: String = text.chars().take(MAX_TEXT).collect();
    (!short.is_empty() && short != "N/A").then(|| clean(&short).into_owned())
}

fn tag(value: &Value, name: &str) -> Option<String> {
    // Containers differ in the case of their tags.
    let tags = value["tags"].as_object()?;
    tags.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).and_then(|(_, value)| text(value))
}

/// ffprobe writes numbers as numbers in one place and as text in another.
fn signed(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn number(value: &Value) -> Option<u64> {
    signed(value)?.try_into().ok()
}

fn small(value: &Value) -> Option<u32> {
    signed(value)?.try_into().ok()
}

/// `0x1`, as ffprobe writes what the container calls a stream.
fn hexadecimal(value: &Value) -> Option<u32> {
    u32::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// `30000/1001` or `64:45`; `0/0` and `0:1` are ffprobe's words for unknown.
fn fraction(value: &Value) -> Option<(u32, u32)> {
    let (left, right) = value.as_str()?.split_once(['/', ':'])?;
    let (left, right): (u32, u32) = (left.parse().ok()?, right.parse().ok()?);
    (left > 0 && right > 0).then_some((left, right))
}

fn ticks(value: &Value, clock: Option<Rate>) -> Option<Time> {
    let (ticks, clock) = (signed(value)?, clock?);
    let scaled = ticks.checked_mul(i64::from(clock.den))?;
    (i128::from(scaled).abs() <= MAX_SECONDS * i128::from(clock.num)).then(|| Time::new(scaled, clock.num))
}

fn time(value: &Value) -> Option<Time> {
    let text = value.as_str()?.trim();
    // Longer is no time, and the whole part alone tells whether it is in bounds.
    if text.len() > 24 {
        return None;
    }
    let whole: i128 = text.split('.').next()?.parse().ok()?;
    (whole.abs() < MAX_SECONDS).then(|| Time::parse_decimal(text))?
}

fn rotation(value: &Value) -> Option<i32> {
    let side_data = value["side_data_list"].as_array().into_iter().flatten();
    let degrees = side_data.take(16).find_map(|data| signed(&data["rotation"]));
    degrees
        .or_else(|| tag(value, "rotate")?.parse().ok())
        .and_then(|degrees| i32::try_from(degrees.checked_rem(360)?).ok())
        .filter(|degrees| *degrees != 0)
}

fn as_seconds<S: Serializer>(time: &Option<Time>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(Time::seconds).serialize(serializer)
}

fn as_text<T: fmt::Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(ToString::to_string).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ffmpeg::Transport;

    fn check_arguments(name: &str, input: &Input) {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(name, arguments(input).join("\n"));
        });
    }

    fn parse(json: &str) -> Probe {
        Probe::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_captured_transport_stream_is_read_to_the_tick() {
        let probe = parse(include_str!("fixtures/probe-ts.json"));
        assert_eq!(probe.container(), Some(Container::MpegTs));
        assert_eq!(probe.start, Time::parse_decimal("1.458667"));
        assert_eq!(probe.origin(), Some(Time::new(133_200, 90_000)));
        let video = probe.video().unwrap();
        assert_eq!((video.codec.as_deref(), video.width, video.height), (Some("h264"), Some(160), Some(90)));
        assert_eq!(video.field_order, Some(FieldOrder::Progressive));
        assert_eq!(video.tag, None);
        let audio = probe.audio().unwrap();
        assert_eq!(audio.start, Some(Time::new(131_280, 90_000)));
        assert_eq!((audio.profile.as_deref(), audio.channels), (Some("LC"), Some(2)));
        assert_eq!(audio.language, None);
    }

    #[test]
    fn a_cover_is_no_video_and_a_rotated_picture_says_so() {
        let song = parse(include_str!("fixtures/probe-mp3-cover.json"));
        assert!(song.video().is_none());
        assert_eq!(song.audio().unwrap().codec.as_deref(), Some("mp3"));
        assert_eq!(song.origin(), song.audio().unwrap().start);
        let phone = parse(include_str!("fixtures/probe-rotated.json"));
        assert_eq!(phone.video().unwrap().rotation.map(i32::abs), Some(90));
    }

    #[test]
    fn what_is_not_known_is_none_and_never_zero() {
        let probe = parse(
            r#"{"streams":[{"index":0,"codec_type":"video","codec_name":"h264","width":0,"height":"N/A",
                "sample_aspect_ratio":"0:1","r_frame_rate":"0/0","start_pts":"x","field_order":"unknown"}],
                "format":{"duration":"N/A","start_time":null,"bit_rate":"0"}}"#,
        );
        let video = probe.video().unwrap();
        assert_eq!((video.width, video.height, video.pixel_aspect), (None, None, None));
        assert_eq!((video.real_rate, video.start, video.field_order), (None, None, None));
        assert_eq!((probe.duration, probe.start, probe.bit_rate, probe.origin()), (None, None, None, None));
    }

    #[test]
    fn hostile_fields_cost_nothing_but_themselves() {
        let long = "x".repeat(100_000);
        let probe = parse(&format!(
            r#"{{"streams":[{{"index":-1}},7,null,
                {{"index":1,"codec_type":"audio","codec_name":"aac\u001b[2J","start_pts":9223372036854775807,
                  "time_base":"4294967295/1","sample_rate":"99999999999","channels":0,
                  "tags":{{"title":"{long}","language":["x"]}},"side_data_list":{{"a":1}}}},
                {{"index":2,"codec_type":"video","codec_name":"h264","time_base":"1/0",
                  "start_time":"-99999999999999999999","width":4000000000,"pix_fmt":{{}},
                  "side_data_list":[{{"rotation":-9223372036854775808}}]}}],"format":[]}}"#
        ));
        assert_eq!(probe.streams.len(), 2);
        let audio = probe.audio().unwrap();
        assert_eq!(audio.codec.as_deref(), Some("aac\u{fffd}[2J"));
        assert_eq!((audio.start, audio.sample_rate, audio.channels), (None, None, None));
        assert_eq!(audio.title.as_ref().unwrap().len(), MAX_TEXT);
        let video = probe.video().unwrap();
        assert_eq!((video.clock, video.start, video.width), (None, None, None));
    }

    #[test]
    fn an_answer_without_streams_is_an_error_that_says_which() {
        let check = |json: &[u8], expected: &str| {
            let error = Probe::parse(json).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(b"{\n\n}\n", "no streams");
        check(b"{\"streams\":[]}", "no streams");
        check(b"", "can't be read");
        check(b"{\"streams\":[{\"index\":0", "can't be read");
        check(b"[[[[\xff", "can't be read");
        check(&"[".repeat(1000).into_bytes(), "can't be read");
        check(&vec![b' '; MAX_BYTES + 1], "more than");
    }

    #[test]
    fn encrypted_streams_are_told_by_their_tag() {
        let json =
            r#"{"streams":[{"index":0,"codec_type":"video","codec_name":"h264","codec_tag_string":"encv"}]}"#;
        assert!(parse(json).is_protected());
        assert!(!parse(&json.replace("encv", "avc1")).is_protected());
    }

    #[test]
    fn it_is_told_to_people_in_seconds_and_words() {
        let json = serde_json::to_value(parse(include_str!("fixtures/probe-ts.json"))).unwrap();
        assert_eq!(json["streams"][0]["start"], 1.48);
        assert_eq!(json["streams"][0]["real_rate"], "25/1");
        assert_eq!(json["streams"][1]["width"], Value::Null);
    }

    #[test]
    fn the_question_opens_the_input_exactly_as_a_run_does() {
        let input = Input {
            address: "https://tv.example.com/live/1.ts".to_owned(),
            transport: Transport::Http { ranges: false },
            container: Some(Container::MpegTs),
            user_agent: Some("VLC/3.0.20 LibVLC/3.0.20".to_owned()),
            headers: vec![("Referer".to_owned(), "http://tv.example.com/".to_owned())],
            tls_verify: true,
            by_mfra: false,
        };
        check_arguments("probe_https_ts", &input);
        let file = Input {
            address: "/films/a b.mp4".to_owned(),
            transport: Transport::File,
            container: None,
            user_agent: None,
            headers: Vec::new(),
            tls_verify: true,
            by_mfra: false,
        };
        check_arguments("probe_file", &file);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(start in any::<i64>(), base in "[0-9]{0,11}/[0-9]{0,11}", seconds in "-?[0-9.eE+N/A]{0,30}", rest in any::<Vec<u8>>()) {
            let json = serde_json::json!({"streams": [{"index": 0, "codec_type": "video", "codec_name": "h264",
                "start_pts": start, "time_base": base, "duration": seconds, "sample_aspect_ratio": base, "r_frame_rate": base}],
                "format": {"start_time": seconds, "duration": seconds}});
            let probe = Probe::parse(json.to_string().as_bytes()).unwrap();
            let sum = probe.origin().unwrap_or(Time::ZERO) + probe.start.unwrap_or(Time::ZERO);
            prop_assert!(sum.seconds().abs() <= 2e9);
            let _unreadable = Probe::parse(&rest);
        }
    }
}
