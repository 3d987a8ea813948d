//! The records of `GET /v1/events`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{Cause, Engine, Session, State};

/// One line of the event stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// Everything as it is now: the first record, and the first after a loss.
    Snapshot {
        /// Names this life of the engine: sequences of another don't compare.
        epoch: Uuid,
        /// The last sequence that this snapshot contains.
        seq: u64,
        /// The engine.
        engine: Engine,
        /// All sessions, with those in history that a hold keeps.
        sessions: Vec<Session>,
    },
    /// A session changed its state.
    State(StateChange),
    /// What else changed since the last tick.
    Tick(Tick),
    /// An operator did something.
    Action(Action),
    /// A record that a newer engine knows.
    #[serde(other)]
    Unknown,
}

/// A change of state. None is left out and none is merged with another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `Session`")]
pub struct StateChange {
    pub seq: u64,
    pub at: Timestamp,
    pub id: Uuid,
    pub from: State,
    pub to: State,
    pub cause: Cause,
    pub code: Option<String>,
    pub reason: Option<String>,
    /// The operator whose order it was.
    pub who: Option<String>,
}

/// What changed since the last tick: at most one every 250 ms, at least one a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// The sequence of this record.
    pub seq: u64,
    /// For each session that changed, the fields that did; a new one whole.
    pub sessions: Vec<Patch>,
    /// Sessions that are no longer listed.
    pub removed: Vec<Uuid>,
    /// The engine as it is now.
    pub engine: Engine,
}

/// What an operator did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// The sequence of this record.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Who: the user's name, or the number where it has none.
    pub who: String,
    /// What: `stop`, `force`, `resume`, `restart`, `forget`, `start`.
    pub what: String,
    /// On which session.
    pub id: Option<Uuid>,
    /// `done`, or the code of the refusal.
    pub result: String,
}

/// The fields of a session that changed, always with its `id`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Patch(pub Map<String, Value>);

impl Patch {
    /// The fields of `after` that differ from `before`, or all of them where there was nothing before;
    /// `None` when nothing changed.
    pub fn between(before: Option<&Session>, after: &Session) -> Option<Self> {
        let mut fields = object(after);
        if let Some(before) = before {
            let before = object(before);
            fields.retain(|key, value| before.get(key) != Some(value));
            if fields.is_empty() {
                return None;
            }
            fields.insert("id".to_owned(), Value::String(after.id.to_string()));
        }
        Some(Self(fields))
    }

    /// Which session it is about.
    pub fn id(&self) -> Option<Uuid> {
        self.0.get("id")?.as_str()?.parse().ok()
    }

    /// Changes `session` as this says; a field that does not decode leaves it as it was.
    pub fn apply(&self, session: &mut Session) -> Result<(), serde_json::Error> {
        let mut fields = object(session);
        fields.extend(self.0.clone());
        *session = serde_json::from_value(Value::Object(fields))?;
        Ok(())
    }

    /// The whole session, where this is about a new one.
    pub fn into_session(self) -> Result<Session, serde_json::Error> {
        serde_json::from_value(Value::Object(self.0))
    }
}

fn object(session: &Session) -> Map<String, Value> {
    match serde_json::to_value(session) {
        Ok(Value::Object(fields)) => fields,
        // A struct of plain fields always becomes an object.
        _ => Map::new(),
    }
}
