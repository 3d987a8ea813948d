//! What a request carries besides its path: the parameters after `?` and a bounded JSON body.
//!
//! It knows no route. Both are read without looking at `Content-Type`: on this socket there is no browser
//! whose form could pretend to be an operator, and `curl -d '{…}'` should just work.

use std::convert::Infallible;
use std::pin::pin;
use std::str::FromStr;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, EXPECT};
use serde::de::{DeserializeOwned, Error as _};
use serde_json::{Map, Value};
use url::form_urlencoded;
use warp::Filter;

use crate::problem::Refusal;

/// Orders are a handful of fields.
const MOST_BODY: usize = 64 * 1024;
/// A body comes within this.
const BODY_LIMIT: Duration = Duration::from_secs(10);
/// Of a body that is too large, so much is read and dropped before the answer: closing on a client that
/// still writes would take the answer away from it.
const MOST_DROPPED: usize = 16 * 1024 * 1024;
/// A client that sends nothing for this long is waiting for the answer, not writing.
const PAUSE: Duration = Duration::from_millis(500);

/// The parameters after `?`. Those that nobody asks for are ignored; of two with one name the first counts.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

/// Extracts the query.
pub(super) fn query() -> impl Filter<Extract = (Query,), Error = Infallible> + Clone {
    warp::query::raw().or(warp::any().map(String::new)).unify().map(|raw: String| Query::parse(&raw))
}

/// Extracts an order. No body at all is the order with nothing said.
pub(super) fn order<T>() -> impl Filter<Extract = (Result<T, Refusal>,), Error = warp::Rejection> + Clone
where
    T: DeserializeOwned + Default + Send + 'static,
{
    warp::header::headers_cloned().and(warp::body::stream()).then(async |headers: HeaderMap, body| {
        let bytes = tokio::time::timeout(BODY_LIMIT, read(&headers, body)).await.unwrap_or_else(|_| {
            Err(Refusal::bad_request(format!("the body did not come within {} s", BODY_LIMIT.as_secs())))
        })?;
        parse(&bytes)
    })
}

impl Query {
    pub(super) fn parse(raw: &str) -> Self {
        Self(form_urlencoded::parse(raw.as_bytes()).into_owned().collect())
    }

    /// The value of a parameter.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that counts something.
    pub(super) fn number<T: FromStr>(&self, key: &str) -> Result<Option<T>, Refusal> {
        let number = self.get(key).map(str::parse).transpose();
        number.map_err(|_| Refusal::bad_request(format!("`{key}` must be a whole number, 0 or more")))
    }

    /// Whether a parameter is set: absent is no, without a value is yes.
    pub(super) fn flag(&self, key: &str) -> Result<bool, Refusal> {
        match self.get(key) {
            None | Some("0" | "false") => Ok(false),
            Some("" | "1" | "true") => Ok(true),
            Some(_) => Err(Refusal::bad_request(format!("`{key}` must be true or false"))),
        }
    }
}

async fn read<S, B>(headers: &HeaderMap, body: S) -> Result<BytesMut, Refusal>
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let mut body = pin!(body);
    let mut bytes = BytesMut::new();
    let mut is_too_large = announced.is_some_and(|length| length > MOST_BODY as u64);
    // Who asked first whether to send it has its answer.
    while !is_too_large && let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_| Refusal::bad_request("the body ended before its end"))?;
        is_too_large = bytes.len() + chunk.remaining() > MOST_BODY;
        if !is_too_large {
            bytes.extend_from_slice(&chunk_bytes(chunk));
        }
    }
    if !is_too_large {
        return Ok(bytes);
    }
    if !headers.contains_key(EXPECT) {
        let mut dropped = 0;
        while dropped < MOST_DROPPED
            && let Ok(Some(Ok(chunk))) = tokio::time::timeout(PAUSE, body.next()).await
        {
            dropped += chunk.remaining();
        }
    }
    Err(Refusal::too_large(MOST_BODY as u64))
}

fn chunk_bytes(mut chunk: impl Buf) -> bytes::Bytes {
    chunk.copy_to_bytes(chunk.remaining())
}

fn parse<T: DeserializeOwned + Default>(bytes: &[u8]) -> Result<T, Refusal> {
    if bytes.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    // By way of an object: a struct would take an array's items for its fields, whatever they mean.
    let parsed = serde_json::from_slice::<Value>(bytes).and_then(|value| match value {
        Value::Object(fields) => Ok::<Map<_, _>, _>(fields),
        _ => Err(serde_json::Error::custom("it is no object")),
    });
    let order = parsed.and_then(|fields| T::deserialize(Value::Object(fields)));
    order.map_err(|error| {
        Refusal::bad_request(format!("the body is not the JSON that this address reads: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;
    use sluice_protocol::{StopOrder, code};

    use super::*;

    #[test]
    fn an_order_may_say_nothing_and_must_not_say_nonsense() {
        let check = |body: &str, force: Option<bool>| {
            let parsed = parse::<StopOrder>(body.as_bytes());
            assert_eq!(parsed.as_ref().map(|order| order.force).ok(), force, "{body:?}: {parsed:?}");
        };
        check("", Some(false));
        check(" \n", Some(false));
        check("{}", Some(false));
        check("{\"force\":true,\"mood\":\"grim\"}", Some(true));
        check("{\"hold_for\":null}", Some(false));
        for nonsense in
            ["[true]", "null", "true", "{\"force\":\"yes\"}", "{", "{}{}", "\u{1}", "{\"generation\":-1}"]
        {
            check(nonsense, None);
        }
    }

    #[test]
    fn parameters_are_read_or_refused_by_name() {
        let query = Query::parse("tail=20&follow&level=err%6fr&after=-1&x=1&tail=9");
        assert_eq!(query.number::<usize>("tail").unwrap(), Some(20));
        assert!(query.flag("follow").unwrap() && !query.flag("history").unwrap());
        assert_eq!(query.get("level"), Some("error"));
        let refusal = query.number::<u64>("after").unwrap_err();
        assert!(refusal.problem().detail.contains("`after`"));
        assert!(query.flag("tail").is_err());
    }

    fn body(chunks: usize, each: usize) -> impl Stream<Item = Result<Bytes, warp::Error>> {
        stream::iter((0..chunks).map(move |_| Ok(Bytes::from(vec![b' '; each]))))
    }

    #[tokio::test]
    async fn a_body_of_any_length_is_bounded() {
        let headers = HeaderMap::new();
        assert_eq!(read(&headers, body(64, 1024)).await.unwrap().len(), MOST_BODY);
        let refusal = read(&headers, body(65, 1024)).await.unwrap_err();
        assert_eq!((refusal.status().as_u16(), refusal.code()), (413, code::TOO_LARGE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_announces_too_much_and_waits_is_answered() {
        let headers = HeaderMap::from_iter([(CONTENT_LENGTH, "10485760".parse().unwrap())]);
        let silent = body(1, 10).chain(stream::pending());
        assert_eq!(read(&headers, silent).await.unwrap_err().code(), code::TOO_LARGE);
    }
}
