//! Transport streams before the real ffmpeg: films cut into segments that are written apart from each other,
//! alone and joined. It must see every packet where it belongs, decode what the fragmented MP4 of the same
//! samples decodes to, and have nothing to complain of.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;

use super::super::{Sample, Time, Track, ts, write};
use super::ffmpeg::{AUDIO_PIPE, SOURCE, TIMES, VIDEO_PIPE, ffmpeg, run_with_complaints, workshop};
use super::{LEAD, read};

/// What transport streams are later than what is published otherwise.
const ROOM: Time = Time::from_secs(10);

struct Medium {
    track: Arc<Track>,
    /// One list for each segment.
    segments: Vec<Vec<Sample>>,
}

impl Medium {
    fn from_pipe(shop: &TempDir, arguments: &str) -> (Arc<Track>, Vec<Sample>) {
        let (track, mut samples) = read(&ffmpeg(shop, arguments), LEAD);
        // Priming lies before the film.
        samples.retain(|sample| sample.pts >= 0);
        (track, samples)
    }

    /// Cut at its key pictures, whose times are the cuts of the sound as well.
    fn video(shop: &TempDir, arguments: &str) -> (Medium, Vec<Time>) {
        let (track, samples) = Medium::from_pipe(shop, arguments);
        let segments: Vec<_> = samples.chunk_by(|_, next| !next.sync).map(<[_]>::to_vec).collect();
        let cuts = segments[1..].iter().map(|samples| Time::new(samples[0].pts, track.timescale)).collect();
        (Medium { track, segments }, cuts)
    }

    fn audio(shop: &TempDir, arguments: &str, cuts: &[Time]) -> Medium {
        let (track, samples) = Medium::from_pipe(shop, arguments);
        let place = |it: &Sample| cuts.partition_point(|cut| *cut <= Time::new(it.pts, track.timescale));
        let segments: Vec<_> = samples.chunk_by(|a, b| place(a) == place(b)).map(<[_]>::to_vec).collect();
        assert_eq!(segments.len(), cuts.len() + 1);
        Medium { track, segments }
    }

    fn published(&self, delay: Time) -> Vec<Bytes> {
        let later = delay.ticks_in(self.track.timescale);
        let segment = |(n, samples): (usize, &Vec<Sample>)| {
            write::segment(&self.track, n as u32 + 1, later, samples).expect("it can be written")
        };
        self.segments.iter().enumerate().map(segment).collect()
    }

    /// Presentation and decode time of every sample in a transport stream.
    fn times(&self, shift: Time) -> Vec<(i64, i64)> {
        let ticks = |time| (Time::new(time, self.track.timescale) + shift).ticks_in(90_000);
        self.segments.iter().flatten().map(|it| (ticks(it.pts), ticks(it.dts))).collect()
    }

    fn count(&self) -> usize {
        self.segments.iter().map(Vec::len).sum()
    }
}

/// What a program prints that must have nothing to complain of.
fn quiet(shop: &TempDir, program: &str, arguments: &str) -> String {
    let (output, complaints) =
        run_with_complaints(shop.path(), program, arguments).expect("ffmpeg is there with its tools");
    assert_eq!(complaints, "", "{program} {arguments}");
    String::from_utf8(output).unwrap()
}

/// The hashes of every decoded frame of one kind (`v`, `a`).
fn frames(shop: &TempDir, name: &str, kind: &str) -> Vec<String> {
    let decode = "-nostdin -hide_banner -v warning -xerror";
    quiet(shop, "ffmpeg", &format!("{decode} -i {name} -map 0:{kind}:0 -fps_mode passthrough -f framemd5 -"))
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit(',').next().unwrap().trim().to_owned())
        .collect()
}

/// The times of every packet of one kind.
fn packets(shop: &TempDir, name: &str, kind: &str) -> Vec<(i64, i64)> {
    let shown = format!("-v warning -select_streams {kind}:0 -show_entries packet=pts,dts -of csv=p=0");
    quiet(shop, "ffprobe", &format!("{shown} {name}"))
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let mut fields = line.split(',').map(|field| field.parse().unwrap_or_else(|_| panic!("{line}")));
            (fields.next().unwrap(), fields.next().unwrap())
        })
        .collect()
}

/// Writes every segment for itself, and looks at each alone and at all of them joined.
fn check(shop: &TempDir, video: Option<&Medium>, audio: Option<&Medium>) {
    let media = [("v", video), ("a", audio)];
    let media = media.iter().filter_map(|(kind, medium)| medium.map(|medium| (*kind, medium)));
    let delay = video.map_or(Time::ZERO, |video| {
        let first = &video.segments[0][0];
        Time::new(first.pts - first.dts, video.track.timescale)
    });
    let published: Vec<_> = [video, audio].iter().map(|it| it.map(|it| it.published(delay))).collect();
    let count = media.clone().next().unwrap().1.segments.len();
    assert!(count > 2);
    let mut joined = Vec::new();
    for n in 0..count {
        let of = |at: usize| published[at].as_ref().map(|segments| &segments[n]);
        let remuxed =
            ts::remux(video.map(|it| &*it.track).zip(of(0)), audio.map(|it| &*it.track).zip(of(1)), ROOM)
                .unwrap();
        let samples = |it: Option<&Medium>| it.map(|it| it.segments[n].clone());
        let (pictures, sound) = (samples(video), samples(audio));
        let direct = ts::segment(
            video.map(|it| &*it.track).zip(pictures.as_deref()),
            audio.map(|it| &*it.track).zip(sound.as_deref()),
            delay + ROOM,
        );
        assert_eq!(direct.unwrap(), remuxed);
        std::fs::write(shop.path().join("alone.ts"), &remuxed).unwrap();
        for (kind, medium) in media.clone() {
            let alone = frames(shop, "alone.ts", kind).len();
            assert_eq!(alone, medium.segments[n].len(), "segment {n} alone, {kind}");
        }
        joined.extend_from_slice(&remuxed);
    }
    std::fs::write(shop.path().join("joined.ts"), &joined).unwrap();
    for (kind, medium) in media {
        let (seen, expected) = (packets(shop, "joined.ts", kind), medium.times(delay + ROOM));
        assert_eq!(seen.len(), expected.len(), "{kind}");
        // Within a unit of sound ffmpeg counts for itself; where a packet is no whole number of ticks, it rounds
        // otherwise than we do.
        let off = i64::from(kind == "a" && medium.track.timescale == 44_100);
        for (seen, expected) in seen.iter().zip(&expected) {
            assert!(
                (seen.0 - expected.0).abs() <= off && (seen.1 - expected.1).abs() <= off,
                "{seen:?} {expected:?}"
            );
        }
        let mut fragmented = write::init(&medium.track).to_vec();
        medium.published(delay).iter().for_each(|segment| fragmented.extend_from_slice(segment));
        std::fs::write(shop.path().join("fragmented.mp4"), &fragmented).unwrap();
        let decoded = frames(shop, "joined.ts", kind);
        assert_eq!(decoded, frames(shop, "fragmented.mp4", kind), "{kind}");
        assert_eq!(decoded.len(), medium.count());
        if kind == "v" {
            // The test picture never looks the same twice, so none was lost for another one.
            assert_eq!(decoded.iter().collect::<HashSet<_>>().len(), decoded.len());
        }
    }
}

fn steps(times: &[(i64, i64)]) -> HashSet<i64> {
    times.windows(2).map(|pair| pair[1].1 - pair[0].1).collect()
}

#[test]
fn a_copied_film_with_b_frames_is_exact() {
    let Some(shop) = workshop() else { return };
    ffmpeg(&shop, &format!("{SOURCE} source.ts"));
    let (video, cuts) =
        Medium::video(&shop, &format!("-i source.ts -map 0:v:0 -c copy {TIMES} {VIDEO_PIPE}"));
    let arguments = format!("-i source.ts -map 0:a:0 -c copy -bsf:a aac_adtstoasc {TIMES} {AUDIO_PIPE}");
    let audio = Medium::audio(&shop, &arguments, &cuts);
    assert!(video.segments[0][0].pts > video.segments[0][0].dts);
    check(&shop, Some(&video), Some(&audio));
    assert_eq!(steps(&packets(&shop, "joined.ts", "v")), HashSet::from([3_600]));
    assert_eq!(steps(&packets(&shop, "joined.ts", "a")), HashSet::from([1_920]));
}

#[test]
fn an_encoded_film_at_an_odd_rate_is_exact() {
    let Some(shop) = workshop() else { return };
    let encode = "-f lavfi -i testsrc2=s=640x360:r=30000/1001:d=3,noise=alls=40:allf=t -c:v libx264 -preset veryfast -bf 0 -crf 4 \
        -pix_fmt yuv420p -g 30 -enc_time_base 1001:30000 -video_track_timescale 90000";
    let (video, cuts) = Medium::video(&shop, &format!("{encode} {TIMES} {VIDEO_PIPE}"));
    let sound = "-f lavfi -i sine=440:r=44100:d=3 -ac 2 -c:a aac -b:a 192k";
    let audio = Medium::audio(&shop, &format!("{sound} {TIMES} {AUDIO_PIPE}"), &cuts);
    let largest = video.segments.iter().flatten().map(|sample| sample.data.len()).max();
    assert!(largest > Some(0xffff), "a picture whose length the header has no room for: {largest:?}");
    check(&shop, Some(&video), Some(&audio));
    assert_eq!(steps(&packets(&shop, "joined.ts", "v")), HashSet::from([3_003]));
    let audio_steps = steps(&packets(&shop, "joined.ts", "a"));
    assert!(audio_steps.iter().all(|step| (2_089..=2_091).contains(step)), "{audio_steps:?}");
}

#[test]
fn sound_alone_is_exact() {
    let Some(shop) = workshop() else { return };
    let cuts = [Time::from_millis(1_500), Time::from_secs(3), Time::from_millis(4_500)];
    for rate in [48_000, 44_100, 24_000] {
        let sound = format!("-f lavfi -i sine=440:r={rate}:d=6 -ac 2 -c:a aac");
        let audio = Medium::audio(&shop, &format!("{sound} {TIMES} {AUDIO_PIPE}"), &cuts);
        check(&shop, None, Some(&audio));
    }
}

#[test]
fn pictures_alone_are_exact() {
    let Some(shop) = workshop() else { return };
    let slow =
        "-f lavfi -i testsrc2=s=160x90:r=2:d=9 -c:v libx264 -preset veryfast -bf 2 -g 6 -pix_fmt yuv420p";
    let (video, _) = Medium::video(&shop, &format!("{slow} {TIMES} {VIDEO_PIPE}"));
    check(&shop, Some(&video), None);
}

#[test]
fn hevc_is_exact() {
    let Some(shop) = workshop() else { return };
    ffmpeg(
        &shop,
        "-f lavfi -i testsrc2=s=160x90:r=25:d=4 -pix_fmt yuv420p -c:v libx265 -preset ultrafast \
         -x265-params log-level=error:keyint=25:bframes=3:open-gop=0 source.ts",
    );
    for tag in ["hvc1", "hev1"] {
        let arguments = format!("-i source.ts -map 0:v:0 -c copy -tag:v {tag} {TIMES} {VIDEO_PIPE}");
        let (video, _) = Medium::video(&shop, &arguments);
        check(&shop, Some(&video), None);
    }
}
