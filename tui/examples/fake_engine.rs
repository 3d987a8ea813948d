//! A stand-in engine with sessions in every state, to look at the console without media:
//! `cargo run -p sluice-tui --example fake_engine -- /tmp/fake.sock`, then `sluice --socket /tmp/fake.sock`.

#[path = "../tests/fake/mod.rs"]
#[expect(dead_code, reason = "shared with the tests, which use more of it")]
mod fake;

use std::{path::PathBuf, time::Duration};

use jiff::{SignedDuration, Timestamp};
use sluice_protocol::{Cause, Hold, Kind, Level, Patch, State};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let socket =
        std::env::args().nth(1).map_or_else(|| PathBuf::from("/tmp/sluice-fake.sock"), PathBuf::from);
    let engine = fake::FakeEngine::start(&socket, sessions());
    let mut clock = tokio::time::interval(Duration::from_millis(500));
    let mut round = 0_u64;
    loop {
        clock.tick().await;
        round += 1;
        let mut world = engine.world();
        let mut patches = Vec::new();
        for session in world.sessions.iter_mut().filter(|session| session.state == State::Running) {
            let before = session.clone();
            // One stands still, so that it is seen to stall.
            if session.title.as_deref() != Some("Sports One") {
                session.produced += 0.5;
                session.segments = (session.produced / 6.0) as u64;
                session.bytes += 125_000;
                session.cpu = Some(25.0 + (round % 7) as f64);
            }
            patches.extend(Patch::between(Some(&before), session));
        }
        world.tick(patches, Vec::new());
        let ids: Vec<_> = world.sessions.iter().map(|session| session.id).collect();
        for id in ids {
            let level = if round.is_multiple_of(9) { Level::Warning } else { Level::Info };
            world.log(
                id,
                level,
                &format!("[hls] segment {round} done, a line of the log that is rather long"),
            );
        }
    }
}

fn sessions() -> Vec<sluice_protocol::Session> {
    let ago = |seconds: i64| Timestamp::now() - SignedDuration::from_secs(seconds);
    let titles = [
        "News 24 HD",
        "Sports One",
        "Dune (2021) 4K HDR",
        "Kids TV",
        "Solaris (1972)",
        "Channel 4",
        "日本テレビ",
        "BBC One HD",
        "Nosferatu (1922)",
        "Test Pattern",
    ];
    let mut sessions: Vec<_> =
        titles.iter().zip(1..).map(|(title, number)| fake::session(number, title)).collect();
    for (session, age) in sessions.iter_mut().zip([41, 7860, 3482, 3, 5460, 20_400, 32_520, 83_700, 1660, 33])
    {
        session.started_at = ago(age);
        session.state_since = ago(age / 2);
    }
    let failed = &mut sessions[0];
    (failed.state, failed.cause, failed.restarts) = (State::Failed, Cause::Source, 4);
    failed.code = Some("input_refused".to_owned());
    failed.reason = Some("the source answered 403 Forbidden".to_owned());
    failed.runs.clear();
    sessions[1].viewers = 12;
    let slow = &mut sessions[2];
    (slow.kind, slow.speed, slow.viewers) = (Some(Kind::Event), Some(0.71), 1);
    (slow.position, slow.duration) = (Some(58.0), Some(9320.0));
    slow.video = Some("encode (hevc 3840x2160)".to_owned());
    sessions[3].state = State::Starting;
    let held = &mut sessions[4];
    (held.state, held.held) = (State::Stopped, true);
    held.hold = Some(Hold { by: "ann".to_owned(), since: ago(60), until: None });
    held.runs.clear();
    sessions[7].viewers = 21;
    let done = &mut sessions[8];
    (done.state, done.cause, done.kind) = (State::Complete, Cause::Finished, Some(Kind::Event));
    done.runs.clear();
    let backoff = &mut sessions[9];
    (backoff.state, backoff.cause) = (State::Backoff, Cause::Exit);
    backoff.reason = Some("ffmpeg ended with exit 1".to_owned());
    backoff.retry_at = Some(Timestamp::now() + SignedDuration::from_secs(30));
    backoff.runs.clear();
    sessions
}
