//! Bytes of ffmpeg's WebVTT become cues, in any chunking.
//!
//! It reads what ffmpeg's muxer writes and what [`Cues`](super::Cues) writes, which is less than WebVTT: no
//! comments and no identifiers between the cues. A blank line ends no cue unless times follow it, for ASS may
//! have blank lines in its texts and ffmpeg lets them through.

use super::{Cue, text};
use crate::mux::Time;

/// Reads one pipe of WebVTT.
pub(in crate::session) struct Parser {
    /// How much later than the film the times on the pipe are.
    lead: Time,
    /// The line that has not ended yet, at most [`LONGEST_LINE`] of it.
    line: Vec<u8>,
    after_blank: bool,
    /// The cue whose lines are coming.
    cue: Option<Cue>,
    /// How much of its text was told already.
    told: usize,
}

/// No line of any film is longer, and one that never ends must not fill the memory.
const LONGEST_LINE: usize = 16 * 1024;
/// The same for the text of one cue.
const LONGEST_TEXT: usize = 16 * 1024;
/// More than all settings that WebVTT knows.
const LONGEST_SETTINGS: usize = 256;

impl Parser {
    /// Whose cues are `lead` earlier than the times that it reads.
    pub(in crate::session) fn new(lead: Time) -> Self {
        Self { lead, line: Vec::new(), after_blank: true, cue: None, told: 0 }
    }

    /// The cues that became known.
    ///
    /// ffmpeg says that a cue is complete only when it writes the next, which may be minutes later. So where
    /// the bytes stop at the end of a line, the cue is told as it is; a longer one follows if there was more,
    /// and takes its place in the store.
    pub(in crate::session) fn feed(&mut self, mut bytes: &[u8]) -> Vec<Cue> {
        let mut cues = Vec::new();
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.hold(&bytes[..end]);
            self.end_line(&mut cues);
            bytes = &bytes[end + 1..];
        }
        self.hold(bytes);
        if self.line.is_empty() {
            self.tell(&mut cues);
        }
        cues
    }

    /// The cues that the end of the pipe completes.
    pub(in crate::session) fn finish(&mut self) -> Vec<Cue> {
        let mut cues = Vec::new();
        self.end_line(&mut cues);
        self.tell(&mut cues);
        cues
    }

    fn hold(&mut self, bytes: &[u8]) {
        let room = LONGEST_LINE - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self, cues: &mut Vec<Cue>) {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes);
        let line = line.strip_suffix('\r').unwrap_or(&line);
        if line.is_empty() {
            self.after_blank = true;
        } else if std::mem::take(&mut self.after_blank)
            && let Some((start, rest)) = line.split_once("-->")
            && is_clock(start)
        {
            self.tell(cues);
            self.told = 0;
            // Times that can't be read drop their cue: its lines must not become those of the one before.
            self.cue = cue(start, rest, self.lead);
        } else if let Some(cue) = &mut self.cue {
            text::append(&mut cue.text, line, LONGEST_TEXT);
        }
    }

    /// A text without anything to be seen is no cue: drawings leave such.
    fn tell(&mut self, cues: &mut Vec<Cue>) {
        if let Some(cue) = &self.cue
            && cue.text.len() > self.told
        {
            self.told = cue.text.len();
            cues.push(cue.clone());
        }
    }
}

fn is_clock(text: &str) -> bool {
    text.contains(':') && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b':' | b'.' | b'-' | b' '))
}

/// A cue without text yet; nothing where the times are no times, or nothing would be shown.
fn cue(start: &str, rest: &str, lead: Time) -> Option<Cue> {
    let rest = rest.trim();
    let (end, settings) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    let (start, end) = (film_time(start.trim(), lead)?, film_time(end, lead)?);
    let settings = text::struck(settings.trim());
    let settings =
        if settings.len() > LONGEST_SETTINGS || settings.contains("-->") { String::new() } else { settings };
    (start < end).then_some(Cue { start, end, settings, text: String::new() })
}

/// `MM:SS.mmm` or `HH:MM:SS.mmm`, less the lead. Before zero ffmpeg signs every part: `00:-8.-977`.
fn film_time(clock: &str, lead: Time) -> Option<Time> {
    let (clock, millis) = clock.split_once('.')?;
    let mut parts = clock.split(':').map(|part| part.parse::<i64>().ok());
    let (mut seconds, mut count) = (0_i64, 0);
    for part in &mut parts {
        seconds = seconds.checked_mul(60)?.checked_add(part?)?;
        count += 1;
    }
    let is_whole = millis.trim_start_matches('-').len() == 3 && (2..=3).contains(&count);
    let millis = seconds.checked_mul(1_000)?.checked_add(millis.parse().ok()?)?;
    // A whole number of milliseconds again, whatever the lead's scale.
    is_whole.then(|| Time::from_millis((Time::from_millis(millis) - lead).ticks_in(1_000)))
}
