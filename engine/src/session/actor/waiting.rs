//! Those who wait: for the session to be playable, or for a segment of a timeline.

use tokio::time::Instant;

use super::{Actor, held};
use crate::session::handle::{Goal, Wanted};
use crate::session::state::{Admission, Event, State};
use crate::session::{Cause, Code, Fault};

impl Actor {
    pub(super) fn want(&mut self, mut wanted: Wanted) {
        if wanted.request.is_some() {
            // Whoever left before, somebody wants it now.
            self.viewers.left();
        }
        // What is refused changes nothing, neither who did what comes next nor what is pinned.
        let refused = matches!(self.life.admission(Instant::now()), Admission::Held | Admission::Refuse(_));
        let request = wanted.request.as_ref().filter(|_| !refused);
        let pins = request.is_some_and(|request| request.pinned);
        if let Some(request) = request.filter(|_| wanted.cause == Cause::Operator) {
            self.who = request.by.clone();
        }
        if self.life.would_go(wanted.cause, Instant::now()) {
            if let Err(fault) = self.take_place() {
                // Who no longer waits needs no answer.
                drop(wanted.reply.send(Err(fault)));
                return;
            }
            let begins = matches!(self.life.state(), State::Failed | State::Ended);
            if let Some(request) = wanted.request.take().filter(|_| begins) {
                self.request = *request;
            }
        }
        if let Some(asked) = wanted.request.take().map(|request| request.content_type)
            && asked != self.request.content_type
        {
            self.warn(format!(
                "a start asked for it as {asked}; it was started as {}",
                self.request.content_type
            ));
        }
        self.step(Event::Wanted(wanted.cause));
        if pins {
            self.step(Event::Pin(true));
        }
        self.waiting.push(wanted);
    }

    /// Answers those who wait, as soon as there is an answer.
    pub(super) fn answer(&mut self) {
        let now = Instant::now();
        for wanted in std::mem::take(&mut self.waiting) {
            if wanted.reply.is_closed() {
                continue;
            }
            let Some(answer) = self.verdict(&wanted, now) else {
                self.waiting.push(wanted);
                continue;
            };
            if let (Goal::Segment(wait), Ok(())) = (&wanted.goal, &answer) {
                self.planner.answered(wait, now);
            }
            // Who no longer waits needs no answer.
            drop(wanted.reply.send(answer));
        }
    }

    fn verdict(&self, wanted: &Wanted, now: Instant) -> Option<Result<(), Fault>> {
        if self.world.shutdown.is_cancelled() {
            return Some(Err(Fault::refusal(Code::ShuttingDown, "the engine is shutting down")));
        }
        if let Goal::Segment(wait) = &wanted.goal {
            let index = self.shelf.index();
            let is_past = index.grid.as_ref().is_some_and(|grid| wait.number >= grid.count());
            if is_past || index.get(wait.number).is_some() {
                return Some(Ok(()));
            }
        }
        match (self.life.admission(now), &wanted.goal) {
            (Admission::Wait, _) => self.patience_is_over(wanted).map(Err),
            // What is being made is waited for.
            (Admission::Ready, Goal::Segment(_)) if self.life.is_producing() => None,
            (Admission::Ready, _) => Some(Ok(())),
            (Admission::Refuse(fault), _) => Some(Err(fault)),
            (Admission::Held, _) => Some(Err(held(self.hold.as_ref(), self.id))),
            // It came to rest while they waited.
            (Admission::Go, _) => Some(Err(self.fault.clone().unwrap_or_else(|| {
                Fault::refusal(Code::Ended, "the session ended while it was waited for")
            }))),
        }
    }

    /// Who has waited for `start_timeout` does not wait for the next try as well.
    fn patience_is_over(&self, wanted: &Wanted) -> Option<Fault> {
        let limit = self.world.sessions.start_timeout;
        if self.life.state() != State::Backoff || wanted.asked.elapsed() < limit {
            return None;
        }
        let why = self.fault.as_ref().map_or("nothing playable came", |fault| &fault.reason);
        Some(Fault::refusal(Code::TimedOut, format!("not playable after {} s: {why}", limit.as_secs())))
    }

    /// Those who wait for a segment get this answer.
    pub(super) fn refuse_segments(&mut self, fault: &Fault) {
        for wanted in std::mem::take(&mut self.waiting) {
            match wanted.goal {
                Goal::Playable => self.waiting.push(wanted),
                // Who no longer waits needs no answer.
                Goal::Segment(_) => drop(wanted.reply.send(Err(fault.clone()))),
            }
        }
    }
}
