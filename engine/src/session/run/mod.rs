//! One ffmpeg from spawn to reaped: pipes in, checked segments out.
//!
//! All pipes are read side by side by one task, or none of the media is: one unread media pipe stops every
//! output of that ffmpeg. Progress and log are never held back. Whether it is to read, to wait or to end is
//! the session's wish; how it ended is judged here, from what came and never from the exit code.

mod fault;
mod pipes;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, Unit};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use self::fault::spawn_fault;
pub(super) use self::fault::{failure_fault, misfit_fault, shown};
use self::pipes::{Chunk, Feeds, Source};
use super::cut::{Axis, Cut, Cutter, Misfit, Plan, Rendition};
use super::log::Log;
use super::shelf::{Made, MadeMedia, Shape, Shelf};
use super::state::{Exit, Kind};
use super::{Cause, Code, Fault, Id};
use crate::address::Mask;
use crate::ffmpeg::{Evidence, Job, LEAD, Level, Line, Lines, Output, Parser, command, masked};
use crate::mux::{Item, Media, Reader, Sample, Time, Track, write};
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

/// All that a run needs to know.
#[derive(Debug)]
pub(super) struct Launch {
    pub session: Id,
    pub run: u32,
    pub program: PathBuf,
    pub job: Job,
    pub plan: Plan,
    /// How long the film is said to be.
    pub expected: Option<Time>,
    /// An end before that is believed: it was tried often enough.
    pub accept_short: bool,
    /// What it may be made to wait by.
    pub pace: Pace,
    pub stall: Duration,
    /// The tracks of the runs before, to know whether the coding changed.
    pub tracks: Vec<(Rendition, Arc<Track>)>,
    /// Whether the first segment's times don't follow those of the segment before.
    pub discontinuity: bool,
    /// Hides what nobody may read of the address.
    pub mask: Mask,
}

/// What a run may be made to wait by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// The session's wish.
    Wish,
    /// Its own clock: no more than this ahead of it.
    Clock(Duration),
    /// Nothing: its source can't continue where it was left.
    Never,
}

/// What the session wants of a run, the last wish counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wish {
    Read,
    Pause,
    Terminate,
    TerminateAgain,
    Kill,
}

/// What a run tells its session.
#[derive(Debug)]
pub(super) struct Report {
    pub run: u32,
    pub what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// The process lives.
    Launched { pid: u32, argv: Vec<String> },
    /// The first segment fixed the axis and the tracks.
    Began { axis: Axis, tracks: Vec<(Rendition, Arc<Track>)> },
    /// A segment is on the shelf.
    Published,
    /// What came was not what was planned: end it.
    Misfit(Misfit),
    /// Nothing comes any more: end it.
    Stalled(Fault),
    /// All of the film was made: its process is no longer needed.
    Made,
    /// How it is doing.
    Vitals(Vitals),
    /// It was reaped; `reached` in film time.
    Exited { exit: Exit, process: Option<process::Exit>, reached: Time, warning: Option<String> },
}

/// How a run is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Vitals {
    pub at: Option<Time>,
    pub speed: Option<f64>,
    pub fps: Option<f64>,
    pub dropped: Option<u64>,
    pub cpu: Option<f64>,
    pub rss: Option<u64>,
}

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
    broken: Option<Fault>,
    last: Option<Cut>,
    made: bool,
    /// How much of the film its header promised and the input did not have.
    missing: Option<Time>,
    disk_full: bool,
    moved: Instant,
    longest: Duration,
    vitals: Vitals,
    samples: VecDeque<(Instant, Time)>,
    next_sample: Instant,
    cpu_before: Option<(Instant, Duration)>,
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
                    Output::Subtitles(_) => Feeds::Text,
                };
                Source { pipe: Some(pipe), feeds }
            })
            .collect();
        pipes.push(Source { pipe: Some(child.stderr), feeds: Feeds::Log });
        let now = Instant::now();
        let base = if launch.plan.kind == Kind::Window { shelf.end() } else { Time::ZERO };
        Self {
            cutter: Cutter::new(launch.plan.clone()),
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
            broken: None,
            last: None,
            made: false,
            missing: None,
            disk_full: false,
            moved: now,
            longest: Duration::ZERO,
            vitals: Vitals::default(),
            samples: VecDeque::new(),
            next_sample: now + SAMPLE,
            cpu_before: None,
            exit: None,
            scratch: vec![0; 4096],
            launch,
        }
    }

    async fn read_to_the_end(&mut self) {
        loop {
            let wish = *self.wish.borrow();
            let wait = self.ahead_of_clock();
            let media = wish == Wish::Read
                && self.broken.is_none()
                && !self.made
                && !self.disk_full
                && wait.is_none();
            if !media {
                self.moved = Instant::now();
            }
            let until = wait.unwrap_or(self.next_sample).min(self.next_sample).min(self.stalls_at());
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
            // Nobody asks for them yet.
            Chunk::Text => {}
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
                    Feeds::Media { .. } | Feeds::Progress | Feeds::Text => {}
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
        for cut in cuts {
            if cut.last && self.launch.plan.kind.is_film() {
                // Whether the film really ends here is judged when the process has.
                self.last = Some(cut);
                self.settle().await;
                return;
            }
            self.put(cut).await;
        }
    }

    /// The last segment of a film goes out if the film is as long as it was said to be.
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
        if let Some(cut) = self.last.take() {
            self.put(cut).await;
        }
        if self.broken.is_none() {
            self.made = true;
            self.drop_media();
            self.tell(What::Made).await;
        }
    }

    fn shortfall(&self) -> Option<Time> {
        let expected = self.launch.expected?;
        let end = self.last.as_ref().map_or_else(|| self.cutter.reached(), |cut| cut.end);
        // What is expected counts from the first picture, what was cut from the first that can be shown.
        let end = end + self.cutter.axis().map_or(Time::ZERO, |axis| axis.origin);
        (end + SHORTFALL < expected).then(|| expected - end)
    }

    async fn put(&mut self, cut: Cut) {
        let (kind, first) = (self.launch.plan.kind, self.published == 0);
        let Some(axis) = self.cutter.axis() else { return };
        let lasts = (cut.end - cut.start).duration();
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
        self.shelf.publish(kind, made);
        self.published += 1;
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
        self.tell(What::Published).await;
    }

    fn make(&self, cut: Cut, axis: Axis) -> Result<Made, write::WriteError> {
        let window = self.launch.plan.kind == Kind::Window;
        let length = cut.end - cut.start;
        let first = self.published == 0;
        let mut changed = false;
        let mut media = Vec::new();
        for rendition in self.renditions() {
            let Some(track) = self.cutter.track(rendition) else { continue };
            let samples = match rendition {
                Rendition::Video => cut.video.as_deref(),
                Rendition::Audio(n) => cut.audio.get(usize::from(n)).map(Vec::as_slice),
            };
            let samples = samples.unwrap_or_default();
            let known = self.launch.tracks.iter().find(|(known, _)| *known == rendition);
            changed |= first && known.is_some_and(|(_, known)| !known.same_configuration(track));
            let bytes = if cut.gap || samples.is_empty() {
                None
            } else {
                let shift = axis.delay.ticks_in(track.timescale);
                Some(write::segment(
                    track,
                    u32::try_from(cut.number + 1).unwrap_or(u32::MAX),
                    shift,
                    samples,
                )?)
            };
            // On a film every list counts by the grid; on a window each by what it holds.
            let own = samples.iter().map(|sample| i64::from(sample.duration)).sum();
            let sound = window && matches!(rendition, Rendition::Audio(_)) && bytes.is_some();
            let lasts = if sound { Time::new(own, track.timescale) } else { length };
            media.push(MadeMedia {
                shape: shape(rendition, track, samples.len(), length),
                length: lasts,
                date: self.date(rendition, track, samples.first(), cut.start),
                init: write::init(track),
                bytes,
            });
        }
        Ok(Made {
            number: cut.number,
            start: self.base + cut.start,
            length,
            discontinuity: first && (changed || self.launch.discontinuity),
            delay: axis.delay,
            media,
        })
    }

    /// The wall clock at the start of a window's segment. Sound's is never late against the picture's: a
    /// third of a millisecond makes hls.js load the same segment over and over.
    fn date(
        &self,
        rendition: Rendition,
        track: &Track,
        first: Option<&Sample>,
        start: Time,
    ) -> Option<Timestamp> {
        if self.launch.plan.kind != Kind::Window {
            return None;
        }
        let since = match (rendition, first) {
            (Rendition::Audio(_), Some(sample)) => {
                Time::new(sample.pts, track.timescale) - Time::from_millis(1)
            }
            (Rendition::Video | Rendition::Audio(_), _) => start,
        };
        let millis = since.floor_in(1000);
        self.anchor?.checked_add(jiff::SignedDuration::from_millis(millis)).ok()
    }

    fn renditions(&self) -> impl Iterator<Item = Rendition> + use<> {
        let plan = &self.launch.plan;
        let video = plan.video.is_some().then_some(Rendition::Video);
        let audio = (0..).take(plan.audio.len()).map(Rendition::Audio);
        video.into_iter().chain(audio)
    }

    /// How long a window must wait for its clock, if it is too far ahead of it.
    fn ahead_of_clock(&self) -> Option<Instant> {
        let Pace::Clock(most) = self.launch.pace else { return None };
        let due = self.began? + self.cutter.reached().duration().saturating_sub(most);
        (due > Instant::now()).then_some(due)
    }

    fn stalls_at(&self) -> Instant {
        let now = Instant::now();
        let exempt =
            self.published == 0 || self.made || self.broken.is_some() || *self.wish.borrow() != Wish::Read;
        if exempt {
            now + Duration::from_secs(3600)
        } else {
            self.moved + self.launch.stall.max(self.longest * STALL_SEGMENTS)
        }
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        if now >= self.stalls_at() {
            let silent = now.duration_since(self.moved).as_secs();
            let fault = Fault::new(
                Code::TimedOut,
                Cause::Stall,
                format!("nothing came from the source for {silent} s"),
            );
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
            let before = self.cpu_before.replace((now, usage.cpu));
            self.vitals.cpu = before.filter(|(since, _)| *since < now).map(|(since, cpu)| {
                usage.cpu.saturating_sub(cpu).as_secs_f64() / now.duration_since(since).as_secs_f64() * 100.0
            });
        }
        self.tell(What::Vitals(self.vitals)).await;
    }

    async fn stop_for(&mut self, fault: Fault, what: What) {
        if self.broken.is_none() {
            self.log.extend(self.launch.run, [(Level::Error, fault.reason.clone())]);
            self.broken = Some(fault);
            self.tell(what).await;
        }
    }

    async fn tell(&self, what: What) {
        // A session that is gone needs no news; its run is killed by the end of its wishes.
        drop(self.reports.send(Report { run: self.launch.run, what }).await);
    }

    /// What the end of the process means. The exit code proves nothing: 0 is also a source cut short.
    async fn judge(mut self) {
        let asked = *self.wish.borrow() > Wish::Pause;
        let clean =
            self.exit == Some(process::Exit::Code(0)) && self.evidence.fault_despite_output().is_none();
        if self.launch.expected.is_none()
            && clean
            && self.broken.is_none()
            && let Some(cut) = self.last.take()
        {
            self.put(cut).await;
            self.made = self.broken.is_none();
        }
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
        let evidence =
            if self.published > 0 { self.evidence.fault_despite_output() } else { self.evidence.fault() };
        if let Some((failure, line)) = evidence {
            return failure_fault(failure, line, self.published > 0);
        }
        let exit = self.exit.map_or_else(|| "an unknown end".to_owned(), |exit| exit.to_string());
        match (self.launch.plan.kind, self.published) {
            (Kind::Window, 1..) => {
                Fault::new(Code::Unreachable, Cause::Source, "the source ended the stream")
            }
            (Kind::Timeline | Kind::Event, _) if self.cutter.axis().is_some() => {
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

fn span(samples: &[Sample]) -> Option<i64> {
    let start = samples.iter().map(|sample| sample.pts).min()?;
    let end = samples.iter().map(|sample| sample.pts + i64::from(sample.duration)).max()?;
    Some(end - start)
}

fn shape(rendition: Rendition, track: &Track, samples: usize, length: Time) -> Shape {
    let (resolution, channels) = match track.media {
        Media::Video { width, height } => (Some((width, height)), None),
        Media::Audio { channels, .. } => (None, Some(channels)),
    };
    let rate = samples as f64 / length.seconds().max(0.001);
    let frame_rate = resolution.map(|_| (rate * 1000.0).round() / 1000.0);
    Shape { rendition, codec: track.codec(), resolution, frame_rate, channels, bandwidth: 0 }
}
