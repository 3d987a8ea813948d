//! Subtitles: every run of a session feeds one store of cues, and the renditions and the whole are cut from it.
//!
//! ffmpeg's WebVTT comes in any chunking ([`Parser`]), is made fit to be served ([`text`]), and is kept once,
//! however many runs read it ([`Cues`]). All times are the film's: zero is its first picture. Nothing here
//! knows pipes, runs or addresses.
//!
//! What ffmpeg, 5.1 and 9.0 alike, does with `-copyts … -c:s webvtt -avoid_negative_ts disabled -f webvtt
//! -flush_packets 1` (9.0 shifts a track that begins before zero, unless it is told not to):
//! `-output_ts_offset` and `-itsoffset` move cues exactly as they move pictures; `-ss` does not move them,
//! with or without `-accurate_seek`; `-to` drops the cues that begin later and shortens none. A cue that
//! began before the place where a run entered its input comes again, whole, from MP4, and not at all from
//! Matroska: another run may bring it. `against_ffmpeg` shows these on whatever ffmpeg is installed. Each cue
//! is one `write`, its last line end included; the blank line after it comes only with the next one.

mod parse;
mod store;
mod text;

#[cfg(test)]
mod against_ffmpeg;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write};

use crate::mux::Time;

pub(super) use parse::Parser;
pub(super) use store::{Cues, Overflow};

/// A text and the stretch of film over which it is shown. Cues are ordered by their start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cue {
    /// When it appears, to the millisecond. It may lie before the first picture.
    pub start: Time,
    /// When it disappears: later than the start.
    pub end: Time,
    /// Where it is shown, in WebVTT's own words; mostly empty.
    pub settings: String,
    /// One or more lines of WebVTT cue text, none of them blank, without a line end after the last.
    pub text: String,
}

/// The WebVTT clock that shows a time: `HH:MM:SS.mmm`, with more digits for the hours where they need them.
struct Clock(Time);

impl Cue {
    /// Whether this is `earlier` with more lines: a reader that saw only a part of the cue told that part.
    fn continues(&self, earlier: &Cue) -> bool {
        (self.start, self.end) == (earlier.start, earlier.end)
            && self.settings == earlier.settings
            && self.text.strip_prefix(&earlier.text).is_some_and(|more| more.starts_with('\n'))
    }

    /// Appends it as a WebVTT block, `later` than it is. WebVTT knows no time before zero.
    fn write(&self, out: &mut String, later: Time) {
        let (start, end) = ((self.start + later).max(Time::ZERO), self.end + later);
        if end <= start {
            return;
        }
        let space = if self.settings.is_empty() { "" } else { " " };
        writeln!(out, "{} --> {}{space}{}\n{}\n", Clock(start), Clock(end), self.settings, self.text)
            .expect("a String takes whatever is written");
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.ticks_in(1_000);
        let (seconds, minutes) = (millis / 1_000, millis / 60_000);
        write!(f, "{:02}:{:02}:{:02}.{:03}", minutes / 60, minutes % 60, seconds % 60, millis % 1_000)
    }
}
