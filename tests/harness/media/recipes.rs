//! How each file is made: arguments of ffmpeg, in the order in which they build on each other.

use super::{CHANNEL, FILM};

/// A file and the arguments that make it.
#[derive(Hash)]
pub(super) struct Recipe {
    pub(super) file: &'static str,
    pub(super) arguments: Vec<String>,
}

/// Small, with a key frame every two seconds.
const H264: &str = "-c:v libx264 -preset veryfast -crf 30 -g 50 -keyint_min 50 -sc_threshold 0";
/// The same in ten bits, which no player shows: whatever carries it has to be encoded.
const DEEP: &str =
    "-c:v libx264 -preset veryfast -crf 30 -g 50 -keyint_min 50 -sc_threshold 0 -pix_fmt yuv420p10le";
const AAC: &str = "-c:a aac -b:a 96k";

/// What needs nothing but ffmpeg, the dearest first, so that two can work side by side to the end.
pub(super) fn originals() -> Vec<Recipe> {
    let large = |file, seconds, rest: &str| original(file, (640, 360), "25", seconds, rest);
    let small = |file, rate, seconds, rest: &str| original(file, (320, 180), rate, seconds, rest);
    let vfr = "-vf select='if(lt(t,3),1,if(lt(t,6),not(mod(n,2)),not(mod(n,7))))' -fps_mode vfr";
    vec![
        small("channel.ts", "25", CHANNEL, &format!("{H264} -c:a aac -b:a 64k -f mpegts")),
        large("film.mp4", FILM, &format!("{H264} {AAC} -movflags +faststart")),
        large(
            "hevc.mp4",
            8,
            &format!(
                "-c:v libx265 -preset ultrafast -crf 32 -x265-params keyint=50:min-keyint=50:log-level=none \
                 -tag:v hvc1 {AAC}"
            ),
        ),
        // As a DVB channel in 576i sends it: each frame is woven from two pictures, the upper field first.
        original(
            "interlaced.ts",
            (720, 576),
            "50",
            8,
            "-vf interlace=scan=tff,setsar=16/11 -c:v mpeg2video -b:v 2500k -maxrate 4000k -bufsize 2M -g 12 -bf 2 \
             -flags +ildct+ilme -top 1 -c:a mp2 -b:a 192k -f mpegts",
        ),
        // A key frame each ten seconds, too far apart to cut at.
        small("sparse.mp4", "25", 22, &format!("{H264} -g 250 -keyint_min 250 {AAC}")),
        small("ntsc.mp4", "30000/1001", 10, &format!("{H264} -ar 44100 {AAC}")),
        small("clip.mp4", "25", 8, &format!("{H264} {AAC} -movflags +faststart")),
        small("deep.mp4", "25", 8, &format!("{DEEP} {AAC} -movflags +faststart")),
        // Pictures before a key frame in time come after it in the file, and lean on the group before.
        small(
            "open.mkv",
            "25",
            10,
            &format!(
                "-c:v libx264 -preset veryfast -crf 30 -x264-params \
                 open-gop=1:keyint=50:min-keyint=50:scenecut=0:bframes=3:b-adapt=0 {AAC}"
            ),
        ),
        small(
            "irregular.mp4",
            "25",
            14,
            &format!(
                "-c:v libx264 -preset veryfast -crf 30 -g 250 -sc_threshold 0 \
                 -force_key_frames 0,0.4,2.2,3,5.4,5.6,8.48,12,12.04 {AAC}"
            ),
        ),
        small("cinema.mp4", "24000/1001", 8, &format!("{DEEP} {AAC}")),
        small("ntsc_deep.mp4", "30000/1001", 8, &format!("{DEEP} -ar 44100 {AAC}")),
        small("fifty.mp4", "50", 8, &format!("{DEEP} {AAC}")),
        small("sixty.mp4", "60000/1001", 8, &format!("{DEEP} {AAC}")),
        // All frames, then every other, then one of seven.
        small("vfr.mp4", "25", 9, &format!("{vfr} {H264} -g 25 -keyint_min 1 {AAC}")),
        small("vfr_deep.mp4", "25", 9, &format!("{vfr} {DEEP} {AAC}")),
        // No presentation times in the container.
        small("clip.avi", "25", 8, "-c:v mpeg4 -vtag xvid -q:v 6 -bf 2 -g 50 -c:a libmp3lame -b:a 96k"),
        small(
            "clip.webm",
            "25",
            8,
            "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 300k -g 50 -c:a libopus -b:a 64k",
        ),
    ]
}

/// What is made of others without encoding their picture again, in order.
pub(super) const DERIVED: [(&str, &str); 32] = [
    ("film.mkv", "-i film.mp4 -c copy"),
    ("film.ts", "-i film.mp4 -c copy -f mpegts"),
    ("index_last.mp4", "-i film.mp4 -c copy"),
    ("video_only.mp4", "-i film.mp4 -an -c copy -movflags +faststart"),
    ("audio_only.m4a", "-i film.mp4 -vn -c copy -movflags +faststart"),
    ("audio_only.mp3", "-i film.mp4 -t 12 -vn -c:a libmp3lame -b:a 96k"),
    ("short.mp4", "-i film.mp4 -t 6 -c copy -movflags +faststart"),
    ("long.mp4", "-i channel.ts -c copy -bsf:a aac_adtstoasc -movflags +faststart"),
    ("silent.mp4", "-i clip.mp4 -an -c copy"),
    ("clip.mkv", "-i clip.mp4 -c copy"),
    ("clip.ts", "-i clip.mp4 -c copy -f mpegts"),
    ("clip_index_last.mp4", "-i clip.mp4 -c copy"),
    // Fragments: with an index in front, with one at the end, with none.
    (
        "sidx.mp4",
        "-i clip.mp4 -c copy -movflags +frag_keyframe+delay_moov+default_base_moof+global_sidx+skip_trailer",
    ),
    ("mfra.mp4", "-i clip.mp4 -c copy -movflags +frag_keyframe+delay_moov+default_base_moof"),
    ("bare.mp4", "-i clip.mp4 -c copy -movflags +frag_keyframe+delay_moov+default_base_moof+skip_trailer"),
    // Clocks that do not begin at 0, and one whose 33 bits are full after about five seconds.
    ("late.ts", "-i clip.mp4 -c copy -copyts -output_ts_offset 3600 -f mpegts"),
    ("wrap.ts", "-i clip.mp4 -c copy -copyts -output_ts_offset 95437.5 -f mpegts"),
    ("moved.mkv", "-i clip.mp4 -c copy -output_ts_offset 5"),
    ("moved.mp4", "-i clip.mp4 -c copy -output_ts_offset 5"),
    ("open.ts", "-i open.mkv -c copy -f mpegts"),
    ("deep.mkv", "-i deep.mp4 -c copy"),
    ("deep.ts", "-i deep.mp4 -c copy -f mpegts"),
    ("deep_late.ts", "-i deep.mp4 -c copy -copyts -output_ts_offset 3600 -f mpegts"),
    ("deep_wrap.ts", "-i deep.mp4 -c copy -copyts -output_ts_offset 95437.5 -f mpegts"),
    ("cinema.mkv", "-i cinema.mp4 -c copy"),
    ("sixty.ts", "-i sixty.mp4 -c copy -f mpegts"),
    ("late_sound.mp4", "-i clip.mp4 -itsoffset 0.3 -i clip.mp4 -map 0:v -map 1:a -c copy"),
    ("early_end.mp4", "-i clip.mp4 -t 5 -i clip.mp4 -map 0:v -map 1:a -c copy"),
    // It begins in the middle of a group; an edit list hides what stands before.
    ("edited.mp4", "-ss 3 -i clip.mp4 -c copy"),
    (
        "tracks.mkv",
        "-i film.mp4 -i lines.srt -i lines.ass -filter_complex [0:a]pan=5.1|c0=c0|c1=c1|c4=0.5*c0|c5=0.5*c1[fr] \
         -map 0:v -map 0:a -map [fr] -map 1 -map 1 -map 2 -c:v copy -c:a:0 copy -c:a:1 ac3 -b:a:1 256k \
         -c:s:0 srt -c:s:1 srt -c:s:2 ass -metadata:s:a:0 language=eng -metadata:s:a:0 title=Stereo \
         -metadata:s:a:1 language=fre -metadata:s:a:1 title=Surround -metadata:s:s:0 language=eng \
         -metadata:s:s:1 language=ger -metadata:s:s:2 language=fre",
    ),
    (
        "subtitled.mp4",
        "-i film.mp4 -i lines.srt -map 0:v -map 0:a -map 1 -c copy -c:s mov_text -metadata:s:s:0 language=eng",
    ),
    ("cover.m4a", "-i audio_only.m4a -i cover.png -map 0 -map 1 -c copy -disposition:v:0 attached_pic -t 12"),
];

/// What the derived ones need besides: the file and its arguments.
pub(super) const SIDE: [(&str, &str); 2] =
    [("cover.png", "-f lavfi -i color=blue:size=64x64 -frames:v 1"), ("lines.ass", "-i lines.srt")];

/// The lines of the film's subtitles: when each is shown, until when, in seconds, and what it says. One begins every
/// two seconds, and one in the middle stays for so long that it belongs to several segments.
pub fn lines() -> Vec<(f64, f64, String)> {
    let mut lines: Vec<(f64, f64, String)> = (0..FILM / 2)
        .map(|n| (f64::from(2 * n), f64::from(2 * n) + 1.5, format!("Line {n} at {} s", 2 * n)))
        .collect();
    lines.push((14.5, 21.5, "A line that stays".to_owned()));
    lines.sort_by(|one, other| one.0.total_cmp(&other.0));
    lines
}

/// The same as a SubRip file.
pub(super) fn subrip() -> String {
    let at = |seconds: f64| format!("00:00:{:02},{:03}", seconds as u32, (seconds.fract() * 1000.0) as u32);
    let number = |(n, (from, to, text)): (usize, &(f64, f64, String))| {
        format!("{}\n{} --> {}\n{text}\n\n", n + 1, at(*from), at(*to))
    };
    lines().iter().enumerate().map(number).collect()
}

fn original(file: &'static str, size: (u32, u32), rate: &str, seconds: u32, rest: &str) -> Recipe {
    let (video, audio) = (picture(size, rate, seconds), sound(seconds));
    Recipe {
        file,
        arguments: ["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &audio]
            .into_iter()
            .chain(rest.split_whitespace())
            .map(str::to_owned)
            .collect(),
    }
}

/// A moving picture whose frames carry their number, as a source for `-f lavfi`.
pub fn picture((width, height): (u32, u32), rate: &str, seconds: u32) -> String {
    let cell = width / 16;
    let mut source = format!("testsrc2=size={width}x{height}:rate={rate}:duration={seconds}");
    source += ",drawbox=0:0:iw:24:black:fill";
    for bit in 0..16 {
        source += &format!(",drawbox={}:0:{cell}:24:white:fill:enable='bitand(n,{})'", bit * cell, 1 << bit);
    }
    source + ",format=yuv420p"
}

/// The sound that goes with it.
pub fn sound(seconds: u32) -> String {
    let both = "0.4*sin(2*PI*(600+20*floor(t))*t)*lt(mod(t,1),0.04)+0.1*sin(2*PI*220*t)";
    format!("aevalsrc=exprs='{both}|{both}':sample_rate=48000:duration={seconds}")
}
