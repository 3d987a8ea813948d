//! Text from outside, made fit to be shown: a title or a log line must never drive a terminal.

use std::borrow::Cow;

/// Replaces what steers a terminal or hides what a line says: C0 and C1 controls, bidirectional overrides,
/// line and paragraph separators. A tab becomes a space.
pub fn clean(text: &str) -> Cow<'_, str> {
    // Nearly every line is plain ASCII, and a flood of them must stay cheap.
    if text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) || !text.chars().any(|c| c == '\t' || steers(c)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.chars()
            .map(|c| match c {
                '\t' => ' ',
                c if steers(c) => char::REPLACEMENT_CHARACTER,
                c => c,
            })
            .collect(),
    )
}

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_overrides_and_separators_are_replaced_and_letters_are_kept() {
        let check = |input: &str, expected: &str| assert_eq!(clean(input), expected, "{input:?}");
        check("plain", "plain");
        check("Überfahrt – 山", "Überfahrt – 山");
        check("a\tb", "a b");
        check("\x1b[2J\x07", "\u{fffd}[2J\u{fffd}");
        check("c1 \u{9b}31m", "c1 \u{fffd}31m");
        check("exe\u{202e}gpj", "exe\u{fffd}gpj");
        check("one\u{2028}two\nthree", "one\u{fffd}two\u{fffd}three");
        check("\u{2066}x\u{2069}", "\u{fffd}x\u{fffd}");
        check("\u{7f}", "\u{fffd}");
    }
}
