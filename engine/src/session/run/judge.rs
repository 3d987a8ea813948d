//! What the end of a process means: judged from what came, never from the exit code alone.

use super::{Running, What, Wish, failure_fault};
use crate::ffmpeg::Level;
use crate::process;
use crate::session::state::{Exit, Kind};
use crate::session::{Cause, Code, Fault};

impl Running {
    /// What the end of the process means. The exit code proves nothing: 0 is also a source cut short.
    pub(super) async fn judge(mut self) {
        let asked = *self.wish.borrow() > Wish::Pause;
        if self.exit == Some(process::Exit::Code(0)) {
            let overflows = self.texts.finish(self.cutter.axis().map(|axis| axis.origin));
            self.warn(overflows).await;
        }
        let clean =
            self.exit == Some(process::Exit::Code(0)) && self.evidence.fault_despite_output().is_none();
        // Nothing says how long it is, or what follows exists already.
        let is_believed = self.launch.expected.is_none() || !self.ended;
        if is_believed && clean && self.broken.is_none() && !self.made && !self.tail.is_empty() {
            self.put_tail().await;
            self.made = self.broken.is_none() && (self.made || self.ended);
        }
        self.texts.note(None);
        let warning =
            self.missing.map(|missing| format!("the input ended {missing} s before its header says"));
        let warning = warning.filter(|_| self.made);
        let exit = if self.made {
            Exit::Finished
        } else if let Some(fault) = self.broken.take() {
            Exit::Failed(fault)
        } else if asked {
            Exit::Asked
        } else {
            Exit::Failed(self.ending())
        };
        if let Exit::Failed(fault) = &exit {
            let said = self.exit.map_or_else(String::new, |exit| format!("{exit}: "));
            self.log.extend(
                self.launch.run,
                [(Level::Error, format!("run {} ended, {said}{}", self.launch.run, fault.reason))],
            );
        }
        let what =
            What::Exited { exit, process: self.exit, reached: self.base + self.cutter.reached(), warning };
        self.tell(what).await;
    }

    fn ending(&self) -> Fault {
        if let Some(process::Exit::Signal(signal)) = self.exit {
            let reason = format!("ffmpeg was ended by signal {signal}, which nobody here sent");
            return Fault::new(Code::Transcode, Cause::Exit, reason);
        }
        // What can't be read at one place of a film is media for all that: its beginning could be.
        let played = self.published > 0 || self.launch.plan.first > 0;
        let evidence =
            if self.published > 0 { self.evidence.fault_despite_output() } else { self.evidence.fault() };
        if let Some((failure, line)) = evidence {
            return failure_fault(failure, line, played);
        }
        let exit = self.exit.map_or_else(|| "an unknown end".to_owned(), |exit| exit.to_string());
        // A jump past the end of a film ends so.
        let clean = self.exit == Some(process::Exit::Code(0));
        match (self.launch.plan.kind, self.published) {
            (Kind::Window, 1..) => {
                Fault::new(Code::Unreachable, Cause::Source, "the source ended the stream")
            }
            (Kind::Timeline | Kind::Event, _)
                if self.cutter.axis().is_some() || (clean && self.launch.plan.kind == Kind::Timeline) =>
            {
                let at = self.cutter.reached();
                Fault::new(
                    Code::Truncated,
                    Cause::Source,
                    format!("the input ended at {at} s, before its end"),
                )
            }
            (Kind::Timeline | Kind::Window | Kind::Event, _) => {
                Fault::new(Code::Transcode, Cause::Exit, format!("ffmpeg made nothing: {exit}"))
            }
        }
    }
}
