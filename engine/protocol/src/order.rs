//! What is asked for, and the answer to a start.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::State;

/// The body of `POST /v1/sessions`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of the playback API's start")]
pub struct StartOrder {
    pub url: String,
    /// `auto`, `live`, `movie` or `series`; absent means `live`.
    pub content_type: Option<String>,
    pub title: Option<String>,
    pub source_id: Option<String>,
    pub series_id: Option<String>,
    pub episode_id: Option<String>,
    pub series_name: Option<String>,
    pub deinterlace_fallback: Option<bool>,
    pub start_at: Option<f64>,
    /// For whom it is started.
    pub user: Option<String>,
    /// Never idles out.
    pub pinned: bool,
}

/// The answer to a start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are named in the wire's own words")]
pub struct Started {
    pub session_id: Uuid,
    /// The path to open on the playback listener, without a query.
    pub playlist: String,
    pub subtitles: Vec<Subtitle>,
    /// Seconds of the whole input.
    pub duration: Option<f64>,
    pub seek_offset: f64,
    /// Seconds that exist.
    pub transcoded_duration: f64,
    pub state: State,
}

/// A subtitle of a started session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are named in the wire's own words")]
pub struct Subtitle {
    pub url: String,
    pub lang: Option<String>,
    pub label: String,
    pub default: bool,
}

/// The body of `POST /v1/sessions/{id}/stop`; absent means all defaults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StopOrder {
    /// Kill at once, delete the segments and move it to history.
    pub force: bool,
    /// Seconds that the hold lasts; absent or `null` means until resumed.
    pub hold_for: Option<f64>,
    /// Refuse with `changed` unless the session is still at this generation.
    pub generation: Option<u64>,
}

/// The body of `POST /v1/sessions/{id}/pin`; absent means that it is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PinOrder {
    /// Whether it goes on with nobody watching.
    pub pinned: bool,
}

impl Default for PinOrder {
    fn default() -> Self {
        Self { pinned: true }
    }
}

/// The body of `POST /v1/sessions/{id}/resume` and `…/restart`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResumeOrder {
    /// Refuse with `changed` unless the session is still at this generation.
    pub generation: Option<u64>,
}
