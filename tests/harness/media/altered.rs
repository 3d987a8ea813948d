//! Files that no muxer would write: cut off, damaged, or with a header that says what is not so.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

use crate::boxes;

/// Names this set, as the recipes do: raise it with any change here.
pub(super) const EDITION: u32 = 1;

/// Files with headers that lie, and one that lies on its side.
pub(super) fn make(directory: &Path) -> io::Result<()> {
    for (file, of, factor) in [
        ("promises_more.mp4", "clip.mp4", 1.6),
        ("promises_less.mp4", "clip.mp4", 0.6),
        ("promises_more.mkv", "deep.mkv", 1.6),
        ("promises_less.mkv", "deep.mkv", 0.6),
    ] {
        let mut bytes = fs::read(directory.join(of))?;
        if of.ends_with("mp4") {
            stretch_mp4(&mut bytes, factor)
        } else {
            stretch_matroska(&mut bytes, factor)
        }
        fs::write(directory.join(file), bytes)?;
    }
    for (file, of) in [("turned.mp4", "clip.mp4"), ("turned_deep.mp4", "deep.mp4")] {
        let mut bytes = fs::read(directory.join(of))?;
        turn(&mut bytes);
        fs::write(directory.join(file), bytes)?;
    }
    Ok(())
}

/// What no engine should take for media, or not for long, and what breaks in the middle.
pub(super) fn make_bad(directory: &Path) -> io::Result<()> {
    let bad = directory.join("bad");
    fs::create_dir_all(&bad)?;
    fs::write(bad.join("zero.mp4"), [])?;
    fs::write(
        bad.join("page.html"),
        "<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Please sign in</h1></body></html>\n",
    )?;
    fs::write(bad.join("error.json"), "{\"user\":{\"active\":false},\"error\":\"account expired\"}\n")?;
    let noise = noise();
    fs::write(
        bad.join("garbage.ts"),
        noise.clone().take(50_000).flat_map(u64::to_le_bytes).collect::<Vec<_>>(),
    )?;
    for (file, of, length) in [
        ("truncated.mp4", "film.mp4", 600_000),
        ("index_lost.mp4", "index_last.mp4", 600_000),
        ("truncated.ts", "film.ts", 600_007),
        ("truncated.mkv", "film.mkv", 600_000),
    ] {
        let whole = fs::read(directory.join(of))?;
        fs::write(bad.join(file), whole.get(..length).unwrap_or(&whole))?;
    }
    // Some packets in the middle are damaged behind their headers, so that nothing but a decoder sees it.
    let mut damaged = fs::read(directory.join("film.ts"))?;
    let packets = damaged.len() / 188;
    for (hit, noise) in (0..40).zip(noise) {
        let at = 188 * (packets / 2 + hit * 37) + 40;
        damaged[at..at + 8].copy_from_slice(&noise.to_le_bytes());
    }
    fs::write(bad.join("damaged.ts"), damaged)
}

/// A generator that starts the same way each time (xorshift), so a finding can be had again.
fn noise() -> impl Iterator<Item = u64> + Clone {
    std::iter::successors(Some(0x9e37_79b9_7f4a_7c15_u64), |state| {
        let mut next = *state;
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        Some(next)
    })
    .skip(1)
}

/// Makes the headers of a film and its tracks speak of another duration. Its tables stay true.
fn stretch_mp4(file: &mut [u8], factor: f64) {
    let mut at: Vec<usize> = Vec::new();
    at.extend(boxes::all(file, &[b"moov", b"mvhd"]).into_iter().map(|body| body.start + 16));
    at.extend(boxes::all(file, &[b"moov", b"trak", b"tkhd"]).into_iter().map(|body| body.start + 20));
    at.extend(
        boxes::all(file, &[b"moov", b"trak", b"mdia", b"mdhd"]).into_iter().map(|body| body.start + 16),
    );
    for at in at {
        let field = &mut file[at..at + 4];
        let duration = u32::from_be_bytes(field.try_into().expect("it is four bytes"));
        field.copy_from_slice(&((f64::from(duration) * factor) as u32).to_be_bytes());
    }
}

/// The same in Matroska, where it is one floating-point number of eight bytes.
fn stretch_matroska(file: &mut [u8], factor: f64) {
    let element = [0x44, 0x89, 0x88];
    let at = file.windows(3).position(|bytes| bytes == element).expect("a film has a duration") + 3;
    let field = &mut file[at..at + 8];
    let duration = f64::from_be_bytes(field.try_into().expect("it is eight bytes"));
    field.copy_from_slice(&(duration * factor).to_be_bytes());
}

/// Turns the picture by a quarter with its display matrix, as telephones do.
fn turn(file: &mut [u8]) {
    let Range { start, .. } = boxes::all(file, &[b"moov", b"trak", b"tkhd"])[0];
    let one = 1_i32 << 16;
    let matrix = [0, one, 0, -one, 0, 0, 180 * one, 0, 1 << 30];
    for (index, number) in matrix.into_iter().enumerate() {
        let at = start + 40 + 4 * index;
        file[at..at + 4].copy_from_slice(&number.to_be_bytes());
    }
}
