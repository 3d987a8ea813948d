//! A stderr line becomes a level, a text fit to be shown and, where we know it, a cause.
//!
//! What a line says may have been written by a stranger, at any length and speed, in any bytes.

use super::clean;
use super::fault::Fault;

/// How much a line matters, the gravest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
    Fatal,
}

/// One line of ffmpeg's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How much it matters. A continuation has its first line's.
    pub level: Level,
    /// What it says, free of control characters, of the level's name and of memory addresses.
    pub text: String,
    /// What it means, if it names a cause of failure.
    pub fault: Option<Fault>,
}

/// Splits bytes into lines, at CR or LF. Holds no more than [`MOST`] bytes.
#[derive(Debug)]
pub struct Lines {
    open: Vec<u8>,
    is_cut: bool,
    last: Level,
}

/// Bytes kept of a line. The rest is dropped, and a mark says so.
pub const MOST: usize = 4096;
const CUT_MARK: char = '…';

impl Default for Lines {
    fn default() -> Self {
        // What comes before ffmpeg's first own line is the loader's or the launcher's complaint.
        Self { open: Vec::new(), is_cut: false, last: Level::Warning }
    }
}

impl Lines {
    /// Takes the next bytes, and appends the lines that they complete.
    pub fn feed(&mut self, bytes: &[u8], lines: &mut Vec<Line>) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (text, after) = (&rest[..end], &rest[end + 1..]);
            if self.open.is_empty() && text.len() <= MOST {
                lines.extend(self.read(text, false));
            } else {
                self.keep(text);
                lines.extend(self.close());
            }
            rest = after;
        }
        self.keep(rest);
    }

    /// Says that no more will come: what stands open is a line too.
    pub fn finish(&mut self, lines: &mut Vec<Line>) {
        lines.extend(self.close());
    }

    fn keep(&mut self, text: &[u8]) {
        let room = MOST - self.open.len();
        self.is_cut |= text.len() > room;
        self.open.extend_from_slice(&text[..text.len().min(room)]);
    }

    fn close(&mut self) -> Option<Line> {
        let open = std::mem::take(&mut self.open);
        let is_cut = std::mem::take(&mut self.is_cut);
        let line = self.read(&open, is_cut);
        self.open = open;
        self.open.clear();
        line
    }

    fn read(&mut self, bytes: &[u8], is_cut: bool) -> Option<Line> {
        let lossy = String::from_utf8_lossy(bytes);
        let whole = clean(lossy.trim_end());
        if whole.trim_start().is_empty() {
            return None;
        }
        let (level, context, message) = prefix(&whole);
        self.last = level.unwrap_or(self.last);
        let mut text = String::with_capacity(context.map_or(0, |name| name.len() + 2) + message.len() + 3);
        if let Some(context) = context {
            text.push_str(context);
            text.push_str(": ");
        }
        text.push_str(message);
        if is_cut {
            // A character that was cut in half is part of what was dropped.
            text.truncate(text.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
            text.push(CUT_MARK);
        }
        Some(Line { level: self.last, fault: Fault::named_in(message), text })
    }
}

/// Takes `[h264 @ 0x5581f0] [error] ` apart: the level, who speaks, and what is said. There may be a context
/// within a context; the inner one speaks.
fn prefix(line: &str) -> (Option<Level>, Option<&str>, &str) {
    const MOST_CONTEXTS: usize = 3;
    let mut context = None;
    let mut rest = line;
    for _ in 0..=MOST_CONTEXTS {
        let Some((inside, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once("] ")) else {
            break;
        };
        if let Some(level) = level(inside) {
            return (Some(level), context, after);
        }
        let Some((name, _)) = inside.split_once(" @ 0x") else { break };
        context = Some(name);
        rest = after;
    }
    // Without a level this is no prefix, but the middle of something longer.
    (None, None, line)
}

fn level(name: &str) -> Option<Level> {
    Some(match name {
        "panic" | "fatal" => Level::Fatal,
        "error" => Level::Error,
        "warning" => Level::Warning,
        "info" => Level::Info,
        "verbose" | "debug" | "trace" => Level::Debug,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn in_chunks(bytes: &[u8], size: usize) -> Vec<Line> {
        let (mut reader, mut lines) = (Lines::default(), Vec::new());
        for chunk in bytes.chunks(size) {
            reader.feed(chunk, &mut lines);
            assert!(reader.open.capacity() <= 2 * MOST, "what is held is bounded");
        }
        reader.finish(&mut lines);
        lines
    }

    fn check(input: &[u8], expected: &[(Level, &str)]) {
        for size in [1, 2, 3, 5, 4096, input.len()] {
            let lines = in_chunks(input, size);
            let seen: Vec<_> = lines.iter().map(|line| (line.level, line.text.as_str())).collect();
            assert_eq!(seen, expected, "chunks of {size}");
        }
    }

    #[test]
    fn levels_and_contexts_are_taken_off_and_pointers_are_dropped() {
        check(
            b"[h264 @ 0x5581f0d2] [error] no frame!\n[fatal] gone\n[hls @ 0x1] [http @ 0x2] [warning] slow\n\
              [in#0 @ 0x7f] [info] hello [error] you\n[panic] !\n[verbose] v\n",
            &[
                (Level::Error, "h264: no frame!"),
                (Level::Fatal, "gone"),
                (Level::Warning, "http: slow"),
                (Level::Info, "in#0: hello [error] you"),
                (Level::Fatal, "!"),
                (Level::Debug, "v"),
            ],
        );
    }

    #[test]
    fn a_continuation_matters_as_much_as_what_it_continues() {
        check(
            b"ld.so: cannot open libx264\n[fatal] Stream map '0:5' matches no streams.\nTo ignore this, add a '?'\n\
              [fake] [fatal] not a prefix\n[info] done\n    Last message repeated 3 times\n",
            &[
                (Level::Warning, "ld.so: cannot open libx264"),
                (Level::Fatal, "Stream map '0:5' matches no streams."),
                (Level::Fatal, "To ignore this, add a '?'"),
                (Level::Fatal, "[fake] [fatal] not a prefix"),
                (Level::Info, "done"),
                (Level::Info, "    Last message repeated 3 times"),
            ],
        );
    }

    #[test]
    fn lines_end_at_cr_or_lf_and_the_last_one_needs_no_end() {
        check(
            b"[info] a\r\n\r\r[info] b\r[info] c\n\n[error] d",
            &[(Level::Info, "a"), (Level::Info, "b"), (Level::Info, "c"), (Level::Error, "d")],
        );
        check(b"\n\r  \n", &[]);
    }

    #[test]
    fn what_drives_a_terminal_is_replaced() {
        check(
            b"[error] \x1b]0;owned\x07 \xff\xfe \xc2\x9b31m \xe2\x80\xae x\t\0\n",
            &[(Level::Error, "\u{fffd}]0;owned\u{fffd} \u{fffd}\u{fffd} \u{fffd}31m \u{fffd} x \u{fffd}")],
        );
    }

    #[test]
    fn an_endless_line_is_cut_once_with_a_mark_and_the_next_is_whole() {
        let mut input = b"[error] ".to_vec();
        input.extend(std::iter::repeat_n(b'x', 1_000_000));
        input.extend(b"\n[info] next\n");
        let kept = format!("{}…", "x".repeat(MOST - 8));
        check_large(&input, &[(Level::Error, &kept), (Level::Info, "next")]);
        let mut exact = b"[error] ".to_vec();
        exact.extend(std::iter::repeat_n(b'x', MOST - 8));
        exact.push(b'\n');
        check_large(&exact, &[(Level::Error, &"x".repeat(MOST - 8))]);
        let accents = format!("[error] x{}\n", "ü".repeat(4000));
        check_large(accents.as_bytes(), &[(Level::Error, &format!("x{}…", "ü".repeat((MOST - 9) / 2)))]);
    }

    fn check_large(input: &[u8], expected: &[(Level, &str)]) {
        for size in [1000, 4095, 4096, 65_536, input.len()] {
            let lines = in_chunks(input, size);
            let seen: Vec<_> = lines.iter().map(|line| (line.level, line.text.as_str())).collect();
            assert!(seen == expected, "chunks of {size}: {} lines", seen.len());
        }
    }

    #[test]
    fn captured_logs_read_the_same_in_every_chunking() {
        let logs: [&[u8]; 3] = [
            include_bytes!("fixtures/stderr/mid-gop.txt"),
            include_bytes!("fixtures/stderr/encoder-open.txt"),
            include_bytes!("fixtures/stderr/no-stream.txt"),
        ];
        for log in logs {
            let whole = in_chunks(log, log.len());
            assert!(!whole.is_empty());
            for size in 1..200 {
                assert_eq!(in_chunks(log, size), whole, "chunks of {size}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_chunking_give_the_same_clean_lines(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'['), Just(b' ')], 1..300), size in 1usize..50) {
            let lines = in_chunks(&bytes, size);
            prop_assert_eq!(&lines, &in_chunks(&bytes, bytes.len()));
            prop_assert!(lines.iter().all(|line| !line.text.chars().any(char::is_control)));
        }
    }
}
