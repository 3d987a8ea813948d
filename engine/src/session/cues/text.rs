//! The text of a cue, made fit for a WebVTT player.
//!
//! ffmpeg's WebVTT encoder escapes nothing, writes ASS drawings out as if they were words, and lets a few
//! escapes of ASS through. What this module has made stays as it is when it is made fit again.

use std::borrow::Cow;

/// Tags that WebVTT knows; all others were meant as text, or would swallow it.
const TAGS: [&str; 8] = ["b", "i", "u", "c", "v", "ruby", "rt", "lang"];
/// Tags that may carry words: who speaks, in which language.
const ANNOTATED: [&str; 2] = ["v", "lang"];
/// Escapes that every WebVTT player knows.
const KEPT: [&str; 6] = ["&amp;", "&lt;", "&gt;", "&nbsp;", "&lrm;", "&rlm;"];
/// Escapes of HTML that authors of SubRip use, and that need none.
const MEANT: [(&str, &str); 4] = [("&quot;", "\""), ("&apos;", "'"), ("&#34;", "\""), ("&#39;", "'")];

/// Appends a line to a cue's text, unless nothing of it would be seen. What goes beyond `limit` bytes of text
/// is cut off, between letters and outside of tags.
pub(super) fn append(text: &mut String, line: &str, limit: usize) {
    let line = struck(line);
    let separator = if text.is_empty() { "" } else { "\n" };
    let room = limit.saturating_sub(text.len() + separator.len());
    let (mut fit, mut seen) = (String::new(), false);
    let mut rest = line.as_str();
    while !rest.is_empty() {
        // A drawing stands at the beginning of its line, behind the tags of its style.
        if !seen && let Some(after) = after_drawing(rest) {
            rest = after;
            continue;
        }
        let token = Token::first(rest);
        if fit.len() + token.text.len() > room {
            break;
        }
        // For `{` ffmpeg 9 writes `{{}`, the brace and an ASS block without anything in it.
        if token.text == "}" && fit.ends_with("{{") {
            fit.pop();
        } else {
            fit.push_str(&token.text);
        }
        seen |= token.is_seen;
        rest = &rest[token.length..];
    }
    if seen {
        text.push_str(separator);
        text.push_str(&fit);
    }
}

/// Without control characters. Marks of direction stay, unlike in what a terminal shows: in Hebrew and Arabic
/// subtitles they put the full stop on its side, and a player keeps their effect within the cue.
pub(super) fn struck(line: &str) -> String {
    line.chars()
        .map(|c| if c == '\t' { ' ' } else { c })
        .filter(|&c| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}'))
        .collect()
}

/// What a line begins with.
struct Token<'a> {
    /// As WebVTT writes it.
    text: Cow<'a, str>,
    /// How many bytes of the line it was.
    length: usize,
    is_seen: bool,
}

impl<'a> Token<'a> {
    /// Of a line that is not empty.
    fn first(rest: &'a str) -> Self {
        let first = rest.chars().next().unwrap_or_default();
        let literal = |text: &'a str, length| Self { text: Cow::Borrowed(text), length, is_seen: true };
        match first {
            '<' => match tag(rest) {
                Some(tag) => Self { text: Cow::Borrowed(tag), length: tag.len(), is_seen: false },
                None => literal("&lt;", 1),
            },
            // Also because `-->` would end the text.
            '>' => literal("&gt;", 1),
            '&' => {
                let starts = |escape: &&str| rest.starts_with(*escape);
                if let Some(escape) = KEPT.iter().copied().find(starts) {
                    literal(escape, escape.len())
                } else if let Some((escape, meant)) = MEANT.iter().find(|(escape, _)| starts(escape)) {
                    literal(meant, escape.len())
                } else {
                    literal("&amp;", 1)
                }
            }
            '\\' => backslashes(rest),
            c => {
                let length = c.len_utf8();
                Self { is_seen: !c.is_whitespace(), ..literal(&rest[..length], length) }
            }
        }
    }
}

/// ASS says `\h` for a hard space, and ffmpeg 5 `\{` for a brace.
fn backslashes(rest: &str) -> Token<'_> {
    let after = rest.trim_start_matches('\\');
    let count = rest.len() - after.len();
    let (text, length) = match after.chars().next() {
        Some('{' | '}') => ("", count),
        Some('h') if count == 1 => ("\u{a0}", 2),
        Some('h') => (&rest[..count - 1], count - 1),
        _ => (&rest[..count], count),
    };
    Token { text: Cow::Borrowed(text), length, is_seen: !text.is_empty() && text != "\u{a0}" }
}

/// The WebVTT tag that a text begins with: `<i>`, `</i>`, `<c.yellow>`, `<v Bob>`.
fn tag(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('<')?;
    let length = inside.find(['<', '>']).filter(|&at| inside.as_bytes()[at] == b'>')?;
    let inside = &inside[..length];
    let is_known = match inside.strip_prefix('/') {
        Some(name) => TAGS.contains(&name),
        None => {
            let (element, annotation) = inside.split_once(' ').unwrap_or((inside, ""));
            let (name, _classes) = element.split_once('.').unwrap_or((element, ""));
            TAGS.contains(&name) && (annotation.is_empty() || ANNOTATED.contains(&name))
        }
    };
    // `<v -->` would end the text as well.
    (is_known && !inside.ends_with("--")).then(|| &text[..length + 2])
}

/// What follows the drawing that a text begins with: `m 0 0 l 100 0 100 100`, as `\p1` of ASS has it.
fn after_drawing(text: &str) -> Option<&str> {
    let mut rest = text.strip_prefix('m')?;
    let (mut numbers, mut strokes) = (0, 0);
    loop {
        let next = rest.trim_start_matches(' ');
        if next.len() == rest.len() {
            break;
        }
        if let Some(after) = after_number(next) {
            numbers += 1;
            rest = after;
        } else if let Some(after) = next.strip_prefix(['m', 'n', 'l', 'b', 's', 'p', 'c'])
            && (after.is_empty() || after.starts_with([' ', '<']))
        {
            strokes += 1;
            rest = after;
        } else {
            break;
        }
    }
    // A lone point draws nothing, but stands for the corner of what does; with words after it, it is text.
    let is_drawing = numbers >= 2 && (strokes > 0 || rest.is_empty() || rest.starts_with('<'));
    is_drawing.then_some(rest)
}

fn after_number(text: &str) -> Option<&str> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let after = digits.trim_start_matches(|c: char| c.is_ascii_digit());
    let has_digits = after.len() < digits.len();
    let after = match after.strip_prefix('.') {
        Some(decimals) if decimals.starts_with(|c: char| c.is_ascii_digit()) => {
            decimals.trim_start_matches(|c: char| c.is_ascii_digit())
        }
        _ => after,
    };
    has_digits.then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) {
        let mut text = String::new();
        append(&mut text, line, 1_000);
        assert_eq!(text, expected, "{line:?}");
        let mut again = String::new();
        append(&mut again, &text, 1_000);
        assert_eq!(again, text, "{line:?} once more");
    }

    #[test]
    fn known_tags_stay_and_all_else_is_escaped() {
        check("<i>one</i> & <b>two</b> 3 < 4", "<i>one</i> &amp; <b>two</b> 3 &lt; 4");
        check(
            "<v Bob>a</v> <c.red.big>b</c> <lang en-GB>c</lang>",
            "<v Bob>a</v> <c.red.big>b</c> <lang en-GB>c</lang>",
        );
        check("<ruby>a<rt>b</rt></ruby>", "<ruby>a<rt>b</rt></ruby>");
        check("<font color=red>x</font>", "&lt;font color=red&gt;x&lt;/font&gt;");
        check("<i onclick=x>y", "&lt;i onclick=x&gt;y");
        check("<script>x", "&lt;script&gt;x");
        check("a <b", "a &lt;b");
        check("<<i>x", "&lt;<i>x");
        check("a --> b", "a --&gt; b");
        check("<v -->a", "&lt;v --&gt;a");
    }

    #[test]
    fn escapes_of_webvtt_stay_and_those_that_need_none_are_resolved() {
        check("R&amp;B &lt;x&gt; &nbsp;&lrm;", "R&amp;B &lt;x&gt; &nbsp;&lrm;");
        check("don&#39;t &quot;x&quot;", "don't \"x\"");
        check("AT&T; &amp &#0;", "AT&amp;T; &amp;amp &amp;#0;");
    }

    #[test]
    fn escapes_of_ass_are_resolved() {
        check("two\\hwords", "two\u{a0}words");
        check("\\{curly\\}", "{curly}");
        check("{{}curly} {{}{{}two}}", "{curly} {{two}}");
        check("{} {{}{{}} {{{}}", "{} { {");
        check("C:\\dir \\\\host", "C:\\dir \\\u{a0}ost");
    }

    #[test]
    fn drawings_are_dropped_and_words_are_kept() {
        check("m 0 0 l 100 0 100 100 0 100", "");
        check("m -5.5 0 b 10 20 30 40 50 60 s 1 2 3 4 5 6 c", "");
        check("<b>m 0 0 l 10 0</b>", "");
        check("m 0 0 l 10 0 m 3 3 l 4 4 n 5 5", "");
        check("m 0 0", "");
        check("m 0 0 l 100 0 100 100text after", "text after");
        check("<i>m 0 0 l 1 1</i><b>text</b>", "<i></i><b>text</b>");
        check("m 0 0m 0 0 l 1 1 l 1 1", "m 0 0m 0 0 l 1 1 l 1 1");
        for words in ["m", "me 1 2 3", "m 10 people", "m 3 4 people", "my l 3", "I am 5 6 l 7 8", "m. 1 2"] {
            check(words, words);
        }
    }

    #[test]
    fn controls_are_struck_and_marks_of_direction_stay() {
        check("a\0b\x1b[2Jc\td\u{9b}e\u{2028}f\u{feff}", "ab[2Jc def");
        check("\u{202b}מה?\u{202c}", "\u{202b}מה?\u{202c}");
        check("מה\u{200f}?", "מה\u{200f}?");
        for nothing in ["", " ", "\t\t", "<i></i>", "\\h", "\0"] {
            check(nothing, "");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_letters() {
        let mut text = "ab".to_owned();
        append(&mut text, "ü&<i>", 10);
        assert_eq!(text, "ab\nü&amp;");
        append(&mut text, "x", 10);
        assert_eq!(text, "ab\nü&amp;", "there is no room for another line");
    }
}
