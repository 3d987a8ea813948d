//! Single values: a TOML value becomes what is meant by it, or the end of a sentence that begins with its
//! key and says what is wrong. Values that may be credentials are never repeated.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use toml::Value;
use url::{Host, Url};

use super::{Protocol, UserAgent};

/// A Unix socket's address has room for this many bytes and a zero.
const SOCKET_PATH_LIMIT: usize = 107;
const USER_AGENT_LIMIT: usize = 512;
const HEADER_LIMIT: usize = 4096;
const NAME_LIMIT: usize = 64;

/// Protocols of ffmpeg that may be added one day; every other one reads local files, runs no network
/// protocol at all, or gets around the rules for addresses.
const LATER_PROTOCOLS: [&str; 5] = ["udp", "rtp", "rtsp", "srt", "rtmp"];

/// Headers that belong to the request itself.
const OWN_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "range",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

pub(super) fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| wrong(value, "text in quotes"))
}

pub(super) fn boolean(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| wrong(value, "true or false"))
}

pub(super) fn count(range: RangeInclusive<usize>) -> impl Fn(&Value) -> Result<usize, String> {
    move |value| {
        let number = value.as_integer().ok_or_else(|| wrong(value, "a whole number"))?;
        usize::try_from(number)
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| outside(number, range.start(), range.end()))
    }
}

pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Value) -> Result<Duration, String> {
    move |value| {
        let text = value.as_str().ok_or_else(|| wrong(value, "text with a unit, such as \"30s\""))?;
        let duration = humantime::parse_duration(text)
            .map_err(|_| format!("is {text:?}, which is not a duration such as \"30s\" or \"1h 30m\""))?;
        let shown = |duration: &Duration| humantime::format_duration(*duration).to_string();
        range
            .contains(&duration)
            .then_some(duration)
            .ok_or_else(|| outside(text, shown(range.start()), shown(range.end())))
    }
}

pub(super) fn size(range: RangeInclusive<u64>) -> impl Fn(&Value) -> Result<u64, String> {
    move |value| {
        let bytes = match value {
            Value::Integer(bytes) => u64::try_from(*bytes).ok(),
            Value::String(text) => text.parse::<ByteSize>().ok().map(|size| size.as_u64()),
            _ => None,
        };
        let bytes = bytes.ok_or_else(|| wrong(value, "a size such as \"256MiB\""))?;
        let shown = |bytes: &u64| ByteSize(*bytes).to_string();
        range
            .contains(&bytes)
            .then_some(bytes)
            .ok_or_else(|| outside(shown(&bytes), shown(range.start()), shown(range.end())))
    }
}

/// One of the given words.
pub(super) fn word<T: Copy>(words: &[(&str, T)]) -> impl Fn(&Value) -> Result<T, String> {
    move |value| {
        let found = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
        found.map(|(_, meant)| *meant).ok_or_else(|| {
            let all: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            wrong(value, &all.join(", "))
        })
    }
}

/// The one word that can be had yet, of those that the key will take.
pub(super) fn only(
    now: &'static str,
    later: &'static [&'static str],
) -> impl Fn(&Value) -> Result<(), String> {
    move |value| match value.as_str() {
        Some(text) if text == now => Ok(()),
        Some(text) if later.contains(&text) => {
            Err(format!("is {text:?}, which comes with a later version; only {now:?} is supported yet"))
        }
        _ => Err(wrong(value, &format!("{now:?}"))),
    }
}

pub(super) fn list<T>(entry: fn(&Value) -> Result<T, String>) -> impl Fn(&Value) -> Result<Vec<T>, String> {
    move |value| value.as_array().ok_or_else(|| wrong(value, "a list"))?.iter().map(entry).collect()
}

pub(super) fn socket_addr(value: &Value) -> Result<SocketAddr, String> {
    let text = text(value)?;
    text.parse().map_err(|_| {
        format!("is {text:?}, which is not an IP address and a port, such as \"127.0.0.1:8088\"")
    })
}

pub(super) fn network(value: &Value) -> Result<IpNet, String> {
    let text = text(value)?;
    let one = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .map(|network| network.trunc())
        .or_else(|_| one())
        .map_err(|_| format!("has {text:?}, which is not a network such as \"192.168.0.0/16\""))
}

pub(super) fn directory(value: &Value) -> Result<PathBuf, String> {
    let path = PathBuf::from(text(value)?);
    path.is_absolute().then_some(path).ok_or_else(|| wrong(value, "an absolute path"))
}

/// A directory whose files may be played.
pub(super) fn media_directory(value: &Value) -> Result<PathBuf, String> {
    let path = directory(value)?;
    let kernel = ["/proc", "/sys", "/dev"].iter().any(|own| path.starts_with(own));
    // `/` would hold `/proc`, whose files are regular ones and tell the engine's secrets.
    if kernel || path.components().count() < 2 {
        return Err(format!("has {:?}; name the directories that hold media", path.display().to_string()));
    }
    Ok(path)
}

pub(super) fn socket_path(value: &Value) -> Result<PathBuf, String> {
    let path = directory(value)?;
    if path.as_os_str().len() > SOCKET_PATH_LIMIT {
        return Err(format!("is longer than the {SOCKET_PATH_LIMIT} bytes that a socket's path may have"));
    }
    Ok(path)
}

/// A program: a name to be found in `$PATH`, or an absolute path.
pub(super) fn program(value: &Value) -> Result<PathBuf, String> {
    let path = PathBuf::from(text(value)?);
    let bare = path.components().count() == 1 && path.file_name().is_some();
    (bare || path.is_absolute())
        .then_some(path)
        .ok_or_else(|| wrong(value, "a program's name or an absolute path"))
}

pub(super) fn host(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    match Host::parse(&text) {
        Ok(Host::Domain(name)) if !name.contains('*') => Ok(name.trim_end_matches('.').to_owned()),
        Ok(Host::Ipv4(_) | Host::Ipv6(_)) => {
            Err(format!("has {text:?}; IP addresses are always answered and need not be listed"))
        }
        _ => Err(format!("has {text:?}, which is not a host name such as \"tv.example.com\"")),
    }
}

pub(super) fn origin(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    Url::parse(&text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .filter(|url| url.path() == "/" && url.query().is_none() && url.fragment().is_none())
        .filter(|url| url.username().is_empty() && url.password().is_none())
        .map(|url| url.origin().ascii_serialization())
        .ok_or_else(|| format!("has {text:?}, which is not an origin such as \"https://tv.example.com\""))
}

pub(super) fn protocol(value: &Value) -> Result<Protocol, String> {
    match text(value)?.as_str() {
        "http" => Ok(Protocol::Http),
        "https" => Ok(Protocol::Https),
        later if LATER_PROTOCOLS.contains(&later) => Err(format!(
            "has {later:?}, which comes with a later version; \"http\" and \"https\" are supported yet"
        )),
        "file" => Err("has \"file\"; name the directories whose files may be played in `input.files`".into()),
        never => {
            Err(format!("has {never:?}, which is never allowed: it could get around the rules for addresses"))
        }
    }
}

pub(super) fn user_agent(value: &Value) -> Result<UserAgent, String> {
    let preset = match text(value)?.as_str() {
        "default" => return Ok(UserAgent::Default),
        "vlc" => "VLC/3.0.20 LibVLC/3.0.20",
        "chrome" => {
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/134.0.0.0 Safari/537.36"
        }
        "tivimate" => "TiviMate/5.1.6",
        "" => return Err("is empty; \"default\" leaves it to ffmpeg".into()),
        text if !is_header_text(text) => return Err("has characters that no header may have".into()),
        text if text.len() > USER_AGENT_LIMIT => {
            return Err(format!("is longer than {USER_AGENT_LIMIT} bytes"));
        }
        text => return Ok(UserAgent::Text(text.to_owned())),
    };
    Ok(UserAgent::Text(preset.to_owned()))
}

/// The headers of a source. They may be credentials: only their names are repeated.
pub(super) fn headers(value: &Value) -> Result<Vec<(String, String)>, String> {
    let table = value.as_table().ok_or_else(|| wrong(value, "a table of names and values"))?;
    table
        .iter()
        .map(|(name, value)| {
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                return Err(format!("has {name:?}, which is not a header's name"));
            }
            if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                return Err(format!("has {name:?}, which the engine sets itself"));
            }
            let text = value.as_str().ok_or_else(|| format!("has a {name:?} whose value is not text"))?;
            // A line break in a value would begin another header.
            if !is_header_text(text) {
                return Err(format!("has a {name:?} with characters that no header may have"));
            }
            if text.len() > HEADER_LIMIT {
                return Err(format!("has a {name:?} longer than {HEADER_LIMIT} bytes"));
            }
            Ok((name.clone(), text.to_owned()))
        })
        .collect()
}

pub(super) fn source_id(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (!text.is_empty() && text.len() <= NAME_LIMIT && text.chars().all(fits))
        .then_some(text)
        .ok_or_else(|| wrong(value, "a name of at most 64 letters, digits, `-`, `_` and `.`"))
}

/// The beginning of a source's addresses. Through the URL parser, so that `http://tv.example.com` does not
/// also fit `http://tv.example.com.evil.example/`.
pub(super) fn prefix(value: &Value) -> Result<Url, String> {
    let text = text(value)?;
    let url = Url::parse(&text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| format!("has {text:?}, which does not begin like \"http://tv.example.com/\""))?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(
            "has an entry with a user, a password or a fragment, which are no part of a prefix".into()
        );
    }
    Ok(url)
}

/// A group is looked up when the socket is made; here it must only be a name.
pub(super) fn group(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    let plain =
        !text.is_empty() && Path::new(&text).components().count() == 1 && !text.contains(char::is_control);
    plain.then_some(text).ok_or_else(|| wrong(value, "the name of a group"))
}

fn is_header_text(text: &str) -> bool {
    text.chars().all(|c| matches!(c, ' '..='~'))
}

fn wrong(value: &Value, expected: &str) -> String {
    match value {
        Value::String(text) if text.len() <= 100 => format!("is {text:?}; it must be {expected}"),
        Value::Integer(number) => format!("is {number}; it must be {expected}"),
        value => format!("is {} {}; it must be {expected}", article(value.type_str()), value.type_str()),
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

fn outside(is: impl Display, least: impl Display, most: impl Display) -> String {
    format!("is {is}; it must be from {least} to {most}")
}
