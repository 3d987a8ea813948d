//! What we say to ffmpeg and what we understand of its answers: values in, values out.
//!
//! A plan becomes an argument list ([`command()`]), ffprobe's JSON becomes what we know about an input
//! ([`Probe`]), that becomes what is copied and what is encoded ([`decide()`]), and bytes of `-progress` and of
//! stderr become typed events, in any chunking. Nothing here starts a process, opens a file or reads a clock.
//!
//! Everything holds for ffmpeg 5.1 and newer.

mod clean;
pub mod command;
pub mod decide;
mod fault;
mod filter;
pub mod input;
pub mod log;
pub mod probe;
pub mod progress;
mod rate;
pub mod sniff;

#[cfg(test)]
mod against_ffmpeg;

use crate::mux::Time;

pub use clean::clean;
pub use command::{Command, Film, Job, Output, Place, Preroll, command, masked};
pub use decide::{Decision, How, Kind, Quality, Reason, Settings, SubtitleTrack, decide};
pub use fault::{Evidence, Fault, Retry};
pub use input::{Container, Input, Transport};
pub use log::{Level, Line, Lines};
pub use probe::{Probe, ProbeError};
pub use progress::{Parser, Progress};
pub use rate::frame_rate;
pub use sniff::{Sniff, sniff};

/// How much later than the film's own time ffmpeg's output lies.
///
/// Encoder priming and the decode times of reordered pictures come before the first presentation time. With
/// this lead they stay positive, so that no muxer shifts one stream against another. Whoever reads the output
/// takes it off again.
pub const LEAD: Time = Time::new(10, 1);
