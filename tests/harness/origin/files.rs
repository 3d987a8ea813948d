//! Files, in every manner in which servers were seen to send them.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use super::{Answer, Body, Shared, full, page};

/// How a file is sent.
pub(super) enum Manner {
    /// The range that was asked for, or all.
    Ranges(Option<String>),
    /// All, whatever was asked for.
    Whole,
    /// All, its length not said.
    Chunked,
    /// So many bytes a second.
    Slow(usize),
    /// Cut off after so many bytes.
    Cut(usize),
    /// The range that was asked for, cut off after so many bytes.
    Breaks(Option<String>, usize),
    /// Silent after so many bytes.
    Stall(usize),
}

/// How often a slow source sends something.
const DRIP: Duration = Duration::from_millis(50);

pub(super) fn answer(shared: &Arc<Shared>, name: &str, manner: Manner) -> Answer {
    let path = shared.directory.join(name);
    // Names come from tests; one that leads out of the media is a mistake in a test.
    assert!(!name.contains(".."), "{name} is no file of the media");
    let Ok(file) = std::fs::read(path).map(Bytes::from) else { return page(None) };
    let length = file.len();
    let answer = match manner {
        Manner::Ranges(range) => ranged(file, range.as_deref()),
        // hyper says the length of a whole body by itself.
        Manner::Whole => Response::new(full(file)),
        Manner::Chunked => Response::new(pieces(cut_up(file, 64 << 10), End::Clean)),
        Manner::Slow(rate) => {
            let piece = (rate as f64 * DRIP.as_secs_f64()) as usize;
            promised(pieces_with_pause(cut_up(file, piece.max(1)), DRIP), length)
        }
        Manner::Cut(after) => promised(pieces(vec![file.slice(..after.min(length))], End::Broken), length),
        Manner::Breaks(range, after) => breaking(file, range.as_deref(), after),
        Manner::Stall(after) => promised(pieces(vec![file.slice(..after.min(length))], End::Never), length),
    };
    typed(answer, name)
}

fn promised(body: Body, length: usize) -> Answer {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    answer
}

fn typed(mut answer: Answer, name: &str) -> Answer {
    let kind = match name.rsplit('.').next() {
        Some("mp4" | "m4a") => "video/mp4",
        Some("mkv") => "video/x-matroska",
        Some("ts") => "video/mp2t",
        Some("html") => "text/html",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    };
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn ranged(file: Bytes, range: Option<&str>) -> Answer {
    let length = file.len();
    let mut answer = match range.map(|range| parse(range, length)) {
        None => Response::new(full(file)),
        Some(Some(range)) => {
            let said = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            let mut answer = Response::new(full(file.slice(range)));
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            answer.headers_mut().insert(CONTENT_RANGE, said.parse().expect("digits and dashes"));
            answer
        }
        Some(None) => {
            let mut answer = Response::new(full(Bytes::new()));
            *answer.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            let said = format!("bytes */{length}");
            answer.headers_mut().insert(CONTENT_RANGE, said.parse().expect("digits and dashes"));
            answer
        }
    };
    answer.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer
}

/// A range whose answer promises all of it and ends too soon.
fn breaking(file: Bytes, range: Option<&str>, after: usize) -> Answer {
    let (all, length) = (0..file.len(), file.len());
    let asked = range.map_or(Some(all), |range| parse(range, length));
    let Some(asked) = asked else { return ranged(file, range) };
    let part = file.slice(asked.clone());
    let end = if part.len() > after { End::Broken } else { End::Clean };
    let mut answer = promised(pieces(vec![part.slice(..after.min(part.len()))], end), part.len());
    if range.is_some() {
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        let said = format!("bytes {}-{}/{length}", asked.start, asked.end - 1);
        answer.headers_mut().insert(CONTENT_RANGE, said.parse().expect("digits and dashes"));
    }
    answer.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer
}

/// One range of bytes, as `bytes=10-20`, `bytes=10-` or `bytes=-10` say it.
fn parse(range: &str, length: usize) -> Option<Range<usize>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => first..last.saturating_add(1).min(length),
        (Ok(first), Err(_)) => first..length,
        (Err(_), Ok(last)) => length.saturating_sub(last)..length,
        (Err(_), Err(_)) => return None,
    };
    (range.start < range.end).then_some(range)
}

/// How a body ends.
enum End {
    Clean,
    Broken,
    Never,
}

fn cut_up(mut file: Bytes, size: usize) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    while !file.is_empty() {
        pieces.push(file.split_to(size.min(file.len())));
    }
    pieces
}

fn pieces(pieces: Vec<Bytes>, end: End) -> Body {
    let stream = stream::unfold((pieces.into_iter(), end), |(mut pieces, end)| async move {
        match pieces.next() {
            Some(piece) => Some((Ok(Frame::data(piece)), (pieces, end))),
            None => match end {
                End::Clean => None,
                // Gives the connection time to send what was handed over, then cuts it.
                End::Broken => {
                    tokio::time::sleep(DRIP).await;
                    Some((Err(io::Error::other("cut, as the address asks")), (pieces, End::Clean)))
                }
                End::Never => std::future::pending().await,
            },
        }
    });
    StreamBody::new(stream).boxed_unsync()
}

fn pieces_with_pause(pieces: Vec<Bytes>, pause: Duration) -> Body {
    let stream = stream::unfold(pieces.into_iter(), move |mut pieces| async move {
        tokio::time::sleep(pause).await;
        pieces.next().map(|piece| (Ok::<_, io::Error>(Frame::data(piece)), pieces))
    });
    StreamBody::new(stream).boxed_unsync()
}
