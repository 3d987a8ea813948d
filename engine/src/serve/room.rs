//! Who is connected, who of them is idle, and who has to leave when somebody comes.
//!
//! A connection is idle as long as no request of its is being answered: silent ones and those with half a
//! head are idle too, since the moment they were accepted.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// All seats of one listener.
#[derive(Debug)]
pub(super) struct Room {
    most: usize,
    most_per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    last: u64,
    seats: HashMap<u64, Entry>,
    per_address: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Entry {
    address: Option<IpAddr>,
    activity: Arc<Activity>,
    leave: CancellationToken,
}

/// A connection's right to exist, given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    id: u64,
    room: Arc<Room>,
    activity: Arc<Activity>,
    leave: CancellationToken,
}

/// What one connection is at.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
    /// Something waits for the client to take it. Set by the connection's own I/O.
    unsent: AtomicBool,
}

#[derive(Debug)]
struct State {
    answering: usize,
    idle_since: Instant,
}

/// As long as it lives, the connection is not idle.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

/// A body that keeps its connection from being idle until all of it has been taken.
#[derive(Debug)]
pub(super) struct UntilSent<B> {
    body: B,
    _busy: Busy,
}

impl Room {
    pub(super) fn new(most: usize, most_per_address: usize) -> Self {
        Self { most, most_per_address, taken: Mutex::default() }
    }

    /// A seat for a connection, if need be that of the one that has been idle longest. An `address` that is
    /// `None` is not counted by itself.
    pub(super) fn admit(self: &Arc<Self>, address: Option<IpAddr>, leave: CancellationToken) -> Option<Seat> {
        let address = address.map(network);
        let mut taken = self.taken();
        if let Some(address) = address
            && taken.per_address.get(&address).is_some_and(|&count| count >= self.most_per_address)
        {
            taken.unseat_one(|entry| entry.address == Some(address))?;
        }
        if taken.seats.len() >= self.most {
            taken.unseat_one(|_| true)?;
        }

        let activity = Arc::new(Activity::new());
        let entry = Entry { address, activity: Arc::clone(&activity), leave: leave.clone() };
        taken.last += 1;
        let id = taken.last;
        taken.seats.insert(id, entry);
        if let Some(address) = address {
            *taken.per_address.entry(address).or_default() += 1;
        }
        Some(Seat { id, room: Arc::clone(self), activity, leave })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Asks the longest idle one of those to leave; `None` if all of them are busy.
    fn unseat_one(&mut self, of_those: impl Fn(&Entry) -> bool) -> Option<()> {
        let idle = self.seats.iter().filter(|(_, entry)| of_those(entry));
        let idle = idle.filter_map(|(&id, entry)| Some((entry.activity.idle_since()?, id)));
        let (_, longest) = idle.min()?;
        self.remove(longest)?.leave.cancel();
        Some(())
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.seats.remove(&id)?;
        if let Some(address) = entry.address
            && let Some(count) = self.per_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
        Some(entry)
    }
}

/// Whoever has an IPv6 address has at least 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

impl Seat {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Returns when the connection should end: somebody else needs the seat, or all have to leave.
    pub(super) async fn asked_to_leave(&self) {
        self.leave.cancelled().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.taken().remove(self.id);
    }
}

impl Activity {
    fn new() -> Self {
        let state = State { answering: 0, idle_since: Instant::now() };
        Self { state: Mutex::new(state), unsent: AtomicBool::new(false) }
    }

    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.answering == 0 && !self.unsent.load(Ordering::Relaxed)).then_some(state.idle_since)
    }

    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.state().answering += 1;
        Busy(Arc::clone(self))
    }

    pub(super) fn set_unsent(&self, unsent: bool) {
        self.unsent.store(unsent, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Busy {
    pub(super) fn until_sent<B>(self, body: B) -> UntilSent<B> {
        UntilSent { body, _busy: self }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.answering -= 1;
        state.idle_since = Instant::now();
    }
}

impl<B: Body + Unpin> Body for UntilSent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    fn admit(room: &Arc<Room>, address: &str) -> Option<Seat> {
        room.admit(Some(address.parse().unwrap()), CancellationToken::new())
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_connection_makes_room() {
        let room = Arc::new(Room::new(3, 3));
        let busy = admit(&room, "192.0.2.1").unwrap();
        let _answering = busy.activity().busy();
        let first = admit(&room, "192.0.2.2").unwrap();
        advance(Duration::from_secs(1)).await;
        let second = admit(&room, "192.0.2.3").unwrap();
        advance(Duration::from_secs(1)).await;
        // Its last answer makes the first one idle for less long than the second.
        drop(first.activity().busy());

        let third = admit(&room, "192.0.2.4").unwrap();
        assert!(second.leave.is_cancelled());
        assert!(!first.leave.is_cancelled() && !third.leave.is_cancelled() && !busy.leave.is_cancelled());
    }

    #[tokio::test]
    async fn a_room_of_busy_connections_admits_nobody() {
        let room = Arc::new(Room::new(2, 2));
        let one = admit(&room, "192.0.2.1").unwrap();
        let two = admit(&room, "192.0.2.2").unwrap();
        let answering = one.activity().busy();
        two.activity().set_unsent(true);
        assert!(admit(&room, "192.0.2.3").is_none());

        drop(answering);
        assert!(admit(&room, "192.0.2.3").is_some());
    }

    #[tokio::test]
    async fn seats_come_back() {
        let room = Arc::new(Room::new(1, 1));
        for _ in 0..3 {
            let seat = admit(&room, "192.0.2.1").unwrap();
            let _answering = seat.activity().busy();
            assert!(admit(&room, "192.0.2.2").is_none());
        }
        let taken = room.taken();
        assert!(taken.seats.is_empty() && taken.per_address.is_empty());
    }

    #[tokio::test]
    async fn an_address_at_its_cap_costs_only_itself() {
        let room = Arc::new(Room::new(10, 1));
        let other = admit(&room, "192.0.2.9").unwrap();
        let one = admit(&room, "192.0.2.1").unwrap();
        let two = admit(&room, "192.0.2.1").unwrap();
        assert!(one.leave.is_cancelled() && !other.leave.is_cancelled());

        let _answering = two.activity().busy();
        assert!(admit(&room, "192.0.2.1").is_none());
        assert!(!other.leave.is_cancelled());
        assert!(room.admit(None, CancellationToken::new()).is_some());
    }

    #[tokio::test]
    async fn an_ipv6_network_counts_as_one_address() {
        let room = Arc::new(Room::new(10, 1));
        let one = admit(&room, "2001:db8::1").unwrap();
        let _answering = one.activity().busy();
        assert!(admit(&room, "2001:db8::ffff:1").is_none());
        assert!(admit(&room, "2001:db8:0:1::1").is_some());
    }
}
