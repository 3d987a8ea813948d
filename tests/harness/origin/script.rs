//! The desk where stand-ins for ffmpeg get their orders, and the gates at which they wait.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::sync::watch;

use super::{Answer, Shared, full, lock, page};
use crate::stand_in::{Captured, Introduction, Orders, Script};

#[derive(Default)]
pub(super) struct Scripts {
    known: Mutex<HashMap<String, Known>>,
    gates: Mutex<HashMap<String, Arc<AtomicUsize>>>,
    open: watch::Sender<HashSet<String>>,
}

#[derive(Default)]
struct Known {
    script: Script,
    runs: Vec<Introduction>,
    /// The bytes of each run, for the stand-in to fetch.
    bytes: HashMap<usize, Bytes>,
}

impl Scripts {
    pub(super) fn put(&self, name: &str, script: Script) {
        lock(&self.known).insert(name.to_owned(), Known { script, ..Known::default() });
    }

    pub(super) fn runs(&self, name: &str) -> Vec<Introduction> {
        lock(&self.known).get(name).map(|known| known.runs.clone()).unwrap_or_default()
    }

    pub(super) fn open(&self, gate: &str) {
        self.open.send_modify(|open| {
            open.insert(gate.to_owned());
        });
    }

    pub(super) fn waiting_at(&self, gate: &str) -> usize {
        lock(&self.gates).get(gate).map_or(0, |waiting| waiting.load(Ordering::Relaxed))
    }

    async fn pass(&self, gate: &str) {
        let waiting = lock(&self.gates).entry(gate.to_owned()).or_default().clone();
        let mut open = self.open.subscribe();
        waiting.fetch_add(1, Ordering::Relaxed);
        let _leaves = Leaves(waiting);
        // The sender lives as long as the desk, which answers this.
        let _opened = open.wait_for(|open| open.contains(gate)).await;
    }
}

/// Someone who waits at a gate, until passing it or dying there.
struct Leaves(Arc<AtomicUsize>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `POST /orders/NAME/run`, `GET /orders/NAME/bytes/RUN`, `GET /orders/NAME/gate/GATE`.
pub(super) async fn answer(shared: Arc<Shared>, request: Request<Incoming>, path: &str) -> Answer {
    match path.split('/').collect::<Vec<_>>()[..] {
        [name, "run"] => {
            let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            match serde_json::from_slice::<Introduction>(&body) {
                Ok(introduction) => orders(&shared, name, introduction).await,
                Err(_) => page(None),
            }
        }
        [name, "bytes", run] => {
            let bytes = run
                .parse::<usize>()
                .ok()
                .and_then(|run| lock(&shared.scripts.known).get(name)?.bytes.get(&run).cloned());
            bytes.map_or_else(|| page(None), |bytes| Response::new(full(bytes)))
        }
        [_, "gate", gate] => {
            shared.scripts.pass(gate).await;
            Response::new(full(Bytes::new()))
        }
        _ => page(None),
    }
}

async fn orders(shared: &Shared, name: &str, introduction: Introduction) -> Answer {
    let arguments = introduction.arguments.clone();
    let reserved = lock(&shared.scripts.known).get_mut(name).map(|known| {
        known.runs.push(introduction);
        let run = known.runs.len() - 1;
        (run, known.script.run(run).to_vec())
    });
    let Some((run, steps)) = reserved else { return page(None) };
    let address =
        arguments.iter().skip_while(|argument| *argument != "-i").nth(1).cloned().unwrap_or_default();
    let plain = address.replacen(&format!("/script/{name}"), "", 1);
    let captured = Captured::by_ffmpeg(&arguments, &plain).await;
    let orders = Orders { run, orders: captured.orders(&steps) };
    if let Some(known) = lock(&shared.scripts.known).get_mut(name) {
        known.bytes.insert(run, captured.bytes.into());
    }
    Response::new(full(serde_json::to_vec(&orders).expect("orders are plain values").into()))
}
