//! Captured streams, whole and broken, in any chunking; and what was written, read again.

use bytes::Bytes;
use proptest::prelude::*;

use super::super::{Fault, FourCc, Item, Media, Reader, Sample, SampleFault, Time, WriteError, write};
use super::{AUDIO, LEAD, VIDEO, read};

/// The top-level boxes of a stream.
fn boxes(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut boxes = Vec::new();
    while let Some(size) = stream.first_chunk() {
        let (first, rest) = stream.split_at(u32::from_be_bytes(*size) as usize);
        boxes.push(first);
        stream = rest;
    }
    boxes
}

fn feed(parts: &[&[u8]]) -> Result<Vec<Item>, Fault> {
    let mut reader = Reader::new(LEAD);
    let mut items = Vec::new();
    for part in parts {
        items.extend(reader.feed(part)?);
    }
    Ok(items)
}

fn fault(parts: &[&[u8]]) -> Fault {
    feed(parts).expect_err("a fault")
}

fn samples(items: &[Item]) -> Vec<Sample> {
    let of = |item: &Item| if let Item::Samples(samples) = item { samples.clone() } else { Vec::new() };
    items.iter().flat_map(of).collect()
}

#[test]
fn pictures_are_put_where_they_are_shown() {
    let (track, samples) = read(VIDEO, LEAD);
    assert_eq!(track.media, Media::Video { width: 64, height: 36 });
    assert_eq!(track.codec(), "avc1.4d401e");
    assert!(!track.is_protected());
    let frame = i64::from(track.timescale) / 25;
    let mut shown: Vec<_> = samples.iter().map(|sample| sample.pts).collect();
    shown.sort_unstable();
    assert_eq!(shown, (0..30).map(|n| n * frame).collect::<Vec<_>>());
    assert_eq!(samples[0].dts, -2 * frame, "decoding begins two pictures early");
    let keys: Vec<_> = samples.iter().filter(|sample| sample.sync).map(|sample| sample.pts).collect();
    assert_eq!(keys, [0, 10 * frame, 20 * frame]);
    assert!(samples.iter().all(|sample| track.check(sample) == Ok(())));
}

#[test]
fn the_priming_of_sound_lies_before_zero() {
    let (track, samples) = read(AUDIO, LEAD);
    assert_eq!(track.media, Media::Audio { sample_rate: 48_000, channels: 1 });
    assert_eq!(track.codec(), "mp4a.40.2");
    let times: Vec<_> = samples.iter().map(|sample| sample.pts).take(3).collect();
    assert_eq!(times, [-1_024, 0, 1_024]);
    assert!(samples.iter().all(|sample| sample.sync && track.check(sample) == Ok(())));
}

#[test]
fn a_fragment_is_one_allocation_of_its_exact_size() {
    let items = feed(&[VIDEO]).unwrap();
    for item in &items {
        let Item::Samples(samples) = item else { continue };
        for pair in samples.windows(2) {
            assert_eq!(pair[0].data.as_ptr().wrapping_add(pair[0].data.len()), pair[1].data.as_ptr());
        }
    }
    assert_eq!(items.len(), 4, "the track and three fragments");
}

#[test]
fn a_box_is_never_read_past_its_end() {
    let mut reader = Reader::new(LEAD);
    let mut rest = VIDEO;
    for whole in boxes(VIDEO) {
        let mut left = whole.len();
        while left > 0 {
            let room = reader.room();
            assert!(!room.is_empty() && room.len() <= left);
            let n = room.len();
            room.copy_from_slice(&rest[..n]);
            reader.filled(n).unwrap();
            (rest, left) = (&rest[n..], left - n);
        }
    }
    assert!(reader.is_whole());
}

#[test]
fn a_lying_size_allocates_nothing() {
    let mut reader = Reader::new(LEAD);
    reader.feed(boxes(VIDEO)[0]).unwrap();
    reader.feed(b"\x0f\xff\xff\xffmoov").unwrap();
    assert_eq!(reader.room().len(), 256 * 1024);
}

#[test]
fn a_large_fragment_grows_with_what_came() {
    let (track, _) = read(VIDEO, LEAD);
    let data = Bytes::from((0..3_000_000_u32).map(|n| n as u8).collect::<Vec<_>>());
    let sample = Sample { dts: 0, pts: 0, duration: 1, sync: true, data };
    let mut stream = write::init(&track).to_vec();
    stream.extend_from_slice(&write::segment(&track, 1, 0, std::slice::from_ref(&sample)).unwrap());
    assert_eq!(read(&stream, Time::ZERO).1, [sample]);
}

#[test]
fn what_is_no_stream_of_fragments_is_refused() {
    let [ftyp, moov, moof, mdat, next_moof, ..] = boxes(VIDEO)[..] else { panic!("too few boxes") };
    assert_eq!(fault(&[ftyp, moof]), Fault::MoofBeforeMoov);
    assert_eq!(fault(&[ftyp, moov, mdat]), Fault::MdatWithoutMoof);
    assert_eq!(fault(&[ftyp, mdat]), Fault::MdatWithoutMoof);
    assert_eq!(fault(&[moov, moof, next_moof]), Fault::MoofWithoutMdat);
    assert_eq!(fault(&[moov, moov]), Fault::SecondMoov);
    assert_eq!(fault(&[moov, moof, b"\0\0\0\x0cmdat1234"]), Fault::OutsideMdat);
    assert_eq!(fault(&[moov, moof, b"\0\0\0\0mdat"]), Fault::Endless(FourCc(*b"mdat")));
    assert_eq!(fault(&[b"<!DOCTYPE html>"]), Fault::TooLarge { kind: FourCc(*b"CTYP"), size: 0x3c21_444f });
    assert_eq!(fault(&[b"\0\0\x04\0html"]), Fault::Unknown(FourCc(*b"html")));
    assert_eq!(fault(&[b"\0\0\0\x07free"]), Fault::TooSmall { kind: FourCc(*b"free"), size: 7 });
    let large = b"\0\0\0\x01mdat\0\0\0\x01\0\0\0\0";
    assert_eq!(fault(&[large]), Fault::TooLarge { kind: FourCc(*b"mdat"), size: 1 << 32 });
    assert_eq!(fault(&[b"\0\0\0\x08moov"]), Fault::Tracks(0));
}

#[test]
fn two_tracks_on_one_pipe_are_refused() {
    let moov = boxes(VIDEO)[1];
    let other = boxes(AUDIO)[1];
    let mut both = ((moov.len() + other.len() - 8) as u32).to_be_bytes().to_vec();
    both.extend_from_slice(&moov[4..]);
    both.extend_from_slice(&other[8..]);
    assert_eq!(fault(&[&both]), Fault::Tracks(2));
}

#[test]
fn boxes_between_fragments_are_passed_over() {
    let [ftyp, moov, moof, mdat, ..] = boxes(VIDEO)[..] else { panic!("too few boxes") };
    let plain = samples(&feed(&[ftyp, moov, moof, mdat]).unwrap());
    let free = [b"\0\0\x20\0free".as_slice(), &[7; 0x2000 - 8]].concat();
    let large = b"\0\0\0\x01sidx\0\0\0\0\0\0\0\x14abcd";
    let between: [&[u8]; 4] = [&free, large, b"\0\0\0\x08styp", b"\0\0\0\x09emsg\x01"];
    let mut parts = vec![ftyp, moov];
    parts.extend(between);
    parts.extend([moof, mdat, b"\0\0\0\x09mfra\0"]);
    assert_eq!(samples(&feed(&parts).unwrap()), plain);
}

#[test]
fn media_behind_a_64_bit_size_is_found() {
    let [_, moov, moof, mdat, ..] = boxes(VIDEO)[..] else { panic!("too few boxes") };
    let plain = samples(&feed(&[moov, moof, mdat]).unwrap());
    // Places count from `moof`, so the longer header needs eight bytes less of media in front.
    let mut large = b"\0\0\0\x01mdat".to_vec();
    large.extend_from_slice(&(mdat.len() as u64 + 8).to_be_bytes());
    large.extend_from_slice(&mdat[8..]);
    assert_eq!(fault(&[moov, moof, &large]), Fault::OutsideMdat);
    let mut moof = moof.to_vec();
    let trun = moof.windows(4).position(|name| name == b"trun").unwrap();
    let place = u32::from_be_bytes(*moof[trun + 12..].first_chunk().unwrap()) + 8;
    moof[trun + 12..trun + 16].copy_from_slice(&place.to_be_bytes());
    assert_eq!(samples(&feed(&[moov, &moof, &large]).unwrap()), plain);
}

#[test]
fn a_stream_is_whole_between_fragments_only() {
    let mut reader = Reader::new(LEAD);
    let mut whole = Vec::new();
    assert!(reader.is_whole());
    for bytes in boxes(VIDEO) {
        let (first, rest) = bytes.split_at(5);
        reader.feed(first).unwrap();
        assert!(!reader.is_whole());
        reader.feed(rest).unwrap();
        whole.push(reader.is_whole());
    }
    assert_eq!(whole, [true, true, false, true, false, true, false, true]);
}

#[test]
fn our_own_sections_and_segments_are_read_back_as_they_were() {
    for stream in [VIDEO, AUDIO] {
        let (track, samples) = read(stream, LEAD);
        let init = write::init(&track);
        let shift = i64::from(track.timescale);
        let mut written = init.to_vec();
        for (sequence, part) in samples.chunks(7).enumerate() {
            written.extend_from_slice(&write::segment(&track, sequence as u32, shift, part).unwrap());
        }
        let (again, back) = read(&written, Time::from_secs(1));
        assert_eq!(back, samples);
        assert!(track.same_configuration(&again));
        assert_eq!((again.codec(), again.media), (track.codec(), track.media));
        assert_eq!(write::init(&again), init);
    }
}

#[test]
fn rotation_and_display_size_are_kept() {
    let mut moov = boxes(VIDEO)[1].to_vec();
    let tkhd = moov.windows(4).position(|name| name == b"tkhd").unwrap();
    let display = tkhd + 4 + 40..tkhd + 4 + 40 + 44;
    moov[display.clone()].copy_from_slice(&(0..44).collect::<Vec<u8>>());
    let items = feed(&[&moov]).unwrap();
    let Item::Track(track) = &items[0] else { panic!("{items:?}") };
    let init = write::init(track);
    let tkhd = init.windows(4).position(|name| name == b"tkhd").unwrap();
    assert_eq!(init[tkhd + 4 + 40..tkhd + 4 + 84], (0..44).collect::<Vec<u8>>());
}

#[test]
fn neither_edit_lists_nor_bit_rates_are_written() {
    for stream in [VIDEO, AUDIO] {
        let init = write::init(&read(stream, LEAD).0);
        for name in [b"edts", b"btrt", b"udta"] {
            assert!(!init.windows(4).any(|window| window == name), "{}", name.escape_ascii());
        }
    }
}

#[test]
fn what_cannot_be_written_is_refused() {
    let (track, samples) = read(VIDEO, LEAD);
    let frame = i64::from(track.timescale) / 25;
    let early = Time::new(-2 * frame, track.timescale);
    assert_eq!(write::segment(&track, 1, 0, &samples), Err(WriteError::BeforeZero { at: early }));
    assert_eq!(write::segment(&track, 1, 0, &[]), Err(WriteError::Empty));
    let mut swapped = samples.clone();
    swapped.swap(3, 4);
    let refused = write::segment(&track, 1, 2 * frame, &swapped).unwrap_err();
    assert_eq!(refused, WriteError::Order { at: Time::new(4 * frame, track.timescale) });
    let mut late = samples;
    late[5].pts = late[5].dts - 1;
    let refused = write::segment(&track, 1, 2 * frame, &late).unwrap_err();
    assert_eq!(refused, WriteError::Offset { at: Time::new(5 * frame, track.timescale) });
}

#[test]
fn another_picture_size_in_mid_stream_is_noticed() {
    let (track, samples) = read(VIDEO, LEAD);
    let mut other = samples[0].clone();
    let mut data = b"\0\0\0\x05\x67\x64\0\x1f\xac".to_vec();
    data.extend_from_slice(&other.data);
    other.data = Bytes::from(data);
    assert_eq!(track.check(&other), Err(SampleFault::Changed));
    other.data = samples[0].data.slice(..samples[0].data.len() - 1);
    assert_eq!(track.check(&other), Err(SampleFault::Torn));
}

fn streams() -> impl Strategy<Value = &'static [u8]> {
    prop::sample::select(vec![VIDEO, AUDIO])
}

/// Whatever was read can be asked about, and comes back the same if it can be written at all.
fn use_up(items: &[Item]) {
    let Some(Item::Track(track)) = items.first() else { return };
    assert!(track.same_configuration(track), "{}", track.codec());
    let samples = samples(items);
    let shift = samples.first().map_or(0, |first| first.dts.saturating_neg());
    if let Ok(segment) = write::segment(track, 1, shift, &samples) {
        let stream = [write::init(track), segment].concat();
        let (again, back) = read(&stream, Time::new(shift, track.timescale));
        assert!(again.same_configuration(track));
        assert!(back.iter().map(essence).eq(samples.iter().map(essence)));
        assert!(back.iter().map(|it| again.check(it)).eq(samples.iter().map(|it| track.check(it))));
    }
}

/// All but the duration, which is made to fit the next sample.
fn essence(sample: &Sample) -> (i64, i64, bool, &Bytes) {
    (sample.dts, sample.pts, sample.sync, &sample.data)
}

proptest! {
    #[test]
    fn every_chunking_gives_the_same_items(stream in streams(), sizes in prop::collection::vec(1_usize..3_000, 1..40)) {
        let whole = feed(&[stream]).unwrap();
        let (mut parts, mut rest, mut sizes) = (Vec::new(), stream, sizes.into_iter().cycle());
        while !rest.is_empty() {
            let (part, later) = rest.split_at(sizes.next().unwrap().min(rest.len()));
            parts.push(part);
            rest = later;
        }
        let chunked = feed(&parts).unwrap();
        prop_assert_eq!(samples(&chunked), samples(&whole));
        prop_assert_eq!(chunked.len(), whole.len());
    }

    #[test]
    fn a_stream_that_was_cut_off_gives_what_was_whole(stream in streams(), cut in any::<prop::sample::Index>()) {
        let whole = samples(&feed(&[stream]).unwrap());
        let torn = samples(&feed(&[&stream[..cut.index(stream.len())]]).unwrap());
        prop_assert_eq!(&whole[..torn.len()], &torn[..]);
    }

    #[test]
    fn flipped_bits_never_panic(
        stream in streams(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..6),
        in_front in any::<bool>(),
    ) {
        let mut broken = stream.to_vec();
        // Half of the time only where structure is dense.
        let reach = if in_front { 1_500.min(broken.len()) } else { broken.len() };
        for (at, bit) in flips {
            broken[at.index(reach)] ^= 1 << bit;
        }
        let mut reader = Reader::new(LEAD);
        let mut items = Vec::new();
        for chunk in broken.chunks(997) {
            match reader.feed(chunk) {
                Ok(more) => items.extend(more),
                Err(_) => break,
            }
        }
        use_up(&items);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000), behind in 0_usize..4) {
        let parts = boxes(VIDEO);
        if let Ok(items) = feed(&[&parts[..behind].concat(), &bytes]) {
            use_up(&items);
        }
        // The same, as the inside of a box that is looked into.
        for (name, before) in [(b"moov", 0), (b"moof", 2)] {
            let mut whole = ((bytes.len() + 8) as u32).to_be_bytes().to_vec();
            whole.extend_from_slice(name);
            whole.extend_from_slice(&bytes);
            if let Ok(items) = feed(&[&parts[..before].concat(), &whole]) {
                use_up(&items);
            }
        }
    }

    #[test]
    fn every_order_of_samples_that_can_be_written_is_read_back(
        begin in 0_i64..1 << 40,
        steps in prop::collection::vec((0_u32..100_000, 0_i64..200_000, any::<bool>(), 0_usize..50), 1..60),
        lead in -100_000_i64..100_000,
    ) {
        let (track, _) = read(VIDEO, LEAD);
        let mut dts = begin - lead;
        let samples: Vec<_> = steps
            .into_iter()
            .map(|(duration, offset, sync, size)| {
                let data = Bytes::from(vec![size as u8; size]);
                let sample = Sample { dts, pts: dts + offset, duration, sync, data };
                dts += i64::from(duration);
                sample
            })
            .collect();
        let mut stream = write::init(&track).to_vec();
        stream.extend_from_slice(&write::segment(&track, 7, lead, &samples).unwrap());
        prop_assert_eq!(read(&stream, Time::new(lead, track.timescale)).1, samples);
    }
}
