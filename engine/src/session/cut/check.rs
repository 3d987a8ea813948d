//! Whether what came is what was planned: frames on their grid, packets without a hole.

use super::{AudioLane, Flow, Misfit, Piece};
use crate::mux::{Media, Rate, Sample, Time, Track};

/// Samples of one AAC packet (ISO/IEC 14496-3).
const AAC_PACKET: i64 = 1024;
/// A copied packet whose time is off by no more than this was rounded by its container's clock.
const CLOCK_SLACK: Time = Time::from_millis(2);
/// No encoder sends a picture more than so many before its turn (H.264 allows 16 frames of reordering).
const REORDERED: usize = 16;

/// The ticks of one audio packet.
pub(super) fn packet_ticks(track: &Track) -> i64 {
    match track.media {
        Media::Audio { sample_rate, .. } if sample_rate > 0 => {
            AAC_PACKET * i64::from(track.timescale) / i64::from(sample_rate)
        }
        Media::Audio { .. } | Media::Video { .. } => AAC_PACKET,
    }
}

/// Where a packet of a film belongs: encoded ones lie on whole packets from ffmpeg's time 0, copied ones of a
/// coarse clock on whole packets from the input's first. `None` where an encoded one lies more than two samples
/// off.
pub(super) fn on_grid(flow: Flow, pts: i64, scale: u32, frame: i64, origin: Time) -> Option<i64> {
    let nearest = |start: i64| start + (pts - start + frame.div_euclid(2)).div_euclid(frame) * frame;
    let start = grid_start(flow, scale, origin);
    match flow {
        Flow::Encoded { .. } => {
            let exact = nearest(start);
            ((exact - pts).abs() < 2).then_some(exact)
        }
        Flow::Copied { start: Some(_), coarse: true } => {
            let exact = nearest(start);
            let off = Time::new((exact - pts).abs(), scale);
            Some(if off <= CLOCK_SLACK { exact } else { pts })
        }
        Flow::Copied { .. } => Some(pts),
    }
}

/// A place of the grid of packets.
pub(super) fn grid_start(flow: Flow, scale: u32, origin: Time) -> i64 {
    match flow {
        // The grid is ffmpeg's film time; a film that is encoded has its origin there.
        Flow::Encoded { .. } | Flow::Copied { start: None, .. } => -origin.ticks_in(scale),
        Flow::Copied { start: Some(start), .. } => (start - origin).ticks_in(scale),
    }
}

pub(super) fn check_frames(
    number: u64,
    piece: &Piece,
    video: &[Sample],
    rate: Rate,
    scale: u32,
) -> Result<(), Misfit> {
    let first = rate.nearest_frame(piece.start);
    let expected = rate.nearest_frame(piece.end) - first;
    let found = video.len() as i64;
    if found != expected {
        return Err(Misfit::Frames { number, expected, found });
    }
    // A fiftieth of a frame: ffmpeg 5.1 rounds by 0.05 ms at NTSC rates.
    let slack = Time::new(i64::from(rate.den), rate.num.saturating_mul(50));
    for (n, sample) in video.iter().enumerate() {
        let (expected, found) = (rate.frame(first + n as i64), Time::new(sample.pts, scale));
        if found > expected + slack || expected > found + slack {
            return Err(Misfit::OffGrid { number, expected, found });
        }
    }
    Ok(())
}

/// Pictures that a stream sent ahead of others which never came: where a channel breaks off, the last ones in
/// decode order leave holes in what is shown. They are taken off until there is none.
pub(super) fn drop_torn_order(samples: &mut Vec<Sample>) {
    let whole = (0..=REORDERED.min(samples.len())).find(|off| !has_hole(&samples[..samples.len() - off]));
    // A hole further back is the source's own.
    samples.truncate(samples.len() - whole.unwrap_or(0));
}

fn has_hole(samples: &[Sample]) -> bool {
    let mut shown: Vec<_> = samples.iter().map(|sample| (sample.pts, i64::from(sample.duration))).collect();
    shown.sort_unstable();
    shown.windows(2).any(|pair| pair[1].0 - pair[0].0 > pair[0].1 + pair[0].1 / 2)
}

/// `splice` is the boundary on which a later run has to go on without a hole.
pub(super) fn check_audio(
    number: u64,
    piece: &Piece,
    audio: &[Sample],
    lane: &AudioLane,
    track: &Track,
    splice: Option<Time>,
    origin: Time,
) -> Result<(), Misfit> {
    if lane.is_excused {
        return Ok(());
    }
    let (scale, frame) = (track.timescale, packet_ticks(track));
    let hole = |from: i64| Misfit::AudioHole { number, from: Time::new(from, scale) };
    // Where the source's own sound begins later, it is not missed before.
    let begins = match lane.flow {
        Flow::Copied { start: Some(start), .. } => start - origin,
        Flow::Copied { start: None, .. } | Flow::Encoded { .. } => Time::ZERO,
    };
    if let (Some(boundary), Some(first)) = (splice.map(|boundary| boundary.max(begins)), audio.first())
        && first.pts > boundary.ticks_in(scale) + frame + frame / 2
    {
        return Err(hole(boundary.ticks_in(scale)));
    }
    // Sound may begin late and end early; where it flows, it has to reach both ends.
    // Holes in what is copied are the input's own.
    let Flow::Encoded { .. } = lane.flow else { return Ok(()) };
    for pair in audio.windows(2) {
        let step = pair[1].pts - pair[0].pts;
        if step > frame + frame / 2 {
            return Err(hole(pair[0].pts + frame));
        }
    }
    if let (Some(end), Some(first)) = (lane.taken_to, audio.first())
        && first.pts > end + frame / 2
    {
        return Err(hole(end));
    }
    match audio.first() {
        Some(first) if Time::new(first.pts - frame, scale) >= piece.start => {
            Err(hole(piece.start.ticks_in(scale)))
        }
        Some(_) => match audio.last() {
            Some(last) if !piece.last && !lane.done && Time::new(last.pts + frame, scale) < piece.end => {
                Err(hole(last.pts + frame))
            }
            Some(_) | None => Ok(()),
        },
        None if piece.last || lane.done => Ok(()),
        None => Err(hole(piece.start.ticks_in(scale))),
    }
}
