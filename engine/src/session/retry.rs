//! Whether, and how long, to wait before trying again.

use std::time::Duration;

use super::state::Kind;
use super::{Fault, Heals};

/// Waits before the next tries of a film at the same place; after them it has failed.
const FILM: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(10)];
/// The longest wait between two tries of a channel.
const LIVE_MOST: Duration = Duration::from_secs(30);
/// Output that lasted this long makes a channel's next wait the first one again.
pub(super) const STABLE: Duration = Duration::from_secs(60);
/// An answer that rarely changes is asked for this often in all.
const RARE_TRIES: u32 = 3;

/// The wait before the next try, or `None` when there is none. `failures` counts those at this place,
/// with the one that just happened; `noise` (0..1) spreads channels that lost one source together.
pub(super) fn next(kind: Option<Kind>, fault: &Fault, failures: u32, noise: f64) -> Option<Duration> {
    match fault.heals {
        Heals::Never => return None,
        Heals::Rarely if failures >= RARE_TRIES => return None,
        Heals::Rarely | Heals::Soon => {}
    }
    if kind == Some(Kind::Window) {
        let doubled = Duration::from_secs(1).saturating_mul(1 << failures.saturating_sub(1).min(5));
        return Some(doubled.min(LIVE_MOST).mul_f64(0.75 + 0.25 * noise.clamp(0.0, 1.0)));
    }
    FILM.get(failures.saturating_sub(1) as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Cause, Code};

    fn waits(kind: Kind, heals: Heals) -> Vec<Option<u64>> {
        let fault = Fault::new(Code::Unreachable, Cause::Source, "gone").heals(heals);
        (1..=8).map(|failures| next(Some(kind), &fault, failures, 1.0).map(|wait| wait.as_secs())).collect()
    }

    #[test]
    fn a_film_is_tried_after_1_4_and_10_seconds() {
        assert_eq!(waits(Kind::Event, Heals::Soon)[..4], [Some(1), Some(4), Some(10), None]);
    }

    #[test]
    fn a_channel_is_tried_for_ever_up_to_every_30_seconds() {
        let expected = [1, 2, 4, 8, 16, 30, 30, 30].map(Some);
        assert_eq!(waits(Kind::Window, Heals::Soon), expected);
    }

    #[test]
    fn an_answer_that_rarely_changes_is_asked_for_three_times() {
        for kind in [Kind::Event, Kind::Window] {
            assert_eq!(waits(kind, Heals::Rarely).iter().flatten().count(), 2, "{kind:?}");
        }
    }

    #[test]
    fn what_never_heals_is_not_tried_again() {
        assert_eq!(waits(Kind::Event, Heals::Never)[0], None);
    }
}
