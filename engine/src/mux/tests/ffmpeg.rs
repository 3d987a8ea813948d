//! Fresh streams from the real ffmpeg, with the arguments that runs have: what we make of them must be, packet
//! for packet, what ffprobe sees in them, and what we write must decode to the very same pictures and sound.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

use super::super::{Media, Sample, Time, Track, write};
use super::{LEAD, read};

const QUIET: &str = "-nostdin -hide_banner -v error -y";
pub(super) const SOURCE: &str = "-f lavfi -i testsrc2=s=160x90:r=25:d=3 -f lavfi -i sine=440:r=48000:d=3 -pix_fmt yuv420p \
    -c:v libx264 -preset veryfast -profile:v main -level 3.0 -bf 2 -g 25 -c:a aac";
pub(super) const TIMES: &str = "-output_ts_offset 10 -avoid_negative_ts disabled -f mp4";
pub(super) const VIDEO_PIPE: &str =
    "-movflags +frag_keyframe+delay_moov+default_base_moof+frag_discont+skip_trailer pipe:1";
pub(super) const AUDIO_PIPE: &str =
    "-movflags +delay_moov+default_base_moof+frag_discont+skip_trailer -frag_duration 1000000 pipe:1";
const LIVE_PIPE: &str = "-movflags +empty_moov+delay_moov+default_base_moof+frag_discont+skip_trailer+frag_keyframe \
    -frag_duration 200000 -flush_packets 1 pipe:1";

/// A place for files, or nothing where ffmpeg is not installed; the test says that it skips.
pub(super) fn workshop() -> Option<TempDir> {
    if run(Path::new("."), "ffmpeg", "-version").is_none() {
        eprintln!("skipped: no ffmpeg here");
        return None;
    }
    Some(tempfile::tempdir().expect("a temporary directory"))
}

fn run(directory: &Path, program: &str, arguments: &str) -> Option<Vec<u8>> {
    run_with_complaints(directory, program, arguments).map(|(output, _)| output)
}

/// What a program printed, and what it had to say beside that.
#[expect(clippy::disallowed_methods, reason = "a test may wait for a tool; nothing of ours supervises it")]
pub(super) fn run_with_complaints(
    directory: &Path,
    program: &str,
    arguments: &str,
) -> Option<(Vec<u8>, String)> {
    let output = Command::new(program).current_dir(directory).args(arguments.split_whitespace()).output();
    match output {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        output => {
            let output = output.expect("it runs");
            let complaints = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program} {arguments}: {complaints}");
            Some((output.stdout, complaints.into_owned()))
        }
    }
}

pub(super) fn ffmpeg(shop: &TempDir, arguments: &str) -> Vec<u8> {
    run(shop.path(), "ffmpeg", &format!("{QUIET} {arguments}")).expect("ffmpeg is there")
}

#[derive(Debug)]
struct Packet {
    essence: Essence,
    /// Known for all but the odd packet at the edge of a fragment.
    duration: Option<u32>,
}

/// Presentation and decode time, size, and whether it is a key.
type Essence = (i64, i64, usize, bool);

fn packets(shop: &TempDir, name: &str) -> Vec<Packet> {
    let entries = "-v error -show_entries packet=pts,dts,duration,size,flags -of csv=p=0";
    let text = run(shop.path(), "ffprobe", &format!("{entries} {name}")).expect("ffprobe is there");
    String::from_utf8(text)
        .unwrap()
        .lines()
        .map(|line| {
            let fields: Vec<_> = line.split(',').collect();
            let number = |at: usize| fields[at].parse().unwrap_or_else(|_| panic!("{line}"));
            let essence = (number(0), number(1), number(3) as usize, fields[4].starts_with('K'));
            Packet { essence, duration: fields[2].parse().ok() }
        })
        .collect()
}

/// These samples, `later` ticks later, are what ffprobe sees in a file.
fn assert_same(shop: &TempDir, name: &str, samples: &[Sample], later: i64) {
    let packets = packets(shop, name);
    let seen: Vec<_> = packets.iter().map(|packet| packet.essence).collect();
    let expected: Vec<Essence> =
        samples.iter().map(|it| (it.pts + later, it.dts + later, it.data.len(), it.sync)).collect();
    assert_eq!(seen, expected, "{name}");
    // ffmpeg cuts the last packet of encoded sound short; ffprobe does not believe it.
    let (_, samples) = samples.split_last().expect("there are samples");
    let known: Vec<_> = packets.iter().zip(samples).filter(|(packet, _)| packet.duration.is_some()).collect();
    assert!(known.len() * 10 >= samples.len() * 9, "{name}: {} durations of {}", known.len(), samples.len());
    for (packet, sample) in known {
        assert_eq!(packet.duration, Some(sample.duration), "{name}: {packet:?}");
    }
}

/// What a decoder makes of a file, which must have nothing to complain of.
fn decoded(shop: &TempDir, name: &str) -> Vec<u8> {
    ffmpeg(shop, &format!("-xerror -i {name} -map 0 -fps_mode passthrough -f md5 -"))
}

/// Reads a pipe, compares with ffprobe, writes it again in segments, compares again.
fn check(shop: &TempDir, arguments: &str) -> (Arc<Track>, Vec<Sample>) {
    let bytes = ffmpeg(shop, arguments);
    std::fs::write(shop.path().join("pipe.mp4"), &bytes).unwrap();
    let (track, samples) = read(&bytes, LEAD);
    assert_same(shop, "pipe.mp4", &samples, LEAD.ticks_in(track.timescale));
    assert!(samples.iter().all(|sample| track.check(sample) == Ok(())), "{arguments}");

    let shift = -samples[0].dts.min(0) + 4_711;
    let mut published = write::init(&track).to_vec();
    for (sequence, segment) in segments(&samples).enumerate() {
        published.extend_from_slice(&write::segment(&track, sequence as u32 + 1, shift, segment).unwrap());
    }
    std::fs::write(shop.path().join("ours.mp4"), &published).unwrap();
    assert_same(shop, "ours.mp4", &samples, shift);
    assert_eq!(decoded(shop, "ours.mp4"), decoded(shop, "pipe.mp4"), "{arguments}");
    (track, samples)
}

/// Video from key to key, audio in the ten packets of a part.
fn segments(samples: &[Sample]) -> impl Iterator<Item = &[Sample]> {
    let audio = samples.iter().all(|sample| sample.sync);
    let mut count = 0;
    samples.chunk_by(move |_, next| {
        count += 1;
        if audio { count % 10 != 0 } else { !next.sync }
    })
}

fn transport_stream(shop: &TempDir) {
    ffmpeg(shop, &format!("{SOURCE} source.ts"));
}

#[test]
fn copied_video_with_b_frames_is_exact() {
    let Some(shop) = workshop() else { return };
    transport_stream(&shop);
    let (track, samples) = check(&shop, &format!("-i source.ts -map 0:v:0 -c copy {TIMES} {VIDEO_PIPE}"));
    assert_eq!(track.codec(), "avc1.4d401e");
    assert_eq!(track.media, Media::Video { width: 160, height: 90 });
    let first = &samples[0];
    assert!(first.sync);
    assert_eq!(
        first.pts - first.dts,
        Time::from_millis(80).ticks_in(track.timescale),
        "two pictures of delay"
    );
    // Audio begins the stream, one priming packet before the picture.
    assert!((0..=1_921).contains(&first.pts), "{}", first.pts);
}

#[test]
fn copied_audio_is_exact_whatever_its_bit_rate() {
    let Some(shop) = workshop() else { return };
    let mut tracks = Vec::new();
    for rate in ["48k", "160k"] {
        ffmpeg(&shop, &format!("{SOURCE} -b:a {rate} source.ts"));
        let arguments = format!("-i source.ts -map 0:a:0 -c copy -bsf:a aac_adtstoasc {TIMES} {AUDIO_PIPE}");
        tracks.push(check(&shop, &arguments).0);
    }
    assert_eq!(tracks[0].codec(), "mp4a.40.2");
    assert_eq!(tracks[0].media, Media::Audio { sample_rate: 48_000, channels: 1 });
    assert!(tracks[0].same_configuration(&tracks[1]));
    assert_eq!(write::init(&tracks[0]), write::init(&tracks[1]));
}

#[test]
fn encoded_audio_begins_with_its_priming_before_zero() {
    let Some(shop) = workshop() else { return };
    let (track, samples) =
        check(&shop, &format!("-f lavfi -i sine=440:r=44100:d=3 -ac 2 -c:a aac {TIMES} {AUDIO_PIPE}"));
    assert_eq!(track.media, Media::Audio { sample_rate: 44_100, channels: 2 });
    assert_eq!((samples[0].pts, samples[1].pts), (-1_024, 0));
}

#[test]
fn encoded_video_at_an_odd_rate_is_exact_whatever_its_bit_rate() {
    let Some(shop) = workshop() else { return };
    let encode = "-f lavfi -i testsrc2=s=160x90:r=30000/1001:d=3 -c:v libx264 -preset veryfast -bf 0 -crf 30 \
        -pix_fmt yuv420p -level 3.0 -g 30 -enc_time_base 1001:30000 -video_track_timescale 90000";
    let mut tracks = Vec::new();
    for rate in [300, 900] {
        let (track, samples) =
            check(&shop, &format!("{encode} -maxrate {rate}k -bufsize {rate}k {TIMES} {VIDEO_PIPE}"));
        let shown: Vec<_> = samples.iter().map(|sample| (sample.dts, sample.pts)).collect();
        assert_eq!(shown, (0..90).map(|n| (n * 3_003, n * 3_003)).collect::<Vec<_>>());
        tracks.push(track);
    }
    assert!(tracks[0].same_configuration(&tracks[1]));
    assert_eq!(write::init(&tracks[0]), write::init(&tracks[1]));
}

#[test]
fn live_pipes_are_exact() {
    let Some(shop) = workshop() else { return };
    transport_stream(&shop);
    let (_, video) = check(&shop, &format!("-i source.ts -map 0:v:0 -c copy {TIMES} {LIVE_PIPE}"));
    let (_, audio) =
        check(&shop, &format!("-i source.ts -map 0:a:0 -c copy -bsf:a aac_adtstoasc {TIMES} {LIVE_PIPE}"));
    assert_eq!(video.iter().filter(|sample| sample.sync).count(), 3);
    assert!(audio.iter().all(|sample| sample.sync));
}

#[test]
fn hevc_is_exact() {
    let Some(shop) = workshop() else { return };
    ffmpeg(
        &shop,
        "-f lavfi -i testsrc2=s=160x90:r=25:d=2 -pix_fmt yuv420p -c:v libx265 -preset ultrafast \
         -x265-params log-level=error:keyint=25:bframes=3:level-idc=2.1 source.ts",
    );
    let (track, samples) =
        check(&shop, &format!("-i source.ts -map 0:v:0 -c copy -tag:v hvc1 {TIMES} {VIDEO_PIPE}"));
    assert_eq!(track.codec(), "hvc1.1.6.L63.90");
    assert!(samples[0].sync && samples[0].pts > samples[0].dts);
}

#[test]
fn dolby_and_mp3_are_exact() {
    let Some(shop) = workshop() else { return };
    let cases = [("ac3", "ac-3", 6), ("eac3", "ec-3", 6), ("libmp3lame -ac 2", "mp4a.6B", 2)];
    for (encoder, name, expected) in cases {
        let (track, _) = check(
            &shop,
            &format!("-f lavfi -i anoisesrc=r=48000:d=1 -ac 6 -c:a {encoder} {TIMES} {AUDIO_PIPE}"),
        );
        assert_eq!(track.codec(), name);
        assert_eq!(track.media, Media::Audio { sample_rate: 48_000, channels: expected });
    }
}

#[test]
fn pixel_aspect_and_colours_are_kept() {
    let Some(shop) = workshop() else { return };
    let encode = "-f lavfi -i testsrc2=s=160x90:r=25:d=1 -vf setsar=4/3 -pix_fmt yuv420p -c:v libx264 -preset veryfast \
        -bf 0 -color_primaries bt709 -color_trc bt709 -colorspace bt709";
    check(&shop, &format!("{encode} {TIMES} {VIDEO_PIPE}"));
    let shown = "-v error -show_entries stream=sample_aspect_ratio,color_space,color_primaries -of default";
    let of = |name: &str| run(shop.path(), "ffprobe", &format!("{shown} {name}")).unwrap();
    assert_eq!(of("ours.mp4"), of("pipe.mp4"));
    assert!(String::from_utf8_lossy(&of("ours.mp4")).contains("sample_aspect_ratio=4:3"));
}

#[test]
fn a_change_of_the_picture_in_mid_stream_is_noticed() {
    let Some(shop) = workshop() else { return };
    for (name, size) in [("one", "160x90"), ("two", "320x180")] {
        ffmpeg(
            &shop,
            &format!(
                "-f lavfi -i testsrc2=s={size}:r=25:d=1 -pix_fmt yuv420p -c:v libx264 -preset veryfast -g 25 {name}.ts"
            ),
        );
    }
    let join = [std::fs::read(shop.path().join("one.ts")), std::fs::read(shop.path().join("two.ts"))];
    let joined: Vec<u8> = join.into_iter().flat_map(|part| part.unwrap()).collect();
    std::fs::write(shop.path().join("joined.ts"), joined).unwrap();
    let (track, samples) =
        read(&ffmpeg(&shop, &format!("-v fatal -i joined.ts -map 0:v:0 -c copy {TIMES} {VIDEO_PIPE}")), LEAD);
    let faults: Vec<_> = samples.iter().filter_map(|sample| track.check(sample).err()).collect();
    assert_eq!(faults, [super::super::SampleFault::Changed]);
}
