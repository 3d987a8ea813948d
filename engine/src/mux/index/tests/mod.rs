//! Made files and broken ones. What is found must be, to the microsecond, what ffprobe sees when it reads every
//! packet; what is broken must cost a bounded number of questions and nothing else.

mod ffmpeg;

use proptest::prelude::*;

use super::*;

const FRONT: &[u8] = include_bytes!("../fixtures/front.mp4");
const BEHIND: &[u8] = include_bytes!("../fixtures/plain.mp4");
const SIDX: &[u8] = include_bytes!("../fixtures/sidx.mp4");
const MFRA: &[u8] = include_bytes!("../fixtures/mfra.mp4");
const CUES: &[u8] = include_bytes!("../fixtures/cues.mkv");

/// Files of three seconds with a key frame every ten pictures of 25 a second.
const FILES: [(Layout, &[u8], By); 5] = [
    (Layout::Mp4, FRONT, By::Moov),
    (Layout::Mp4, BEHIND, By::Moov),
    (Layout::Mp4, SIDX, By::Sidx),
    (Layout::Mp4, MFRA, By::Mfra),
    (Layout::Matroska, CUES, By::Cues),
];
const STREAM: Stream = Stream { index: 0, id: Some(1) };

/// What reading a file came to.
struct Reading {
    found: Result<KeyFrames, NoIndex>,
    requests: usize,
    bytes: u64,
}

/// Answers a reader's questions from a file, of which `first` bytes are known at once.
fn read(layout: Layout, stream: Stream, file: &[u8], first: usize) -> Reading {
    let file = Bytes::copy_from_slice(file);
    let mut reader = Reader::new(layout, stream, file.len() as u64, file.slice(..first.min(file.len())));
    let (mut requests, mut bytes) = (0, 0);
    loop {
        match reader.step() {
            Step::Need { from, length } => {
                requests += 1;
                bytes += length;
                let end = from + length;
                assert!(length > 0 && end <= file.len() as u64, "{from}+{length} of {}", file.len());
                assert!(requests <= REQUESTS as usize);
                reader.feed(from, file.slice(from as usize..end as usize));
            }
            Step::Found(keys) => return Reading { found: Ok(keys), requests, bytes },
            Step::None(why) => return Reading { found: Err(why), requests, bytes },
        }
    }
}

fn find(file: &[u8], name: &[u8]) -> usize {
    file.windows(name.len()).position(|window| window == name).unwrap()
}

#[test]
fn every_index_tells_the_same_of_the_same_film() {
    for (layout, file, by) in FILES {
        // The sound's priming comes first in Matroska, which has no times before zero.
        let begin = if by == By::Cues { Time::from_millis(128) } else { Time::ZERO };
        for first in [1, 64, 700, usize::MAX] {
            let keys = read(layout, STREAM, file, first).found.unwrap();
            let expected: Vec<_> = (0..8).map(|n| begin + Time::new(n * 10, 25)).collect();
            assert_eq!(keys.times, expected, "{by:?}");
            assert_eq!(keys.by, by);
            let delay = (by != By::Cues).then(|| Time::new(2, 25));
            assert_eq!(keys.delay, delay, "{by:?}");
            let end = matches!(by, By::Moov | By::Sidx).then(|| Time::from_secs(3));
            assert_eq!(keys.end, end, "{by:?}");
        }
    }
}

#[test]
fn no_cut_makes_it_believe_what_is_not_there() {
    for (layout, file, by) in FILES {
        let whole = read(layout, STREAM, file, 64).found.unwrap();
        for length in 0..file.len() {
            match read(layout, STREAM, &file[..length], 64).found {
                // What lies in front is whole, however little of the film came.
                Ok(found) => assert_eq!((found, file), (whole.clone(), FRONT), "{by:?} {length}"),
                Err(why) => assert!(!why.to_string().is_empty()),
            }
        }
    }
}

#[test]
fn a_source_that_sends_nothing_or_something_else_is_left_after_a_few_tries() {
    for (layout, file, _) in FILES {
        for bytes in [Bytes::new(), Bytes::from_static(&[0x55; 100_000])] {
            let mut reader = Reader::new(layout, STREAM, 1 << 40, Bytes::copy_from_slice(&file[..40]));
            let mut asked = 0;
            while let Step::Need { from, .. } = reader.step() {
                asked += 1;
                reader.feed(from, bytes.clone());
            }
            assert!(asked <= REQUESTS);
        }
    }
}

#[test]
fn what_is_too_large_is_refused_before_it_is_asked_for() {
    let head = |name: &[u8; 4], size: u64| [&[0, 0, 0, 1], &name[..], &size.to_be_bytes()].concat();
    let check = |layout, first: Vec<u8>, expected: NoIndex| {
        let mut reader = Reader::new(layout, STREAM, u64::MAX, first.into());
        assert_eq!(reader.step(), Step::None(expected));
    };
    check(Layout::Mp4, head(b"moov", 65 << 20), NoIndex::TooLarge("moov", 64 << 20));
    check(Layout::Mp4, head(b"moov", 15), NoIndex::Damaged("a box"));
    let mut reader = Reader::new(Layout::Mp4, STREAM, u64::MAX, head(b"moov", 64 << 20).into());
    assert_eq!(reader.step(), Step::Need { from: 0, length: 64 << 20 });
    let base = find(CUES, &SEEK_HEAD_NAME);
    let cues = [&CUES[..base], b"\x1c\x53\xbb\x6b\x01\0\0\0\x02\0\0\0", &[0; 16]].concat();
    check(Layout::Matroska, cues, NoIndex::TooLarge("cues", 16 << 20));
    assert!(NoIndex::TooLarge("moov", 64 << 20).to_string().ends_with("(moov) is larger than 64 MiB"));
}

const SEEK_HEAD_NAME: [u8; 4] = [0x11, 0x4d, 0x9b, 0x74];

#[test]
fn a_moov_of_nearly_64_mib_is_read_and_asked_for_once() {
    let moov = find(FRONT, b"moov");
    let size = u32::from_be_bytes(FRONT[moov - 4..moov].try_into().unwrap()) as usize;
    let padding = (60 << 20) as u32;
    let mut file = FRONT.to_vec();
    file[moov - 4..moov].copy_from_slice(&(size as u32 + padding).to_be_bytes());
    let mut free = padding.to_be_bytes().to_vec();
    free.extend(b"free");
    free.resize(padding as usize, 0);
    file.splice(moov + 4..moov + 4, free);
    let reading = read(Layout::Mp4, STREAM, &file, 65_536);
    assert_eq!(reading.found.unwrap().times.len(), 8);
    assert_eq!((reading.requests, reading.bytes), (1, size as u64 + u64::from(padding)));
}

#[test]
fn sparse_cues_are_cuts_at_what_they_list_and_at_the_beginning() {
    let whole = read(Layout::Matroska, STREAM, CUES, 64).found.unwrap();
    let cues = CUES.windows(4).rposition(|window| window == [0x1c, 0x53, 0xbb, 0x6b]).unwrap();
    let points: Vec<_> =
        (cues..CUES.len() - 2).filter(|at| CUES[*at] == 0xbb && CUES[at + 2] == 0xb3).collect();
    assert_eq!(points.len(), 8);
    let without = |hidden: &[usize]| {
        let mut file = CUES.to_vec();
        for which in hidden {
            // It becomes a void.
            file[points[*which]] = 0xec;
        }
        read(Layout::Matroska, STREAM, &file, 64).found
    };
    assert_eq!(without(&[0]).unwrap(), whole);
    let sparse = without(&[0, 3, 7]).unwrap();
    let expected: Vec<_> = [0, 1, 2, 4, 5, 6].map(|which: usize| whole.times[which]).into();
    assert_eq!(sparse.times, expected);
    assert_eq!(without(&[0, 1, 2, 3, 4, 5, 6, 7]), Err(NoIndex::Absent));
}

#[test]
fn a_segment_of_unknown_size_is_read_to_the_end_of_the_file() {
    let mut file = CUES.to_vec();
    let segment = find(&file, &[0x18, 0x53, 0x80, 0x67]) + 4;
    assert_eq!(file[segment], 0x01, "eight bytes of size");
    file[segment + 1..segment + 8].fill(0xff);
    assert_eq!(read(Layout::Matroska, STREAM, &file, 64).found.unwrap().times.len(), 8);
}

#[test]
fn counts_are_not_believed() {
    for name in [&b"stts"[..], b"ctts", b"stss", b"stsz", b"elst"] {
        let mut file = FRONT.to_vec();
        let count = find(&file, name) + if name == b"stsz" { 12 } else { 8 };
        file[count..count + 4].fill(0xff);
        let found = read(Layout::Mp4, STREAM, &file, 64).found;
        // Tables end with their box; an edit list must say what it announces.
        assert_eq!(found.is_ok(), name != b"elst", "{}: {found:?}", name.escape_ascii());
    }
    // One duration for four thousand million samples of one size.
    let mut file = FRONT.to_vec();
    let (durations, sizes) = (find(&file, b"stts"), find(&file, b"stsz"));
    file[durations + 12..durations + 16].fill(0xff);
    file[sizes + 8..sizes + 16].fill(0xff);
    assert_eq!(read(Layout::Mp4, STREAM, &file, 64).found, Err(NoIndex::TooMany));
}

#[test]
fn an_index_of_fragments_that_do_not_begin_with_key_frames_is_refused() {
    for (file, by) in [(SIDX, By::Sidx), (MFRA, By::Mfra)] {
        // The description of the second fragment: its first sample's flags, and its time.
        let second = find(&file[find(file, b"moof") + 4..], b"moof") + find(file, b"moof") + 4;
        let (run, time) = (second + find(&file[second..], b"trun"), second + find(&file[second..], b"tfdt"));
        let mut broken = file.to_vec();
        broken[run + 16..run + 20].copy_from_slice(&0x0101_0000_u32.to_be_bytes());
        assert_eq!(read(Layout::Mp4, STREAM, &broken, 64).found, Err(NoIndex::Inexact), "{by:?}");
        let mut broken = file.to_vec();
        broken[time + 15] ^= 1;
        assert_eq!(read(Layout::Mp4, STREAM, &broken, 64).found, Err(NoIndex::Inexact), "{by:?}");
    }
}

#[test]
fn a_seek_head_that_leads_to_itself_ends() {
    // The one seek for the cues becomes one for the seek head, at the place where it lies.
    let mut file = CUES.to_vec();
    let base = find(&file, &SEEK_HEAD_NAME);
    let cues = base + find(&file[base..], &[0x53, 0xab, 0x84, 0x1c, 0x53, 0xbb, 0x6b]);
    file[cues + 3..cues + 7].copy_from_slice(&SEEK_HEAD_NAME);
    let position = cues + 7 + 3;
    let width = usize::from(file[position - 1] & 0x7f);
    file[position..position + width].fill(0);
    assert_eq!(read(Layout::Matroska, STREAM, &file, 64).found, Err(NoIndex::Absent));
}

#[test]
fn an_unknown_track_is_found_only_where_there_is_no_choice() {
    for (layout, file, by) in FILES {
        let odd = Stream { index: 1, id: Some(77) };
        assert_eq!(read(layout, odd, file, 64).found.unwrap().by, by);
        let sound = read(layout, Stream { index: 1, id: Some(2) }, file, 64).found.unwrap();
        assert_eq!(sound.times.len(), 8, "the sound's track is no video");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn no_damage_makes_it_panic_or_ask_for_ever(
        which in 0..FILES.len(),
        first in 1_usize..4_000,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 1_usize..9), 1..12),
        cut in prop::option::of(any::<prop::sample::Index>()),
        in_head in any::<bool>(),
    ) {
        let (layout, file, _) = FILES[which];
        let mut file = file.to_vec();
        // Most of a file is media, which nobody reads.
        let room = if in_head { file.len().min(1_800) } else { file.len() };
        for (at, value, width) in damage {
            let at = at.index(room);
            let end = (at + width).min(file.len());
            file[at..end].fill(value);
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        if let Ok(keys) = read(layout, STREAM, &file, first).found {
            prop_assert!(!keys.times.is_empty());
            prop_assert!(keys.times.is_sorted_by(|a, b| a < b));
        }
    }
}
