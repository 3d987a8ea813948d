//! Bytes of `-progress` become progress events, in any chunking.
//!
//! What ffmpeg says here is good for `dup_frames`, `drop_frames` and `fps`. Position, speed and stall come from
//! the bytes on the media pipes: 5.1 falls silent while it is held back and 9.0 goes on with a frozen time.

use crate::mux::Time;

/// What one block said. A key that was missing, or that ffmpeg did not know either (`N/A`), is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Progress {
    /// Frames of the video that were made.
    pub frame: Option<u64>,
    /// Their mean rate since the start, pauses included.
    pub fps: Option<f64>,
    /// Media time by wall time since the start, pauses included.
    pub speed: Option<f64>,
    /// The latest time of all outputs.
    pub out_time: Option<Time>,
    /// Frames repeated to keep a constant rate.
    pub dup_frames: Option<u64>,
    /// Frames left out to keep a constant rate.
    pub drop_frames: Option<u64>,
    /// Whether this was the last block of the run.
    pub end: bool,
}

/// Gathers bytes into blocks. Holds no more than one line.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    is_too_long: bool,
    block: Progress,
}

/// No key and no value of ffmpeg's is near this.
const MOST: usize = 1024;

impl Parser {
    /// Takes the next bytes, and gives the blocks that they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Progress> {
        let mut blocks = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, is_whole) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            if self.line.len() + text.len() > 2 * MOST + 1 {
                self.is_too_long = true;
            }
            if !self.is_too_long {
                self.line.extend_from_slice(text);
            }
            if is_whole {
                if !self.is_too_long {
                    let line = std::mem::take(&mut self.line);
                    blocks.extend(self.read(&line));
                    self.line = line;
                }
                self.line.clear();
                self.is_too_long = false;
            }
        }
        blocks
    }

    fn read(&mut self, line: &[u8]) -> Option<Progress> {
        let (key, value) = std::str::from_utf8(line).ok()?.split_once('=')?;
        let (key, value) = (key.trim(), value.trim());
        if key.len() > MOST || value.len() > MOST {
            return None;
        }
        match key {
            "frame" => self.block.frame = value.parse().ok(),
            "fps" => self.block.fps = ratio(value),
            "speed" => self.block.speed = ratio(value.trim_end_matches('x')),
            // `out_time_ms` counts microseconds too, and `out_time` is the same for people.
            "out_time_us" => self.block.out_time = value.parse().ok().map(|us| Time::new(us, 1_000_000)),
            "dup_frames" => self.block.dup_frames = value.parse().ok(),
            "drop_frames" => self.block.drop_frames = value.parse().ok(),
            "progress" => {
                let block = std::mem::take(&mut self.block);
                return Some(Progress { end: value == "end", ..block });
            }
            _ => {}
        }
        None
    }
}

/// A share that is a number: `nan` and `inf` can be parsed, and mean nothing.
fn ratio(value: &str) -> Option<f64> {
    value.trim().parse().ok().filter(|ratio: &f64| ratio.is_finite() && *ratio >= 0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ENCODE: &[u8] = include_bytes!("fixtures/progress-encode.txt");
    const COPY: &[u8] = include_bytes!("fixtures/progress-copy.txt");

    fn in_chunks(bytes: &[u8], size: usize) -> Vec<Progress> {
        let mut parser = Parser::default();
        bytes.chunks(size).flat_map(|chunk| parser.feed(chunk)).collect()
    }

    #[test]
    fn a_captured_run_reads_the_same_in_every_chunking() {
        for fixture in [ENCODE, COPY] {
            let whole = in_chunks(fixture, fixture.len());
            assert!(whole.len() >= 2);
            assert!(whole.last().unwrap().end);
            assert_eq!(whole.iter().filter(|block| block.end).count(), 1);
            for size in 1..=fixture.len() {
                assert_eq!(in_chunks(fixture, size), whole, "chunks of {size}");
            }
        }
    }

    #[test]
    fn a_captured_run_says_what_it_said() {
        let last = *in_chunks(ENCODE, 4096).last().unwrap();
        assert_eq!(last.frame, Some(150));
        assert_eq!((last.dup_frames, last.drop_frames), (Some(0), Some(0)));
        assert!(last.out_time.unwrap() > Time::from_secs(5));
        assert!(last.speed.unwrap() > 0.0);
    }

    #[test]
    fn what_ffmpeg_does_not_know_is_none() {
        let check =
            |text: &str, expected: Progress| assert_eq!(in_chunks(text.as_bytes(), 3), [expected], "{text}");
        check(
            "frame=0\nfps=0.00\nout_time_us=N/A\nspeed=N/A\nprogress=continue\n",
            Progress { frame: Some(0), fps: Some(0.0), ..Progress::default() },
        );
        check(
            "speed= 1.02x\r\nout_time_us=-21333\r\nprogress=end\r\n",
            Progress {
                speed: Some(1.02),
                out_time: Some(Time::new(-21_333, 1_000_000)),
                end: true,
                ..Progress::default()
            },
        );
        check("speed=nanx\nfps=inf\nframe=-1\ndup_frames=x\nprogress=continue\n", Progress::default());
        check("progress=continue\n", Progress::default());
    }

    #[test]
    fn an_absurd_line_is_dropped_and_the_next_one_read() {
        let long = "x".repeat(100_000);
        let text = format!("frame=7\nfps={long}\n{long}=1\n{long}\nspeed=2x\nprogress=continue\n");
        for size in [1, 7, 1024, text.len()] {
            let mut parser = Parser::default();
            let mut blocks = Vec::new();
            for chunk in text.as_bytes().chunks(size) {
                blocks.extend(parser.feed(chunk));
                assert!(parser.line.capacity() <= 4 * MOST + 2);
            }
            assert_eq!(blocks, [Progress { frame: Some(7), speed: Some(2.0), ..Progress::default() }]);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_chunking_give_the_same_blocks(lines in prop::collection::vec("(frame|fps|speed|out_time_us|progress|x)=[0-9xNA/. -]{0,12}|.{0,20}", 0..20), size in 1usize..40) {
            let text = lines.join("\n");
            prop_assert_eq!(format!("{:?}", in_chunks(text.as_bytes(), size)), format!("{:?}", in_chunks(text.as_bytes(), text.len().max(1))));
        }
    }
}
