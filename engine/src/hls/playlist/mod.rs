//! Text of playlists (RFC 8216 and its second edition's draft), from what is on the shelf. Pure.

use std::sync::Arc;

use jiff::Timestamp;

use crate::session::{Index, Kind, Label, Rendition, Shape};

/// What stands for the group of the sounds, and of the subtitles.
const AUDIO_GROUP: &str = "audio";
const SUBTITLE_GROUP: &str = "subs";

/// What a sound is called that nobody looked at.
static UNNAMED: Label = Label { name: String::new(), language: None, default: true, forced: false };

/// The multivariant playlist: one picture, or a sound alone, with what may be chosen beside it.
pub(super) fn multivariant(index: &Index) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    let (pictures, sounds): (Vec<_>, Vec<_>) =
        index.shapes.iter().partition(|shape| shape.rendition == Rendition::Video);
    let Some(main) = pictures.first().or(sounds.first()) else { return text };
    // One sound alone is the variant itself.
    let is_choice = !pictures.is_empty() || sounds.len() > 1;
    let grouped = if is_choice { sounds.as_slice() } else { &[] };
    for shape in grouped {
        media_line(&mut text, &sound(index, shape, shape.rendition != main.rendition));
    }
    let subtitles = index.labels.as_ref().map(|labels| labels.subtitles.as_slice()).unwrap_or_default();
    for (n, label) in subtitles.iter().enumerate() {
        let uri = Some(format!("sub-{n}.m3u8"));
        media_line(
            &mut text,
            &Choice { kind: "SUBTITLES", group: SUBTITLE_GROUP, label, channels: None, uri },
        );
    }
    let audio = (!grouped.is_empty()).then_some(AUDIO_GROUP);
    let subs = (!subtitles.is_empty()).then_some(SUBTITLE_GROUP);
    stream(&mut text, main, &sounds, [("AUDIO", audio), ("SUBTITLES", subs)]);
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
    let name = rendition.to_string();
    list(
        index,
        rendition,
        end,
        &Form { version: 7, folder: &name, suffix: "m4s", has_map: true, has_gaps: true },
    )
}

/// The media playlist of muxed MPEG-TS: the picture, or the first sound where there is none.
pub(super) fn transport_stream(index: &Index, end: End) -> String {
    let main = index.shapes.first().map_or(Rendition::Video, |shape| shape.rendition);
    list(index, main, end, &Form { version: 3, folder: "ts", suffix: "ts", has_map: false, has_gaps: true })
}

/// The media playlist of a subtitle track, segment by segment beside the picture's.
pub(super) fn subtitles(index: &Index, track: u8, end: End) -> String {
    let main = index.shapes.first().map_or(Rendition::Video, |shape| shape.rendition);
    let folder = format!("sub-{track}");
    list(
        index,
        main,
        end,
        &Form { version: 7, folder: &folder, suffix: "vtt", has_map: false, has_gaps: false },
    )
}

/// How segments are named, and what they need.
struct Form<'a> {
    version: u8,
    folder: &'a str,
    suffix: &'a str,
    has_map: bool,
    /// Whether it has nothing where the picture has nothing.
    has_gaps: bool,
}

fn list(index: &Index, rendition: Rendition, end: End, form: &Form<'_>) -> String {
    let mut text = String::from("#EXTM3U\n");
    line(&mut text, format_args!("#EXT-X-VERSION:{}", form.version));
    line(&mut text, format_args!("#EXT-X-TARGETDURATION:{}", index.target));
    let first = index.segments.first().filter(|_| index.grid.is_none()).map_or(0, |segment| segment.number);
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
    for entry in entries(index, rendition) {
        // Times go on over a change of the coding, but players have to know of it.
        let recoded = index.grid.is_some() && map.is_some() && entry.init.is_some() && map != entry.init;
        if entry.discontinuity || recoded {
            text.push_str("#EXT-X-DISCONTINUITY\n");
            dated = false;
        }
        if let Some(init) = entry.init.filter(|init| map != Some(*init)) {
            if form.has_map {
                line(&mut text, format_args!("#EXT-X-MAP:URI=\"{rendition}/init-{init}.mp4\""));
            }
            map = Some(init);
        }
        // Dates of later segments follow from the first one's and the durations (RFC 8216 section 4.3.2.6).
        if let Some(date) = entry.date.filter(|_| !dated) {
            line(&mut text, format_args!("#EXT-X-PROGRAM-DATE-TIME:{}", in_milliseconds(date)));
            dated = true;
        }
        if entry.init.is_none() && form.has_gaps {
            text.push_str("#EXT-X-GAP\n");
        }
        let (length, number) = (seconds(entry.length), entry.number);
        line(&mut text, format_args!("#EXTINF:{length},\n{}/{number}.{}", form.folder, form.suffix));
    }
    if index.complete || index.grid.is_some() || end == End::Failed {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    text
}

/// A line of a media playlist.
struct Entry<'a> {
    number: u64,
    /// In seconds.
    length: f64,
    discontinuity: bool,
    date: Option<Timestamp>,
    /// `None` is a gap.
    init: Option<&'a Arc<str>>,
}

/// What is listed: what exists, and of a timeline what will when it is asked for.
fn entries(index: &Index, rendition: Rendition) -> Vec<Entry<'_>> {
    let Some(grid) = &index.grid else {
        let listed = index.segments.iter().filter_map(|segment| Some((segment, segment.media(rendition)?)));
        return listed
            .map(|(segment, media)| Entry {
                number: segment.number,
                length: media.length.seconds(),
                discontinuity: segment.discontinuity,
                date: media.date,
                init: media.init.as_ref(),
            })
            .collect();
    };
    let planned = index.inits.iter().find(|(known, _)| *known == rendition).map(|(_, init)| init);
    let mut existing = index.segments.iter().peekable();
    (0..grid.count())
        .map(|number| {
            let init = match existing.next_if(|segment| segment.number == number) {
                Some(segment) => segment.media(rendition).and_then(|media| media.init.as_ref()),
                None => planned,
            };
            Entry { number, length: grid.length(number).seconds(), discontinuity: false, date: None, init }
        })
        .collect()
}

/// A line of the multivariant playlist that offers a choice.
struct Choice<'a> {
    kind: &'static str,
    group: &'static str,
    label: &'a Label,
    channels: Option<u16>,
    /// `None` is in the variant itself.
    uri: Option<String>,
}

fn sound<'a>(index: &'a Index, shape: &Shape, is_apart: bool) -> Choice<'a> {
    let labels = index.labels.as_ref();
    let label = match shape.rendition {
        Rendition::Video => None,
        Rendition::Audio(n) => labels.and_then(|labels| labels.sounds.get(usize::from(n))),
    };
    let uri = is_apart.then(|| format!("{}.m3u8", shape.rendition));
    Choice {
        kind: "AUDIO",
        group: AUDIO_GROUP,
        label: label.unwrap_or(&UNNAMED),
        channels: shape.channels,
        uri,
    }
}

fn media_line(text: &mut String, choice: &Choice<'_>) {
    let Choice { kind, group, label, channels, uri } = choice;
    let yes = |flag| if flag { "YES" } else { "NO" };
    let mut attributes =
        vec![format!("TYPE={kind}"), format!("GROUP-ID=\"{group}\""), format!("NAME=\"{}\"", label.name)];
    attributes.extend(label.language.as_ref().map(|language| format!("LANGUAGE=\"{language}\"")));
    attributes.push(format!("DEFAULT={},AUTOSELECT=YES", yes(label.default)));
    if *kind == "SUBTITLES" {
        attributes.push(format!("FORCED={}", yes(label.forced)));
    }
    attributes.extend(channels.map(|channels| format!("CHANNELS=\"{channels}\"")));
    attributes.extend(uri.as_ref().map(|uri| format!("URI=\"{uri}\"")));
    line(text, format_args!("#EXT-X-MEDIA:{}", attributes.join(",")));
}

/// The variant: its bits are those of its picture and the largest sound, its codecs those of all.
fn stream(text: &mut String, main: &Shape, sounds: &[&Shape], groups: [(&str, Option<&str>); 2]) {
    let sound = sounds.iter().map(|shape| shape.bandwidth).max().unwrap_or(0);
    let bandwidth = if main.rendition == Rendition::Video { main.bandwidth + sound } else { sound };
    let mut codecs = vec![main.codec.as_str()];
    for shape in sounds {
        if !codecs.contains(&shape.codec.as_str()) {
            codecs.push(&shape.codec);
        }
    }
    let mut attributes =
        vec![format!("BANDWIDTH={}", bandwidth.max(1)), format!("CODECS=\"{}\"", codecs.join(","))];
    attributes.extend(main.resolution.map(|(width, height)| format!("RESOLUTION={width}x{height}")));
    attributes.extend(main.frame_rate.map(|rate| format!("FRAME-RATE={rate:.3}")));
    attributes
        .extend(groups.iter().filter_map(|(name, group)| group.map(|group| format!("{name}=\"{group}\""))));
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

#[cfg(test)]
mod tests;
