//! Waiting for something to become true, with a limit.

use std::future::Future;
use std::time::{Duration, Instant};

/// How often a condition is looked at. Short against anything that a test waits for, long against a look.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks `condition` until it answers with a value.
///
/// # Panics
///
/// After `limit`, naming `what` was waited for. The limit is there to end a broken test, not to measure:
/// make it far longer than a slow machine needs.
pub async fn wait_for<T, F>(limit: Duration, what: &str, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < end, "waited {limit:?} in vain for {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// The same without a runtime, for what must also work in `drop`. Answers whether it became true.
pub fn becomes_true(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
    true
}
