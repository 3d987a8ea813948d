//! A log tail: what ffmpeg said, and what it says while somebody reads, as one JSON record a line.
//!
//! The reader holds a cursor on the session's ring and takes what is there when its connection has room. One
//! that is too slow costs nothing, loses lines, and is told how many.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use sluice_protocol::{Level, LogRecord, NDJSON};
use tokio_util::sync::CancellationToken;
use warp::reply::{Reply as _, Response};

use super::request::Query;
use super::shape;
use crate::problem::Refusal;
use crate::session::{Cursor, Log, Read};

/// Lines that are shown before the present, where nothing is said about that.
const TAIL: usize = 100;

/// What a reader wants of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    begin: Begin,
    follow: bool,
    /// The least grave that is shown.
    level: Level,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// Before the last lines.
    Tail(usize),
    /// After the line with that sequence.
    After(u64),
}

impl Asked {
    /// `after` says where to begin, and then `tail` has no meaning.
    pub(super) fn parse(query: &Query) -> Result<Self, Refusal> {
        let begin = match query.number("after")? {
            Some(after) => Begin::After(after),
            None => Begin::Tail(query.number("tail")?.unwrap_or(TAIL)),
        };
        let level = query.get("level").map_or(Ok(Level::Debug), |name| {
            let levels = [Level::Debug, Level::Info, Level::Warning, Level::Error, Level::Fatal];
            let level = levels.into_iter().find(|level| level.name() == name);
            level.ok_or_else(|| {
                Refusal::bad_request("`level` is one of debug, info, warning, error and fatal")
            })
        })?;
        Ok(Self { begin, follow: query.flag("follow")?, level })
    }
}

/// The answer: what there is, and with `follow` what comes, until the session is over or `ending`.
pub(super) fn tail(log: Arc<Log>, asked: Asked, ending: CancellationToken) -> Response {
    let chunks = stream::unfold(Reader::new(log, asked, ending), async |mut reader| {
        let chunk = reader.next().await?;
        Some((Ok::<_, Infallible>(chunk), reader))
    });
    ndjson(warp::reply::stream(chunks).into_response())
}

/// Marks an answer as one JSON record a line.
pub(super) fn ndjson(mut response: Response) -> Response {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    response
}

/// A record and its line's end.
pub(super) fn write(record: &impl Serialize, line: &mut Vec<u8>) {
    // Records are plain data, and memory takes all that is written to it.
    serde_json::to_writer(&mut *line, record).expect("a record becomes JSON");
    line.push(b'\n');
}

struct Reader {
    log: Arc<Log>,
    cursor: Cursor,
    asked: Asked,
    /// Of the lines that there are already, only so many.
    most: Option<usize>,
    ending: CancellationToken,
    is_over: bool,
}

impl Reader {
    fn new(log: Arc<Log>, asked: Asked, ending: CancellationToken) -> Self {
        let (cursor, most) = match asked.begin {
            Begin::After(after) => (log.after(after), None),
            Begin::Tail(lines) if asked.level == Level::Debug => (log.tail(lines), None),
            // The last lines of a level lie further back than the last lines.
            Begin::Tail(0) => (log.tail(0), None),
            Begin::Tail(lines) => (log.tail(usize::MAX), Some(lines)),
        };
        Self { log, cursor, asked, most, ending, is_over: false }
    }

    /// What there is to send next; `None` ends the answer. No more than the ring holds is in one piece.
    async fn next(&mut self) -> Option<Bytes> {
        while !self.is_over {
            match self.log.read(&mut self.cursor) {
                Read::Lines { dropped, first, entries } => {
                    let mut chunk = Vec::new();
                    if dropped > 0 {
                        write(&LogRecord::Gap { dropped, from: first }, &mut chunk);
                    }
                    let mut entries = entries;
                    entries.retain(|entry| shape::level(entry.level) >= self.asked.level);
                    let skipped = self.most.take().map_or(0, |most| entries.len().saturating_sub(most));
                    for entry in entries.into_iter().skip(skipped) {
                        write(&shape::line(entry), &mut chunk);
                    }
                    if !chunk.is_empty() {
                        return Some(chunk.into());
                    }
                }
                Read::Over => {
                    self.is_over = true;
                    let mut chunk = Vec::new();
                    write(&LogRecord::End, &mut chunk);
                    return Some(chunk.into());
                }
                Read::Nothing if !self.asked.follow => return None,
                Read::Nothing => {
                    // What was there before is all read: from here on each line counts.
                    self.most = None;
                    tokio::select! {
                        () = self.log.wait(self.cursor) => {}
                        () = self.ending.cancelled() => return None,
                    }
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::session;

    fn say(log: &Log, lines: impl IntoIterator<Item = (session::Level, &'static str)>) {
        log.extend(1, lines.into_iter().map(|(level, text)| (level, text.to_owned())));
    }

    fn some_log() -> Arc<Log> {
        use session::Level::{Debug, Error, Info, Warning};
        let log = Arc::new(Log::default());
        say(&log, [(Error, "1"), (Info, "2"), (Warning, "3"), (Error, "4"), (Debug, "5"), (Info, "6")]);
        log
    }

    fn reader(log: &Arc<Log>, query: &str) -> Reader {
        let asked = Asked::parse(&Query::parse(query)).unwrap();
        Reader::new(log.clone(), asked, CancellationToken::new())
    }

    fn records(chunk: &[u8]) -> Vec<LogRecord> {
        let lines = chunk.split_inclusive(|byte| *byte == b'\n');
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    fn word(record: &LogRecord) -> String {
        match record {
            LogRecord::Line { text, .. } => text.clone(),
            LogRecord::Gap { dropped, from } => format!("{dropped} lost from {from}"),
            LogRecord::End => "end".to_owned(),
            LogRecord::Unknown => panic!("the engine writes no record that it does not know"),
        }
    }

    async fn all(log: &Arc<Log>, query: &str) -> String {
        let mut reader = reader(log, query);
        let mut words = Vec::new();
        while let Some(chunk) = reader.next().await {
            words.extend(records(&chunk).iter().map(word));
        }
        words.join(" ")
    }

    #[tokio::test]
    async fn a_tail_is_what_was_asked_for() {
        let log = some_log();
        for (query, expected) in [
            ("", "1 2 3 4 5 6"),
            ("tail=2", "5 6"),
            ("tail=0", ""),
            ("level=error", "1 4"),
            ("level=warning&tail=2", "3 4"),
            ("level=fatal", ""),
            ("after=4", "5 6"),
            ("after=4&tail=1", "5 6"),
            ("after=99", ""),
        ] {
            assert_eq!(all(&log, query).await, expected, "{query}");
        }
        log.set_over(true);
        assert_eq!(all(&log, "tail=1").await, "6 end");
        assert_eq!(all(&log, "tail=0&follow=true").await, "end");
    }

    #[tokio::test]
    async fn what_nobody_can_mean_is_refused() {
        for query in ["tail=-1", "tail=many", "level=loud", "follow=perhaps", "after=x"] {
            assert!(Asked::parse(&Query::parse(query)).is_err(), "{query}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_follower_gets_what_comes_and_the_end() {
        let log = some_log();
        let mut reader = reader(&log, "tail=1&follow=true&level=info");
        assert_eq!(records(&reader.next().await.unwrap()).iter().map(word).collect::<Vec<_>>(), ["6"]);
        let writer = tokio::spawn({
            let log = log.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                say(&log, [(session::Level::Debug, "not for this reader")]);
                tokio::time::sleep(Duration::from_secs(1)).await;
                say(&log, [(session::Level::Error, "7"), (session::Level::Error, "8")]);
            }
        });
        assert_eq!(records(&reader.next().await.unwrap()).iter().map(word).collect::<Vec<_>>(), ["7", "8"]);
        writer.await.unwrap();
        log.set_over(true);
        assert_eq!(records(&reader.next().await.unwrap()), [LogRecord::End]);
        assert_eq!(reader.next().await, None);
    }

    #[tokio::test]
    async fn a_reader_that_was_too_slow_is_told_what_it_lost() {
        let log = Arc::new(Log::default());
        let mut reader = reader(&log, "after=0&follow=true");
        say(&log, (0..5_000).map(|_| (session::Level::Info, "again and again")));
        let records = records(&reader.next().await.unwrap());
        let LogRecord::Gap { dropped, from: 1 } = records[0] else { panic!("{:?}", records[0]) };
        assert_eq!(dropped + records.len() as u64 - 1, 5_000);
    }

    #[tokio::test]
    async fn a_follower_goes_when_the_engine_does() {
        let log = Arc::new(Log::default());
        let mut reader = reader(&log, "follow=true");
        reader.ending.cancel();
        assert_eq!(reader.next().await, None);
    }
}
