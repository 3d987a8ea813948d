//! The channel: one transport stream that goes on at its own speed, whoever watches.
//!
//! Where the channel is now follows from the clock alone, so any number of viewers cost a copy each and no
//! encoder. A viewer gets what is sent from the moment of coming, usually in the middle of a picture.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::sync::watch;

use super::{Answer, Counted, Shared, page};

/// What those who watch the channel get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Air {
    /// The programme.
    On,
    /// An open connection on which nothing comes.
    Mute,
    /// This status in place of a stream, and an end for those that watch.
    Refused(u16),
}

/// How often a viewer is sent what has come up.
const BEAT: Duration = Duration::from_millis(40);
/// Where the channel is when its source starts, so that there is something to send a burst of.
const HEAD_START: f64 = 20.0;
const PACKET: usize = 188;

pub(super) struct Live {
    file: PathBuf,
    programme: OnceLock<Programme>,
    began: Instant,
    air: watch::Sender<(Air, u64)>,
    watching: AtomicUsize,
}

impl Live {
    /// The channel that is in `file`, which is read when somebody watches.
    pub(super) fn of(file: PathBuf) -> Self {
        Self {
            file,
            programme: OnceLock::new(),
            began: Instant::now(),
            air: watch::Sender::new((Air::On, 0)),
            watching: AtomicUsize::new(0),
        }
    }

    pub(super) fn put(&self, air: Air) {
        self.air.send_modify(|(current, _)| *current = air);
    }

    pub(super) fn drop_viewers(&self) {
        self.air.send_modify(|(_, drops)| *drops += 1);
    }

    pub(super) fn watching(&self) -> usize {
        self.watching.load(Ordering::Relaxed)
    }

    fn programme(&self) -> &Programme {
        self.programme
            .get_or_init(|| Programme::of(std::fs::read(&self.file).expect("there is a channel").into()))
    }

    /// Where the channel is, `ago` seconds before now.
    fn position(&self, ago: f64) -> u64 {
        let seconds = self.began.elapsed().as_secs_f64() + HEAD_START - ago;
        self.programme().position(seconds.max(0.0))
    }
}

/// A viewer's place in the stream.
struct Viewer {
    shared: Arc<Shared>,
    air: watch::Receiver<(Air, u64)>,
    drops: u64,
    sent: u64,
    _counted: Counted,
}

pub(super) async fn answer(shared: &Arc<Shared>, burst: u32) -> Answer {
    let air = shared.live.air.subscribe();
    let (now, drops) = *air.borrow();
    if let Air::Refused(status) = now {
        return page(StatusCode::from_u16(status).ok());
    }
    let viewer = Viewer {
        sent: shared.live.position(f64::from(burst)),
        shared: shared.clone(),
        air,
        drops,
        _counted: Counted::new(shared, |shared| &shared.live.watching),
    };
    let stream = stream::unfold(viewer, |mut viewer| async move {
        loop {
            let (air, drops) = *viewer.air.borrow_and_update();
            if drops != viewer.drops || matches!(air, Air::Refused(_)) {
                return None;
            }
            let now = viewer.shared.live.position(0.0);
            // What a muted channel would have sent is lost, as it is with a real one.
            let from = std::mem::replace(&mut viewer.sent, now);
            if air == Air::On && now > from {
                let bytes = viewer.shared.live.programme().between(from..now);
                return Some((Ok::<_, io::Error>(Frame::data(bytes)), viewer));
            }
            let _changed = tokio::time::timeout(BEAT, viewer.air.changed()).await;
        }
    });
    let mut answer = Response::new(StreamBody::new(stream).boxed_unsync());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("video/mp2t"));
    answer
}

/// The file, and where in it the clock says what.
struct Programme {
    file: Bytes,
    /// Seconds since the file's first clock, and the packet that carries it.
    clock: Vec<(f64, usize)>,
}

impl Programme {
    fn of(file: Bytes) -> Self {
        let readings: Vec<(u64, usize)> = file
            .chunks_exact(PACKET)
            .enumerate()
            .filter_map(|(packet, bytes)| Some((clock_reference(bytes)?, packet)))
            .collect();
        let first = readings.first().expect("a transport stream has clock references").0;
        let clock =
            readings.iter().map(|(ticks, packet)| ((ticks - first) as f64 / 90_000.0, *packet)).collect();
        Self { file, clock }
    }

    /// How many bytes were sent `seconds` after the start. Counts on when the file begins anew.
    fn position(&self, seconds: f64) -> u64 {
        let length = self.clock.last().expect("a transport stream has clock references").0;
        let (rounds, within) = ((seconds / length).floor(), seconds % length);
        let next = self.clock.partition_point(|(at, _)| *at <= within).min(self.clock.len() - 1);
        let ((from, start), (to, end)) = (self.clock[next - 1], self.clock[next]);
        let packets = start as f64 + (end - start) as f64 * (within - from) / (to - from);
        rounds as u64 * self.file.len() as u64 + packets as u64 * PACKET as u64
    }

    fn between(&self, range: Range<u64>) -> Bytes {
        let length = self.file.len() as u64;
        let (from, to) = ((range.start % length) as usize, (range.end % length) as usize);
        // At the seam the rest of the file is enough for one beat.
        if from <= to { self.file.slice(from..to) } else { self.file.slice(from..) }
    }
}

/// The clock reference of a packet, in ticks of 90 kHz, if it carries one.
fn clock_reference(packet: &[u8]) -> Option<u64> {
    let has_adaptation = packet[3] & 0x20 != 0 && packet[4] >= 7;
    let has_reference = has_adaptation && packet[5] & 0x10 != 0;
    has_reference.then(|| {
        let base = u32::from_be_bytes([packet[6], packet[7], packet[8], packet[9]]);
        u64::from(base) << 1 | u64::from(packet[10] >> 7)
    })
}
