//! Makes text from outside safe to show.
//!
//! Titles, addresses and log lines come from playlists and from ffmpeg, so from strangers. Escape sequences
//! go whole (a terminal would obey them), other control characters are shown as `^X`, and what turns text
//! around or changes a glyph's width is left out, because one such character moves every column after it.

use std::borrow::Cow;

use sluice_protocol::{Detail, LogRecord, Session};

/// `text` without anything that a terminal would obey or measure wrongly.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\t' => safe.push_str("    "),
            '\u{1b}' => skip_escape(&mut rest),
            '\u{9b}' => skip_control_sequence(&mut rest),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(&mut rest),
            '\0'..='\u{1f}' => {
                safe.push('^');
                safe.push(char::from(c as u8 + b'@'));
            }
            '\u{7f}' => safe.push_str("^?"),
            _ if is_hostile(c) => {}
            _ => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Cleans every text of a session in place.
pub(crate) fn session(session: &mut Session) {
    wash(&mut session.url);
    wash(&mut session.content_type);
    let optional = [
        &mut session.code,
        &mut session.reason,
        &mut session.title,
        &mut session.source_id,
        &mut session.user,
        &mut session.video,
        &mut session.audio,
    ];
    optional.into_iter().flatten().for_each(wash);
    session.warnings.iter_mut().for_each(wash);
    if let Some(hold) = &mut session.hold {
        wash(&mut hold.by);
    }
}

/// Cleans every text of a session's detail in place.
pub(crate) fn detail(detail: &mut Detail) {
    session(&mut detail.session);
    detail.argv.iter_mut().flatten().for_each(wash);
    for viewer in &mut detail.viewer_list {
        wash(&mut viewer.address);
        viewer.user_agent.as_mut().map(wash);
    }
    for run in &mut detail.past_runs {
        wash(&mut run.exit);
        run.reason.as_mut().map(wash);
    }
}

/// Cleans the text of a log record in place.
pub(crate) fn record(record: &mut LogRecord) {
    if let LogRecord::Line { text, .. } = record {
        wash(text);
    }
}

fn wash(text: &mut String) {
    if let Cow::Owned(safe) = clean(text) {
        *text = safe;
    }
}

fn is_hostile(c: char) -> bool {
    matches!(c,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        // Marks, embeddings, overrides and isolates that turn text around.
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        // Line and paragraph separators, invisible glue, variation selectors, tags: terminals disagree
        // on their width.
        | '\u{2028}' | '\u{2029}' | '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{e0000}'..='\u{e0fff}')
}

type Rest<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// After `ESC`: a control sequence, a string, or one more character.
fn skip_escape(rest: &mut Rest<'_>) {
    match rest.next_if(|c| !c.is_control()) {
        Some('[') => skip_control_sequence(rest),
        Some(']' | 'P' | 'X' | '^' | '_') => skip_string(rest),
        Some(' '..='/') => {
            rest.next();
        }
        _ => {}
    }
}

fn skip_control_sequence(rest: &mut Rest<'_>) {
    while rest.next_if(|c| (' '..='?').contains(c)).is_some() {}
    rest.next_if(|c| ('@'..='~').contains(c));
}

/// Up to `BEL`, `ST` or the end: a string that never ends takes the rest of the text with it, as it would
/// in a terminal.
fn skip_string(rest: &mut Rest<'_>) {
    while let Some(c) = rest.next() {
        match c {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' => {
                rest.next_if_eq(&'\\');
                return;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_sequences_go_whole_and_controls_are_shown() {
        let check = |input: &str, expected: &str| assert_eq!(clean(input), expected, "{input:?}");
        check("plain", "plain");
        check("a\u{1b}[31mred\u{1b}[0m", "ared");
        check("a\u{1b}]52;c;ZXZpbA==\u{7}b", "ab");
        check("a\u{1b}]0;title\u{1b}\\b", "ab");
        check("a\u{9d}0;title\u{9c}b", "ab");
        check("a\u{9b}2Jb", "ab");
        check("a\u{1b}(Bb", "ab");
        check("a\u{1b}cb", "ab");
        check("bell\u{7} del\u{7f}", "bell^G del^?");
        check("a\tb", "a    b");
        check("\u{202e}gnp.exe", "gnp.exe");
        check("\u{2764}\u{fe0f}!", "\u{2764}!");
        check("\u{1b}", "");
        check("\u{1b}[", "");
    }

    proptest! {
        #[test]
        fn nothing_that_a_terminal_obeys_is_left(text in any::<String>()) {
            prop_assert!(!clean(&text).chars().any(is_hostile));
        }
    }
}
