//! The table of moves, and what holds in any order of events.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn policy() -> Policy {
    Policy {
        idle_timeout: 30 * SECOND,
        vod_cache: 3600 * SECOND,
        live_cache: Duration::ZERO,
        ahead_timeout: 30 * SECOND,
        probe_timeout: 10 * SECOND,
        noise: 1.0,
    }
}

fn fault() -> Fault {
    Fault::new(Code::Unreachable, Cause::Source, "gone")
}

/// A session of that kind in that state, as events bring it there.
fn at(kind: Kind, state: State) -> (Life, Instant) {
    let now = Instant::now();
    let mut life = Life::new(policy(), now);
    let steps: &[Event] = &match state {
        State::Starting => vec![Event::Wanted(Cause::Viewer), Event::Opened(kind)],
        State::Running => vec![Event::Wanted(Cause::Viewer), Event::Opened(kind), Event::Published(1)],
        State::Ahead => {
            vec![Event::Wanted(Cause::Viewer), Event::Opened(kind), Event::Published(1), Event::Enough(1)]
        }
        State::Backoff => {
            vec![Event::Wanted(Cause::Viewer), Event::Opened(kind), Event::Exited(1, Exit::Failed(fault()))]
        }
        State::Stopping => {
            vec![Event::Wanted(Cause::Viewer), Event::Opened(kind), Event::Published(1), Event::Left]
        }
        State::Stopped => vec![
            Event::Wanted(Cause::Viewer),
            Event::Opened(kind),
            Event::Published(1),
            Event::Stop { force: Force::No, until: Some(now) },
            Event::Exited(1, Exit::Asked),
            Event::Tick,
        ],
        State::Complete => vec![
            Event::Wanted(Cause::Viewer),
            Event::Opened(kind),
            Event::Published(1),
            Event::Made(1),
            Event::Exited(1, Exit::Finished),
        ],
        State::Failed => {
            vec![Event::Wanted(Cause::Viewer), Event::OpenFailed(fault().heals(Heals::Never))]
        }
        State::Ended => vec![
            Event::Wanted(Cause::Viewer),
            Event::Stop { force: Force::Yes, until: Some(now) },
            Event::Tick,
        ],
    };
    for event in steps {
        life.step(event.clone(), now);
    }
    assert_eq!(life.state(), state, "the way to {state:?}");
    (life, now)
}

/// The state after an event, and the causes that were told.
fn after(kind: Kind, state: State, event: Event) -> (State, Vec<Cause>) {
    let (mut life, now) = at(kind, state);
    let actions = life.step(event, now + SECOND);
    let told = actions.iter().filter_map(|action| match action {
        Action::Announce(change) => Some(change.cause),
        _ => None,
    });
    (life.state(), told.collect())
}

fn check(kind: Kind, event: &Event, expected: &[(State, State)]) {
    for (from, to) in expected {
        let (state, told) = after(kind, *from, event.clone());
        assert_eq!(state, *to, "{event:?} on {from:?}");
        assert_eq!(
            told.len(),
            usize::from(from != to),
            "one cause a change: {event:?} on {from:?}: {told:?}"
        );
    }
}

#[test]
fn a_wish_for_media_makes_go_what_rests() {
    use State::*;
    check(
        Kind::Event,
        &Event::Wanted(Cause::Viewer),
        &[
            (Starting, Starting),
            (Running, Running),
            (Ahead, Ahead),
            (Backoff, Backoff),
            (Stopping, Stopping),
            (Stopped, Starting),
            (Complete, Complete),
            // A second after the failure it is still the same answer.
            (Failed, Failed),
            (Ended, Starting),
        ],
    );
}

#[test]
fn an_operators_stop_is_obeyed_everywhere() {
    use State::*;
    check(
        Kind::Event,
        &Event::Stop { force: Force::No, until: None },
        &[
            (Starting, Stopping),
            (Running, Stopping),
            (Ahead, Stopping),
            (Backoff, Stopped),
            (Stopping, Stopping),
            (Stopped, Stopped),
            (Complete, Stopped),
            (Failed, Stopped),
            (Ended, Ended),
        ],
    );
}

#[test]
fn force_ends_everything() {
    use State::*;
    check(
        Kind::Event,
        &Event::Stop { force: Force::Yes, until: None },
        &[
            (Starting, Stopping),
            (Running, Stopping),
            (Ahead, Stopping),
            (Backoff, Ended),
            (Stopping, Stopping),
            (Stopped, Ended),
            (Complete, Ended),
            (Failed, Ended),
            (Ended, Ended),
        ],
    );
}

#[test]
fn resume_goes_on_from_every_rest() {
    use State::*;
    check(
        Kind::Event,
        &Event::Resume,
        &[
            (Starting, Starting),
            (Running, Running),
            (Backoff, Starting),
            (Stopping, Stopping),
            (Stopped, Starting),
            (Complete, Complete),
            (Failed, Starting),
            (Ended, Starting),
        ],
    );
}

#[test]
fn the_last_viewer_takes_a_film_to_rest_and_a_channel_to_its_end() {
    for (kind, rest) in [(Kind::Event, State::Stopped), (Kind::Window, State::Ended)] {
        let (mut life, now) = at(kind, State::Running);
        life.step(Event::Left, now);
        assert_eq!(life.state(), State::Stopping);
        life.step(Event::Exited(1, Exit::Asked), now);
        assert_eq!(life.state(), rest);
    }
}

#[test]
fn a_held_session_starts_for_nobody() {
    let (mut life, now) = at(Kind::Event, State::Running);
    life.step(Event::Stop { force: Force::No, until: Some(now + 60 * SECOND) }, now);
    life.step(Event::Exited(1, Exit::Asked), now);
    assert_eq!(life.admission(now), Admission::Held);
    life.step(Event::Wanted(Cause::Viewer), now);
    assert_eq!(life.state(), State::Stopped);
    let actions = life.step(Event::Tick, now + 60 * SECOND);
    assert!(actions.contains(&Action::HoldOver));
    assert_eq!(life.admission(now + 60 * SECOND), Admission::Go);
}

#[test]
fn a_held_session_outlives_its_cache_without_its_segments() {
    let (mut life, now) = at(Kind::Event, State::Running);
    life.step(Event::Stop { force: Force::No, until: None }, now);
    life.step(Event::Exited(1, Exit::Asked), now);
    let actions = life.step(Event::Tick, now + 3601 * SECOND);
    assert!(actions.contains(&Action::DropSegments));
    assert_eq!((life.state(), life.deadline()), (State::Stopped, None));
}

#[test]
fn the_stop_ladder_asks_twice_then_kills_then_gives_up() {
    let (mut life, now) = at(Kind::Event, State::Running);
    let millis = |n| now + Duration::from_millis(n);
    assert!(life.step(Event::Left, now).contains(&Action::Terminate(1)));
    assert_eq!(life.deadline(), Some(millis(250)));
    assert_eq!(life.step(Event::Tick, millis(250)), [Action::TerminateAgain(1)]);
    assert_eq!(life.deadline(), Some(millis(750)));
    assert_eq!(life.step(Event::Tick, millis(750)), [Action::Kill(1)]);
    assert_eq!(life.deadline(), Some(millis(5000)));
    life.step(Event::Tick, millis(5000));
    assert_eq!(life.state(), State::Failed);
    // Its slot stays taken: nothing is started beside a process that can't die.
    life.step(Event::Resume, now + 60 * SECOND);
    assert_eq!(life.state(), State::Failed);
}

#[test]
fn force_begins_with_the_kill() {
    let (mut life, now) = at(Kind::Event, State::Running);
    assert!(life.step(Event::Stop { force: Force::Yes, until: None }, now).contains(&Action::Kill(1)));
}

#[test]
fn a_film_fails_after_four_tries_at_one_place_and_keeps_its_segments() {
    let (mut life, mut now) = at(Kind::Event, State::Running);
    for run in 1..=4 {
        let actions = life.step(Event::Exited(run, Exit::Failed(fault())), now);
        assert!(!actions.contains(&Action::DropSegments));
        if let Some(at) = life.retry_at() {
            now = at;
            assert!(life.step(Event::Tick, now).contains(&Action::Open));
            assert!(life.step(Event::Opened(Kind::Event), now).contains(&Action::Launch(run + 1)));
        }
    }
    assert_eq!(life.state(), State::Failed);
}

#[test]
fn a_segment_makes_the_tries_of_a_film_begin_anew() {
    let (mut life, mut now) = at(Kind::Event, State::Running);
    for run in 1..=10 {
        life.step(Event::Exited(run, Exit::Failed(fault())), now);
        now = life.retry_at().expect("it is tried again");
        life.step(Event::Tick, now);
        life.step(Event::Opened(Kind::Event), now);
        life.step(Event::Published(run + 1), now);
    }
    assert_eq!(life.state(), State::Running);
}

#[test]
fn a_place_that_fails_leaves_the_rest_of_a_timeline_alone() {
    let (mut life, now) = at(Kind::Timeline, State::Running);
    assert!(life.step(Event::Needed, now).contains(&Action::Launch(2)));
    assert!(life.step(Event::Broken(2, fault()), now).contains(&Action::Terminate(2)));
    let again = now + 4 * SECOND;
    life.step(Event::Exited(2, Exit::FailedHere(fault(), Some(again))), now);
    assert_eq!(life.state(), State::Running);
    // Alone, it is what the session waits for.
    life.step(Event::Exited(1, Exit::FailedHere(fault(), Some(again))), now);
    assert_eq!((life.state(), life.retry_at()), (State::Backoff, Some(again)));
    assert!(life.step(Event::Tick, again).contains(&Action::Open));
}

#[test]
fn a_place_that_is_given_up_is_no_failure_of_a_timeline() {
    let (mut life, now) = at(Kind::Timeline, State::Running);
    life.step(Event::Exited(1, Exit::FailedHere(fault(), None)), now);
    assert_eq!(life.state(), State::Ahead);
    assert!(life.step(Event::Needed, now).contains(&Action::Launch(2)));
}

#[test]
fn a_run_that_makes_room_is_no_rest() {
    let (mut life, now) = at(Kind::Timeline, State::Running);
    assert!(life.step(Event::InTheWay(1), now).contains(&Action::Kill(1)));
    life.step(Event::Exited(1, Exit::Asked), now);
    assert_eq!(life.state(), State::Running);
    let mut wanted = life.clone();
    assert!(wanted.step(Event::Needed, now).contains(&Action::Launch(2)));
    // Who wanted it may have gone meanwhile.
    life.step(Event::Rests, now);
    assert_eq!(life.state(), State::Ahead);
}

#[test]
fn a_timeline_is_complete_when_every_segment_exists() {
    let (mut life, now) = at(Kind::Timeline, State::Running);
    life.step(Event::Needed, now);
    life.step(Event::Exited(1, Exit::Finished), now);
    assert_eq!(life.state(), State::Running);
    assert!(life.step(Event::Whole, now).contains(&Action::Terminate(2)));
    assert_eq!(life.state(), State::Running);
    life.step(Event::Exited(2, Exit::Finished), now);
    assert_eq!(life.state(), State::Complete);
}

#[test]
fn a_run_that_ends_before_the_film_is_whole_is_a_rest() {
    let (mut life, now) = at(Kind::Timeline, State::Running);
    life.step(Event::Exited(1, Exit::Finished), now);
    assert_eq!(life.state(), State::Ahead);
    life.step(Event::Whole, now);
    assert_eq!(life.state(), State::Complete);
}

#[test]
fn nobody_asking_is_idleness_and_a_rest_without_a_run_is_too() {
    for state in [State::Running, State::Backoff, State::Ahead] {
        let (mut life, now) = at(Kind::Event, state);
        let actions = life.step(Event::Tick, now + 31 * SECOND);
        let idle =
            |action: &Action| matches!(action, Action::Announce(change) if change.cause == Cause::Idle);
        assert!(actions.iter().any(idle), "{state:?}: {actions:?}");
    }
}

#[test]
fn a_run_held_back_for_long_ends_and_a_viewer_who_comes_near_gets_a_new_one() {
    let (mut life, now) = at(Kind::Event, State::Ahead);
    let late = now + 30 * SECOND;
    life.heard(late);
    assert!(life.step(Event::Tick, late).contains(&Action::Terminate(1)));
    assert_eq!(life.state(), State::Ahead);
    life.step(Event::Exited(1, Exit::Asked), late);
    assert_eq!(life.state(), State::Ahead);
    assert!(life.step(Event::Needed, late).contains(&Action::Launch(2)));
    assert_eq!(life.state(), State::Running);
}

#[test]
fn a_whole_film_that_was_stopped_is_complete_again_without_a_run() {
    let (mut life, now) = at(Kind::Event, State::Complete);
    life.step(Event::Stop { force: Force::No, until: None }, now);
    assert_eq!(life.state(), State::Stopped);
    let actions = life.step(Event::Resume, now);
    assert_eq!((life.state(), actions.contains(&Action::Open)), (State::Complete, false));
}

#[test]
fn a_channel_that_has_played_is_no_web_page_for_good() {
    let (mut life, now) = at(Kind::Window, State::Running);
    life.step(Event::Exited(1, Exit::Failed(fault())), now);
    let retry = life.retry_at().expect("it is tried again");
    life.step(Event::Tick, retry);
    let page = Fault::new(Code::NotMedia, Cause::Source, "a web page").heals(Heals::Never);
    life.step(Event::OpenFailed(page), retry);
    assert_eq!(life.state(), State::Backoff);
}

#[test]
fn nothing_goes_again_once_the_engine_shuts_down() {
    for event in [Event::Wanted(Cause::Viewer), Event::Resume, Event::Restart] {
        let (mut life, now) = at(Kind::Window, State::Running);
        life.step(Event::Shutdown, now);
        life.step(event.clone(), now);
        life.step(Event::Exited(1, Exit::Asked), now);
        assert_eq!(life.state(), State::Ended, "{event:?} before the end");
        life.step(event.clone(), now);
        assert_eq!(life.state(), State::Ended, "{event:?} after it");
    }
}

#[test]
fn a_start_right_after_a_clear_begins_anew() {
    let (mut life, now) = at(Kind::Event, State::Running);
    life.step(Event::Clear, now);
    life.step(Event::Wanted(Cause::Viewer), now);
    let actions = life.step(Event::Exited(1, Exit::Asked), now);
    assert!(actions.contains(&Action::DropSegments) && actions.contains(&Action::Open), "{actions:?}");
    life.step(Event::Opened(Kind::Event), now);
    assert_eq!(life.state(), State::Starting);
}

#[test]
fn a_player_that_asks_on_does_not_start_again_what_failed() {
    let (mut life, now) = at(Kind::Window, State::Failed);
    let later = now + 10 * SECOND;
    life.step(Event::Wanted(Cause::Demand), later);
    assert_eq!(life.state(), State::Failed);
    life.step(Event::Wanted(Cause::Viewer), later);
    assert_eq!(life.state(), State::Starting);
}

#[test]
fn the_verdict_on_a_broken_run_is_the_one_that_counts() {
    let (mut life, now) = at(Kind::Event, State::Running);
    life.step(Event::Broken(1, fault()), now);
    life.step(Event::Exited(1, Exit::Failed(fault().heals(Heals::Never))), now);
    assert_eq!(life.state(), State::Failed);
}

#[test]
fn what_only_a_hold_kept_ends_with_it() {
    let (mut life, now) = at(Kind::Window, State::Running);
    life.step(Event::Stop { force: Force::No, until: Some(now + 60 * SECOND) }, now);
    life.step(Event::Exited(1, Exit::Asked), now);
    life.step(Event::Tick, now + SECOND);
    assert_eq!(life.state(), State::Stopped);
    life.step(Event::Tick, now + 60 * SECOND);
    assert_eq!(life.state(), State::Ended);
}

#[test]
fn a_start_while_it_stops_waits_and_goes_on() {
    let (mut life, now) = at(Kind::Event, State::Stopping);
    life.step(Event::Wanted(Cause::Viewer), now);
    assert!(life.step(Event::Exited(1, Exit::Asked), now).contains(&Action::Open));
    assert_eq!(life.state(), State::Starting);
}

/// A pinned session in that state.
fn pinned(kind: Kind, state: State) -> (Life, Instant) {
    let (mut life, now) = at(kind, state);
    life.pinned = true;
    (life, now)
}

#[test]
fn a_pin_makes_go_what_rests_and_leaves_alone_what_goes() {
    use State::*;
    check(
        Kind::Event,
        &Event::Pin(true),
        &[
            (Starting, Starting),
            (Running, Running),
            (Ahead, Ahead),
            (Backoff, Backoff),
            (Stopping, Stopping),
            (Stopped, Starting),
            (Complete, Complete),
            (Failed, Starting),
            (Ended, Starting),
        ],
    );
}

#[test]
fn what_is_pinned_neither_idles_out_nor_ends_with_its_viewers() {
    for kind in [Kind::Timeline, Kind::Event, Kind::Window] {
        let (mut life, now) = pinned(kind, State::Running);
        for event in [Event::Left, Event::Clear, Event::Tick] {
            life.step(event, now + 7200 * SECOND);
            assert_eq!(life.state(), State::Running);
        }
        life.step(Event::Pin(false), now + 7200 * SECOND);
        assert_eq!(life.deadline(), Some(now + 7230 * SECOND));
    }
    let (life, _) = pinned(Kind::Event, State::Complete);
    assert_eq!(life.deadline(), None);
}

#[test]
fn a_hold_beats_a_pin_and_when_it_is_over_the_session_goes_by_itself() {
    let (mut life, now) = pinned(Kind::Window, State::Running);
    life.step(Event::Stop { force: Force::No, until: Some(now + 60 * SECOND) }, now);
    life.step(Event::Exited(1, Exit::Asked), now);
    life.step(Event::Pin(true), now);
    assert_eq!(life.state(), State::Stopped);
    let actions = life.step(Event::Tick, now + 60 * SECOND);
    assert!(actions.contains(&Action::HoldOver) && actions.contains(&Action::Open), "{actions:?}");
    let told = Change { from: State::Stopped, to: State::Starting, cause: Cause::Operator, fault: None };
    assert!(actions.contains(&Action::Announce(told)), "{actions:?}");
}

#[test]
fn what_is_pinned_and_failed_is_tried_again_every_five_minutes() {
    let (mut life, now) = pinned(Kind::Window, State::Failed);
    assert_eq!(life.deadline(), Some(now + 300 * SECOND));
    assert!(life.step(Event::Tick, now + 300 * SECOND).contains(&Action::Open));
    life.step(Event::OpenFailed(fault().heals(Heals::Never)), now + 301 * SECOND);
    assert_eq!((life.state(), life.deadline()), (State::Failed, Some(now + 601 * SECOND)));
}

proptest::proptest! {
    /// Whatever happens in whatever order: no run works in a session at rest, and the world is told of each
    /// change once and with where it came from.
    #[test]
    fn any_order_of_events_leaves_one_story(events in proptest::collection::vec((0u8..26, 0u64..40_000, 1u32..6), 1..120)) {
        let mut now = Instant::now();
        let mut life = Life::new(policy(), now);
        let mut told = life.state();
        for (what, wait, run) in events {
            now += Duration::from_millis(wait);
            let event = match what {
                0 => Event::Wanted(Cause::Viewer),
                1 => Event::Opened(Kind::Event),
                2 => Event::Opened(Kind::Window),
                3 => Event::OpenFailed(fault()),
                4 => Event::Published(run),
                5 => Event::Enough(run),
                6 => Event::Near(run),
                7 => Event::Broken(run, fault()),
                8 => Event::Exited(run, Exit::Asked),
                9 => Event::Exited(run, Exit::Failed(fault())),
                10 => Event::Exited(run, Exit::Finished),
                11 => Event::Left,
                12 => Event::Stop { force: if run == 1 { Force::Yes } else { Force::No }, until: None },
                13 => Event::Resume,
                14 => Event::Restart,
                15 => Event::Opened(Kind::Timeline),
                16 => Event::Needed,
                17 => Event::Unwanted(run),
                18 => Event::InTheWay(run),
                19 => Event::Rests,
                20 => Event::Whole,
                21 => Event::Exited(run, Exit::FailedHere(fault(), Some(now + SECOND))),
                22 => Event::Exited(run, Exit::FailedHere(fault(), None)),
                23 => Event::Pin(run == 1),
                24 => Event::Clear,
                _ => Event::Tick,
            };
            for action in life.step(event, now) {
                if let Action::Announce(change) = action {
                    proptest::prop_assert_eq!(change.from, told);
                    told = change.to;
                }
            }
            proptest::prop_assert_eq!(life.state(), told);
            let working = life.runs.iter().filter(|run| run.is_working()).count();
            if matches!(life.state(), State::Stopped | State::Ended | State::Backoff | State::Complete) {
                proptest::prop_assert_eq!(working, 0);
            }
        }
    }
}
