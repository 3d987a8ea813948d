//! What may be played: one typed address. Text from a stranger becomes a normalised URL or a regular file,
//! under [`Rules`], and ffmpeg is handed that and never what was typed: the two parsers read
//! `http://example.com\@127.0.0.1/` differently.
//!
//! A host's name is not resolved here: call [`Rules::resolve`] before a program is given the address, or
//! let `fetch` ask, which does so on every hop.

mod mask;
mod networks;
mod rules;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

use url::{ParseError, Url};

pub use self::mask::Mask;
pub use self::networks::Network;
pub use self::rules::Rules;

/// Longer addresses are refused, before and after normalisation.
const LENGTH_LIMIT: usize = 8 * 1024;

/// Something that may be played. Two that are equal are the same input; shown, its credentials are hidden.
#[derive(Clone)]
pub struct Address {
    text: String,
    place: Place,
}

/// Where it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// On the network.
    Http(Url),
    /// On this machine: an absolute path without symbolic links.
    File(PathBuf),
}

/// Why an address can't be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is no address.
    #[error("this is not an address that can be played: {why}")]
    Malformed {
        /// What is wrong with it.
        why: &'static str,
    },
    /// Its protocol is not allowed.
    #[error("`{scheme}` addresses can't be played: it is not one of `input.protocols`")]
    Protocol {
        /// The protocol.
        scheme: String,
    },
    /// Its host is in a network that is not public.
    #[error("`{host}` is in {network}, which `input.allow_networks` does not list")]
    Network {
        /// The host, as the address has it.
        host: String,
        /// The kind of network.
        network: Network,
    },
    /// It is a file outside the allowed directories.
    #[error("this file is in none of the directories that `input.files` lists")]
    Directory,
    /// It is a directory, a FIFO, a device.
    #[error("only regular files in the directories that `input.files` lists can be played")]
    NotRegular,
    /// The file does not exist.
    #[error("this file does not exist")]
    NoSuchFile,
    /// The host has no address.
    #[error("the host `{host}` can't be found")]
    NoSuchHost {
        /// The host.
        host: String,
    },
    /// The resolver does not answer.
    #[error("looking up the host `{host}` took too long")]
    LookUpTimedOut {
        /// The host.
        host: String,
    },
}

/// What an [`AddressError`] means to whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The request is wrong.
    Bad,
    /// The config does not allow it.
    Forbidden,
    /// There is nothing there.
    NotFound,
    /// It can't be reached, now.
    Unreachable,
}

impl AddressError {
    /// What it means to whoever asked.
    pub fn meaning(&self) -> Meaning {
        match self {
            Self::Malformed { .. } => Meaning::Bad,
            Self::Protocol { .. } | Self::Network { .. } | Self::Directory | Self::NotRegular => {
                Meaning::Forbidden
            }
            Self::NoSuchFile => Meaning::NotFound,
            Self::NoSuchHost { .. } | Self::LookUpTimedOut { .. } => Meaning::Unreachable,
        }
    }
}

impl Address {
    /// Reads an address that a client sent. For a file it asks the file system, so a caller on a runtime
    /// with slow disks does well to be on a blocking thread.
    pub fn parse(text: &str, rules: &Rules) -> Result<Self, AddressError> {
        let text = text.trim_matches(' ');
        if text.is_empty() {
            return Err(malformed("it is empty"));
        }
        if text.len() > LENGTH_LIMIT {
            return Err(malformed("it is longer than 8 KiB"));
        }
        // The URL parser would silently take line breaks and tabs out.
        if text.contains(char::is_control) {
            return Err(malformed("it has control characters"));
        }
        if text.starts_with('/') {
            return Self::file(Path::new(text), rules);
        }
        let mut url = Url::parse(text).map_err(|error| {
            malformed(match error {
                ParseError::EmptyHost => "it has no host",
                ParseError::RelativeUrlWithoutBase => "it must begin with `http://`, `https://` or `/`",
                ParseError::InvalidPort => "its port is not a number up to 65535",
                _ => "its host is not a name or an IP address",
            })
        })?;
        if url.scheme() == "file" {
            return Self::file(&file_path(text, &url)?, rules);
        }
        // `example.com:8080/film` is a URL, whose scheme is `example.com`.
        if url.scheme().contains('.') {
            return Err(malformed("it must begin with `http://`, `https://` or `/`"));
        }
        rules.admit(&url)?;
        // It is never sent, so addresses that differ in it are one input.
        url.set_fragment(None);
        if url.as_str().len() > LENGTH_LIMIT {
            return Err(malformed("it is longer than 8 KiB"));
        }
        Ok(Self { text: url.to_string(), place: Place::Http(url) })
    }

    /// What ffmpeg is given after `-i`: the normalised text, never what was typed.
    pub fn as_ffmpeg(&self) -> &str {
        &self.text
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Whether it is a file of this machine.
    pub fn is_file(&self) -> bool {
        matches!(self.place, Place::File(_))
    }

    /// The file's path, without symbolic links.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::File(path) => Some(path),
            Place::Http(_) => None,
        }
    }

    /// The address with its credentials hidden.
    pub fn masked(&self) -> String {
        match &self.place {
            Place::Http(url) => mask::mask(url).to_string(),
            Place::File(path) => path.display().to_string(),
        }
    }

    /// The pieces that must not be shown in argument lists and logs, longest first.
    pub fn secrets(&self) -> Vec<String> {
        match &self.place {
            Place::Http(url) => mask::secrets(url),
            Place::File(_) => Vec::new(),
        }
    }

    /// What hides this address's credentials in other text.
    pub fn mask(&self) -> Mask {
        match &self.place {
            Place::Http(url) => Mask::of(url),
            Place::File(_) => Mask::blind(),
        }
    }

    fn file(path: &Path, rules: &Rules) -> Result<Self, AddressError> {
        let path = rules.file(path)?;
        let text = path.to_str().filter(|text| !text.contains(char::is_control));
        let text = text.ok_or(malformed("the file's name is not printable UTF-8"))?;
        // With the protocol in front, nothing in the name can be taken for another one.
        Ok(Self { text: format!("file:{text}"), place: Place::File(path) })
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Address {}

impl std::hash::Hash for Address {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.masked())
    }
}

fn file_path(text: &str, url: &Url) -> Result<PathBuf, AddressError> {
    // `file://host/film` names another machine, and `file:film` a directory that nobody knows.
    if !text.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("file:///")) || url.host().is_some() {
        return Err(malformed("a file's address is `file:///` and an absolute path"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(malformed("in a file's address `?` is written `%3F`, and `#` is written `%23`"));
    }
    let path =
        url.to_file_path().map_err(|()| malformed("a file's address is `file:///` and an absolute path"))?;
    // A decoded control character would get past the check of the text.
    if path.to_string_lossy().contains(char::is_control) {
        return Err(malformed("it has control characters"));
    }
    Ok(path)
}

fn malformed(why: &'static str) -> AddressError {
    AddressError::Malformed { why }
}
