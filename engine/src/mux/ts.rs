//! The samples of a segment as an MPEG transport stream with picture and sound in one, for the players that
//! know nothing else: H.264 or HEVC, and AAC.
//!
//! Segments are made apart from each other, in any order and at any time, and play on where they are joined:
//! times are absolute, and counters start anew and say so. Units stand in the order of their decoding, and
//! the clock runs a little before them.

use bytes::Bytes;

use super::boxes::FourCc;
use super::esds::Adts;
use super::nal::{Family, NalConfig};
use super::packets::{self, Lane, Listed, Marks};
use super::{Fault, Sample, Time, Track, read};

/// Why samples do not go into a transport stream.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TsError {
    /// A segment without samples has no time.
    #[error("a transport stream of no samples")]
    Empty,
    /// What is encrypted would come out as noise.
    #[error("an encrypted track does not go into a transport stream")]
    Protected,
    /// Players expect one of two codecs.
    #[error("video in a transport stream is H.264 or HEVC, not `{0}`")]
    Video(FourCc),
    /// Players expect AAC, and in a form that its short headers can describe.
    #[error("audio in a transport stream is AAC with a usual rate and layout, not `{0}`")]
    Audio(String),
    /// A segment that was kept is not what we wrote.
    #[error("a segment cannot be read back")]
    Segment(#[from] Fault),
    /// The units within a picture contradict its size.
    #[error("the lengths of the NAL units of the picture at {at} s do not add up")]
    Torn {
        /// Its decode time.
        at: Time,
    },
    /// The headers of AAC have thirteen bits for a length.
    #[error("a packet of audio of {size} bytes at {at} s")]
    PacketSize {
        /// Its time.
        at: Time,
        /// Its bytes.
        size: usize,
    },
    /// Samples come in decoding order, and are never presented before they are decoded.
    #[error("the sample at {at} s is out of order")]
    Order {
        /// Its decode time.
        at: Time,
    },
}

/// What becomes one unit (PES): a picture, or some packets of sound.
struct Unit<'a> {
    coding: Coding<'a>,
    /// In ticks of 90 kHz.
    pts: i64,
    dts: i64,
    samples: &'a [Sample],
    /// The time of the first sample, for complaints.
    at: Time,
}

/// How a unit is made of its samples.
#[derive(Clone, Copy)]
enum Coding<'a> {
    Video(&'a NalConfig),
    Audio(Adts),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Medium {
    Video,
    Audio,
}

/// A segment on its way.
struct Writer {
    out: Vec<u8>,
    /// The unit that is being made; kept, so that it is allocated once.
    unit: Vec<u8>,
    video: Lane,
    audio: Lane,
    /// Which of them carries the clock, and when it has to come again.
    clock: Medium,
    clock_due: i64,
}

const SCALE: u32 = 90_000;
const VIDEO_PID: u16 = 0x100;
const AUDIO_PID: u16 = 0x101;
const VIDEO_STREAM: u8 = 0xe0;
const AUDIO_STREAM: u8 = 0xc0;
const LISTED_AVC: Listed = Listed { kind: 0x1b, pid: VIDEO_PID, descriptors: &[] };
const LISTED_HEVC: Listed = Listed { kind: 0x24, pid: VIDEO_PID, descriptors: b"\x05\x04HEVC" };
const LISTED_AAC: Listed = Listed { kind: 0x0f, pid: AUDIO_PID, descriptors: &[] };

/// How long before its decoding a unit arrives, by the clock: 0.7 s, as ffmpeg has it.
const CLOCK_LEAD: i64 = 63_000;
/// The clock comes at least every 100 ms.
const CLOCK_STEP: i64 = 9_000;
/// A longer hole, which no film has within a segment, is left without a clock rather than filled.
const LONGEST_HOLE: i64 = 60 * SCALE as i64;
/// Sound in one unit: eight packets at 48 kHz, seven at 44.1 kHz.
const AUDIO_REACH: i64 = 15_400;
/// What a unit of sound may have for its length to fit 16 bits, with room for its header.
const AUDIO_UNIT: usize = 65_000;

/// A transport stream of these samples, every time later by `shift`: film time and the delay of copied
/// B-frames, and ten seconds, so that the clock begins above zero. A track without samples is listed all the
/// same: what a programme has must not change from one segment to the next.
pub fn segment(
    video: Option<(&Track, &[Sample])>,
    audio: Option<(&Track, &[Sample])>,
    shift: Time,
) -> Result<Bytes, TsError> {
    let clock = if video.is_some() { Medium::Video } else { Medium::Audio };
    let (mut listed, mut units) = (Vec::new(), Vec::new());
    if let Some((track, samples)) = video {
        let config = nal_config(track)?;
        listed.push(match config.family() {
            Family::Avc => LISTED_AVC,
            Family::Hevc => LISTED_HEVC,
        });
        video_units(track, samples, shift, config, &mut units)?;
    }
    if let Some((track, samples)) = audio {
        let reach = if clock == Medium::Audio { CLOCK_STEP } else { AUDIO_REACH };
        listed.push(LISTED_AAC);
        audio_units(track, samples, shift, adts(track)?, reach, &mut units)?;
    }
    // The picture comes first, whatever is due before it, and with it the clock; then everything in time.
    let foremost = usize::from(units.first().is_some_and(|unit| unit.medium() == clock));
    units[foremost..].sort_by_key(|unit| unit.dts);
    let first = units.first().ok_or(TsError::Empty)?;

    let media = units.iter().flat_map(|unit| unit.samples).map(|sample| sample.data.len() + Adts::HEADER);
    let mut writer = Writer {
        out: Vec::with_capacity(media.sum::<usize>() * 48 / 47 + units.len() * 2 * packets::PACKET + 2_048),
        unit: Vec::new(),
        video: Lane::new(VIDEO_PID),
        audio: Lane::new(AUDIO_PID),
        clock,
        clock_due: if first.medium() == clock { first.dts } else { first.dts.saturating_sub(1) },
    };
    packets::write_tables(listed[0].pid, &listed, &mut writer.out);
    for unit in &units {
        writer.bring_clock_to(unit.dts);
        writer.write(unit)?;
    }
    if let Some((track, [.., last])) = if video.is_some() { video } else { audio } {
        let end = Time::new(last.dts.saturating_add(last.duration.into()), track.timescale);
        writer.bring_clock_to((end + shift).ticks_in(SCALE));
    }
    Ok(Bytes::from(writer.out))
}

/// The same of segments that [`write::segment`](super::write::segment) wrote and that were kept; `shift` is
/// beyond the times that were published.
pub fn remux(
    video: Option<(&Track, &Bytes)>,
    audio: Option<(&Track, &Bytes)>,
    shift: Time,
) -> Result<Bytes, TsError> {
    let samples = |kept: Option<(&Track, &Bytes)>| kept.map(|(_, bytes)| read::segment(bytes)).transpose();
    let (pictures, sound) = (samples(video)?, samples(audio)?);
    let video = video.zip(pictures.as_deref()).map(|((track, _), samples)| (track, samples));
    let audio = audio.zip(sound.as_deref()).map(|((track, _), samples)| (track, samples));
    segment(video, audio, shift)
}

fn nal_config(track: &Track) -> Result<&NalConfig, TsError> {
    if track.is_protected() {
        return Err(TsError::Protected);
    }
    let format = track.entry.format();
    let known = [b"avc1", b"avc3", b"hvc1", b"hev1"].contains(&&format.0);
    track.entry.nal().filter(|_| known).ok_or(TsError::Video(format))
}

fn adts(track: &Track) -> Result<Adts, TsError> {
    if track.is_protected() {
        return Err(TsError::Protected);
    }
    track.entry.adts().ok_or_else(|| TsError::Audio(track.codec()))
}

fn video_units<'a>(
    track: &Track,
    samples: &'a [Sample],
    shift: Time,
    config: &'a NalConfig,
    units: &mut Vec<Unit<'a>>,
) -> Result<(), TsError> {
    let mut before = i64::MIN;
    for sample in samples {
        let at = Time::new(sample.dts, track.timescale) + shift;
        if sample.dts < before || sample.pts < sample.dts {
            return Err(TsError::Order { at });
        }
        before = sample.dts;
        let pts = (Time::new(sample.pts, track.timescale) + shift).ticks_in(SCALE);
        let samples = std::slice::from_ref(sample);
        units.push(Unit { coding: Coding::Video(config), pts, dts: at.ticks_in(SCALE), samples, at });
    }
    Ok(())
}

/// Packets of sound that follow each other without a hole, for at most `reach`: the time of the first stands
/// for all.
fn audio_units<'a>(
    track: &Track,
    mut rest: &'a [Sample],
    shift: Time,
    adts: Adts,
    reach: i64,
    units: &mut Vec<Unit<'a>>,
) -> Result<(), TsError> {
    let mut before = i64::MIN;
    while let Some(first) = rest.first() {
        let at = Time::new(first.pts, track.timescale) + shift;
        let begin = at.ticks_in(SCALE);
        if begin < before {
            return Err(TsError::Order { at });
        }
        before = begin;
        let place = |packets: usize| {
            let samples = i64::from(Adts::PACKET) * packets as i64;
            begin.saturating_add(Time::new(samples, adts.sample_rate).ticks_in(SCALE))
        };
        let (mut count, mut size) = (1, first.data.len() + Adts::HEADER);
        for sample in &rest[1..] {
            let pts = (Time::new(sample.pts, track.timescale) + shift).ticks_in(SCALE);
            size += sample.data.len() + Adts::HEADER;
            let is_next = pts.abs_diff(place(count)) <= 1;
            let fits = place(count + 1).saturating_sub(begin) <= reach && size <= AUDIO_UNIT;
            if !is_next || !fits {
                break;
            }
            count += 1;
        }
        let (samples, later) = rest.split_at(count);
        units.push(Unit { coding: Coding::Audio(adts), pts: begin, dts: begin, samples, at });
        rest = later;
    }
    Ok(())
}

impl Unit<'_> {
    fn medium(&self) -> Medium {
        match self.coding {
            Coding::Video(_) => Medium::Video,
            Coding::Audio(_) => Medium::Audio,
        }
    }

    fn write_samples(&self, out: &mut Vec<u8>) -> Result<(), TsError> {
        for sample in self.samples {
            match self.coding {
                Coding::Video(config) => {
                    config.write_annex_b(sample, out).ok_or(TsError::Torn { at: self.at })?;
                }
                Coding::Audio(adts) => {
                    let size = sample.data.len();
                    if !(1..=Adts::LARGEST_PACKET).contains(&size) {
                        return Err(TsError::PacketSize { at: self.at, size });
                    }
                    out.extend_from_slice(&adts.header(size));
                    out.extend_from_slice(&sample.data);
                }
            }
        }
        Ok(())
    }
}

impl Writer {
    /// A unit, with the clock if it is on that side.
    fn write(&mut self, unit: &Unit<'_>) -> Result<(), TsError> {
        let stream_id = match unit.medium() {
            Medium::Video => VIDEO_STREAM,
            Medium::Audio => AUDIO_STREAM,
        };
        packets::write_unit(stream_id, (unit.pts, unit.dts), &mut self.unit, |out| unit.write_samples(out))?;
        let mut marks = Marks::default();
        if unit.medium() == self.clock {
            marks.clock = Some(unit.dts.saturating_sub(CLOCK_LEAD));
            marks.random_access = unit.samples.first().is_some_and(|sample| sample.sync);
            self.clock_due = unit.dts.saturating_add(CLOCK_STEP);
        }
        let lane = match unit.medium() {
            Medium::Video => &mut self.video,
            Medium::Audio => &mut self.audio,
        };
        lane.write(marks, &self.unit, &mut self.out);
        Ok(())
    }

    /// Where units with a clock lie too far apart, packets with nothing else bring it.
    fn bring_clock_to(&mut self, time: i64) {
        if time.saturating_sub(self.clock_due) > LONGEST_HOLE {
            self.clock_due = time;
        }
        while self.clock_due < time {
            let lane = match self.clock {
                Medium::Video => &mut self.video,
                Medium::Audio => &mut self.audio,
            };
            lane.write_clock(self.clock_due.saturating_sub(CLOCK_LEAD), &mut self.out);
            self.clock_due = self.clock_due.saturating_add(CLOCK_STEP);
        }
    }
}
