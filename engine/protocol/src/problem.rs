//! How a refusal reads, on both listeners (RFC 9457).

use serde::{Deserialize, Serialize};

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Always `about:blank`: `code` is what programs branch on.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// A sentence that a person can act on.
    pub detail: String,
    /// The machine's word.
    pub code: String,
}

/// The machine's words for what went wrong.
#[expect(missing_docs, reason = "the names say it")]
pub mod code {
    pub const BAD_REQUEST: &str = "bad_request";
    pub const UNAUTHORIZED: &str = "unauthorized";
    pub const FORBIDDEN_ADDRESS: &str = "forbidden_address";
    pub const FORBIDDEN_ORIGIN: &str = "forbidden_origin";
    pub const SESSION_NOT_FOUND: &str = "session_not_found";
    pub const NOT_FOUND: &str = "not_found";
    pub const METHOD_NOT_ALLOWED: &str = "method_not_allowed";
    pub const CHANGED: &str = "changed";
    pub const NOT_RESUMABLE: &str = "not_resumable";
    pub const NOT_SEEKABLE: &str = "not_seekable";
    pub const SESSION_ENDED: &str = "session_ended";
    pub const TOO_LARGE: &str = "too_large";
    pub const INPUT_NOT_MEDIA: &str = "input_not_media";
    pub const INPUT_UNSUPPORTED: &str = "input_unsupported";
    pub const INPUT_PROTECTED: &str = "input_protected";
    pub const SOURCE_AT_CAPACITY: &str = "source_at_capacity";
    pub const INTERNAL: &str = "internal";
    pub const TRANSCODE_FAILED: &str = "transcode_failed";
    pub const UNKILLABLE: &str = "unkillable";
    pub const INPUT_NOT_FOUND: &str = "input_not_found";
    pub const INPUT_REFUSED: &str = "input_refused";
    pub const INPUT_UNREACHABLE: &str = "input_unreachable";
    pub const INPUT_TRUNCATED: &str = "input_truncated";
    pub const ENGINE_AT_CAPACITY: &str = "engine_at_capacity";
    pub const HELD: &str = "held";
    pub const SHUTTING_DOWN: &str = "shutting_down";
    pub const BUSY: &str = "busy";
    pub const FFMPEG_MISSING: &str = "ffmpeg_missing";
    pub const TIMED_OUT: &str = "timed_out";
    pub const STORAGE_FULL: &str = "storage_full";
    pub const STORAGE_LOST: &str = "storage_lost";
}
