//! Media over HTTP: what a path below a session names, and how bytes are answered.

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONTENT_TYPE,
    ETAG, IF_NONE_MATCH,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use warp::reply::Response as Reply;

use crate::session::{Rendition, Served};

/// How long a segment may be kept by a player or a cache: not for ever, since one that is made again after an
/// eviction has other bytes.
const SEGMENT_AGE: &str = "max-age=3600";
const INIT_AGE: &str = "max-age=31536000, immutable";
const PLAYLIST_AGE: &str = "no-cache";
const SUBTITLES: &str = "text/vtt; charset=utf-8";
const PLAYLIST: &str = "application/vnd.apple.mpegurl";

/// What is asked for below `/transcode/{id}/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    Multivariant,
    Playlist(Rendition),
    Init(Rendition, String),
    Segment(Rendition, u64),
    TransportPlaylist,
    SubtitlePlaylist(u8),
    SubtitleSegment(u8, u64),
    TransportStream(u64),
    /// Offered by a later version.
    NotYet(&'static str),
}

impl Asked {
    /// Reads the rest of a path. Only the canonical spelling of each name is one.
    pub(super) fn parse(rest: &str) -> Option<Self> {
        match rest {
            "stream.m3u8" => return Some(Self::Multivariant),
            "ts.m3u8" => return Some(Self::TransportPlaylist),
            _ => {}
        }
        if let Some(name) = rest.strip_suffix(".m3u8").filter(|name| !name.contains('/')) {
            if let Some(track) = name.strip_prefix("sub-") {
                return small(track).map(Self::SubtitlePlaylist);
            }
            return rendition(name).map(Self::Playlist);
        }
        let (folder, file) = rest.split_once('/')?;
        if folder == "ts" {
            return number(file.strip_suffix(".ts")?).map(Self::TransportStream);
        }
        if let Some(track) = folder.strip_prefix("sub-") {
            return Some(Self::SubtitleSegment(small(track)?, number(file.strip_suffix(".vtt")?)?));
        }
        let rendition = rendition(folder)?;
        if let Some(hash) = file.strip_prefix("init-").and_then(|rest| rest.strip_suffix(".mp4")) {
            let known =
                hash.len() == 16 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            return known.then(|| Self::Init(rendition, hash.to_owned()));
        }
        let name = file.strip_suffix(".m4s")?;
        if let Some((segment, part)) = name.split_once('.') {
            return number(segment).and(number(part)).map(|_| Self::NotYet("parts are"));
        }
        number(name).map(|number| Self::Segment(rendition, number))
    }
}

fn rendition(name: &str) -> Option<Rendition> {
    match name {
        "video" => Some(Rendition::Video),
        _ => small(name.strip_prefix("audio-")?).map(Rendition::Audio),
    }
}

/// The number of the track that `/subs/{id}/sub{n}.vtt` names.
pub(super) fn whole_subtitle(file: &str) -> Option<u8> {
    small(file.strip_prefix("sub")?.strip_suffix(".vtt")?)
}

fn small(text: &str) -> Option<u8> {
    number(text).and_then(|n| u8::try_from(n).ok())
}

/// A number as we write it: no sign, no leading zero.
fn number(text: &str) -> Option<u64> {
    let canonical = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}

/// A playlist.
pub(super) fn playlist(text: Bytes) -> Reply {
    answer(StatusCode::OK, text, PLAYLIST, PLAYLIST_AGE)
}

/// A segment, or 304 where the client has it.
pub(super) fn segment(served: Served, rendition: Rendition, headers: &HeaderMap) -> Reply {
    tagged(served, kind(rendition), SEGMENT_AGE, headers)
}

/// A segment of muxed MPEG-TS, or 304 where the client has it.
pub(super) fn transport_stream(served: Served, headers: &HeaderMap) -> Reply {
    tagged(served, "video/mp2t", SEGMENT_AGE, headers)
}

/// Subtitles beside a segment, or 304 where the client has them.
pub(super) fn subtitle_segment(served: Served, headers: &HeaderMap) -> Reply {
    tagged(served, SUBTITLES, SEGMENT_AGE, headers)
}

/// Subtitles as far as they are known, or 304 where the client knows as much.
pub(super) fn subtitles(served: Served, headers: &HeaderMap) -> Reply {
    tagged(served, SUBTITLES, PLAYLIST_AGE, headers)
}

/// An initialisation section, or 304 where the client has it.
pub(super) fn init(served: Served, rendition: Rendition, headers: &HeaderMap) -> Reply {
    tagged(served, kind(rendition), INIT_AGE, headers)
}

fn kind(rendition: Rendition) -> &'static str {
    match rendition {
        Rendition::Video => "video/mp4",
        Rendition::Audio(_) => "audio/mp4",
    }
}

fn tagged(served: Served, kind: &'static str, age: &'static str, headers: &HeaderMap) -> Reply {
    let mut reply = if has(headers, &served.etag) {
        answer(StatusCode::NOT_MODIFIED, Bytes::new(), kind, age)
    } else {
        answer(StatusCode::OK, served.bytes, kind, age)
    };
    if let Ok(etag) = HeaderValue::from_str(&served.etag) {
        reply.headers_mut().insert(ETAG, etag);
    }
    // Ranges come with a later version; a client that sends one gets the whole, as RFC 9110 allows.
    reply.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
    reply
}

/// Whether `If-None-Match` names that tag (RFC 9110 section 13.1.2: compared weakly).
fn has(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| {
            let tag = tag.trim();
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag
        })
}

fn answer(status: StatusCode, body: Bytes, kind: &'static str, age: &'static str) -> Reply {
    let mut reply = Response::new(body.into());
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(age));
    open_to_all(headers);
    reply
}

/// Media may be read by any page: whoever knows a session's id may watch it.
pub(super) fn open_to_all(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Content-Length, Content-Range, ETag"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_names_are_names() {
        for (path, expected) in [
            ("stream.m3u8", Some(Asked::Multivariant)),
            ("video.m3u8", Some(Asked::Playlist(Rendition::Video))),
            ("audio-0.m3u8", Some(Asked::Playlist(Rendition::Audio(0)))),
            ("video/0.m4s", Some(Asked::Segment(Rendition::Video, 0))),
            ("audio-12/345.m4s", Some(Asked::Segment(Rendition::Audio(12), 345))),
            (
                "video/init-0123456789abcdef.mp4",
                Some(Asked::Init(Rendition::Video, "0123456789abcdef".to_owned())),
            ),
            ("ts.m3u8", Some(Asked::TransportPlaylist)),
            ("ts/3.ts", Some(Asked::TransportStream(3))),
            ("ts/03.ts", None),
            ("ts/3.m4s", None),
            ("video/3.1.m4s", Some(Asked::NotYet("parts are"))),
            ("video/3.01.m4s", None),
            ("sub-0.m3u8", Some(Asked::SubtitlePlaylist(0))),
            ("sub-2/17.vtt", Some(Asked::SubtitleSegment(2, 17))),
            ("sub-256.m3u8", None),
            ("sub-00/1.vtt", None),
            ("sub-0/01.vtt", None),
            ("sub-0/1.m4s", None),
            ("video/1.vtt", None),
            ("video/00.m4s", None),
            ("video/+1.m4s", None),
            ("video/-1.m4s", None),
            ("video/1.m4s/", None),
            ("video//1.m4s", None),
            ("video/../1.m4s", None),
            ("video/..%2f1.m4s", None),
            ("audio-01/1.m4s", None),
            ("audio-256/1.m4s", None),
            ("video/18446744073709551616.m4s", None),
            ("video/init-0123.mp4", None),
            ("video/init-0123456789ABCDEF.mp4", None),
            ("../stream.m3u8", None),
            ("", None),
        ] {
            assert_eq!(Asked::parse(path), expected, "{path}");
        }
    }
}
