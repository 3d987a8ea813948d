//! What the session layer knows, in the shapes that travel.

use sluice_protocol as wire;

use super::Facts;
use crate::problem::word;
use crate::session::{self, Handle, Index, Registry, Snapshot};

/// A session as lists and ticks carry it.
pub(super) fn session(snapshot: &Snapshot) -> wire::Session {
    let runs: Vec<_> = snapshot.runs.iter().map(run).collect();
    // With more than one run, what counts is the one that works ahead of the furthest viewer.
    let ahead = runs.iter().find(|run| run.state == wire::State::Running);
    wire::Session {
        id: snapshot.id,
        generation: snapshot.generation,
        state: state(snapshot.state),
        state_since: snapshot.state_since,
        cause: cause(snapshot.cause),
        code: snapshot.fault.as_ref().map(|fault| word(fault.code).to_owned()),
        reason: snapshot.fault.as_ref().map(|fault| fault.reason.clone()),
        kind: snapshot.kind.map(kind),
        url: snapshot.url.clone(),
        title: snapshot.title.clone(),
        content_type: snapshot.content_type.to_owned(),
        source_id: snapshot.source_id.clone(),
        user: snapshot.user.clone(),
        pinned: snapshot.pinned,
        held: snapshot.hold.is_some(),
        hold: snapshot.hold.as_ref().map(hold),
        started_at: snapshot.started_at,
        last_access: snapshot.last_access,
        viewers: snapshot.viewers,
        duration: snapshot.duration,
        position: snapshot.position,
        produced: snapshot.produced,
        segments: snapshot.segments,
        bytes: snapshot.bytes,
        speed: ahead.and_then(|run| run.speed),
        fps: ahead.and_then(|run| run.fps),
        bitrate: snapshot.bitrate,
        frames_dropped: snapshot.frames_dropped,
        cpu: runs.iter().filter_map(|run| run.cpu).reduce(|sum, cpu| sum + cpu),
        rss: runs.iter().filter_map(|run| run.rss).reduce(|sum, rss| sum + rss),
        video: snapshot.video.clone(),
        audio: snapshot.audio.clone(),
        restarts: snapshot.restarts,
        retry_at: snapshot.retry_at,
        warnings: snapshot.warnings.clone(),
        runs,
    }
}

/// A session with all that is known about it.
pub(super) fn detail(handle: &Handle) -> wire::Detail {
    let snapshot = handle.snapshot();
    wire::Detail {
        session: session(&snapshot),
        argv: snapshot.argv.clone(),
        probe: snapshot.probe.as_deref().and_then(|probe| serde_json::to_value(probe).ok()),
        viewer_list: handle.viewers().into_iter().map(viewer).collect(),
        past_runs: snapshot.past_runs.iter().map(past_run).collect(),
        segment_map: segment_map(&handle.shelf().index()),
    }
}

/// The answer to a start.
pub(super) fn started(started: &session::Started) -> wire::Started {
    let session::Started { handle, snapshot } = started;
    wire::Started {
        session_id: handle.id(),
        playlist: format!("/transcode/{}/stream.m3u8", handle.id()),
        subtitles: subtitles(handle),
        duration: snapshot.duration,
        seek_offset: 0.0,
        transcoded_duration: snapshot.playable(),
        state: state(snapshot.state),
    }
}

fn subtitles(handle: &Handle) -> Vec<wire::Subtitle> {
    let labels = handle.shelf().index().labels.clone();
    let tracks = labels.iter().flat_map(|labels| &labels.subtitles);
    let subtitle = |(n, label): (usize, &session::Label)| wire::Subtitle {
        url: format!("/subs/{}/sub{n}.vtt", handle.id()),
        lang: label.language.clone(),
        label: label.name.clone(),
        default: n == 0,
    };
    tracks.enumerate().map(subtitle).collect()
}

/// The engine as it is now.
pub(super) fn engine(registry: &Registry, facts: &Facts) -> wire::Engine {
    let (world, totals) = (registry.world(), registry.totals());
    wire::Engine {
        version: facts.version.to_owned(),
        pid: std::process::id(),
        started_at: facts.started_at,
        uptime: facts.started.elapsed().as_secs_f64(),
        listen: facts.listen.to_string(),
        limits: wire::Limits {
            sessions: world.sessions.max as u64,
            runs_per_session: world.sessions.runs_per_session as u64,
            connections: facts.max_connections as u64,
            history: world.sessions.history as u64,
        },
        totals: wire::Totals {
            sessions: totals.sessions,
            active: totals.active,
            runs: totals.runs,
            viewers: totals.viewers,
            started: totals.started,
            cpu: totals.cpu,
            rss: totals.rss,
        },
        storage: wire::Storage {
            used: world.store.used(),
            max: facts.max_bytes,
            free: world.store.free().ok(),
            held: world.store.held(),
            memory: world.store.memory(),
        },
        ffmpeg: facts.ffmpeg.clone(),
        encoders: facts.encoders.clone(),
        draining: world.shutdown.is_cancelled(),
    }
}

/// A state in the wire's words.
pub(super) fn state(state: session::State) -> wire::State {
    match state {
        session::State::Starting => wire::State::Starting,
        session::State::Running => wire::State::Running,
        session::State::Ahead => wire::State::Ahead,
        session::State::Backoff => wire::State::Backoff,
        session::State::Stopping => wire::State::Stopping,
        session::State::Stopped => wire::State::Stopped,
        session::State::Complete => wire::State::Complete,
        session::State::Failed => wire::State::Failed,
        session::State::Ended => wire::State::Ended,
    }
}

/// A cause in the wire's words.
pub(super) fn cause(cause: session::Cause) -> wire::Cause {
    match cause {
        session::Cause::Viewer => wire::Cause::Viewer,
        session::Cause::Operator => wire::Cause::Operator,
        session::Cause::Idle => wire::Cause::Idle,
        session::Cause::Limit => wire::Cause::Limit,
        session::Cause::Ready => wire::Cause::Ready,
        session::Cause::Ahead => wire::Cause::Ahead,
        session::Cause::Demand => wire::Cause::Demand,
        session::Cause::Finished => wire::Cause::Finished,
        session::Cause::Retry => wire::Cause::Retry,
        session::Cause::Exit => wire::Cause::Exit,
        session::Cause::Stall => wire::Cause::Stall,
        session::Cause::Source => wire::Cause::Source,
        session::Cause::Storage => wire::Cause::Storage,
        session::Cause::Config => wire::Cause::Config,
        session::Cause::Shutdown => wire::Cause::Shutdown,
        session::Cause::Internal => wire::Cause::Internal,
    }
}

/// A line of a log as it travels.
pub(super) fn line(entry: session::Entry) -> wire::LogRecord {
    let session::Entry { seq, at, level: grave, run, text } = entry;
    wire::LogRecord::Line { seq, at, level: level(grave), run, text }
}

/// How grave a line is, in the wire's words.
pub(super) fn level(level: session::Level) -> wire::Level {
    match level {
        session::Level::Debug => wire::Level::Debug,
        session::Level::Info => wire::Level::Info,
        session::Level::Warning => wire::Level::Warning,
        session::Level::Error => wire::Level::Error,
        session::Level::Fatal => wire::Level::Fatal,
    }
}

fn kind(kind: session::Kind) -> wire::Kind {
    match kind {
        session::Kind::Timeline => wire::Kind::Timeline,
        session::Kind::Window => wire::Kind::Window,
        session::Kind::Event => wire::Kind::Event,
    }
}

fn hold(hold: &session::Hold) -> wire::Hold {
    wire::Hold { by: hold.by.to_string(), since: hold.since, until: hold.until }
}

fn run(run: &session::RunSnapshot) -> wire::Run {
    wire::Run {
        run: run.run,
        pid: run.pid,
        from: run.from,
        at: run.at,
        state: state(run.state),
        speed: run.speed,
        fps: run.fps,
        cpu: run.cpu,
        rss: run.rss,
    }
}

fn past_run(run: &session::PastRun) -> wire::PastRun {
    wire::PastRun {
        run: run.run,
        from: run.from,
        to: run.to,
        started_at: run.started_at,
        ended_at: run.ended_at,
        exit: run.exit.clone(),
        cause: Some(cause(run.cause)),
        code: run.code.map(|code| word(code).to_owned()),
        reason: run.reason.clone(),
    }
}

fn viewer(seen: session::Seen) -> wire::Viewer {
    wire::Viewer {
        address: seen.viewer.address.to_string(),
        user_agent: seen.viewer.user_agent,
        since: seen.since,
        last_access: seen.last,
        position: seen.position.map(|position| position.seconds()),
    }
}

/// Ranges without a gap. A gap in all renditions is no segment.
fn segment_map(index: &Index) -> Vec<wire::Segments> {
    let exists = |segment: &session::Segment| {
        let media = index.shapes.iter().filter_map(|shape| segment.media(shape.rendition));
        media.into_iter().any(|media| media.init.is_some())
    };
    ranges(index.segments.iter().filter(|segment| exists(segment)).map(|segment| segment.number))
}

fn ranges(numbers: impl Iterator<Item = u64>) -> Vec<wire::Segments> {
    let mut ranges: Vec<wire::Segments> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(range) if range.last + 1 == number => range.last = number,
            _ => ranges.push(wire::Segments { first: number, last: number }),
        }
    }
    ranges
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::session::{Code, Fault, RunSnapshot};

    /// A session that has just begun.
    pub(in crate::control) fn snapshot(id: Uuid) -> Snapshot {
        Snapshot {
            id,
            generation: 1,
            state: session::State::Starting,
            state_since: Timestamp::UNIX_EPOCH,
            cause: session::Cause::Operator,
            fault: None,
            kind: Some(session::Kind::Event),
            url: "http://tv.example.com/film.mp4".to_owned(),
            title: None,
            content_type: "movie",
            source_id: None,
            user: None,
            hold: None,
            pinned: false,
            runs: Vec::new(),
            started_at: Timestamp::UNIX_EPOCH,
            last_access: None,
            viewers: 0,
            duration: None,
            position: None,
            produced: 0.0,
            segments: 0,
            bytes: 0,
            bitrate: None,
            frames_dropped: None,
            video: None,
            audio: None,
            restarts: 0,
            retry_at: None,
            warnings: Vec::new(),
            active: true,
            revivable: false,
            argv: Vec::new(),
            probe: None,
            past_runs: Vec::new(),
        }
    }

    fn run_in(state: session::State, speed: f64, cpu: Option<f64>) -> RunSnapshot {
        RunSnapshot {
            run: 1,
            pid: Some(10),
            from: 0.0,
            at: None,
            state,
            speed: Some(speed),
            fps: None,
            cpu,
            rss: cpu.map(|_| 1 << 20),
        }
    }

    #[test]
    fn what_is_not_known_is_null_and_never_zero() {
        let session = serde_json::to_value(session(&snapshot(Uuid::nil()))).unwrap();
        for field in ["code", "reason", "speed", "fps", "cpu", "rss", "bitrate", "duration", "hold", "video"]
        {
            assert!(session[field].is_null(), "{field} is {}", session[field]);
        }
        assert_eq!(session["held"], false);
    }

    #[test]
    fn speed_is_that_of_the_run_that_runs_and_costs_are_sums() {
        let mut snapshot = snapshot(Uuid::nil());
        snapshot.runs = vec![
            run_in(session::State::Stopping, 9.0, Some(10.0)),
            run_in(session::State::Running, 2.0, None),
            run_in(session::State::Starting, 1.0, Some(5.0)),
        ];
        let session = session(&snapshot);
        assert_eq!((session.speed, session.cpu, session.rss), (Some(2.0), Some(15.0), Some(2 << 20)));
    }

    #[test]
    fn a_hold_and_a_failure_are_told_in_the_words_of_the_contract() {
        let mut snapshot = snapshot(Uuid::nil());
        snapshot.hold = Some(session::Hold { by: "alice".into(), since: Timestamp::UNIX_EPOCH, until: None });
        snapshot.fault = Some(Fault::new(Code::Truncated, session::Cause::Source, "it ended early"));
        let session = session(&snapshot);
        assert!(session.held && session.hold.is_some_and(|hold| hold.by == "alice"));
        assert_eq!(
            (session.code.as_deref(), session.reason.as_deref()),
            (Some("input_truncated"), Some("it ended early"))
        );
    }

    #[test]
    fn states_and_causes_keep_their_names() {
        use session::{Cause, State};
        for known in [
            State::Starting,
            State::Running,
            State::Ahead,
            State::Backoff,
            State::Stopping,
            State::Stopped,
            State::Complete,
            State::Failed,
            State::Ended,
        ] {
            assert_eq!(state(known).name(), known.name());
        }
        for known in [
            Cause::Viewer,
            Cause::Operator,
            Cause::Idle,
            Cause::Limit,
            Cause::Ready,
            Cause::Ahead,
            Cause::Demand,
            Cause::Finished,
            Cause::Retry,
            Cause::Exit,
            Cause::Stall,
            Cause::Source,
            Cause::Storage,
            Cause::Config,
            Cause::Shutdown,
            Cause::Internal,
        ] {
            assert_eq!(cause(known).name(), known.name());
        }
    }

    #[test]
    fn segments_without_a_gap_are_one_range() {
        let map = ranges([0, 1, 2, 5, 7, 8].into_iter());
        let map: Vec<_> = map.iter().map(|range| (range.first, range.last)).collect();
        assert_eq!(map, [(0, 2), (5, 5), (7, 8)]);
        assert!(ranges(std::iter::empty()).is_empty());
    }
}
