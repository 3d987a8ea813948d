//! Which sessions the list shows: words that must all match.
//!
//! `news bob` wants both words, `!news` what lacks it, `state:fail` a word of one field. Lower case matches
//! either case, a capital letter only itself.

use sluice_protocol::Session;

use crate::{
    condition::{self, Word},
    format,
};

/// A filter as typed, and as meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    text: String,
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    wanted: bool,
    field: Option<Field>,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    State,
    Title,
    User,
    Source,
    Kind,
    Id,
    Url,
}

impl Filter {
    /// Reads what was typed. Every text is a filter: an unknown `key:` is part of the word.
    pub(crate) fn parse(text: &str) -> Self {
        let terms = text.split_whitespace().filter_map(Term::parse).collect();
        Self { text: text.to_owned(), terms }
    }

    /// As typed.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it lets everything through.
    pub(crate) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether it lets this session through.
    pub(crate) fn matches(&self, session: &Session, word: Word) -> bool {
        self.terms.iter().all(|term| term.matches(session, word) == term.wanted)
    }
}

impl Term {
    fn parse(word: &str) -> Option<Self> {
        let (wanted, word) = word.strip_prefix('!').map_or((true, word), |rest| (false, rest));
        let field = word.split_once(':').and_then(|(key, text)| Some((Field::parse(key)?, text)));
        let (field, text) = field.map_or((None, word), |(field, text)| (Some(field), text));
        (!text.is_empty()).then(|| Self { wanted, field, text: text.to_owned() })
    }

    fn matches(&self, session: &Session, word: Word) -> bool {
        const ALL: [Field; 7] =
            [Field::State, Field::Title, Field::User, Field::Source, Field::Kind, Field::Id, Field::Url];
        let fields = self.field.as_ref().map_or(&ALL[..], std::slice::from_ref);
        fields.iter().any(|field| match field {
            Field::State => contains(word.text(), &self.text) || contains(session.state.name(), &self.text),
            Field::Title => contains(condition::title(session), &self.text),
            Field::User => session.user.as_deref().is_some_and(|user| contains(user, &self.text)),
            Field::Source => session.source_id.as_deref().is_some_and(|source| contains(source, &self.text)),
            Field::Kind => contains(condition::kind(session), &self.text),
            Field::Id => {
                session.id.to_string().starts_with(&self.text) || format::short(session.id) == self.text
            }
            Field::Url => contains(&session.url, &self.text),
        })
    }
}

impl Field {
    fn parse(key: &str) -> Option<Self> {
        Some(match key {
            "state" => Self::State,
            "title" => Self::Title,
            "user" => Self::User,
            "source" => Self::Source,
            "kind" => Self::Kind,
            "id" => Self::Id,
            "url" => Self::Url,
            _ => return None,
        })
    }
}

fn contains(text: &str, part: &str) -> bool {
    if part.chars().any(char::is_uppercase) {
        return text.contains(part);
    }
    text.contains(part) || text.to_lowercase().contains(part)
}
