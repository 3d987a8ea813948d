//! True media, made by ffmpeg once a target directory and shared by all tests.
//!
//! Every frame carries its own number, and every second has a mark in picture and sound, so that a test can
//! say exactly which frames it got and how far the sound lies from them:
//!
//! - The top 24 rows are 16 cells side by side. Cell *i* is white where bit *i* of the frame's number is 1.
//! - In the first 40 ms of every second there is a beep of 600 Hz + 20 Hz a second over a quiet 220 Hz hum. A hole
//!   in the sound is a break in the hum.
//!
//! The channel is ten minutes long, so its numbers rise for longer than any test lasts.

#![expect(clippy::disallowed_methods, reason = "the rule is the engine's; these are the tests' own tools")]

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::built;

/// Frames a second of all media here but those that say otherwise.
pub const RATE: u32 = 25;
/// Seconds of the film.
pub const FILM: u32 = 30;
/// Seconds of the channel before it begins anew.
pub const CHANNEL: u32 = 600;

/// The directory with the media in it.
#[derive(Debug, Clone)]
pub struct Media {
    directory: PathBuf,
}

impl Media {
    /// The media, made now if this target directory has none yet. The first caller takes half a minute, and
    /// other test programs wait for it.
    ///
    /// # Panics
    ///
    /// Where ffmpeg is missing or refuses.
    pub fn ready() -> &'static Self {
        static READY: OnceLock<Media> = OnceLock::new();
        READY.get_or_init(|| {
            let shelf = built::target_directory().join("sluice-media");
            let directory = shelf.join(format!("{:016x}", fingerprint()));
            fs::create_dir_all(&shelf).expect("the target directory can be written");
            let lock = File::create(shelf.join("lock")).expect("the target directory can be written");
            // Let go of with the file, also when this process is killed half-way.
            rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
                .expect("files here can be locked");
            if !directory.is_dir() {
                let making = shelf.join("making");
                if making.exists() {
                    fs::remove_dir_all(&making).expect("what an earlier try left can be removed");
                }
                fs::create_dir_all(&making).expect("the target directory can be written");
                make(&making);
                fs::rename(&making, &directory).expect("a directory can be renamed beside itself");
            }
            Self { directory }
        })
    }

    /// The path of a file, such as `film.mp4` or `bad/page.html`.
    ///
    /// # Panics
    ///
    /// Where there is no such file.
    pub fn path(&self, name: &str) -> PathBuf {
        let path = self.directory.join(name);
        assert!(path.is_file(), "there is no {name} among the media");
        path
    }

    /// The directory they all lie in.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// A file and the arguments that make it.
struct Recipe {
    file: &'static str,
    arguments: Vec<String>,
}

/// What needs nothing but ffmpeg, the dearest first, so that two can work side by side to the end.
fn originals() -> Vec<Recipe> {
    let film = |seconds, rate| [picture((640, 360), rate, seconds), sound(seconds)];
    let h264 = "-c:v libx264 -preset veryfast -crf 30 -g 50 -keyint_min 50 -sc_threshold 0";
    let recipe = |file, [video, audio]: [String; 2], rest: String| Recipe {
        file,
        arguments: ["-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &audio]
            .into_iter()
            .map(str::to_owned)
            .chain(rest.split_whitespace().map(str::to_owned))
            .collect(),
    };
    vec![
        recipe(
            "channel.ts",
            [picture((320, 180), "25", CHANNEL), sound(CHANNEL)],
            format!("{h264} -c:a aac -b:a 64k -f mpegts"),
        ),
        recipe("film.mp4", film(FILM, "25"), format!("{h264} -c:a aac -b:a 96k -movflags +faststart")),
        recipe(
            "hevc.mp4",
            film(8, "25"),
            "-c:v libx265 -preset ultrafast -crf 32 -x265-params keyint=50:min-keyint=50:log-level=none -tag:v hvc1 \
             -c:a aac -b:a 96k"
                .to_owned(),
        ),
        // As a DVB channel in 576i sends it: each frame is woven from two pictures, the upper field first.
        recipe(
            "interlaced.ts",
            [picture((720, 576), "50", 8), sound(8)],
            "-vf interlace=scan=tff,setsar=16/11 -c:v mpeg2video -b:v 2500k -maxrate 4000k -bufsize 2M -g 12 -bf 2 \
             -flags +ildct+ilme -top 1 -c:a mp2 -b:a 192k -f mpegts"
                .to_owned(),
        ),
        // A key frame each ten seconds, too far apart to cut at.
        recipe("sparse.mp4", film(22, "25"), format!("{h264} -g 250 -keyint_min 250 -c:a aac -b:a 96k")),
        recipe("ntsc.mp4", film(10, "30000/1001"), format!("{h264} -ar 44100 -c:a aac -b:a 96k")),
    ]
}

/// What is made of an original by copying: the file, what it is made of, how.
const COPIES: [(&str, &str, &str); 6] = [
    ("film.mkv", "film.mp4", ""),
    ("film.ts", "film.mp4", "-f mpegts"),
    ("index_last.mp4", "film.mp4", ""),
    ("video_only.mp4", "film.mp4", "-an -movflags +faststart"),
    ("audio_only.m4a", "film.mp4", "-vn -movflags +faststart"),
    ("short.mp4", "film.mp4", "-t 6 -movflags +faststart"),
];

/// Names this set: another recipe makes another directory.
fn fingerprint() -> u64 {
    let mut hasher = DefaultHasher::new();
    for recipe in originals() {
        (recipe.file, recipe.arguments).hash(&mut hasher);
    }
    COPIES.hash(&mut hasher);
    hasher.finish()
}

fn make(directory: &Path) {
    // Two lanes for two cores: the channel takes as long as all others together.
    let mut recipes = originals();
    let others = recipes.split_off(1);
    std::thread::scope(|scope| {
        for lane in [recipes, others] {
            scope.spawn(move || {
                for recipe in lane {
                    ffmpeg(directory, &recipe.arguments, recipe.file);
                }
            });
        }
    });
    for (file, of, how) in COPIES {
        let arguments = format!("-i {of} {how} -c copy");
        ffmpeg(directory, &arguments.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), file);
    }
    make_bad(directory).expect("the target directory can be written");
}

/// What no engine should take for media, or not for long.
fn make_bad(directory: &Path) -> std::io::Result<()> {
    let bad = directory.join("bad");
    fs::create_dir_all(&bad)?;
    fs::write(bad.join("zero.mp4"), [])?;
    fs::write(
        bad.join("page.html"),
        "<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Please sign in</h1></body></html>\n",
    )?;
    fs::write(bad.join("error.json"), "{\"user\":{\"active\":false},\"error\":\"account expired\"}\n")?;
    // Noise from a generator that starts the same way each time (xorshift), so a finding can be had again.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let garbage: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(50_000)
    .flatten()
    .collect();
    fs::write(bad.join("garbage.ts"), garbage)?;
    for (file, of, length) in [
        ("truncated.mp4", "film.mp4", 600_000),
        ("index_lost.mp4", "index_last.mp4", 600_000),
        ("truncated.ts", "film.ts", 600_007),
    ] {
        let whole = fs::read(directory.join(of))?;
        fs::write(bad.join(file), whole.get(..length).unwrap_or(&whole))?;
    }
    Ok(())
}

fn ffmpeg(directory: &Path, arguments: &[String], file: &str) {
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y"])
        .args(arguments)
        .arg(file)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("the tests need ffmpeg: {error}"));
    assert!(made.status.success(), "ffmpeg could not make {file}: {}", String::from_utf8_lossy(&made.stderr));
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
