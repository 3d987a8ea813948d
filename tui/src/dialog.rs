//! The question before an act: what is asked about whom, and when an answer counts.
//!
//! The targets are fixed when the question is put, by id and generation, and no data can exchange them.
//! What changes about them meanwhile is shown, takes back what was typed, and starts the pause anew in which
//! keys don't count: nobody has answered a question that was not on the screen yet.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::{condition::Word, event::Act};

/// Keys of the first moment were typed before the question could be read.
const TYPED_AHEAD: Duration = Duration::from_millis(250);

/// A question before an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dialog {
    /// What is asked.
    pub(crate) act: Act,
    /// About whom.
    pub(crate) targets: Vec<Target>,
    /// How it is answered.
    pub(crate) form: Form,
    /// What is wrong with the last answer.
    pub(crate) fault: Option<String>,
    /// When it was put, or last changed.
    shown: Instant,
}

/// Whom it is about, as the operator saw them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The session.
    pub(crate) id: Uuid,
    /// How often its state had changed.
    pub(crate) generation: u64,
    /// What it is called.
    pub(crate) title: String,
    /// Whose it is, as the list shows it.
    pub(crate) user: String,
    /// `LIVE` or `VOD`.
    pub(crate) kind: &'static str,
    /// Its age, in words.
    pub(crate) age: String,
    /// How many watch it.
    pub(crate) viewers: u32,
    /// Its state word when the question was put.
    pub(crate) asked_at: Word,
    /// What it has become.
    pub(crate) now: Standing,
}

/// What has become of a target since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is on the list, with this state word.
    Listed(Word),
    /// It is gone.
    Gone,
}

/// How a question is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// With `y`.
    YesNo,
    /// By typing how many sessions it is about.
    Count {
        /// What was typed.
        typed: String,
        /// Where Enter goes.
        focus: Focus,
    },
}

/// Where Enter goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Focus {
    Cancel,
    Field,
    Act,
}

/// A key, as far as a question understands keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Letter(char),
    Erase,
    Enter,
    Escape,
    NextField,
    PreviousField,
    Other,
}

/// What an answer leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing yet.
    Open,
    /// It is not done.
    Cancelled,
    /// It is done.
    Confirmed,
}

impl Dialog {
    /// A question about these targets. One that nobody watches takes a `y`; more, or one with viewers, take
    /// their number.
    pub(crate) fn new(act: Act, targets: Vec<Target>, now: Instant) -> Self {
        let form = match targets.as_slice() {
            [one] if one.viewers == 0 => Form::YesNo,
            _ => Form::Count { typed: String::new(), focus: Focus::Cancel },
        };
        Self { act, targets, form, fault: None, shown: now }
    }

    /// All viewers of all targets.
    pub(crate) fn viewers(&self) -> u32 {
        self.targets.iter().fold(0, |sum, target| sum.saturating_add(target.viewers))
    }

    /// What must be typed.
    pub(crate) fn count(&self) -> usize {
        self.targets.iter().filter(|target| target.now != Standing::Gone).count()
    }

    /// Targets that changed since the question was put.
    pub(crate) fn changed(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(|target| target.now != Standing::Listed(target.asked_at))
    }

    /// Takes a key. Enter alone never confirms.
    pub(crate) fn answer(&mut self, answer: Answer, now: Instant) -> Verdict {
        // Doing nothing needs no second thought.
        if answer == Answer::Escape {
            return Verdict::Cancelled;
        }
        if now.saturating_duration_since(self.shown) < TYPED_AHEAD {
            return Verdict::Open;
        }
        self.fault = None;
        let count = self.count();
        match &mut self.form {
            Form::YesNo => match answer {
                Answer::Letter('y') => Verdict::Confirmed,
                Answer::Letter('n' | 'N' | 'q') | Answer::Enter => Verdict::Cancelled,
                _ => Verdict::Open,
            },
            Form::Count { typed, focus } => {
                let right = *typed == count.to_string();
                match answer {
                    Answer::Letter('n' | 'q') => return Verdict::Cancelled,
                    Answer::Letter('g') if self.act == Act::Force => self.act = Act::Stop,
                    Answer::Letter(digit @ '0'..='9') if typed.len() < 6 => {
                        typed.push(digit);
                        *focus = Focus::Field;
                    }
                    Answer::Erase => {
                        typed.pop();
                        *focus = Focus::Field;
                    }
                    Answer::NextField => {
                        *focus = match *focus {
                            Focus::Field => Focus::Act,
                            Focus::Act => Focus::Cancel,
                            Focus::Cancel => Focus::Field,
                        };
                    }
                    Answer::PreviousField => {
                        *focus = match *focus {
                            Focus::Field => Focus::Cancel,
                            Focus::Act => Focus::Field,
                            Focus::Cancel => Focus::Act,
                        };
                    }
                    Answer::Enter if *focus == Focus::Cancel => return Verdict::Cancelled,
                    Answer::Enter if right => return Verdict::Confirmed,
                    Answer::Enter => self.fault = Some(format!("type {count} first")),
                    _ => {}
                }
                Verdict::Open
            }
        }
    }

    /// Tells what a target has become. Whether nobody is left to ask about.
    pub(crate) fn learn(
        &mut self,
        id: Uuid,
        standing: Standing,
        generation: u64,
        viewers: u32,
        now: Instant,
    ) -> bool {
        let Some(target) = self.targets.iter_mut().find(|target| target.id == id) else { return false };
        if target.now == Standing::Gone {
            return false;
        }
        let moved = target.generation != generation || standing == Standing::Gone;
        let shown_otherwise = target.now != standing;
        target.now = standing;
        target.generation = generation;
        let newly_watched = target.viewers == 0 && viewers > 0;
        target.viewers = viewers;
        if moved || shown_otherwise || newly_watched {
            self.shown = now;
            match &mut self.form {
                Form::Count { typed, focus } => {
                    typed.clear();
                    *focus = Focus::Cancel;
                }
                Form::YesNo if newly_watched => {
                    self.form = Form::Count { typed: String::new(), focus: Focus::Cancel };
                }
                Form::YesNo => {}
            }
        }
        self.count() == 0
    }
}
