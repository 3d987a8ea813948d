//! What runs beside the screen: the engine's feed, the open log, and orders under way.
//!
//! All of it ends in one bounded channel. When the screen is slow, the engine's own buffers fill and it
//! answers with a new snapshot, or a gap in the log: nothing here grows.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
    time::Duration,
};

use sluice_protocol::{Event, LogRecord, ResumeOrder, Session, StopOrder};
use tokio::{
    sync::{Notify, mpsc},
    task::{AbortHandle, JoinSet},
};
use uuid::Uuid;

use super::{Client, Error, LogQuery};
use crate::event::{Act, Failure, LogNews, Msg, News, Order};

/// Waits between tries grow from the first to the second.
const SHORTEST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// What an opened log shows of the past.
const TAIL: usize = 2000;
/// Orders that are under way at a time, when many sessions are marked.
const ABREAST: usize = 8;

/// Everything that is under way for one screen. Dropping it ends it all.
#[derive(Debug)]
pub(crate) struct Feeds {
    client: Client,
    messages: mpsc::Sender<Msg>,
    retry: Arc<Notify>,
    tasks: JoinSet<()>,
    log: Option<AbortHandle>,
}

impl Feeds {
    /// Follows the engine from now on and tells `messages`.
    pub(crate) fn start(client: Client, messages: mpsc::Sender<Msg>) -> Self {
        let retry = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(follow_engine(client.clone(), messages.clone(), retry.clone()));
        Self { client, messages, retry, tasks, log: None }
    }

    /// Does not wait for the time of the next try.
    pub(crate) fn retry_now(&self) {
        self.retry.notify_one();
    }

    /// Follows a log, and no other.
    pub(crate) fn open_log(&mut self, ticket: u64, id: Uuid) {
        self.close_log();
        let task = follow_log(self.client.clone(), self.messages.clone(), ticket, id);
        self.log = Some(self.tasks.spawn(task));
    }

    /// Follows no log.
    pub(crate) fn close_log(&mut self) {
        if let Some(log) = self.log.take() {
            log.abort();
        }
        // What has ended is let go here, so that the set does not grow with every key.
        while self.tasks.try_join_next().is_some() {}
    }

    /// Asks for a session's detail.
    pub(crate) fn ask_detail(&mut self, ticket: u64, id: Uuid) {
        let (client, messages) = (self.client.clone(), self.messages.clone());
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(async move {
            let answer = client.session(id).await.map(Box::new).map_err(|error| error.to_string());
            tell(&messages, Msg::Detail(ticket, answer)).await;
        });
    }

    /// Carries out orders, a few at a time.
    pub(crate) fn act(&mut self, orders: Vec<Order>) {
        let (client, messages) = (self.client.clone(), self.messages.clone());
        self.tasks.spawn(async move {
            use futures_util::StreamExt as _;
            let orders = futures_util::stream::iter(orders);
            orders
                .for_each_concurrent(ABREAST, |order| {
                    let (client, messages) = (&client, &messages);
                    async move {
                        let result = carry_out(client, order).await.map(Box::new).map_err(failure);
                        tell(messages, Msg::Done(order.ticket, result)).await;
                    }
                })
                .await;
        });
    }
}

async fn follow_engine(client: Client, messages: mpsc::Sender<Msg>, retry: Arc<Notify>) {
    let mut attempt = 0;
    loop {
        if attempt > 0 {
            tell(&messages, Msg::News(News::Trying(attempt))).await;
        }
        let (heard, reason) = listen(&client, &messages).await;
        attempt = if heard { 1 } else { attempt + 1 };
        let wait = wait_before(attempt);
        tell(&messages, Msg::News(News::Lost(reason))).await;
        tell(&messages, Msg::News(News::Waiting(attempt - 1, wait))).await;
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = retry.notified() => {}
        }
        if messages.is_closed() {
            return;
        }
    }
}

/// Listens until it breaks: whether anything was heard, and what broke it.
async fn listen(client: &Client, messages: &mpsc::Sender<Msg>) -> (bool, String) {
    let mut heard = false;
    let mut lines = match client.events().await {
        Ok(lines) => lines,
        Err(error) => return (heard, short(&error)),
    };
    loop {
        let batch = match lines.next().await {
            Ok(Some(batch)) => batch,
            Ok(None) => return (heard, "EOF".to_owned()),
            Err(error) => return (heard, short(&error)),
        };
        for line in batch {
            let event: Event = match lines.decode(&line) {
                Ok(event) => event,
                Err(error) => return (heard, short(&error)),
            };
            heard = true;
            tell(messages, Msg::News(News::Event(Box::new(event)))).await;
        }
    }
}

async fn follow_log(client: Client, messages: mpsc::Sender<Msg>, ticket: u64, id: Uuid) {
    let mut last = None;
    let mut attempt = 0;
    loop {
        let news = match listen_to_log(&client, &messages, ticket, id, &mut last).await {
            Ok(Ended::Said) => return,
            Ok(Ended::Broke) => {
                attempt = 0;
                LogNews::Lost("EOF".to_owned())
            }
            Err(Error::Refused(problem)) => {
                tell(&messages, Msg::Log(ticket, LogNews::Refused(problem.detail))).await;
                return;
            }
            Err(error) => LogNews::Lost(short(&error)),
        };
        tell(&messages, Msg::Log(ticket, news)).await;
        attempt += 1;
        tokio::time::sleep(wait_before(attempt)).await;
    }
}

enum Ended {
    /// The engine said that nothing more will come.
    Said,
    /// It did not.
    Broke,
}

async fn listen_to_log(
    client: &Client,
    messages: &mpsc::Sender<Msg>,
    ticket: u64,
    id: Uuid,
    last: &mut Option<u64>,
) -> Result<Ended, Error> {
    let tail = last.is_none().then_some(TAIL);
    let mut lines = client.logs(id, LogQuery { tail, follow: true, level: None, after: *last }).await?;
    tell(messages, Msg::Log(ticket, LogNews::Records(Vec::new()))).await;
    while let Some(batch) = lines.next().await? {
        let mut records = Vec::with_capacity(batch.len());
        for line in batch {
            let record = lines.decode(&line)?;
            if let LogRecord::Line { seq, .. } = record {
                *last = Some(seq);
            }
            records.push(record);
        }
        let ended = records.contains(&LogRecord::End);
        tell(messages, Msg::Log(ticket, LogNews::Records(records))).await;
        if ended {
            return Ok(Ended::Said);
        }
    }
    Ok(Ended::Broke)
}

async fn carry_out(client: &Client, order: Order) -> Result<Session, Error> {
    let generation = Some(order.generation);
    let stop = |force| StopOrder { force, hold_for: None, generation };
    match order.act {
        Act::Stop => client.stop(order.id, stop(false)).await,
        Act::Force => client.stop(order.id, stop(true)).await,
        Act::Resume => client.resume(order.id, ResumeOrder { generation }).await,
        Act::Restart => client.restart(order.id, ResumeOrder { generation }).await,
    }
}

fn failure(error: Error) -> Failure {
    match error {
        Error::Refused(problem) => Failure::Refused(problem.code, problem.detail),
        Error::Unanswered { why } => Failure::Unanswered(why),
        // The answer came: it was done, even if we can't read how things are now.
        Error::Garbled { .. } | Error::Endless => Failure::Unanswered(error.to_string()),
        Error::NoSocket { .. } | Error::Unreachable { .. } | Error::Denied { .. } | Error::Setup(_) => {
            Failure::Unsent(short(&error))
        }
    }
}

/// Few words for a banner.
fn short(error: &Error) -> String {
    match error {
        Error::Unreachable { why, .. } | Error::Unanswered { why } => match why.as_str() {
            why if why.starts_with("Connection refused") => "refused".to_owned(),
            why if why.starts_with("No such file") => "no socket".to_owned(),
            why => why.split(" (os error").next().unwrap_or(why).to_owned(),
        },
        Error::Denied { .. } => "permission denied".to_owned(),
        other => other.to_string(),
    }
}

/// Doubles with every try, and is never the same for all consoles: an engine that comes back is not met by
/// all of them in the same moment.
fn wait_before(attempt: u32) -> Duration {
    let wait = SHORTEST_WAIT.saturating_mul(1 << attempt.saturating_sub(1).min(8)).min(LONGEST_WAIT);
    let chance = RandomState::new().build_hasher().finish() % 1000;
    wait.mul_f64(0.8 + 0.2 * chance as f64 / 1000.0)
}

/// A closed channel means that the screen is gone, and then so are we: nobody is left to tell.
async fn tell(messages: &mpsc::Sender<Msg>, msg: Msg) {
    if messages.send(msg).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_a_quarter_second_to_five_and_are_not_all_alike() {
        let check = |attempt, at_most: u64| {
            let wait = wait_before(attempt).as_millis();
            let at_most = u128::from(at_most);
            assert!((at_most * 8 / 10..=at_most).contains(&wait), "{attempt}: {wait}");
        };
        check(1, 250);
        check(2, 500);
        check(5, 4000);
        check(6, 5000);
        check(u32::MAX, 5000);
    }
}
