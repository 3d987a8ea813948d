//! What a session's tracks are called, for people and for players. Pure.

use super::languages::language;
use crate::ffmpeg::Decision;

/// The names of all tracks that a film offers beside its picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// The sound tracks; exactly one is the default, if there are any.
    pub sounds: Vec<Label>,
    /// The subtitles; at most one is the default.
    pub subtitles: Vec<Label>,
}

/// What one track is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// What people choose by: one line without a double quote, and no other track of its kind has it.
    pub name: String,
    /// BCP 47.
    pub language: Option<String>,
    /// What plays unless another is chosen.
    pub default: bool,
    /// Meant to be shown also to those who asked for none.
    pub forced: bool,
}

/// What an input says of a track.
struct Said<'a> {
    language: Option<&'a str>,
    title: Option<&'a str>,
    default: bool,
    forced: bool,
}

/// More than fits on a button of any player.
const LONGEST_NAME: usize = 80;

impl Labels {
    pub(super) fn of(decision: &Decision) -> Self {
        let sounds = decision.audio.iter().map(|track| Said {
            language: track.language.as_deref(),
            title: track.title.as_deref(),
            default: track.default,
            forced: false,
        });
        let subtitles = decision.subtitles.iter().map(|track| Said {
            language: track.language.as_deref(),
            title: track.title.as_deref(),
            default: track.default,
            forced: track.forced,
        });
        let mut labels = Self { sounds: named(sounds, "Audio"), subtitles: named(subtitles, "Subtitles") };
        if labels.sounds.iter().all(|label| !label.default)
            && let Some(first) = labels.sounds.first_mut()
        {
            first.default = true;
        }
        labels
    }
}

fn named<'a>(tracks: impl Iterator<Item = Said<'a>>, kind: &str) -> Vec<Label> {
    let mut labels: Vec<Label> = Vec::new();
    for (n, said) in tracks.enumerate() {
        let (tag, english) = said.language.and_then(language).unzip();
        let english = english.flatten().map(|english| match said.forced {
            true => format!("{english} (forced)"),
            false => english.to_owned(),
        });
        let name = said.title.and_then(line).or(english).unwrap_or_else(|| format!("{kind} {}", n + 1));
        let taken = |name: &str| labels.iter().any(|label| label.name == name);
        let numbered = (2..).map(|count| format!("{name} ({count})"));
        let name = std::iter::once(name.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(name);
        // Many containers call every track the default.
        let default = said.default && labels.iter().all(|label| !label.default);
        labels.push(Label { name, language: tag, default, forced: said.forced });
    }
    labels
}

/// A title as one line that may stand between double quotes.
fn line(title: &str) -> Option<String> {
    let plain = title.chars().map(|c| match c {
        '"' => '\'',
        c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => ' ',
        c => c,
    });
    let plain: String = plain.take(LONGEST_NAME).collect();
    let plain = plain.trim();
    (!plain.is_empty()).then(|| plain.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each track as language, title and flags: `d` for the default, `f` for forced.
    fn check(tracks: &[(&str, &str, &str)], expected: &[(&str, Option<&str>, bool)]) {
        let said = tracks.iter().map(|(language, title, flags)| Said {
            language: some(language),
            title: some(title),
            default: flags.contains('d'),
            forced: flags.contains('f'),
        });
        let labels = named(said, "Audio");
        let found: Vec<_> =
            labels.iter().map(|l| (l.name.as_str(), l.language.as_deref(), l.default)).collect();
        assert_eq!(found, expected);
    }

    fn some(text: &str) -> Option<&str> {
        (!text.is_empty()).then_some(text)
    }

    #[test]
    fn a_track_is_called_by_its_title_else_by_its_language_else_by_its_number() {
        check(
            &[("eng", "Director's cut", "d"), ("fre", "", "d"), ("tlh", "", ""), ("", "", "")],
            &[
                ("Director's cut", Some("en"), true),
                ("French", Some("fr"), false),
                ("Audio 3", Some("tlh"), false),
                ("Audio 4", None, false),
            ],
        );
    }

    #[test]
    fn no_two_tracks_have_one_name_and_no_name_breaks_its_quotes() {
        check(
            &[
                ("ger", "", ""),
                ("ger", "", "f"),
                ("deu", "", ""),
                ("", "German (2)", ""),
                ("", "a\"b\r\nc", ""),
            ],
            &[
                ("German", Some("de"), false),
                ("German (forced)", Some("de"), false),
                ("German (2)", Some("de"), false),
                ("German (2) (2)", None, false),
                ("a'b  c", None, false),
            ],
        );
        check(&[("", "  ", ""), ("", "x\u{2028}", "")], &[("Audio 1", None, false), ("x", None, false)]);
    }
}
