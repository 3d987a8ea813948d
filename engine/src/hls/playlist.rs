//! Text of playlists (RFC 8216 and its second edition's draft), from what is on the shelf. Pure.

use jiff::Timestamp;

use crate::session::{Index, Kind, Media, Rendition, Shape};

/// What stands for the sound's group.
const AUDIO_GROUP: &str = "audio";

/// The multivariant playlist: one picture with its sound as a rendition, or the sound alone.
pub(super) fn multivariant(index: &Index) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    let video = index.shapes.iter().find(|shape| shape.rendition == Rendition::Video);
    let sound: Vec<_> = index.shapes.iter().filter(|shape| shape.rendition != Rendition::Video).collect();
    let Some(video) = video else {
        for shape in sound {
            stream(&mut text, &[shape], shape, None);
        }
        return text;
    };
    for (n, shape) in sound.iter().enumerate() {
        let default = if n == 0 { "YES" } else { "NO" };
        let channels =
            shape.channels.map_or_else(String::new, |channels| format!(",CHANNELS=\"{channels}\""));
        line(
            &mut text,
            format_args!(
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{AUDIO_GROUP}\",NAME=\"Audio {}\",DEFAULT={default},AUTOSELECT=YES{channels},URI=\"{}.m3u8\"",
                n + 1,
                shape.rendition
            ),
        );
    }
    let shapes: Vec<_> = std::iter::once(video).chain(sound.first().copied()).collect();
    stream(&mut text, &shapes, video, (!sound.is_empty()).then_some(AUDIO_GROUP));
    text
}

/// How a media playlist ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Where everything was made, and not before.
    AsMade,
    /// Here: the rest can't be made.
    Failed,
}

/// A media playlist.
pub(super) fn media(index: &Index, rendition: Rendition, end: End) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:7\n");
    line(&mut text, format_args!("#EXT-X-TARGETDURATION:{}", index.target));
    let first = index.segments.first().map_or(0, |segment| segment.number);
    line(&mut text, format_args!("#EXT-X-MEDIA-SEQUENCE:{first}"));
    match index.kind {
        Kind::Timeline => text.push_str("#EXT-X-PLAYLIST-TYPE:VOD\n"),
        Kind::Event => text.push_str("#EXT-X-PLAYLIST-TYPE:EVENT\n"),
        Kind::Window => {
            line(&mut text, format_args!("#EXT-X-DISCONTINUITY-SEQUENCE:{}", index.discontinuities))
        }
    }
    text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    let mut map = None;
    let mut dated = false;
    for segment in &index.segments {
        let Some(media) = segment.media(rendition) else { continue };
        if segment.discontinuity {
            text.push_str("#EXT-X-DISCONTINUITY\n");
            dated = false;
        }
        if let Some(init) = media.init.as_ref().filter(|init| map != Some(*init)) {
            line(&mut text, format_args!("#EXT-X-MAP:URI=\"{rendition}/init-{init}.mp4\""));
            map = Some(init);
        }
        // Dates of later segments follow from the first one's and the durations (RFC 8216 section 4.3.2.6).
        if let Some(date) = media.date.filter(|_| !dated) {
            line(&mut text, format_args!("#EXT-X-PROGRAM-DATE-TIME:{}", in_milliseconds(date)));
            dated = true;
        }
        entry(&mut text, rendition, segment.number, media);
    }
    if index.complete || end == End::Failed {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    text
}

fn entry(text: &mut String, rendition: Rendition, number: u64, media: &Media) {
    if media.init.is_none() {
        text.push_str("#EXT-X-GAP\n");
    }
    line(text, format_args!("#EXTINF:{},\n{rendition}/{number}.m4s", seconds(media.length.seconds())));
}

fn stream(text: &mut String, shapes: &[&Shape], main: &Shape, audio: Option<&str>) {
    let bandwidth: u64 = shapes.iter().map(|shape| shape.bandwidth).sum();
    let codecs: Vec<_> = shapes.iter().map(|shape| shape.codec.as_str()).collect();
    let mut attributes =
        vec![format!("BANDWIDTH={}", bandwidth.max(1)), format!("CODECS=\"{}\"", codecs.join(","))];
    attributes.extend(main.resolution.map(|(width, height)| format!("RESOLUTION={width}x{height}")));
    attributes.extend(main.frame_rate.map(|rate| format!("FRAME-RATE={rate:.3}")));
    attributes.extend(audio.map(|audio| format!("AUDIO=\"{audio}\"")));
    line(text, format_args!("#EXT-X-STREAM-INF:{}\n{}.m3u8", attributes.join(","), main.rendition));
}

/// As few digits as tell the duration exactly to the microsecond.
fn seconds(seconds: f64) -> String {
    let text = format!("{seconds:.6}");
    let text = text.trim_end_matches('0');
    text.strip_suffix('.').map_or_else(|| text.to_owned(), |whole| format!("{whole}.0"))
}

fn in_milliseconds(date: Timestamp) -> String {
    format!("{date:.3}")
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.push_str(&std::fmt::format(arguments));
    text.push('\n');
}
