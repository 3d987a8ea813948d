//! One ffmpeg from spawn to reaped: pipes in, checked segments out.
//!
//! All pipes are read side by side by one task, or none of the media is: one unread media pipe stops every
//! output of that ffmpeg. Progress and log are never held back. Whether it is to read, to wait or to end is
//! the session's wish.

mod fault;
mod judge;
mod launch;
mod make;
mod pipes;
mod texts;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, Unit};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use self::fault::spawn_fault;
pub(super) use self::fault::{failure_fault, misfit_fault, shown};
pub(super) use self::launch::{Goal, Launch, Pace, Report, Vitals, What, Wish};
use self::pipes::{Chunk, Feeds, Source};
use self::texts::Texts;
use super::cues::Overflow;
use super::cut::{Cut, Cutter, Misfit, Rendition};
use super::log::Log;
use super::shelf::Shelf;
use super::state::{Exit, Kind};
use super::{Cause, Code, Fault};
use crate::ffmpeg::{Evidence, LEAD, Level, Line, Lines, Output, Parser, command, masked};
use crate::mux::{Item, Reader, Sample, Time};
use crate::process::{self, Child, Launcher, Order, Pipe, Process};

/// What is left in the pipes of a dead child is read for this long: a grandchild may hold them for ever.
const DRAIN: Duration = Duration::from_secs(1);
/// How often speed, memory and processor time are looked at.
const SAMPLE: Duration = Duration::from_secs(1);
/// Speed is the mean over this many samples.
const SAMPLES: usize = 5;
/// A film that ends this much before its header says has ended: containers round, and count the sound's end.
const SHORTFALL: Time = Time::from_millis(3_000);
/// A stall is noticed after this many segment durations, if the configured time is shorter.
const STALL_SEGMENTS: u32 = 3;

/// Launches ffmpeg and sees it through. Ends when it is reaped.
pub(super) async fn drive(
    launch: Launch,
    launcher: Launcher,
    shelf: Arc<Shelf>,
    log: Arc<Log>,
    wish: watch::Receiver<Wish>,
    reports: mpsc::Sender<Report>,
) {
    let run = launch.run;
    let command = command(&launch.job);
    let argv = masked(&command.args, &[]);
    let argv = argv.iter().map(|arg| launch.mask.apply(arg).into_owned()).collect();
    let order = Order {
        program: launch.program.clone(),
        args: command.args,
        outputs: command
            .outputs
            .iter()
            .map(|output| match output {
                Output::Progress | Output::Subtitles(_) => Pipe::Small,
                Output::Video | Output::Audio(_) => Pipe::Media,
            })
            .collect(),
        stdout: None,
        label: format!("{}-{run}", launch.session),
    };
    let report = |what| Report { run, what };
    let child = match launcher.spawn(order).await {
        Ok(child) => child,
        Err(error) => {
            let exit = Exit::Failed(spawn_fault(&error));
            log.extend(run, [(Level::Fatal, error.to_string())]);
            let what = What::Exited { exit, process: None, reached: launch.plan.from, warning: None };
            drop(reports.send(report(what)).await);
            return;
        }
    };
    // Without a session there is nobody left to tell; the run ends by itself when its wishes end.
    drop(reports.send(report(What::Launched { pid: child.pid, argv })).await);
    let mut running = Running::new(launch, child, &command.outputs, shelf, log, wish, reports);
    running.read_to_the_end().await;
    running.judge().await;
}

struct Running {
    launch: Launch,
    process: Process,
    pipes: Vec<Source>,
    turn: usize,
    cutter: Cutter,
    texts: Texts,
    lines: Lines,
    evidence: Evidence,
    progress: Parser,
    shelf: Arc<Shelf>,
    log: Arc<Log>,
    wish: watch::Receiver<Wish>,
    reports: mpsc::Sender<Report>,
    /// Where this run lies in the time of all that a window made.
    base: Time,
    anchor: Option<Timestamp>,
    began: Option<Instant>,
    published: u64,
    published_to: Option<Time>,
    broken: Option<Fault>,
    /// The last segments of a film, held until it shows whether the film really ends there.
    tail: Vec<Cut>,
    /// The picture, or the sound that leads, came to its end.
    ended: bool,
    made: bool,
    /// How much of the film its header promised and the input did not have.
    missing: Option<Time>,
    disk_full: bool,
    launched: Instant,
    moved: Instant,
    longest: Duration,
    vitals: Vitals,
    samples: VecDeque<(Instant, Time)>,
    next_sample: Instant,
    cpu_before: Option<(Instant, Duration)>,
    /// Processor time that is counted already.
    cpu_counted: Duration,
    exit: Option<process::Exit>,
    scratch: Vec<u8>,
}

impl Running {
    fn new(
        launch: Launch,
        child: Child,
        outputs: &[Output],
        shelf: Arc<Shelf>,
        log: Arc<Log>,
        wish: watch::Receiver<Wish>,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        let mut pipes: Vec<_> = child
            .outputs
            .into_iter()
            .zip(outputs)
            .map(|(pipe, output)| {
                let media = |rendition| Feeds::Media { rendition, reader: Box::new(Reader::new(LEAD)) };
                let feeds = match output {
                    Output::Progress => Feeds::Progress,
                    Output::Video => media(Rendition::Video),
                    Output::Audio(n) => media(Rendition::Audio(*n)),
                    Output::Subtitles(n) => Feeds::Text(*n),
                };
                Source { pipe: Some(pipe), feeds }
            })
            .collect();
        pipes.push(Source { pipe: Some(child.stderr), feeds: Feeds::Log });
        let mut cutter = Cutter::new(launch.plan.clone());
        for (rendition, track) in &launch.tracks {
            cutter.suppose(*rendition, track);
        }
        let now = Instant::now();
        let base = if launch.plan.kind == Kind::Window { shelf.end() } else { Time::ZERO };
        Self {
            cutter,
            texts: Texts::new(launch.cues.clone(), launch.plan.from),
            process: child.process,
            pipes,
            turn: 0,
            lines: Lines::default(),
            evidence: Evidence::default(),
            progress: Parser::default(),
            shelf,
            log,
            wish,
            reports,
            base,
            anchor: None,
            began: None,
            published: 0,
            published_to: None,
            broken: None,
            tail: Vec::new(),
            ended: false,
            made: false,
            missing: None,
            disk_full: false,
            launched: now,
            moved: now,
            longest: Duration::ZERO,
            vitals: Vitals::default(),
            samples: VecDeque::new(),
            next_sample: now + SAMPLE,
            cpu_before: None,
            cpu_counted: Duration::ZERO,
            exit: None,
            scratch: vec![0; 4096],
            launch,
        }
    }

    async fn read_to_the_end(&mut self) {
        loop {
            self.texts.note(Some(Instant::now()));
            let wish = *self.wish.borrow();
            let wait = self.ahead_of_clock();
            let media = wish == Wish::Read
                && self.broken.is_none()
                && !self.made
                && !self.disk_full
                && !self.is_at_goal()
                && wait.is_none();
            if !media {
                self.moved = Instant::now();
            }
            let until = wait.unwrap_or(self.next_sample).min(self.next_sample).min(self.stalls_at());
            let until = self.texts.due().map_or(until, |due| due.min(until));
            let store = self.shelf.store().clone();
            let behind = self.cutter.behind();
            tokio::select! { biased;
                changed = self.wish.changed() => match changed {
                    Ok(()) => self.obey(),
                    // The session is gone, and with it the reason to run.
                    Err(_) => self.process.kill(),
                },
                exit = self.process.exited() => {
                    self.exit = Some(exit);
                    self.count_cpu(self.process.used());
                    break;
                }
                () = store.ready_to_write(), if self.disk_full => self.disk_full = false,
                chunk = Chunk::next(&mut self.pipes, &mut self.turn, &mut self.scratch, media, behind) => self.take(chunk).await,
                () = sleep_until(until) => self.tick().await,
            }
        }
        let drained = timeout(DRAIN, async {
            while self.pipes.iter().any(|source| source.pipe.is_some()) {
                let media = *self.wish.borrow() <= Wish::Pause && self.broken.is_none() && !self.made;
                if !media {
                    self.drop_media();
                }
                let behind = self.cutter.behind();
                let chunk =
                    Chunk::next(&mut self.pipes, &mut self.turn, &mut self.scratch, media, behind).await;
                self.take(chunk).await;
            }
        });
        if drained.await.is_err() {
            tracing::debug!(session = %self.launch.session, run = self.launch.run, "a pipe outlived its process");
        }
    }

    fn obey(&mut self) {
        let wish = *self.wish.borrow_and_update();
        match wish {
            Wish::Read | Wish::Pause => {}
            Wish::Terminate | Wish::TerminateAgain => {
                self.process.terminate();
                // An ffmpeg that is blocked on a full pipe hears a signal only when its reader is gone.
                self.drop_media();
            }
            Wish::Kill => {
                self.process.kill();
                self.drop_media();
            }
        }
    }

    fn drop_media(&mut self) {
        for source in &mut self.pipes {
            if let Feeds::Media { .. } = source.feeds {
                source.pipe = None;
            }
        }
    }

    async fn take(&mut self, chunk: Chunk) {
        match chunk {
            Chunk::Progress(read) => {
                let moved_before = self.vitals.dropped;
                for block in self.progress.feed(&self.scratch[..read]) {
                    self.vitals.fps = block.fps.or(self.vitals.fps);
                    self.vitals.dropped = block.drop_frames.or(moved_before);
                }
            }
            Chunk::Log(read) => {
                let mut lines = Vec::new();
                self.lines.feed(&self.scratch[..read], &mut lines);
                self.note(lines);
            }
            Chunk::Text { track, read } => {
                let origin = self.cutter.axis().map(|axis| axis.origin);
                let overflows = self.texts.feed(usize::from(track), &self.scratch[..read], origin);
                self.warn(overflows).await;
            }
            Chunk::Media { source, read } => {
                let Some(Source { feeds: Feeds::Media { rendition, reader }, .. }) =
                    self.pipes.get_mut(source)
                else {
                    return;
                };
                let rendition = *rendition;
                match reader.filled(read) {
                    Ok(None) => {}
                    Ok(Some(Item::Track(track))) => {
                        let begun = self.cutter.begin(rendition, track);
                        self.publish(begun.map(|()| Vec::new())).await;
                    }
                    Ok(Some(Item::Samples(samples))) => {
                        self.moved = Instant::now();
                        let span = span(&samples);
                        let before = self.cutter.axis();
                        let cuts = self.cutter.push(rendition, samples);
                        if before.is_none() && self.cutter.axis().is_some() {
                            self.begin(rendition, span);
                        }
                        self.publish(cuts).await;
                    }
                    Err(fault) => {
                        let fault = Fault::new(
                            Code::Transcode,
                            Cause::Internal,
                            format!("what ffmpeg sent is not fragmented MP4: {fault}"),
                        );
                        self.stop_for(fault.clone(), What::Stalled(fault)).await;
                    }
                }
            }
            Chunk::End(source) => {
                let Some(source) = self.pipes.get_mut(source) else { return };
                source.pipe = None;
                let asked = *self.wish.borrow() > Wish::Pause;
                match &source.feeds {
                    Feeds::Media { rendition, reader } if !asked && self.broken.is_none() => {
                        if !reader.is_whole() {
                            tracing::debug!(session = %self.launch.session, %rendition, "a torn fragment at the end was dropped");
                        }
                        let cuts = self.cutter.finish(*rendition);
                        self.publish(cuts).await;
                    }
                    Feeds::Log => {
                        let mut lines = Vec::new();
                        self.lines.finish(&mut lines);
                        self.note(lines);
                    }
                    Feeds::Media { .. } | Feeds::Progress | Feeds::Text(_) => {}
                }
            }
        }
    }

    fn note(&mut self, mut lines: Vec<Line>) {
        let asked = *self.wish.borrow() > Wish::Pause || self.made || self.broken.is_some();
        // Masked before anything else: what is observed here becomes the reason that viewers read.
        for line in &mut lines {
            if asked && line.level >= Level::Error {
                // That its pipes are closed is what it is told to end by.
                line.level = Level::Info;
            }
            line.text = shown(&line.text, &self.launch.job.input, &self.launch.mask);
            self.evidence.observe(line);
        }
        self.log.extend(self.launch.run, lines.into_iter().map(|line| (line.level, line.text)));
    }

    /// The first sample that counts is here: from now on there is a clock.
    fn begin(&mut self, rendition: Rendition, span: Option<i64>) {
        self.began = Some(Instant::now());
        let scale = self.cutter.track(rendition).map_or(1, |track| track.timescale);
        let lasts = Time::new(span.unwrap_or(0), scale).duration();
        let arrived = Timestamp::now().checked_sub(lasts).unwrap_or_else(|_| Timestamp::now());
        // On a whole millisecond: players place the audio list by dates of that grain.
        self.anchor = Some(arrived.round(Unit::Millisecond).unwrap_or(arrived));
    }

    async fn publish(&mut self, cuts: Result<Vec<Cut>, Misfit>) {
        let cuts = match cuts {
            Ok(cuts) => cuts,
            Err(misfit) => {
                let fault = misfit_fault(&misfit);
                return self.stop_for(fault, What::Misfit(misfit)).await;
            }
        };
        for silence in self.cutter.take_silences() {
            self.tell(What::Silent(silence)).await;
        }
        for cut in cuts {
            if cut.unsure && self.launch.plan.kind.is_film() {
                // Whether the film really ends here, or its sound, is judged when the process has.
                self.ended |= cut.last;
                self.tail.push(cut);
                if self.ended {
                    self.settle().await;
                    return;
                }
                continue;
            }
            self.put(cut).await;
            if self.made {
                return;
            }
        }
    }

    /// The last segments of a film go out if the film is as long as it was said to be.
    async fn settle(&mut self) {
        if self.launch.expected.is_none() {
            // Nothing says how long it is: how the process ends has to tell whether this was all of it.
            return;
        }
        self.missing = self.shortfall();
        if self.missing.is_some() && !self.launch.accept_short {
            // Whose fault it is shows when the process has ended.
            return;
        }
        self.put_tail().await;
        if self.broken.is_none() && !self.made {
            self.made = true;
            self.drop_media();
            self.tell(What::Made).await;
        }
    }

    async fn put_tail(&mut self) {
        for cut in std::mem::take(&mut self.tail) {
            if !self.made {
                self.put(cut).await;
            }
        }
    }

    fn shortfall(&self) -> Option<Time> {
        let expected = self.launch.expected?;
        let end = self.tail.last().map_or_else(|| self.cutter.reached(), |cut| cut.end);
        // What is expected counts from the first picture, what was cut from the first that can be shown.
        let end = end + self.cutter.axis().map_or(Time::ZERO, |axis| axis.origin);
        (end + SHORTFALL < expected).then(|| expected - end)
    }

    async fn put(&mut self, cut: Cut) {
        let (kind, first, number) = (self.launch.plan.kind, self.published == 0, cut.number);
        if cut.last && cut.start >= cut.end {
            // The film ended with the segment before.
            return self.shelf.ends_before(number);
        }
        let Some(axis) = self.cutter.axis() else { return };
        let (lasts, end) = ((cut.end - cut.start).duration(), cut.end);
        let made = match self.make(cut, axis) {
            Ok(made) => made,
            Err(error) => {
                let fault = Fault::new(
                    Code::Internal,
                    Cause::Internal,
                    format!("a segment could not be written: {error}"),
                );
                return self.stop_for(fault.clone(), What::Stalled(fault)).await;
            }
        };
        // What came before the origin was known waits for it no longer.
        let overflows = self.texts.known(axis.origin);
        self.warn(overflows).await;
        self.shelf.publish(kind, made);
        self.texts.pass(end, Instant::now());
        self.published += 1;
        self.published_to = Some(end);
        self.longest = self.longest.max(lasts);
        self.moved = Instant::now();
        self.disk_full = kind.is_film() && self.launch.pace != Pace::Never;
        if first {
            let tracks = self
                .renditions()
                .filter_map(|rendition| Some((rendition, self.cutter.track(rendition)?.clone())))
                .collect();
            self.tell(What::Began { axis, tracks }).await;
        }
        self.tell(What::Published(number)).await;
        if kind == Kind::Timeline && self.shelf.index().get(number + 1).is_some() {
            // What comes next exists.
            self.made = true;
            self.drop_media();
            self.tell(What::Made).await;
        }
    }

    fn is_at_goal(&self) -> bool {
        self.launch.pace == Pace::Wish && self.published_to.is_some_and(|at| self.launch.goal.is_reached(at))
    }

    /// How long a window must wait for its clock, if it is too far ahead of it.
    fn ahead_of_clock(&self) -> Option<Instant> {
        let Pace::Clock(most) = self.launch.pace else { return None };
        let due = self.began? + self.cutter.reached().duration().saturating_sub(most);
        (due > Instant::now()).then_some(due)
    }

    fn stalls_at(&self) -> Instant {
        let now = Instant::now();
        let over = self.made || self.broken.is_some() || *self.wish.borrow() > Wish::Pause;
        if self.published == 0 && !over {
            self.launched + self.launch.start
        } else if over || *self.wish.borrow() != Wish::Read {
            now + Duration::from_secs(3600)
        } else {
            self.moved + self.launch.stall.max(self.longest * STALL_SEGMENTS)
        }
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        if now >= self.stalls_at() {
            let reason = if self.published == 0 {
                "nothing playable came within sessions.start_timeout".to_owned()
            } else {
                format!("nothing came from the source for {} s", now.duration_since(self.moved).as_secs())
            };
            let fault = Fault::new(Code::TimedOut, Cause::Stall, reason);
            return self.stop_for(fault.clone(), What::Stalled(fault)).await;
        }
        if now < self.next_sample {
            return;
        }
        self.next_sample = now + SAMPLE;
        let at = self.cutter.axis().map(|_| self.cutter.reached());
        self.vitals.at = at.map(|at| self.base + at);
        self.vitals.speed = None;
        if let Some(at) = at
            && *self.wish.borrow() == Wish::Read
        {
            self.samples.push_back((now, at));
            if self.samples.len() > SAMPLES + 1 {
                self.samples.pop_front();
            }
            if let Some((since, from)) = self.samples.front().filter(|(since, _)| *since < now) {
                self.vitals.speed = Some((at - *from).seconds() / now.duration_since(*since).as_secs_f64());
            }
        } else {
            self.samples.clear();
        }
        if let Some(usage) = self.process.usage() {
            self.vitals.rss = Some(usage.memory.as_u64());
            self.count_cpu(Some(usage.cpu));
            let before = self.cpu_before.replace((now, usage.cpu));
            self.vitals.cpu = before.filter(|(since, _)| *since < now).map(|(since, cpu)| {
                usage.cpu.saturating_sub(cpu).as_secs_f64() / now.duration_since(since).as_secs_f64() * 100.0
            });
        }
        self.tell(What::Vitals(self.vitals)).await;
    }

    fn count_cpu(&mut self, used: Option<Duration>) {
        let Some(used) = used else { return };
        self.launch.metrics.ffmpeg_used(used.saturating_sub(self.cpu_counted));
        self.cpu_counted = self.cpu_counted.max(used);
    }

    async fn stop_for(&mut self, fault: Fault, what: What) {
        if self.broken.is_none() {
            self.log.extend(self.launch.run, [(Level::Error, fault.reason.clone())]);
            self.broken = Some(fault);
            self.tell(what).await;
        }
    }

    async fn warn(&self, overflows: Vec<Overflow>) {
        for overflow in overflows {
            self.tell(What::Warned(overflow.to_string())).await;
        }
    }

    async fn tell(&self, what: What) {
        // A session that is gone needs no news; its run is killed by the end of its wishes.
        drop(self.reports.send(Report { run: self.launch.run, what }).await);
    }
}

fn span(samples: &[Sample]) -> Option<i64> {
    let start = samples.iter().map(|sample| sample.pts).min()?;
    let end = samples.iter().map(|sample| sample.pts + i64::from(sample.duration)).max()?;
    Some(end - start)
}
