//! True media, made by ffmpeg once a target directory and shared by all tests.
//!
//! Every frame carries its own number, and every second has a mark in picture and sound, so that a test can
//! say exactly which frames it got and how far the sound lies from them:
//!
//! - The top 24 rows are 16 cells side by side. Cell *i* is white where bit *i* of the frame's number is 1.
//! - In the first 40 ms of every second there is a beep of 600 Hz + 20 Hz a second over a quiet 220 Hz hum. A hole
//!   in the sound is a break in the hum.
//!
//! The channel is ten minutes long, so its numbers rise for longer than any test lasts. The clips are of eight
//! seconds or so, one for each kind of file that behaves in a way of its own.

#![expect(clippy::disallowed_methods, reason = "the rule is the engine's; these are the tests' own tools")]

mod altered;
mod recipes;

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use recipes::{DERIVED, SIDE, originals};
pub use recipes::{lines, picture, sound};

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

/// Names this set: another recipe makes another directory.
fn fingerprint() -> u64 {
    let mut hasher = DefaultHasher::new();
    (originals(), DERIVED, SIDE, recipes::subrip(), altered::EDITION).hash(&mut hasher);
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
    fs::write(directory.join("lines.srt"), recipes::subrip()).expect("the target directory can be written");
    for (file, arguments) in SIDE.iter().chain(&DERIVED) {
        ffmpeg(directory, &arguments.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), file);
    }
    altered::make(directory).expect("the target directory can be written");
    altered::make_bad(directory).expect("the target directory can be written");
}

/// A file that only some ask for, such as one large enough to time: made now if it isn't there yet.
///
/// # Panics
///
/// Where ffmpeg is missing or refuses.
pub fn extra(file: &str, size: (u32, u32), rate: &str, seconds: u32, rest: &str) -> PathBuf {
    let mut arguments: Vec<String> = Vec::new();
    for source in [picture(size, rate, seconds), sound(seconds)] {
        arguments.extend(["-f".to_owned(), "lavfi".to_owned(), "-i".to_owned(), source]);
    }
    arguments.extend(rest.split_whitespace().map(str::to_owned));
    let mut hasher = DefaultHasher::new();
    arguments.hash(&mut hasher);
    let shelf = built::target_directory().join("sluice-media");
    let directory = shelf.join(format!("extra-{:016x}", hasher.finish()));
    fs::create_dir_all(&directory).expect("the target directory can be written");
    let path = directory.join(file);
    if !path.is_file() {
        let making = format!("making-{file}");
        ffmpeg(&directory, &arguments, &making);
        fs::rename(directory.join(making), &path).expect("a file can be renamed where it lies");
    }
    path
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
