//! The client against a stand-in engine on a real socket.

use std::{path::Path, time::Duration};

use sluice_protocol::{Cause, Event, Level, LogRecord, State};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{Client, Error, Feeds};
use crate::{
    event::{Act, Failure, LogNews, Msg, News, Order},
    fake::{FakeEngine, session},
};

/// A screen's end of the feeds.
struct Screen {
    feeds: Feeds,
    messages: mpsc::Receiver<Msg>,
}

impl Screen {
    fn open(socket: &Path) -> Self {
        let client = Client::find(Some(socket)).unwrap();
        let (sender, messages) = mpsc::channel(64);
        Self { feeds: Feeds::start(client, sender), messages }
    }

    /// Waits for a message that `pick` wants.
    async fn until<T>(&mut self, what: &str, mut pick: impl FnMut(Msg) -> Option<T>) -> T {
        let wait = async {
            loop {
                let msg = self.messages.recv().await.expect("the feeds live as long as the screen");
                if let Some(picked) = pick(msg) {
                    return picked;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait)
            .await
            .unwrap_or_else(|_| panic!("never came: {what}"))
    }

    async fn snapshot(&mut self) -> usize {
        self.until("a snapshot", |msg| match msg {
            Msg::News(News::Event(event)) => match *event {
                Event::Snapshot { sessions, .. } => Some(sessions.len()),
                _ => None,
            },
            _ => None,
        })
        .await
    }
}

fn id(number: u8) -> Uuid {
    Uuid::from_bytes([number; 16])
}

#[tokio::test]
async fn the_feed_comes_back_after_the_engine_did() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let engine = FakeEngine::start(&socket, vec![session(1, "one")]);
    let mut screen = Screen::open(&socket);
    assert_eq!(screen.snapshot().await, 1);
    engine.world().change(id(1), Cause::Exit, |session| session.state = State::Backoff);
    let to = screen.until("a change", |msg| match msg {
        Msg::News(News::Event(event)) => match *event {
            Event::State(change) => Some(change.to),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(to.await, State::Backoff);
    drop(engine);
    let lost = |msg| matches!(msg, Msg::News(News::Lost(_))).then_some(());
    screen.until("the loss", lost).await;
    // It is tried again and again while nobody is there.
    screen.until("a second try", |msg| matches!(msg, Msg::News(News::Trying(2))).then_some(())).await;
    let _engine = FakeEngine::start(&socket, vec![session(1, "one"), session(2, "two")]);
    screen.feeds.retry_now();
    assert_eq!(screen.snapshot().await, 2);
}

#[tokio::test]
async fn a_log_is_followed_and_taken_up_again_where_it_broke() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let engine = FakeEngine::start(&socket, vec![session(1, "one")]);
    engine.world().log(id(1), Level::Info, "first");
    let mut screen = Screen::open(&socket);
    screen.feeds.open_log(7, id(1));
    let mut texts = Vec::new();
    let mut collect = |msg: Msg, wanted: &str| {
        if let Msg::Log(7, LogNews::Records(records)) = msg {
            texts.extend(records.into_iter().filter_map(|record| match record {
                LogRecord::Line { text, .. } => Some(text),
                _ => None,
            }));
        }
        texts.iter().any(|text| text == wanted).then(|| texts.clone())
    };
    screen.until("the first line", |msg| collect(msg, "first")).await;
    engine.world().log(id(1), Level::Info, "second");
    screen.until("the second line", |msg| collect(msg, "second")).await;
    drop(engine);
    let engine = FakeEngine::start(&socket, vec![session(1, "one")]);
    {
        let mut world = engine.world();
        ["first", "second", "third"].iter().for_each(|text| world.log(id(1), Level::Info, text));
    }
    let texts = screen.until("the third line", |msg| collect(msg, "third")).await;
    assert_eq!(texts, ["first", "second", "third"], "nothing twice");
    assert!(engine.world().asked.iter().any(|asked| asked.contains("after=2")));
}

#[tokio::test]
async fn an_order_carries_its_generation_and_its_outcome_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let engine = FakeEngine::start(&socket, vec![session(1, "one")]);
    let mut screen = Screen::open(&socket);
    let order = |ticket, generation| Order { ticket, act: Act::Stop, id: id(1), generation };
    let outcome = |msg| match msg {
        Msg::Done(ticket, result) => Some((ticket, result)),
        _ => None,
    };
    screen.feeds.act(vec![order(1, 2)]);
    let (ticket, result) = screen.until("a refusal", outcome).await;
    let refused = matches!(result, Err(Failure::Refused(code, _)) if code == "changed");
    assert!(ticket == 1 && refused);
    screen.feeds.act(vec![order(2, 3)]);
    let (_, result) = screen.until("an answer", outcome).await;
    assert!(result.unwrap().held);
    engine.world().mute = true;
    screen.feeds.act(vec![order(3, 4)]);
    crate::fake::eventually("the order arrives", || {
        engine.world().asked.iter().any(|asked| asked.contains("\"generation\":4")).then_some(())
    })
    .await;
    drop(engine);
    let (_, result) = screen.until("no answer", outcome).await;
    assert!(matches!(result, Err(Failure::Unanswered(_))), "{result:?}");
}

#[tokio::test]
async fn a_socket_with_nobody_behind_it_is_not_reachable() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let client = Client::find(Some(&socket)).unwrap();
    let error = client.engine().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("control.sock"), "{error}");
}
