//! The runs of a session: what each is launched for, what it reports, what its end means.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Actor;
use super::input::Opened;
use crate::ffmpeg::{self, Film, Input, Job, Place, Preroll};
use crate::mux::Time;
use crate::mux::index::By;
use crate::session::cut::{Flow, Misfit, Plan, Silence};
use crate::session::grid::{self, expected, outlasted, padded};
use crate::session::handle::PastRun;
use crate::session::run::{self, Goal, Launch, Pace, Report, Vitals, What, Wish};
use crate::session::state::{Event, Exit, Kind};
use crate::session::{Cause, Code, Fault, Heals, retry};

/// Runs that ended, as far as they are remembered.
const PAST_RUNS: usize = 20;
/// Boundaries that a run is told of: one argument holds no more key frames.
const MOST_CUTS: usize = 9_990;
/// Key frames past the end of a run: a fragment is complete with the next one.
const CUTS_AFTER: usize = 2;
/// A run that was asked to end is reaped sooner than this.
const REAPED: Duration = Duration::from_secs(6);
/// Silences of sound tracks that are remembered, to save waiting.
const MOST_SILENCES: usize = 100;
/// An input that ends too early is believed after so many tries.
const BELIEVED: u32 = 2;

/// A living run, as its session sees it.
pub(super) struct Living {
    pub wish: watch::Sender<Wish>,
    pub task: JoinHandle<()>,
    /// How far it may come.
    pub goal: Arc<Goal>,
    pub pid: Option<u32>,
    pub argv: Vec<String>,
    /// The segment that it began with, and where that starts.
    pub first: u64,
    pub from: Time,
    pub vitals: Vitals,
    pub published: u64,
    /// The segment that it makes next.
    pub next: u64,
    /// Where the last segment that it published ends.
    pub to: Option<Time>,
    pub began: Instant,
    /// When it published last, if it was not held back since.
    pub last_published: Option<Instant>,
    pub started_at: Timestamp,
}

impl Living {
    /// Lets it come so far.
    pub(super) fn may_come_to(&self, goal: Time) {
        if self.goal.set(goal) {
            // It may be waiting there.
            self.wish.send_modify(|_| {});
        }
    }
}

impl Actor {
    pub(super) fn launch(&mut self, run: u32) {
        let kind = self.input.as_ref().map(|input| input.kind);
        let first = match kind {
            Some(Kind::Timeline) => self.begin_at.take().or_else(|| self.home()),
            Some(Kind::Window | Kind::Event) => Some(self.shelf.next()),
            None => None,
        };
        let (Some(first), Some(input)) = (first, self.input.as_ref()) else {
            // Every segment exists, or what there was to be made is gone.
            return self.step(Event::Exited(run, Exit::Finished));
        };
        let launch = self.plan(run, first, input);
        if run > 1 && kind != Some(Kind::Timeline) {
            self.restarted(self.taken_up_for());
        }
        let (from, goal) = (launch.plan.from, launch.goal.clone());
        let (wish, wishes) = watch::channel(Wish::Read);
        let drive = run::drive(
            launch,
            self.world.launcher.clone(),
            self.shelf.clone(),
            self.log.clone(),
            wishes,
            self.reports.0.clone(),
        );
        let living = Living {
            wish,
            task: self.world.runs.spawn(drive),
            goal,
            pid: None,
            argv: Vec::new(),
            first,
            from,
            vitals: Vitals::default(),
            published: 0,
            next: first,
            to: None,
            began: Instant::now(),
            last_published: None,
            started_at: Timestamp::now(),
        };
        self.runs.insert(run, living);
    }

    fn plan(&self, run: u32, first: u64, input: &Opened) -> Launch {
        let (known, decision) = (&input.known, &input.decision);
        let segment = Time::from(self.world.segment);
        let window = input.kind == Kind::Window;
        let from = self.start_of(first, input.kind);
        let expected = match (input.kind, &self.shelf.index().grid) {
            (Kind::Window, _) => None,
            (Kind::Timeline, Some(grid)) => Some(grid.end() + input.origin.unwrap_or(Time::ZERO)),
            (Kind::Timeline | Kind::Event, _) => expected(known),
        };
        let start = known.probe.origin().unwrap_or(Time::ZERO);
        // Where film time begins: of a window each run finds its own.
        let origin = input.axis.map(|axis| axis.origin).or(input.origin).filter(|_| !window);
        let video = decision.video.as_ref().map(|track| match track.is_copied() {
            true => Flow::Copied { start: None, coarse: false },
            false => Flow::Encoded { rate: Some(track.encode.rate) },
        });
        // Matroska counts milliseconds: its packets jitter from run to run, and one could change sides.
        let coarse = known.probe.container() == Some(ffmpeg::Container::Matroska);
        let begins = |stream| known.probe.stream(stream)?.start.map(|begins| begins - start);
        let audio = decision.audio.iter().map(|track| match track.is_copied() {
            true => Flow::Copied { start: track.stream.and_then(begins), coarse },
            false => Flow::Encoded { rate: None },
        });
        let cuts = self.cuts(first, from, input, expected);
        let misfit = (self.misfits.0 == first && self.misfits.1 > 0).then_some(self.misfits.1);
        let place = if window {
            Place::Live
        } else {
            // The frame at `from` needs a key frame as well: a run's first frame always is one.
            let key_frames = std::iter::once(from).chain(cuts.iter().copied()).collect();
            let preroll = if misfit.is_some() { Preroll::Tripled } else { Preroll::Usual };
            // ffmpeg's own film time, which a copied film's first key frame may lie after.
            let from = from + origin.unwrap_or(Time::ZERO);
            let until = padded(known, decision, segment)
                .or_else(|| expected.and_then(|end| outlasted(known, decision, end)));
            Place::Film(Film { from, preroll, until, key_frames })
        };
        let is_copied = decision.video.as_ref().is_some_and(|video| video.is_copied());
        // Where its fragments hold more than one track, ffmpeg loses some of them when it jumps so.
        let by_mfra =
            known.probe.streams.len() == 1 && known.keys.as_ref().is_ok_and(|keys| keys.by == By::Mfra);
        let is_file = known.input.transport == ffmpeg::Transport::File;
        let tried = self.short.0 == first && self.short.1 >= BELIEVED;
        Launch {
            session: self.id,
            run,
            program: self.world.ffmpeg.clone(),
            job: Job {
                input: Input { by_mfra: is_copied && by_mfra, ..known.input.clone() },
                probe: Some(known.probe.clone()),
                clock_jumps: known.clock_jumps && !window,
                decision: decision.clone(),
                place,
                subtitles: true,
            },
            plan: Plan {
                kind: input.kind,
                first,
                until: self.made.range(first + 1..).next().copied().filter(|_| input.kind == Kind::Timeline),
                from,
                origin,
                delay: input.axis.filter(|_| !window).map(|axis| axis.delay),
                video,
                audio: audio.collect(),
                segment,
                cuts,
                misfits: misfit.unwrap_or(0),
                silences: self.silences.clone(),
            },
            cues: self.shelf.index().cues.clone(),
            expected,
            // A file does not break off in between; what a server sends may.
            accept_short: is_file || (tried && known.ranges && !self.exists_after(first)),
            pace: match input.kind {
                Kind::Window => Pace::Clock(self.world.live_dvr),
                Kind::Timeline | Kind::Event if known.ranges => Pace::Wish,
                Kind::Timeline | Kind::Event => Pace::Never,
            },
            goal: Goal::new(from + Time::from(self.world.sessions.ahead)),
            start: self.world.sessions.start_timeout,
            stall: self.world.sessions.stall_timeout,
            tracks: input.tracks.clone(),
            discontinuity: window && first > 0,
            mask: self.request.address.mask(),
            metrics: self.world.metrics.clone(),
        }
    }

    /// Where a run is to cut, after its beginning.
    fn cuts(&self, first: u64, from: Time, input: &Opened, expected: Option<Time>) -> Vec<Time> {
        let segment = Time::from(self.world.segment);
        let encoded = input.decision.video.as_ref().filter(|track| !track.is_copied());
        let rate = encoded.map(|track| track.encode.rate);
        match (input.kind, &self.shelf.index().grid) {
            (Kind::Timeline, Some(grid)) => {
                // It ends where something exists, and need not know much of what comes after.
                let stop = self.made.range(first + 1..).next().map(|stop| (stop - first) as usize);
                let most = stop.map_or(MOST_CUTS, |stop| (stop + CUTS_AFTER).min(MOST_CUTS));
                let mut cuts = grid.cuts_after(first, most);
                if let (Some(rate), None) = (rate, stop) {
                    cuts.extend(grid::beyond(rate, segment, grid.end()));
                    cuts.truncate(MOST_CUTS);
                }
                cuts
            }
            (Kind::Event | Kind::Timeline, _) => {
                rate.map(|rate| grid::cuts(from, segment, rate, expected)).unwrap_or_default()
            }
            (Kind::Window, _) => Vec::new(),
        }
    }

    /// Where a segment begins, in film time.
    fn start_of(&self, number: u64, kind: Kind) -> Time {
        match kind {
            Kind::Window => Time::ZERO,
            Kind::Event => self.shelf.end(),
            Kind::Timeline => self.shelf.start_of(number).unwrap_or(Time::ZERO),
        }
    }

    fn exists_after(&self, number: u64) -> bool {
        self.made.range(number + 1..).next().is_some()
    }

    pub(super) fn hear(&mut self, Report { run, what }: Report) {
        match what {
            What::Launched { pid, argv } => {
                self.world.metrics.run_started();
                if let Some(living) = self.runs.get_mut(&run) {
                    living.pid = Some(pid);
                    living.argv = argv;
                }
            }
            What::Began { axis, tracks } => {
                if let Some(input) = &mut self.input {
                    input.axis.get_or_insert(axis);
                    if input.kind == Kind::Window || input.tracks.is_empty() {
                        input.tracks = tracks;
                    }
                }
            }
            What::Published(number) => {
                self.made.insert(number);
                self.keep_pace(run, number);
                self.step(Event::Published(run));
                self.look_whether_whole();
            }
            What::Silent(silence) => self.fell_silent(silence),
            What::Vitals(vitals) => {
                if let Some(living) = self.runs.get_mut(&run) {
                    living.vitals = vitals;
                }
            }
            What::Warned(warning) => self.warn(warning),
            What::Made => self.step(Event::Made(run)),
            What::Misfit(misfit) => self.misfit(run, &misfit),
            What::Stalled(fault) => {
                self.cool(self.place_of(run));
                self.step(Event::Broken(run, fault));
            }
            What::Exited { exit, process, reached, warning } => {
                if let Some(warning) = warning {
                    self.warn(warning);
                }
                self.exited(run, exit, process, reached);
            }
        }
    }

    /// How quick runs of this session are, from what this one just made.
    fn keep_pace(&mut self, run: u32, number: u64) {
        let index = self.shelf.index();
        let segment = index.get(number);
        let length = segment.map_or(Time::ZERO, |segment| segment.length);
        let Some(living) = self.runs.get_mut(&run) else { return };
        let now = Instant::now();
        living.to = segment.map(|segment| segment.start + segment.length).or(living.to);
        living.published += 1;
        living.next = number + 1;
        if living.published == 1 {
            self.pace.begins_after(now - living.began);
        } else if let Some(before) = living.last_published {
            self.pace.makes(length, now - before);
        }
        living.last_published = Some(now);
    }

    /// A run has failed there, and what follows from it shows when it is reaped: until then nobody tries again.
    fn cool(&mut self, place: u64) {
        self.cooling.insert(place, Instant::now() + REAPED);
    }

    /// A later run need not wait for sound that one before found missing.
    fn fell_silent(&mut self, silence: Silence) {
        let input = self.input.as_ref();
        let begins = input.and_then(|input| {
            let track = input.decision.audio.get(usize::from(silence.track))?;
            let (probe, origin) = (&input.known.probe, input.known.probe.origin()?);
            Some(probe.stream(track.stream?)?.start? - origin)
        });
        if begins.is_none_or(|begins| begins < silence.to) {
            let (track, from) = (silence.track, silence.from.seconds());
            if !self.silences.iter().any(|known| known.track == track) {
                self.warn(format!(
                    "audio-{track} has nothing from {from} s on, or not all along: silence is played there"
                ));
            }
        }
        let touches = |known: &Silence| {
            known.track == silence.track && known.from <= silence.to && silence.from <= known.to
        };
        let merged = self.silences.extract_if(.., |known| touches(known)).fold(silence, |one, other| {
            Silence { from: one.from.min(other.from), to: one.to.max(other.to), ..one }
        });
        if self.silences.len() < MOST_SILENCES {
            self.silences.push(merged);
        }
    }

    fn misfit(&mut self, run: u32, misfit: &Misfit) {
        let place = self.place_of(run);
        self.cool(place);
        if let Misfit::LongGop { .. } = misfit {
            // Nothing is published yet, so nothing is frozen.
            self.long_gop = true;
        } else {
            self.misfits = if self.misfits.0 == place { (place, self.misfits.1 + 1) } else { (place, 1) };
            let lies = matches!(misfit, Misfit::NoKeyFrame { .. } | Misfit::NotOnBoundary { .. });
            let copied = self.input.as_ref().is_some_and(|input| {
                input.kind == Kind::Timeline && input.decision.video.as_ref().is_some_and(|it| it.is_copied())
            });
            if lies && copied && self.made.is_empty() && (place == 0 || self.misfits.1 > 1) {
                // Nothing of it is frozen yet: it is played like a film without an index.
                self.index_lies = true;
                self.misfits = (0, 0);
            } else if self.misfits.1 > 1 {
                self.warn(format!("segment {place} did not fit: {misfit}"));
            }
        }
        self.step(Event::Broken(run, run::misfit_fault(misfit)));
    }

    /// The segment that a run is at.
    fn place_of(&self, run: u32) -> u64 {
        let timeline = self.runs.get(&run).filter(|_| self.life.kind() == Some(Kind::Timeline));
        timeline.map_or_else(|| self.shelf.next(), |living| living.next)
    }

    fn exited(&mut self, run: u32, exit: Exit, process: Option<crate::process::Exit>, reached: Time) {
        let place = self.place_of(run);
        let Some(living) = self.runs.remove(&run) else { return };
        let fault = match &exit {
            Exit::Failed(fault) | Exit::FailedHere(fault, _) => Some(fault),
            Exit::Finished | Exit::Asked => None,
        };
        let cause = match (&exit, fault) {
            (_, Some(fault)) => fault.cause,
            (Exit::Finished, None) => Cause::Finished,
            (_, None) => self.life.ended_for(run).unwrap_or(Cause::Exit),
        };
        self.world.metrics.run_ended(cause.name());
        self.past.push_back(PastRun {
            run,
            from: living.from.seconds(),
            to: living.to.map(Time::seconds),
            started_at: living.started_at,
            ended_at: Timestamp::now(),
            exit: process.map_or_else(|| "not started".to_owned(), |exit| exit.to_string()),
            cause,
            code: fault.map(|fault| fault.code),
            reason: fault.map(|fault| fault.reason.clone()),
        });
        if self.past.len() > PAST_RUNS {
            self.past.pop_front();
        }
        let exit = match exit {
            Exit::Failed(fault) => self.appraise(fault, &living, place, reached),
            other => other,
        };
        if exit == Exit::Finished && self.input.as_ref().is_some_and(|input| input.kind == Kind::Event) {
            self.shelf.complete();
        }
        self.step(Event::Exited(run, exit));
        self.look_whether_whole();
    }

    fn restarted(&mut self, cause: Cause) {
        self.restarts += 1;
        self.world.metrics.restarted(cause.name());
    }

    /// Why a run takes up where another ended: after a retry that is what had gone wrong.
    fn taken_up_for(&self) -> Cause {
        let failed = self.fault.as_ref().filter(|_| self.cause == Cause::Retry);
        failed.map_or(self.cause, |fault| fault.cause)
    }

    /// A timeline is whole when the shelf says so, which may be before all that was published was reported.
    fn look_whether_whole(&mut self) {
        let index = self.shelf.index();
        if let Some(grid) = index.grid.as_ref().filter(|_| index.is_whole()) {
            self.made.extend(0..grid.count());
            self.shelf.complete();
            self.step(Event::Whole);
        }
    }

    /// What a failure means for what comes next.
    fn appraise(&mut self, mut fault: Fault, living: &Living, place: u64, reached: Time) -> Exit {
        if living.published == 0 {
            // What was believed of the input may be what is wrong.
            self.world.inputs.forget(&self.request.address);
        }
        let Some(input) = self.input.as_ref() else { return Exit::Failed(fault) };
        if fault.code == Code::Truncated {
            self.short = if self.short.0 == place { (place, self.short.1 + 1) } else { (place, 1) };
        }
        match input.kind {
            Kind::Timeline => return self.appraise_place(fault, living, place, reached),
            Kind::Event if !input.known.ranges && self.shelf.next() > 0 => {
                let reason = format!(
                    "the input broke off, and its server can't continue where it was left (no Range): {}",
                    fault.reason
                );
                fault = Fault::new(Code::Truncated, Cause::Source, reason).heals(Heals::Never);
            }
            Kind::Event | Kind::Window => {}
        }
        Exit::Failed(fault)
    }

    /// A failure at one place of a timeline leaves the others alone, as long as any of it can be played.
    fn appraise_place(&mut self, fault: Fault, living: &Living, place: u64, reached: Time) -> Exit {
        let now = Instant::now();
        self.restarted(fault.cause);
        let alone = self.made.is_empty() && self.runs.is_empty();
        let came = living.published > 0 || reached > living.from;
        let nothing_there = fault.code == Code::Truncated && !came && !self.exists_after(place);
        if nothing_there && self.short.1 >= BELIEVED && place > 0 {
            self.warn(format!(
                "the film ends before {} s, earlier than its header says",
                living.from.seconds()
            ));
            self.shelf.ends_before(place);
            return Exit::FailedHere(fault, None);
        }
        if alone || fault.heals != Heals::Soon {
            // Meanwhile no other run tries there.
            let wait = retry::next(Some(Kind::Timeline), &fault, 1, 0.0).unwrap_or_default();
            self.cooling.insert(place, now + wait);
            return Exit::Failed(fault);
        }
        if self.misfits == (place, 1) {
            // Once more at once, with more pre-roll.
            self.cooling.remove(&place);
            return Exit::FailedHere(fault, Some(now));
        }
        let failures = self.failures.entry(place).or_default();
        *failures += 1;
        let again =
            retry::next(Some(Kind::Timeline), &fault, *failures, 0.0).filter(|_| self.misfits.0 != place);
        match again {
            Some(wait) => {
                self.cooling.insert(place, now + wait);
                Exit::FailedHere(fault, Some(now + wait))
            }
            None => {
                self.warn(format!("segment {place} can't be made, and is left out: {}", fault.reason));
                self.shelf.give_up(place);
                self.made.insert(place);
                Exit::FailedHere(fault, None)
            }
        }
    }
}
