//! Which processes belong to a test: those that carry its mark in their environment.
//!
//! Names and numbers lie (a test beside this one runs `ffmpeg` too, and numbers are given out again); what
//! stands in a process's own environment does not. The mark's name does not begin with `SLUICE_`, since
//! the engine keeps such variables from its children.

use std::fs;

/// The name of the variable that marks the processes of a test.
pub const MARK: &str = "TEST_OF_SLUICE";

/// A living process of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// What it calls itself, cut to 15 characters by the kernel.
    pub name: String,
    /// The kernel's letter: `R`, `S`, `D`, `T`.
    pub state: char,
    /// The argument list.
    pub arguments: Vec<String>,
}

impl Process {
    /// Whether this is an ffmpeg, and not a probe, a launcher or the engine. The stand-in counts as one.
    pub fn is_ffmpeg(&self) -> bool {
        self.name == "ffmpeg" || self.name.starts_with("fake-ffmpeg")
    }
}

/// All living processes that carry `mark`, without zombies: those wait for their parent and do nothing.
pub fn of(mark: &str) -> Vec<Process> {
    let wanted = format!("{MARK}={mark}").into_bytes();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            // A process that ends between the listing and the look has no environment any more.
            fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                environment.split(|byte| *byte == 0).any(|variable| variable == wanted)
            })
        })
        .filter_map(read)
        .collect()
}

fn read(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may contain some itself, so the last one closes it.
    let (name, rest) = (stat.find('(')? + 1, stat.rfind(')')?);
    let state = stat[rest + 1..].trim_start().chars().next()?;
    if matches!(state, 'Z' | 'X') {
        return None;
    }
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments = arguments
        .split(|byte| *byte == 0)
        .filter(|argument| !argument.is_empty())
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect();
    Some(Process { pid, name: stat[name..rest].to_owned(), state, arguments })
}
