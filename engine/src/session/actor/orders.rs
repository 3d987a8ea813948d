//! What operators, and the registry, order a session to do.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Actor, held};
use crate::session::handle::{Command, Order};
use crate::session::state::{Event, State};
use crate::session::{Code, Fault, Hold};

impl Actor {
    pub(super) fn obey(&mut self, command: Command) {
        let Command { order, who, generation, reply } = command;
        let answer = match generation {
            Some(expected) if expected != self.generation => {
                let reason = format!("the session is {} by now: look again", self.life.state().name());
                Err(Fault::refusal(Code::Changed, reason))
            }
            _ => self.carry_out(order, who),
        };
        self.settle();
        drop(reply.send(answer.map(|()| Arc::new(self.snapshot()))));
    }

    fn carry_out(&mut self, order: Order, who: Arc<str>) -> Result<(), Fault> {
        let state = self.life.state();
        let nothing = |what: &str| {
            let reason = format!("there is nothing to {what}: the session is {}", state.name());
            Err(Fault::refusal(Code::NotResumable, reason))
        };
        let event = match order {
            Order::Stop { force, hold_for } => {
                let until = hold_for.map(|wait| Instant::now() + wait);
                let until_wall = hold_for.and_then(|wait| Timestamp::now().checked_add(wait).ok());
                self.hold = Some(Hold { by: who.clone(), since: Timestamp::now(), until: until_wall });
                Event::Stop { force, until }
            }
            Order::Resume => match state {
                State::Stopped | State::Stopping | State::Backoff | State::Failed | State::Ended => {
                    Event::Resume
                }
                _ if self.hold.is_some() => Event::Resume,
                State::Starting | State::Running | State::Ahead | State::Complete => {
                    return nothing("resume");
                }
            },
            Order::Restart => match state {
                State::Complete | State::Ended => return nothing("restart"),
                _ if self.hold.is_some() => return Err(held(self.hold.as_ref(), self.id)),
                State::Starting
                | State::Running
                | State::Ahead
                | State::Backoff
                | State::Stopping
                | State::Stopped
                | State::Failed => Event::Restart,
            },
            Order::Pin(pinned) => Event::Pin(pinned),
            Order::Clear => Event::Clear,
        };
        let goes = match event {
            Event::Resume | Event::Restart => true,
            Event::Pin(pinned) => pinned && self.hold.is_none() && !self.life.is_active(),
            _ => false,
        };
        if goes {
            if self.closing {
                return Err(Fault::refusal(Code::ShuttingDown, "the engine is shutting down"));
            }
            self.take_place()?;
        }
        if matches!(event, Event::Resume) {
            self.hold = None;
        }
        self.who = Some(who);
        self.step(event);
        Ok(())
    }
}
