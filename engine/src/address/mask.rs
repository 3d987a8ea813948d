//! Credentials in addresses, hidden: in the user part, in the values of the query, and in paths as IPTV
//! panels write them (`/live/USER/PASS/ID`).

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use percent_encoding::percent_decode_str;
use regex::{Captures, Regex};
use url::Url;

const HIDDEN: &str = "***";

/// Shorter pieces are hidden only together with their neighbours: alone they would also hide half of what
/// ffmpeg says.
const ALONE: usize = 6;
/// The values of a query are words such as `mpegts` more often than they are secrets.
const VALUE_ALONE: usize = 8;

static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?i)\b[a-z][a-z0-9+.-]*://[^\s"'<>\x60]+"#).expect("the pattern is a constant")
});

/// What is known to be secret in one address, to be hidden wherever it turns up.
#[derive(Clone)]
pub struct Mask {
    /// Longest first, so that no part of a longer piece survives.
    pieces: Vec<(String, String)>,
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It holds what it hides.
        f.debug_struct("Mask").field("pieces", &self.pieces.len()).finish()
    }
}

impl Mask {
    pub(super) fn of(url: &Url) -> Self {
        let masked = mask(url);
        let mut pieces = vec![
            (url.as_str().to_owned(), masked.as_str().to_owned()),
            (target(url).to_owned(), target(&masked).to_owned()),
        ];
        pieces.retain(|(shown, hidden)| shown != hidden);
        pieces.extend(secrets(url).into_iter().map(|secret| (secret, HIDDEN.to_owned())));
        pieces.sort_by_key(|(shown, _)| std::cmp::Reverse(shown.len()));
        Self { pieces }
    }

    /// A mask that knows no secret: only what looks like one is hidden.
    pub fn blind() -> Self {
        Self { pieces: Vec::new() }
    }

    /// `text` without the secrets of this address, and without what looks like one in any other.
    pub fn apply<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for (shown, hidden) in &self.pieces {
            if text.contains(shown.as_str()) {
                text = Cow::Owned(text.replace(shown, hidden));
            }
        }
        if !text.contains("://") {
            return text;
        }
        match ADDRESS.replace_all(&text, |found: &Captures<'_>| mask_address(&found[0])) {
            Cow::Borrowed(_) => text,
            Cow::Owned(masked) => Cow::Owned(masked),
        }
    }
}

/// `url` with its credentials hidden.
pub(super) fn mask(url: &Url) -> Url {
    let mut masked = url.clone();
    // An address of a kind that has no user part has none to hide.
    if !url.username().is_empty() || url.password().is_some() {
        let _no_user_part = masked.set_password(None).and_then(|()| masked.set_username(HIDDEN));
    }
    if let Some(query) = url.query() {
        masked.set_query(Some(&mask_query(query)));
    }
    let hidden = credentials(url.path());
    if !hidden.is_empty() {
        let parts = url.path().split('/').enumerate();
        let parts: Vec<_> =
            parts.map(|(at, part)| if hidden.contains(&at) { HIDDEN } else { part }).collect();
        masked.set_path(&parts.join("/"));
    }
    masked
}

/// The pieces of `url` that must not be shown, as written and decoded, longest first.
pub(super) fn secrets(url: &Url) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut add = |piece: &str, least: usize| {
        if piece.len() >= least && piece != HIDDEN {
            pieces.push(piece.to_owned());
            pieces.push(percent_decode_str(piece).decode_utf8_lossy().into_owned());
        }
    };
    let (user, password) = (url.username(), url.password());
    add(user, ALONE);
    if let Some(password) = password {
        add(password, ALONE);
        add(&format!("{user}:{password}@"), 3);
    }
    for pair in url.query().unwrap_or_default().split('&') {
        match pair.split_once('=') {
            Some((_, "")) => {}
            Some((_, value)) => {
                add(value, VALUE_ALONE);
                add(pair, 3);
            }
            None => add(pair, VALUE_ALONE),
        }
    }
    let parts: Vec<_> = url.path().split('/').collect();
    let hidden = credentials(url.path());
    hidden.iter().for_each(|&at| add(parts[at], ALONE));
    hidden.chunks_exact(2).for_each(|pair| add(&format!("/{}/{}/", parts[pair[0]], parts[pair[1]]), 4));
    pieces.retain(|piece| !piece.is_empty());
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
    pieces.dedup();
    pieces
}

fn mask_address(text: &str) -> String {
    match Url::parse(text).map(|url| (mask(&url), url)) {
        // Without anything to hide it stays as it was written.
        Ok((masked, url)) if masked == url => text.to_owned(),
        Ok((masked, _)) => masked.into(),
        // Something that only looks like an address may be a broken one, with all its secrets.
        Err(_) => format!("{}://{HIDDEN}", text.split("://").next().unwrap_or_default()),
    }
}

fn mask_query(query: &str) -> String {
    let hide = |pair: &str| match pair.split_once('=') {
        Some((_, "")) => pair.to_owned(),
        Some((name, _)) => format!("{name}={HIDDEN}"),
        None if pair.is_empty() => String::new(),
        None => HIDDEN.to_owned(),
    };
    query.split('&').map(hide).collect::<Vec<_>>().join("&")
}

/// What a request line says of `url`.
fn target(url: &Url) -> &str {
    &url[url::Position::BeforePath..]
}

/// The places of user and password among the parts of a path: behind `live`, `movie`, `series` or
/// `timeshift`, or, as panels list channels, before a bare number (`/USER/PASS/1234.ts`).
fn credentials(path: &str) -> Vec<usize> {
    let parts: Vec<_> = path.split('/').collect();
    let named =
        |part: &str| ["live", "movie", "series", "timeshift"].contains(&part.to_ascii_lowercase().as_str());
    for (at, part) in parts.iter().enumerate() {
        if named(part) && parts.len() > at + 3 {
            return vec![at + 1, at + 2];
        }
    }
    match parts[..] {
        ["", user, password, id] if !user.is_empty() && !password.is_empty() && is_number(id) => vec![1, 2],
        _ => Vec::new(),
    }
}

fn is_number(id: &str) -> bool {
    let (stem, _) = id.split_once('.').unwrap_or((id, ""));
    !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_digit())
}
