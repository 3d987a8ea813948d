//! What an address holds, by its first bytes: enough to choose the options that only one demuxer knows, and to
//! name a web page "HTML instead of media" before any process is started for it.

use super::Container;

/// What the first bytes look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniff {
    /// Media in this container.
    Media(Container),
    /// An HLS multivariant playlist.
    HlsMaster,
    /// An HLS media playlist; `ended` when it will not grow any more.
    HlsMedia {
        /// Whether the playlist says so. False also when the bytes stop before its end.
        ended: bool,
    },
    /// A web page.
    Html,
    /// A JSON document, as providers' interfaces send it for an error.
    Json,
    /// Any other text.
    Text,
    /// Nothing at all.
    Empty,
    /// Bytes without a signature that we know. ffmpeg may know better.
    Unknown,
}

impl Sniff {
    /// The container, where this may be media.
    pub fn container(self) -> Option<Container> {
        match self {
            Self::Media(container) => Some(container),
            Self::HlsMaster | Self::HlsMedia { .. } => Some(Container::Hls),
            Self::Unknown => Some(Container::Other),
            Self::Html | Self::Json | Self::Text | Self::Empty => None,
        }
    }
}

/// Looks at the first bytes of an answer: 1 KiB is enough for all but the end of a playlist.
pub fn sniff(bytes: &[u8]) -> Sniff {
    if bytes.is_empty() {
        return Sniff::Empty;
    }
    if let Some(container) = signature(bytes) {
        return Sniff::Media(container);
    }
    if is_transport_stream(bytes) {
        return Sniff::Media(Container::MpegTs);
    }
    match as_text(bytes) {
        Some(text) => of_text(text),
        None => Sniff::Unknown,
    }
}

fn signature(bytes: &[u8]) -> Option<Container> {
    match bytes {
        [0x1a, 0x45, 0xdf, 0xa3, ..] => Some(Container::Matroska),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => Some(Container::Avi),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..]
        | [b'I', b'D', b'3', 2..=4, ..]
        | [b'f', b'L', b'a', b'C', ..]
        | [b'O', b'g', b'g', b'S', ..]
        | [b'F', b'L', b'V', 1, ..]
        | [0, 0, 1, 0xba, ..]
        | [0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11, ..]
        | [0x0b, 0x77, ..] => Some(Container::Other),
        // ADTS and MPEG audio without a tag: eleven bits of sync, and a layer that exists.
        [0xff, second, third, ..] if second & 0xe0 == 0xe0 && *third != 0xff => Some(Container::Other),
        [a, b, c, d, kind @ ..] if kind.len() >= 4 => {
            let size = u32::from_be_bytes([*a, *b, *c, *d]);
            let known: [&[u8]; 12] = [
                b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"sidx", b"free", b"skip", b"wide", b"pnot",
                b"emsg", b"prft",
            ];
            // Size 0 reaches to the end of the file, 1 says that the real size follows in 64 bits.
            (known.contains(&&kind[..4]) && (size <= 1 || size >= 8)).then_some(Container::Mp4)
        }
        _ => None,
    }
}

/// The sync byte at one distance, all the way: a join in mid-stream need not begin with a packet.
fn is_transport_stream(bytes: &[u8]) -> bool {
    const PROOF: usize = 3;
    const ENOUGH: usize = 16;
    [188, 192, 204].into_iter().any(|stride| {
        (0..stride.min(bytes.len())).any(|offset| {
            let places = || bytes[offset..].iter().step_by(stride).take(ENOUGH);
            places().count() >= PROOF && places().all(|byte| *byte == 0x47)
        })
    })
}

/// The beginning as text, if that is what it is. A character cut at the end is forgiven.
fn as_text(bytes: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(fault) if fault.error_len().is_none() => {
            std::str::from_utf8(&bytes[..fault.valid_up_to()]).ok()?
        }
        // Pages in an older encoding are pages all the same, if their beginning is plain.
        Err(fault) if fault.valid_up_to() >= 256 => {
            std::str::from_utf8(&bytes[..fault.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\u{c}');
    text.chars().take(1024).all(plain).then_some(text)
}

fn of_text(text: &str) -> Sniff {
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if text.is_empty() {
        return Sniff::Text;
    }
    if text.starts_with("#EXTM3U") {
        return of_playlist(text);
    }
    if text.starts_with(['{', '[']) {
        return Sniff::Json;
    }
    let head: String = text.chars().take(1024).collect::<String>().to_ascii_lowercase();
    let page = ["<!doctype html", "<html", "<head", "<body", "<title"].iter().any(|tag| head.contains(tag));
    if head.starts_with('<') && page { Sniff::Html } else { Sniff::Text }
}

fn of_playlist(text: &str) -> Sniff {
    let tag = |name: &str| text.lines().any(|line| line.trim_end().starts_with(name));
    if tag("#EXT-X-STREAM-INF:") {
        return Sniff::HlsMaster;
    }
    // A plain list of channels begins with the same line, but says nothing of segments.
    if !tag("#EXT-X-TARGETDURATION:") && !tag("#EXT-X-MEDIA-SEQUENCE:") && !tag("#EXT-X-VERSION:") {
        return Sniff::Text;
    }
    Sniff::HlsMedia { ended: tag("#EXT-X-ENDLIST") || tag("#EXT-X-PLAYLIST-TYPE:VOD") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Sniff) {
        assert_eq!(sniff(bytes), expected, "{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(60)]));
    }

    fn packets(stride: usize, count: usize, lead: usize) -> Vec<u8> {
        let mut bytes = vec![0x11; lead];
        for _ in 0..count {
            bytes.push(0x47);
            bytes.resize(bytes.len() + stride - 1, 0xff);
        }
        bytes
    }

    #[test]
    fn containers_are_told_by_their_signatures() {
        check(b"\0\0\0\x20ftypisom\0\0\x02\0", Sniff::Media(Container::Mp4));
        check(b"\0\0\0\x01mdat\0\0\0\0\0\0\x10\0", Sniff::Media(Container::Mp4));
        check(b"\x1a\x45\xdf\xa3\x01\0\0\0", Sniff::Media(Container::Matroska));
        check(b"RIFF\0\0\0\0AVI LIST", Sniff::Media(Container::Avi));
        check(b"RIFF\0\0\0\0WAVEfmt ", Sniff::Media(Container::Other));
        check(b"ID3\x04\0\0\0", Sniff::Media(Container::Other));
        check(b"\xff\xf1\x4c\x80", Sniff::Media(Container::Other));
        check(b"\0\0\x01\xba\x44", Sniff::Media(Container::Other));
    }

    #[test]
    fn a_transport_stream_is_told_by_its_distance_also_in_mid_packet() {
        for stride in [188, 192, 204] {
            check(&packets(stride, 5, 0), Sniff::Media(Container::MpegTs));
            check(&packets(stride, 9, 77), Sniff::Media(Container::MpegTs));
        }
        check(&packets(188, 2, 0)[..300], Sniff::Unknown);
        check(&packets(190, 9, 0), Sniff::Unknown);
    }

    #[test]
    fn a_playlist_says_whether_it_is_a_master_and_whether_it_has_ended() {
        check(b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv.m3u8\n", Sniff::HlsMaster);
        check(
            b"\xef\xbb\xbf#EXTM3U\r\n#EXT-X-TARGETDURATION:2\r\n#EXTINF:2,\r\na.ts\r\n",
            Sniff::HlsMedia { ended: false },
        );
        check(
            b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\na.ts\n#EXT-X-ENDLIST\n",
            Sniff::HlsMedia { ended: true },
        );
        check(
            b"#EXTM3U\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-TARGETDURATION:2\n",
            Sniff::HlsMedia { ended: true },
        );
        check(b"#EXTM3U\n#EXTINF:-1,Channel One\nhttp://example.com/1\n", Sniff::Text);
    }

    #[test]
    fn what_is_no_media_is_named() {
        check(b"", Sniff::Empty);
        check(b"\n  <!DOCTYPE html><html>", Sniff::Html);
        check(b"<?xml version=\"1.0\"?>\n<html xmlns=\"x\">", Sniff::Html);
        check(b"<?xml version=\"1.0\"?><rss></rss>", Sniff::Text);
        check(b"{\"user_info\":{\"auth\":0}}", Sniff::Json);
        check("Zugriff verweigert für dich ü".as_bytes(), Sniff::Text);
        check(&"Zugriff verweigert ü".as_bytes()[..20], Sniff::Text);
        check(&[0x93, 0x11, 0, 0x88, 0x12, 0x00, 0xfe, 0x19], Sniff::Unknown);
        check(b" \r\n", Sniff::Text);
    }

    #[test]
    fn a_page_in_an_older_encoding_is_still_a_page() {
        let mut page = b"<html><head><title>".to_vec();
        page.extend(std::iter::repeat_n(b'x', 300));
        page.extend(b" gr\xfc\xdfe</title>");
        check(&page, Sniff::Html);
    }

    #[test]
    fn only_what_may_be_media_has_a_container() {
        assert_eq!(Sniff::HlsMaster.container(), Some(Container::Hls));
        assert_eq!(Sniff::Unknown.container(), Some(Container::Other));
        assert_eq!(Sniff::Html.container(), None);
    }
}
