//! What the playlists say, to the letter.

use std::sync::Arc;

use super::*;
use crate::mux::{Rate, Time};
use crate::session::{Grid, Labels};

fn shape(rendition: Rendition, bandwidth: u64) -> Shape {
    let is_video = rendition == Rendition::Video;
    Shape {
        rendition,
        codec: if is_video { "avc1.64001F" } else { "mp4a.40.2" }.to_owned(),
        resolution: is_video.then_some((640, 360)),
        frame_rate: is_video.then_some(25.0),
        channels: (!is_video).then_some(2),
        bandwidth,
    }
}

fn label(name: &str, language: Option<&str>, flags: &str) -> Label {
    Label {
        name: name.to_owned(),
        language: language.map(str::to_owned),
        default: flags.contains('d'),
        forced: flags.contains('f'),
    }
}

/// A timeline of five seconds, of which nothing exists yet.
fn film(renditions: &[Rendition], sounds: Vec<Label>, subtitles: Vec<Label>) -> Index {
    let mut index = Index::empty(Kind::Timeline);
    let rate = Rate { num: 25, den: 1 };
    index.grid = Some(Grid::encoded(rate, Time::from_secs(2), Time::from_secs(5)).unwrap());
    index.target = 2;
    index.shapes = renditions.iter().zip(1..).map(|(kind, n)| shape(*kind, n * 100_000)).collect();
    index.inits = renditions.iter().map(|kind| (*kind, Arc::from("0123456789abcdef"))).collect();
    index.labels = Some(Arc::new(Labels { sounds, subtitles }));
    index
}

const ALL: [Rendition; 3] = [Rendition::Video, Rendition::Audio(0), Rendition::Audio(1)];

#[test]
fn sounds_and_subtitles_are_offered_by_name_and_language() {
    let sounds = vec![label("English", Some("en"), ""), label("VF", Some("fr"), "d")];
    let subtitles = vec![label("German (forced)", Some("de"), "df"), label("Subtitles 2", None, "")];
    assert_eq!(
        multivariant(&film(&ALL, sounds, subtitles)),
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n\
         #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"English\",LANGUAGE=\"en\",DEFAULT=NO,AUTOSELECT=YES,\
         CHANNELS=\"2\",URI=\"audio-0.m3u8\"\n\
         #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"VF\",LANGUAGE=\"fr\",DEFAULT=YES,AUTOSELECT=YES,\
         CHANNELS=\"2\",URI=\"audio-1.m3u8\"\n\
         #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"subs\",NAME=\"German (forced)\",LANGUAGE=\"de\",DEFAULT=YES,\
         AUTOSELECT=YES,FORCED=YES,URI=\"sub-0.m3u8\"\n\
         #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"subs\",NAME=\"Subtitles 2\",DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,\
         URI=\"sub-1.m3u8\"\n\
         #EXT-X-STREAM-INF:BANDWIDTH=400000,CODECS=\"avc1.64001F,mp4a.40.2\",RESOLUTION=640x360,\
         FRAME-RATE=25.000,AUDIO=\"audio\",SUBTITLES=\"subs\"\nvideo.m3u8\n"
    );
}

#[test]
fn a_sound_alone_is_the_variant_and_more_of_them_are_a_choice_beside_it() {
    let head = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n";
    let one = film(&ALL[1..2], vec![label("Audio 1", None, "d")], Vec::new());
    let variant = "#EXT-X-STREAM-INF:BANDWIDTH=100000,CODECS=\"mp4a.40.2\"\naudio-0.m3u8\n";
    assert_eq!(multivariant(&one), format!("{head}{variant}"));
    let two = film(&ALL[1..], vec![label("A", None, "d"), label("B", None, "")], Vec::new());
    assert_eq!(
        multivariant(&two),
        format!(
            "{head}#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"A\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\"\n\
             #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"B\",DEFAULT=NO,AUTOSELECT=YES,CHANNELS=\"2\",\
             URI=\"audio-1.m3u8\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH=200000,CODECS=\"mp4a.40.2\",AUDIO=\"audio\"\naudio-0.m3u8\n"
        )
    );
}

#[test]
fn subtitles_are_cut_where_the_picture_is() {
    let index = film(&ALL, Vec::new(), vec![label("English", Some("en"), "")]);
    let head = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n\
                #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n";
    assert_eq!(
        subtitles(&index, 0, End::AsMade),
        format!(
            "{head}#EXTINF:1.0,\nsub-0/0.vtt\n#EXTINF:1.0,\nsub-0/1.vtt\n#EXTINF:2.0,\nsub-0/2.vtt\n\
             #EXTINF:1.0,\nsub-0/3.vtt\n#EXT-X-ENDLIST\n"
        )
    );
    let picture = media(&index, Rendition::Video, End::AsMade);
    let lengths = |text: &str| {
        text.lines().filter(|line| line.starts_with("#EXTINF")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lengths(&picture), lengths(&subtitles(&index, 0, End::AsMade)));
    assert!(picture.contains("#EXT-X-MAP:URI=\"video/init-0123456789abcdef.mp4\"\n"));
}
