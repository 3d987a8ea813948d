//! Sound that the input does not have: silence in its place, packet for packet, so that every segment of a film
//! carries sound for all of its time. Players wait at a hole, and a list of sound that was handed out already
//! can't be told of one.

use bytes::Bytes;

use super::audio::AudioLane;
use super::check::{grid_start, packet_ticks};
use crate::mux::{Media, Sample, Time, Track};

/// An AAC-LC packet in which every line of the spectrum is zero (ISO/IEC 14496-3), of one channel and of two.
const MONO: &[u8] = &[0x00, 0xc8, 0x00, 0x80, 0x23, 0x80];
const STEREO: &[u8] = &[0x21, 0x00, 0x49, 0x90, 0x02, 0x19, 0x00, 0x23, 0x80];
/// At the end of a film so many packets may be missing: its sound ends when it ends.
const FEW: i64 = 10;

/// Fills what is missing between `start` and `end` in the packets of a lane. Those that are there stay.
pub(super) fn fill(
    lane: &AudioLane,
    track: &Track,
    audio: &mut Vec<Sample>,
    (start, end, last): (Time, Time, bool),
    origin: Time,
) {
    let Some(data) = packet(track) else { return };
    let (scale, frame) = (track.timescale, packet_ticks(track));
    let zero = grid_start(lane.flow, scale, origin);
    let first_from = |time: Time| {
        let ticks = time.ceil_in(scale) - zero;
        zero + (ticks + frame - 1).div_euclid(frame) * frame
    };
    // A hole has room for a packet, less what a clock jitters.
    let room = frame - frame / 8;
    let quiet = |at: i64| {
        let (data, duration) = (data.clone(), frame as u32);
        Sample { dts: at, pts: at, duration, sync: true, data }
    };
    let mut at = first_from(start).max(lane.taken_to.unwrap_or(i64::MIN));
    let mut whole = Vec::with_capacity(audio.len());
    for sample in audio.drain(..) {
        while at + room <= sample.pts {
            whole.push(quiet(at));
            at += frame;
        }
        at = sample.pts + frame;
        whole.push(sample);
    }
    let end = end.ticks_in(scale);
    if !last || at + FEW * frame < end {
        // The packet that begins before the end reaches over it.
        while at + frame - room < end {
            whole.push(quiet(at));
            at += frame;
        }
    }
    *audio = whole;
}

fn packet(track: &Track) -> Option<Bytes> {
    let is_plain = track.codec() == "mp4a.40.2";
    match track.media {
        Media::Audio { channels: 1, .. } if is_plain => Some(Bytes::from_static(MONO)),
        Media::Audio { channels: 2, .. } if is_plain => Some(Bytes::from_static(STEREO)),
        Media::Audio { .. } | Media::Video { .. } => None,
    }
}
