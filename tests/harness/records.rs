//! Reads an answer that goes on and on, one JSON record a line.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use serde::de::DeserializeOwned;

/// The records of a stream such as `GET /v1/events`.
pub struct Records {
    body: std::pin::Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    waiting: BytesMut,
}

impl Records {
    /// Reads `answer`, which must be a success.
    pub fn of(answer: reqwest::Response) -> Self {
        assert!(answer.status().is_success(), "{} was answered {}", answer.url(), answer.status());
        let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        assert_eq!(kind, Some(sluice_protocol::NDJSON), "a stream of records says so");
        Self { body: Box::pin(answer.bytes_stream()), waiting: BytesMut::new() }
    }

    /// The next record, or `None` at the end of the stream.
    ///
    /// # Panics
    ///
    /// Where none comes within `limit`, or where it is not one of `T`.
    pub async fn next<T: DeserializeOwned>(&mut self, limit: Duration) -> Option<T> {
        let line = tokio::time::timeout(limit, self.line())
            .await
            .unwrap_or_else(|_| panic!("no record came within {limit:?}"))?;
        match serde_json::from_slice(&line) {
            Ok(record) => Some(record),
            Err(error) => panic!("{} is no record: {error}", String::from_utf8_lossy(&line)),
        }
    }

    /// Reads on until `wanted` answers with a value; records before that are dropped.
    ///
    /// # Panics
    ///
    /// Where the stream ends first, or `limit` passes.
    pub async fn until<T: DeserializeOwned, V>(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(T) -> Option<V>,
    ) -> V {
        let search = async {
            loop {
                let record =
                    self.next::<T>(limit).await.expect("the stream ended before what was waited for");
                if let Some(value) = wanted(record) {
                    return value;
                }
            }
        };
        tokio::time::timeout(limit, search)
            .await
            .unwrap_or_else(|_| panic!("what was waited for did not come within {limit:?}"))
    }

    async fn line(&mut self) -> Option<Bytes> {
        loop {
            if let Some(end) = self.waiting.iter().position(|byte| *byte == b'\n') {
                let line = self.waiting.split_to(end + 1).freeze();
                return Some(line.slice(..end));
            }
            match self.body.next().await? {
                Ok(bytes) => self.waiting.extend_from_slice(&bytes),
                // A killed engine cuts its streams: for a reader that is an end like another.
                Err(_) => return None,
            }
        }
    }
}
