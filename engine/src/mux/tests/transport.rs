//! The structure of what `ts` writes, taken apart packet by packet: counters, clocks, tables' places, times
//! and units, for captured samples and for random ones.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::{Fault, Sample, Time, Track, TsError, read as back, ts, write};
use super::{AUDIO, LEAD, VIDEO, read};

const VIDEO_PID: u16 = 0x100;
const AUDIO_PID: u16 = 0x101;
/// What published times get on top.
const ROOM: Time = Time::from_secs(10);
const START_CODE: &[u8] = &[0, 0, 0, 1];

#[derive(Debug)]
struct Unit {
    pid: u16,
    pts: i64,
    dts: i64,
    random_access: bool,
    /// The clock of its first packet.
    clock: Option<i64>,
    /// As its header says; nothing where it leaves it open.
    length: Option<usize>,
    data: Vec<u8>,
}

struct Stream {
    /// In the order in which they begin.
    units: Vec<Unit>,
    clocks: Vec<i64>,
}

impl Stream {
    fn of(&self, pid: u16) -> impl Iterator<Item = &Unit> {
        self.units.iter().filter(move |unit| unit.pid == pid)
    }
}

/// Takes a segment apart, and looks at everything that holds for every segment.
fn demux(bytes: &[u8]) -> Stream {
    assert_eq!(bytes.len() % 188, 0);
    let mut stream = Stream { units: Vec::new(), clocks: Vec::new() };
    let mut counters = BTreeMap::new();
    let mut open: BTreeMap<u16, usize> = BTreeMap::new();
    for (index, packet) in bytes.chunks(188).enumerate() {
        assert_eq!(packet[0], 0x47);
        let pid = u16::from_be_bytes([packet[1], packet[2]]) & 0x1fff;
        let begins = packet[1] & 0x40 != 0;
        let (has_fields, has_payload) = (packet[3] & 0x20 != 0, packet[3] & 0x10 != 0);
        let fields = if has_fields { usize::from(packet[4]) } else { 0 };
        let payload = &packet[if has_fields { 5 + fields } else { 4 }..];
        assert_eq!(has_payload, !payload.is_empty());
        let flags = if fields > 0 { packet[5] } else { 0 };

        let first = !counters.contains_key(&pid);
        assert_eq!(flags & 0x80 != 0, first, "only the first packet of a PID announces a new count");
        let before = counters.get(&pid).copied().unwrap_or(0xf_u8);
        let counter = if has_payload { (before + 1) & 0xf } else { before };
        assert_eq!(packet[3] & 0xf, counter, "packet {index} of PID {pid}");
        counters.insert(pid, counter);

        let clock = (flags & 0x10 != 0).then(|| {
            let field: [u8; 6] = packet[6..12].try_into().unwrap();
            let base = field[..5].iter().fold(0, |base, byte| base << 8 | i64::from(*byte)) >> 7;
            assert_eq!((field[4] & 0x7f, field[5]), (0x7e, 0));
            base
        });
        stream.clocks.extend(clock);
        match index {
            0 => assert_eq!((pid, begins), (0, true), "the programmes come first"),
            1 => assert_eq!((pid, begins), (0x1000, true), "then the programme"),
            _ if begins => {
                let mut unit = unit(pid, payload);
                (unit.clock, unit.random_access) = (clock, flags & 0x40 != 0);
                open.insert(pid, stream.units.len());
                stream.units.push(unit);
            }
            _ if has_payload => stream.units[open[&pid]].data.extend_from_slice(payload),
            _ => assert!(clock.is_some(), "a packet without a payload has a clock"),
        }
    }
    for unit in &stream.units {
        assert!(unit.length.is_none_or(|length| length == unit.data.len()), "{unit:?}");
    }
    stream
}

fn unit(pid: u16, payload: &[u8]) -> Unit {
    let stamp = |at: usize| {
        let [a, b, c, d, e] = payload[at..at + 5].try_into().unwrap();
        assert!([a, c, e].iter().all(|byte: &u8| byte & 1 == 1), "marker bits");
        let [a, b, c, d, e] = [a, b, c, d, e].map(i64::from);
        (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
    };
    assert_eq!(payload[..3], [0, 0, 1]);
    assert_eq!(payload[3], if pid == VIDEO_PID { 0xe0 } else { 0xc0 });
    let length = usize::from(u16::from_be_bytes([payload[4], payload[5]]));
    let header = usize::from(payload[8]);
    let pts = stamp(9);
    let dts = if payload[7] == 0xc0 { stamp(14) } else { pts };
    let data = payload[9 + header..].to_vec();
    let length = length.checked_sub(3 + header);
    Unit { pid, pts, dts, random_access: false, clock: None, length, data }
}

fn ticks(time: i64, track: &Track, shift: Time) -> i64 {
    (Time::new(time, track.timescale) + shift).ticks_in(90_000).rem_euclid(1 << 33)
}

/// A sample behind start codes, without delimiter and parameter sets.
fn start_codes(sample: &Sample) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), &sample.data[..]);
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (unit, behind) = behind.split_at(u32::from_be_bytes(*length) as usize);
        out.extend_from_slice(START_CODE);
        out.extend_from_slice(unit);
        rest = behind;
    }
    out
}

/// Every picture is one unit, with its times, and begins as a picture must.
fn assert_pictures(stream: &Stream, track: &Track, samples: &[Sample], shift: Time) {
    assert_eq!(stream.of(VIDEO_PID).count(), samples.len());
    for (unit, sample) in stream.of(VIDEO_PID).zip(samples) {
        assert_eq!((unit.pts, unit.dts), (ticks(sample.pts, track, shift), ticks(sample.dts, track, shift)));
        assert_eq!(unit.random_access, sample.sync);
        let whole = unit.data.len();
        assert_eq!(unit.length.is_some(), whole + if unit.pts == unit.dts { 8 } else { 13 } <= 0xffff);
        let pictures = unit.data.strip_prefix(b"\0\0\0\x01\x09\xf0".as_slice()).expect("a delimiter");
        let parameters = pictures.strip_suffix(&start_codes(sample)[..]).expect("the units");
        if sample.sync {
            assert!(parameters.starts_with(b"\0\0\0\x01\x67") && parameters.len() > 20);
        } else {
            assert!(parameters.is_empty());
        }
        assert_eq!(unit.clock, Some((unit.dts - 63_000).rem_euclid(1 << 33)), "0.7 s before it is decoded");
    }
}

/// Every packet of sound is there, behind its header; units begin at the time of their first packet.
fn assert_sound(stream: &Stream, track: &Track, samples: &[Sample], shift: Time) {
    let mut rest = samples;
    for unit in stream.of(AUDIO_PID) {
        assert_eq!(unit.pts, unit.dts);
        assert!(unit.length.is_some());
        let mut data = &unit.data[..];
        let mut place = unit.pts;
        while let Some(header) = data.first_chunk::<7>() {
            assert_eq!((header[0], header[1], header[2]), (0xff, 0xf1, 0x4c), "48 kHz, low complexity");
            let size =
                usize::from(header[3] & 3) << 11 | usize::from(header[4]) << 3 | usize::from(header[5]) >> 5;
            let (packet, behind) = data.split_at(size);
            let (sample, later) = rest.split_first().expect("no more packets than samples");
            assert_eq!(packet[7..], sample.data[..]);
            let off = (place - ticks(sample.pts, track, shift)).rem_euclid(1 << 33);
            assert!([0, 1, (1 << 33) - 1].contains(&off), "{off}");
            (data, rest, place) = (behind, later, place + 1_920);
        }
        assert!(data.is_empty());
    }
    assert!(rest.is_empty());
}

/// The clock rises, and never stays away for more than 100 ms.
fn assert_clock(stream: &Stream) {
    for pair in stream.clocks.windows(2) {
        let step = (pair[1] - pair[0]).rem_euclid(1 << 33);
        assert!((0..=9_000).contains(&step), "{step}");
    }
}

fn captured() -> [(std::sync::Arc<Track>, Vec<Sample>); 2] {
    [read(VIDEO, LEAD), read(AUDIO, LEAD)]
}

#[test]
fn captured_samples_come_out_whole_and_in_time() {
    let [(video, pictures), (audio, sound)] = captured();
    let bytes = ts::segment(Some((&video, &pictures)), Some((&audio, &sound)), ROOM).unwrap();
    let stream = demux(&bytes);
    assert_pictures(&stream, &video, &pictures, ROOM);
    assert_sound(&stream, &audio, &sound, ROOM);
    assert_clock(&stream);
    assert_eq!(stream.units[0].pid, VIDEO_PID);
    assert!(stream.units[1..].is_sorted_by_key(|unit| unit.dts));
    let most = stream.of(AUDIO_PID).map(|unit| unit.data.len()).max().unwrap();
    assert!(stream.of(AUDIO_PID).count() * 8 >= sound.len() && most < 0xffff);
}

#[test]
fn sound_alone_brings_the_clock_itself() {
    let [_, (audio, sound)] = captured();
    let stream = demux(&ts::segment(None, Some((&audio, &sound)), ROOM).unwrap());
    assert_sound(&stream, &audio, &sound, ROOM);
    assert_clock(&stream);
    assert_eq!(stream.clocks.len(), stream.units.len(), "no packets are there for the clock alone");
    assert!(stream.units.iter().all(|unit| unit.random_access && unit.clock.is_some()));
}

#[test]
fn times_wrap_in_mid_segment() {
    let [(video, pictures), (audio, sound)] = captured();
    let shift = Time::new(1 << 33, 90_000) - Time::from_millis(300);
    let stream = demux(&ts::segment(Some((&video, &pictures)), Some((&audio, &sound)), shift).unwrap());
    assert_pictures(&stream, &video, &pictures, shift);
    assert_sound(&stream, &audio, &sound, shift);
    assert_clock(&stream);
    let [first, last] = [&pictures[0], &pictures[29]].map(|it| ticks(it.dts, &video, shift));
    assert!(last < first, "{first} {last}");
}

#[test]
fn a_slow_film_has_its_clock_between_the_pictures() {
    let [(video, pictures), _] = captured();
    let slow: Vec<_> = (0..3)
        .map(|n| {
            let dts = n * 2 * i64::from(video.timescale);
            Sample { dts, pts: dts, duration: 2 * video.timescale, ..pictures[0].clone() }
        })
        .collect();
    let stream = demux(&ts::segment(Some((&video, &slow)), None, ROOM).unwrap());
    assert_pictures(&stream, &video, &slow, ROOM);
    assert_clock(&stream);
    let last = stream.clocks.last().unwrap();
    let next = 900_000 + 6 * 90_000 - 63_000;
    assert!((next - 9_000..next).contains(last), "up to where the next segment goes on");
}

#[test]
fn a_hole_of_hours_is_not_filled() {
    let [(video, pictures), _] = captured();
    let mut holed = pictures[..2].to_vec();
    holed[1].dts += 1 << 40;
    holed[1].pts = holed[1].dts;
    let bytes = ts::segment(Some((&video, &holed)), None, ROOM).unwrap();
    assert!(bytes.len() < 40 * 188, "{}", bytes.len());
    assert_eq!(demux(&bytes).units.len(), 2);
}

#[test]
fn a_track_that_has_nothing_to_say_is_listed_all_the_same() {
    let [(video, pictures), (audio, sound)] = captured();
    let both = ts::segment(Some((&video, &pictures)), Some((&audio, &sound)), ROOM).unwrap();
    let silent = ts::segment(Some((&video, &pictures)), Some((&audio, &[])), ROOM).unwrap();
    let dark = ts::segment(Some((&video, &[])), Some((&audio, &sound)), ROOM).unwrap();
    assert_eq!(both[..2 * 188], silent[..2 * 188]);
    assert_eq!(both[..2 * 188], dark[..2 * 188]);
    assert_eq!(demux(&silent).of(AUDIO_PID).count(), 0);
    let dark = demux(&dark);
    assert_sound(&dark, &audio, &sound, ROOM);
    assert_clock(&dark);
    assert!(dark.clocks.len() >= 7, "the clock goes on without pictures");
    assert_eq!(ts::segment(Some((&video, &[])), Some((&audio, &[])), ROOM), Err(TsError::Empty));
}

#[test]
fn kept_segments_give_what_their_samples_give() {
    let [(video, pictures), (audio, sound)] = captured();
    let delay = Time::new(pictures[0].pts - pictures[0].dts, video.timescale);
    let kept = |track: &Track, samples: &[Sample]| {
        write::segment(track, 7, delay.ticks_in(track.timescale), samples).unwrap()
    };
    let (kept_video, kept_audio) = (kept(&video, &pictures), kept(&audio, &sound));
    let remuxed = ts::remux(Some((&video, &kept_video)), Some((&audio, &kept_audio)), ROOM).unwrap();
    let direct = ts::segment(Some((&video, &pictures)), Some((&audio, &sound)), ROOM + delay).unwrap();
    assert_eq!(remuxed, direct);

    // Several in a row are read as one, and nothing is copied.
    let (head, tail) = sound.split_at(9);
    let parts = Bytes::from([kept(&audio, head), kept(&audio, tail)].concat());
    assert_eq!(ts::remux(Some((&video, &kept_video)), Some((&audio, &parts)), ROOM).unwrap(), direct);
    for sample in back::segment(&parts).unwrap() {
        assert!(parts.as_ptr_range().contains(&sample.data.as_ptr()));
    }
}

#[test]
fn a_kept_segment_that_is_none_is_refused() {
    let [_, (audio, sound)] = captured();
    let whole = write::segment(&audio, 7, 1_024, &sound).unwrap();
    let refused = |bytes: Bytes| match ts::remux(None, Some((&audio, &bytes)), ROOM) {
        Err(TsError::Segment(fault)) => fault,
        other => panic!("{other:?}"),
    };
    let moof = u32::from_be_bytes(*whole.first_chunk().unwrap()) as usize;
    assert_eq!(refused(whole.slice(..whole.len() - 1)), Fault::CutOff);
    assert_eq!(refused(whole.slice(..moof)), Fault::CutOff);
    assert_eq!(refused(whole.slice(moof..)), Fault::MdatWithoutMoof);
    assert_eq!(refused(Bytes::from([&whole[..moof], &whole[..]].concat())), Fault::MoofWithoutMdat);
    assert_eq!(refused(Bytes::from([&whole[..moof], b"\0\0\0\x09mdat\x01"].concat())), Fault::OutsideMdat);
    assert_eq!(ts::remux(None, Some((&audio, &Bytes::new())), ROOM), Err(TsError::Empty));
}

#[test]
fn what_does_not_go_in_is_refused() {
    let [(video, pictures), (audio, sound)] = captured();
    let complaint = |result: Result<Bytes, TsError>| result.unwrap_err().to_string();
    assert_eq!(
        complaint(ts::segment(Some((&audio, &sound)), None, ROOM)),
        "video in a transport stream is H.264 or HEVC, not `mp4a`"
    );
    assert_eq!(
        complaint(ts::segment(None, Some((&video, &pictures)), ROOM)),
        "audio in a transport stream is AAC with a usual rate and layout, not `avc1.4d401e`"
    );
    let mut torn = pictures.clone();
    torn[3].data = torn[3].data.slice(1..);
    let at = Time::new(pictures[3].dts, video.timescale) + ROOM;
    assert_eq!(ts::segment(Some((&video, &torn)), None, ROOM), Err(TsError::Torn { at }));
    let mut swapped = pictures.clone();
    swapped.swap(3, 4);
    assert_eq!(ts::segment(Some((&video, &swapped)), None, ROOM), Err(TsError::Order { at }));
    let mut large = sound.clone();
    large[0].data = Bytes::from(vec![0; 8_185]);
    let at = Time::new(sound[0].pts, audio.timescale) + ROOM;
    assert_eq!(ts::segment(None, Some((&audio, &large)), ROOM), Err(TsError::PacketSize { at, size: 8_185 }));
    large[0].data = Bytes::from(vec![0; 8_184]);
    assert!(ts::segment(None, Some((&audio, &large)), ROOM).is_ok());
}

fn pictures() -> impl Strategy<Value = Vec<Sample>> {
    // Steps and offsets around those of films, and sizes around those of packets, a few larger than 64 KiB.
    let size = prop_oneof![1_usize..600, 600_usize..2_000, 65_480_usize..65_600];
    let picture = (0_i64..3_000, 0_i64..2_000, any::<bool>(), size);
    prop::collection::vec(picture, 0..30).prop_map(|pictures| {
        let mut dts = 0;
        let sample = |(step, offset, sync, size): (i64, i64, bool, usize)| {
            dts += step;
            let units =
                [[&(size as u32).to_be_bytes()[..], &vec![0x41; size]].concat(), vec![0, 0, 0, 1, 0x41]];
            Sample { dts, pts: dts + offset, duration: 500, sync, data: Bytes::from(units.concat()) }
        };
        pictures.into_iter().map(sample).collect()
    })
}

fn sound() -> impl Strategy<Value = Vec<Sample>> {
    prop::collection::vec((0_u8..9, 1_usize..700), 0..60).prop_map(|packets| {
        let mut pts = 0;
        let sample = |(hole, size): (u8, usize)| {
            let at = pts + if hole == 0 { 700 } else { 0 };
            pts = at + 1_024;
            Sample { dts: at, pts: at, duration: 1_024, sync: true, data: Bytes::from(vec![0x21; size]) }
        };
        packets.into_iter().map(sample).collect()
    })
}

proptest! {
    #[test]
    fn any_samples_come_out_whole_and_in_time(
        pictures in pictures(),
        sound in sound(),
        video_late in 0_i64..2_000,
        shift in prop_oneof![0_i64..1_000_000, (1_i64 << 33) - 100_000..1 << 33],
    ) {
        let [(video, _), (audio, _)] = captured();
        let later = |it: &Sample| Sample { dts: it.dts + video_late, pts: it.pts + video_late, ..it.clone() };
        let pictures: Vec<_> = pictures.iter().map(later).collect();
        let shift = Time::new(shift, 90_000);
        match ts::segment(Some((&video, &pictures)), Some((&audio, &sound)), shift) {
            Ok(bytes) => {
                let stream = demux(&bytes);
                assert_pictures(&stream, &video, &pictures, shift);
                assert_sound(&stream, &audio, &sound, shift);
                assert_clock(&stream);
            }
            Err(error) => {
                prop_assert_eq!(error, TsError::Empty);
                prop_assert!(pictures.is_empty() && sound.is_empty());
            }
        }
    }

    #[test]
    fn flipped_bits_in_a_kept_segment_never_panic(flips in prop::collection::vec((0_usize..700, 0_u8..8), 1..6)) {
        let [(video, pictures), _] = captured();
        let mut kept = write::segment(&video, 7, 1 << 20, &pictures).unwrap().to_vec();
        for (at, bit) in flips {
            kept[at] ^= 1 << bit;
        }
        if let Ok(bytes) = ts::remux(Some((&video, &Bytes::from(kept))), None, ROOM) {
            prop_assert!(bytes.len() < 4_000_000);
            demux(&bytes);
        }
    }
}
