//! What commands print: text made safe for a terminal, or JSON as the engine said it.

use std::io::{self, BufWriter, Stdout, Write as _};

use serde::Serialize;

use super::Failure;
use crate::clean::clean;

/// Standard output.
#[derive(Debug)]
pub(super) struct Out {
    to: BufWriter<Stdout>,
    /// Whether JSON is wanted.
    pub(super) json: bool,
}

impl Out {
    /// Nothing printed yet.
    pub(super) fn new(json: bool) -> Self {
        Self { to: BufWriter::new(io::stdout()), json }
    }

    /// Prints a line for people.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.to, "{}", clean(text).trim_end()).map_err(failure)
    }

    /// Prints a record as one line of JSON.
    pub(super) fn record(&mut self, record: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(record).map_err(|error| Failure::Output(error.into()))?;
        self.raw(&text)
    }

    /// Prints a line of JSON that somebody else wrote.
    pub(super) fn raw(&mut self, json: &str) -> Result<(), Failure> {
        writeln!(self.to, "{}", escape(json)).map_err(failure)
    }

    /// Hands over what was printed so far. A stream does so after every batch.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.to.flush().map_err(failure)
    }
}

/// Says something on standard error.
pub(super) fn complain(why: &str) {
    let line = format!("sluice: {}\n", clean(why));
    // Where even this can't be said, the exit code says it.
    io::stderr().write_all(line.as_bytes()).unwrap_or_default();
}

fn failure(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe { Failure::PipeClosed } else { Failure::Output(error) }
}

/// The same JSON without a character that a terminal would obey: JSON itself only escapes the first 32.
fn escape(json: &str) -> String {
    let is_hostile =
        |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !json.contains(is_hostile) {
        return json.to_owned();
    }
    json.chars().fold(String::with_capacity(json.len() + 8), |mut safe, c| {
        match is_hostile(c) {
            true => safe.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => safe.push(c),
        }
        safe
    })
}
