//! Reads back what [`media`](crate::media) wrote into picture and sound.
//!
//! Decoding is ffmpeg's, with its clock left as it is in the file (`-copyts`): two renditions of one session
//! are read apart, and their times must still mean the same.

#![expect(clippy::disallowed_methods, reason = "the rule is the engine's; these are the tests' own tools")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::NamedTempFile;
use tokio::process::Command;

use crate::media::RATE;

/// A frame that was shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Picture {
    /// The number it carries.
    pub number: u16,
    /// When it is shown, in seconds.
    pub at: f64,
}

/// What to read.
#[derive(Debug)]
pub struct Input {
    pub(crate) address: PathBuf,
    /// Bytes that had no address of their own; removed with this value.
    _file: Option<NamedTempFile>,
}

impl From<&str> for Input {
    /// A path or an address that ffmpeg can open.
    fn from(address: &str) -> Self {
        Self { address: address.into(), _file: None }
    }
}

impl From<&Path> for Input {
    fn from(path: &Path) -> Self {
        Self { address: path.to_path_buf(), _file: None }
    }
}

impl From<&[u8]> for Input {
    fn from(bytes: &[u8]) -> Self {
        let mut file = NamedTempFile::new().expect("a temporary file can be made");
        file.write_all(bytes).expect("a temporary file can be written");
        Self { address: file.path().to_path_buf(), _file: Some(file) }
    }
}

/// The frames of the first video stream, in the order in which they are shown.
pub async fn pictures(input: impl Into<Input>) -> Vec<Picture> {
    pictures_through(input, "").await
}

/// The same, after these filters of ffmpeg, such as `fps=25`.
pub async fn pictures_through(input: impl Into<Input>, filters: &str) -> Vec<Picture> {
    let comma = if filters.is_empty() { "" } else { "," };
    let chain = format!("{filters}{comma}crop=iw:24:0:0,scale=16:1:flags=area,format=gray,showinfo");
    let arguments = ["-map", "0:v:0", "-vf", &chain, "-fps_mode", "passthrough", "-f", "rawvideo"];
    let (strips, said) = decode(&input.into(), &arguments).await;
    // Ticks and their length, since the times in seconds are rounded.
    let tick = said.lines().find_map(|line| {
        let (_, base) = line.split_once("config in time_base: ")?;
        let (numerator, denominator) = base.split([',', ' ']).next()?.split_once('/')?;
        Some(numerator.parse::<f64>().ok()? / denominator.parse::<f64>().ok()?)
    });
    let ticks: Vec<f64> = said.lines().filter_map(|line| field(line, "showinfo", " pts:")).collect();
    let numbers = strips.chunks_exact(16).map(|strip| {
        strip.iter().enumerate().fold(0, |number, (bit, level)| number | (u16::from(*level > 127) << bit))
    });
    assert_eq!(strips.len() / 16, ticks.len(), "each frame has a time");
    let tick = tick.expect("the filter says how long a tick is");
    numbers.zip(ticks).map(|(number, at)| Picture { number, at: at * tick }).collect()
}

/// The numbers of the frames, in the order in which they are shown.
pub async fn numbers(input: impl Into<Input>) -> Vec<u16> {
    pictures(input).await.into_iter().map(|picture| picture.number).collect()
}

/// When the beeps of the first audio stream begin, in seconds.
pub async fn beeps(input: impl Into<Input>) -> Vec<f64> {
    let chain = "aformat=sample_fmts=s16:sample_rates=48000:channel_layouts=mono,ashowinfo";
    let (samples, said) = decode(&input.into(), &["-map", "0:a:0", "-af", chain, "-f", "s16le"]).await;
    let mut samples = samples.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]));

    let mut found = Vec::new();
    let mut quiet_since = f64::NEG_INFINITY;
    for line in said.lines() {
        let (Some(start), Some(count)) =
            (field(line, "ashowinfo", "pts_time:"), field(line, "ashowinfo", "nb_samples:"))
        else {
            continue;
        };
        for (index, sample) in samples.by_ref().take(count as usize).enumerate() {
            // The hum reaches 0.1 of full scale, a beep 0.5.
            if sample.unsigned_abs() > 8_000 {
                let at = start + index as f64 / 48_000.0;
                if at - quiet_since > 0.5 {
                    found.push(at);
                }
                quiet_since = at;
            }
        }
    }
    found
}

/// How far the sound lies behind the picture, in seconds: the median over all beeps, each against the frame of
/// its second. For media of [`RATE`] frames a second.
///
/// # Panics
///
/// Where no beep has a frame near it, since then there is nothing to compare.
pub fn sound_behind_picture(pictures: &[Picture], beeps: &[f64]) -> f64 {
    let marks: Vec<f64> = pictures
        .iter()
        .filter(|picture| u32::from(picture.number) % RATE == 0)
        .map(|picture| picture.at)
        .collect();
    let mut distances: Vec<f64> = beeps
        .iter()
        .filter_map(|beep| {
            marks.iter().map(|mark| beep - mark).min_by(|one, other| one.abs().total_cmp(&other.abs()))
        })
        .filter(|distance| distance.abs() < 0.5)
        .collect();
    assert!(!distances.is_empty(), "no beep ({beeps:?}) lies near a frame that begins a second ({marks:?})");
    distances.sort_by(f64::total_cmp);
    distances[distances.len() / 2]
}

/// Asserts that `numbers` count up by one, so that no frame is missing and none is there twice.
pub fn assert_gapless(numbers: &[u16]) {
    for pair in numbers.windows(2) {
        assert_eq!(pair[1], pair[0].wrapping_add(1), "frame {} comes after frame {}", pair[1], pair[0]);
    }
}

/// What ffmpeg has to complain about when it decodes all of it, line by line.
pub async fn complaints(input: impl Into<Input>) -> Vec<String> {
    let input = input.into();
    let decoded = Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+warning", "-copyts", "-i"])
        .arg(&input.address)
        .args(["-map", "0", "-fps_mode", "passthrough", "-f", "null", "-"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("the tests need ffmpeg");
    String::from_utf8_lossy(&decoded.stderr).lines().map(str::to_owned).collect()
}

pub(crate) async fn decode(input: &Input, output: &[&str]) -> (Vec<u8>, String) {
    let decoded = Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-nostats", "-loglevel", "info", "-copyts", "-i"])
        .arg(&input.address)
        .args(output)
        .arg("pipe:1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("the tests need ffmpeg");
    let said = String::from_utf8_lossy(&decoded.stderr).into_owned();
    assert!(decoded.status.success(), "ffmpeg could not decode {}: {said}", input.address.display());
    (decoded.stdout, said)
}

/// The number after `key` in a line that the filter `filter` wrote. Padding may stand before the number.
pub(crate) fn field(line: &str, filter: &str, key: &str) -> Option<f64> {
    let start = line.find(&format!("Parsed_{filter}"))?;
    let value = line[start..].split_once(key)?.1;
    value.split_whitespace().next()?.parse().ok()
}
