//! What is put on a shelf is there, in whatever order and by whomever it comes.

use tempfile::TempDir;

use super::*;
use crate::mux::Rate;

fn timeline(seconds: i64) -> (TempDir, Arc<Shelf>) {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), 1 << 20, 0).unwrap();
    let shelf = Shelf::new(Uuid::new_v4(), store, Duration::from_secs(30), Duration::from_secs(2));
    let rate = Rate { num: 25, den: 1 };
    shelf.lay_out(Grid::encoded(rate, Time::from_secs(2), Time::from_secs(seconds)).unwrap());
    (dir, shelf)
}

#[test]
fn two_runs_that_publish_at_the_same_moment_lose_nothing() {
    let (_dir, shelf) = timeline(1_200);
    let count = shelf.index().grid.as_ref().unwrap().count();
    std::thread::scope(|scope| {
        for first in 0..2 {
            let shelf = &shelf;
            scope.spawn(move || (first..count).step_by(2).for_each(|number| shelf.give_up(number)));
        }
    });
    let index = shelf.index();
    assert!(index.is_whole());
    assert!(index.segments.windows(2).all(|pair| pair[0].number + 1 == pair[1].number));
}

#[test]
fn a_film_that_ends_early_is_put_right_and_keeps_what_was_made() {
    let (_dir, shelf) = timeline(30);
    shelf.give_up(3);
    shelf.ends_before(10);
    let index = shelf.index();
    let grid = index.grid.as_ref().unwrap();
    assert_eq!((grid.count(), grid.end()), (10, Time::from_secs(18)));
    assert!(index.get(3).is_some() && !index.is_whole());
    assert_eq!((shelf.start_of(9), shelf.start_of(10)), (Some(Time::from_secs(16)), None));
}
