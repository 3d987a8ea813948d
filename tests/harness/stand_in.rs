//! What the stand-in for ffmpeg is told to do.
//!
//! A test writes a [`Script`]: [`Step`]s in terms of fragments. The source that the test plays from turns
//! them into [`Order`]s in terms of bytes and pipes, since it has seen the arguments and has let the real
//! ffmpeg make the real fragments for exactly those. The stand-in only carries out orders.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::boxes;

/// What the stand-in does, run after run. Runs beyond the last script do as the last one did.
#[derive(Debug, Clone, Default)]
pub struct Script {
    runs: Vec<Vec<Step>>,
}

impl Script {
    /// The first run does `steps`, and so do all later ones unless [`Self::then`] says otherwise.
    pub fn new(steps: impl Into<Vec<Step>>) -> Self {
        Self { runs: vec![steps.into()] }
    }

    /// The run after that does `steps`.
    #[must_use]
    pub fn then(mut self, steps: impl Into<Vec<Step>>) -> Self {
        self.runs.push(steps.into());
        self
    }

    /// The steps of a run, counted from 0.
    pub fn run(&self, run: usize) -> &[Step] {
        self.runs.get(run).or(self.runs.last()).map_or(&[], Vec::as_slice)
    }
}

/// One thing that the stand-in does.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Writes the next so many fragments, of all outputs in the order of their times.
    Fragments(usize),
    /// Writes the next so many fragments of one output, counted from 0.
    FragmentsOf(usize, usize),
    /// Writes all fragments that are left.
    Rest,
    /// Leaves out so many fragments: a hole.
    Skip(usize),
    /// Writes the first half of the next fragment.
    Torn,
    /// Writes bytes that are no MP4 to the first output.
    Garbage(Vec<u8>),
    /// Writes a block of progress that says this position, in microseconds.
    Progress {
        /// `out_time_us`.
        position: i64,
        /// Whether it is the last block.
        end: bool,
    },
    /// Writes bytes to standard error, so many times.
    Stderr(Vec<u8>, u64),
    /// Goes on only when the test opens this gate.
    Gate(String),
    /// Does nothing for a while. Prefer a gate where order is what matters.
    Pause(Duration),
    /// From here on a polite request to end is not heard.
    IgnoreTerm,
    /// Starts a process that holds all pipes open and sleeps.
    Sleeper,
    /// Stops itself, as SIGSTOP does.
    Freeze,
    /// Does nothing, for ever.
    Hang,
    /// Ends with this code.
    Exit(i32),
    /// Ends by this signal. Not by 11: Rust's runtime takes that one for a stack overflow first.
    Die(i32),
}

impl Step {
    /// A line on standard error, with its level as ffmpeg writes it (`[error] …`).
    pub fn say(line: &str) -> Self {
        Self::Stderr(format!("{line}\n").into_bytes(), 1)
    }

    /// A gate's name.
    pub fn gate(name: &str) -> Self {
        Self::Gate(name.to_owned())
    }
}

/// What the stand-in tells about itself when it asks for its orders.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Introduction {
    /// Its process number.
    pub pid: u32,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// The answer: what to do, over bytes that are fetched apart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Orders {
    /// Which run this is, counted from 0.
    pub run: usize,
    /// What to do, in this order.
    pub orders: Vec<Order>,
}

/// One thing to do, in terms of bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is a step in terms of bytes; the steps say what they are")]
pub enum Order {
    /// Writes a piece of the fetched bytes to the pipe of this number.
    Write {
        pipe: u32,
        from: usize,
        length: usize,
    },
    /// Writes these bytes to the pipe of this number (2 is standard error), so many times.
    Say {
        pipe: u32,
        bytes: Vec<u8>,
        times: u64,
    },
    Gate(String),
    Pause(u64),
    IgnoreTerm,
    Sleeper,
    Freeze,
    Hang,
    Exit(i32),
    Die(i32),
}

/// The fragments that the real ffmpeg makes for a list of arguments.
#[derive(Debug, Clone, Default)]
pub struct Captured {
    /// All outputs, one after the other.
    pub bytes: Vec<u8>,
    /// The fragments, in the order of their times: which pipe, and where in `bytes`.
    pieces: Vec<Piece>,
    /// Where progress goes, if it was asked for.
    progress: Option<u32>,
    outputs: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Piece {
    output: usize,
    time: f64,
    from: usize,
    length: usize,
}

impl Captured {
    /// Runs the real ffmpeg with `arguments`, reading from `input` in place of the address they name.
    ///
    /// # Panics
    ///
    /// Where ffmpeg refuses them: then the engine's own arguments are at fault.
    #[expect(clippy::disallowed_methods, reason = "the rule is the engine's; these are the tests' own tools")]
    pub async fn by_ffmpeg(arguments: &[String], input: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let mut files: BTreeMap<u32, PathBuf> = BTreeMap::new();
        let mut captured = Self::default();
        let mut rewritten = vec!["-y".to_owned()];
        let mut last = "";
        for argument in arguments {
            let pipe = pipe_number(argument);
            match (last, pipe) {
                ("-progress", Some(pipe)) => {
                    captured.progress = Some(pipe);
                    rewritten.push("/dev/null".to_owned());
                }
                ("-i", _) => rewritten.push(input.to_owned()),
                (_, Some(pipe)) => {
                    let file = directory.path().join(pipe.to_string());
                    rewritten.push(file.to_string_lossy().into_owned());
                    captured.outputs.push(pipe);
                    files.insert(pipe, file);
                }
                _ => rewritten.push(argument.clone()),
            }
            last = argument;
        }
        let made = Command::new("ffmpeg")
            .args(&rewritten)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .expect("the tests need ffmpeg");
        assert!(made.status.success(), "{rewritten:?}: {}", String::from_utf8_lossy(&made.stderr));

        for (output, pipe) in captured.outputs.iter().enumerate() {
            let file = std::fs::read(&files[pipe]).expect("ffmpeg wrote what it said it would");
            let base = captured.bytes.len();
            captured.pieces.extend(boxes::fragments(&file).into_iter().map(|fragment| Piece {
                output,
                time: fragment.time,
                from: base + fragment.bytes.start,
                length: fragment.bytes.len(),
            }));
            captured.bytes.extend(file);
        }
        captured.pieces.sort_by(|one, other| one.time.total_cmp(&other.time));
        captured
    }

    /// `steps`, in terms of these bytes.
    pub fn orders(&self, steps: &[Step]) -> Vec<Order> {
        let mut left = self.pieces.clone();
        let mut orders = Vec::new();
        for step in steps {
            match step {
                Step::Fragments(count) => {
                    orders.extend(left.drain(..(*count).min(left.len())).map(|piece| self.write(&piece)));
                }
                Step::FragmentsOf(output, count) => {
                    let mut wanted = *count;
                    left.retain(|piece| {
                        let taken = piece.output == *output && wanted > 0;
                        if taken {
                            wanted -= 1;
                            orders.push(self.write(piece));
                        }
                        !taken
                    });
                }
                Step::Rest => orders.extend(left.drain(..).map(|piece| self.write(&piece))),
                Step::Skip(count) => drop(left.drain(..(*count).min(left.len()))),
                Step::Torn => {
                    if let Some(piece) = left.first() {
                        orders.push(self.write(&Piece { length: piece.length / 2, ..piece.clone() }));
                    }
                }
                Step::Garbage(bytes) => {
                    let pipe = self.outputs.first().copied().unwrap_or(1);
                    orders.push(Order::Say { pipe, bytes: bytes.clone(), times: 1 });
                }
                Step::Progress { position, end } => {
                    if let Some(pipe) = self.progress {
                        let state = if *end { "end" } else { "continue" };
                        let block = format!(
                            "frame=1\nfps=25.00\nout_time_us={position}\nout_time_ms={position}\n\
                             dup_frames=0\ndrop_frames=0\nspeed=1.0x\nprogress={state}\n"
                        );
                        orders.push(Order::Say { pipe, bytes: block.into_bytes(), times: 1 });
                    }
                }
                Step::Stderr(bytes, times) => {
                    orders.push(Order::Say { pipe: 2, bytes: bytes.clone(), times: *times });
                }
                Step::Gate(name) => orders.push(Order::Gate(name.clone())),
                Step::Pause(time) => orders.push(Order::Pause(time.as_millis() as u64)),
                Step::IgnoreTerm => orders.push(Order::IgnoreTerm),
                Step::Sleeper => orders.push(Order::Sleeper),
                Step::Freeze => orders.push(Order::Freeze),
                Step::Hang => orders.push(Order::Hang),
                Step::Exit(code) => orders.push(Order::Exit(*code)),
                Step::Die(signal) => orders.push(Order::Die(*signal)),
            }
        }
        orders
    }

    /// How many fragments there are.
    pub fn fragments(&self) -> usize {
        self.pieces.len()
    }

    fn write(&self, piece: &Piece) -> Order {
        Order::Write { pipe: self.outputs[piece.output], from: piece.from, length: piece.length }
    }
}

/// The number in `pipe:7`, whatever stands around it: the engine may name its pipes through ffmpeg's `fd:` or
/// `pipe:`.
fn pipe_number(argument: &str) -> Option<u32> {
    argument.strip_prefix("pipe:")?.parse().ok()
}
