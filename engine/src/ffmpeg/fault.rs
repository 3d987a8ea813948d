//! What went wrong, by the words on stderr.
//!
//! Neither the exit code nor the last line is evidence: 5.1 exits with 1 for nearly everything, both versions
//! with 0 for a source that ended in mid-stream, and "Input/output error" comes last after a dozen causes. So
//! all lines of a run are looked at, and the most telling one counts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use super::log::Line;

/// A cause of failure, the most telling first: where a run names several, the first of this list is the one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// The source refused our credentials: 401, 403.
    Auth,
    /// The source does not have it: 404, 410.
    NotFound,
    /// The source wants us to ask less often: 429.
    RateLimited,
    /// The source refused the request in another way: 4xx.
    Refusal,
    /// The source has trouble of its own: 5xx.
    ServerError,
    /// The host's name is not known.
    Dns,
    /// Nobody listens there.
    Refused,
    /// Nobody answered in time.
    Timeout,
    /// The connection was cut.
    Dropped,
    /// No secure connection could be made.
    Tls,
    /// The input wanted something opened that it must not.
    HostileInput,
    /// The input is protected, and its key can't be had.
    Drm,
    /// The file stops before its end.
    Truncated,
    /// The stream that was asked for is not there.
    NoStream,
    /// ffmpeg can't decode a stream that was asked for.
    Undecodable,
    /// The encoder, or its device, can't be used.
    Encoder,
    /// ffmpeg doesn't know an option that we gave.
    BadArguments,
    /// There is no such file.
    MissingFile,
    /// The address is a directory.
    IsDirectory,
    /// What came is no media. Only true of a run that made nothing: see [`Evidence::fault_despite_output`].
    NotMedia,
    /// The source could not be read, for a reason that ffmpeg does not tell.
    Io,
}

/// Whether, and how soon, trying again makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// At once: nothing says that the source is ill.
    AtOnce,
    /// As after any failure.
    Usual,
    /// Seldom: it is up to somebody else.
    Slow,
    /// Not before half a minute: we were asked to wait.
    Later,
    /// With an encoder in software.
    InSoftware,
    /// Not at all: it would end the same way.
    Never,
}

/// What is matched against every line, and what it means. The first hit of a line counts.
const PATTERNS: [(&str, Option<Fault>); 24] = [
    // A join in mid-stream, and any damage on the way: as many lines as there are broken pictures, some with the
    // very words of a hopeless input.
    (
        "non-existing [PS]PS|no frame!|decode_slice_header error|Error while decoding stream|Error submitting packet to decoder|Invalid NAL unit|Packet corrupt",
        None,
    ),
    // 5.1 says "Server returned" and no "HTTP error" for 401.
    ("(HTTP error|Server returned) 40[13]", Some(Fault::Auth)),
    ("(HTTP error|Server returned) (404|410)", Some(Fault::NotFound)),
    ("HTTP error 429", Some(Fault::RateLimited)),
    ("(HTTP error|Server returned) 4[0-9X][0-9X]", Some(Fault::Refusal)),
    ("(HTTP error|Server returned) 5[0-9X][0-9X]", Some(Fault::ServerError)),
    ("Failed to resolve hostname", Some(Fault::Dns)),
    ("Connection refused", Some(Fault::Refused)),
    ("Connection timed out", Some(Fault::Timeout)),
    (
        "Stream ends prematurely|Error during demuxing: Input/output error|Connection reset by peer",
        Some(Fault::Dropped),
    ),
    ("unexpected TLS packet|SSL routines|[Cc]ertificate", Some(Fault::Tls)),
    (
        "not on whitelist|Unsafe file name|not in allowed_segment_extensions|mismatches allowed extensions",
        Some(Fault::HostileInput),
    ),
    ("Unable to open key file", Some(Fault::Drm)),
    ("moov atom not found|partial file|File ended prematurely", Some(Fault::Truncated)),
    ("Stream map '[^']*' matches no streams", Some(Fault::NoStream)),
    (r"Decoder \([^)]*\) not found|no decoder found", Some(Fault::Undecodable)),
    (
        "Unknown encoder|Error while opening encoder|Could not open encoder|Cannot load lib|Device creation failed|No device available for decoder|Hardware device setup failed",
        Some(Fault::Encoder),
    ),
    ("Option .* not found|Unrecognized option|Protocol not found", Some(Fault::BadArguments)),
    ("No such file or directory", Some(Fault::MissingFile)),
    ("Is a directory", Some(Fault::IsDirectory)),
    // What a demuxer says that was forced on something else.
    ("Invalid data found when processing input|: could not find codec parameters", Some(Fault::NotMedia)),
    (": Input/output error", Some(Fault::Io)),
    ("Network is unreachable|No route to host", Some(Fault::Refused)),
    ("Too many HTTP redirects|Maximum number of redirects", Some(Fault::Io)),
];

static MEANINGS: LazyLock<RegexSet> =
    LazyLock::new(|| RegexSet::new(PATTERNS.map(|(pattern, _)| pattern)).expect("the patterns are ours"));

/// One pass for literals, many times faster than the patterns: what nearly every line of a flood is spared by.
static MAYBE: LazyLock<Regex> = LazyLock::new(|| {
    let literals = [
        "HTTP error ",
        "Server returned ",
        "resolve hostname",
        "Connection ",
        "ends prematurely",
        "Input/output error",
        "TLS packet",
        "SSL routines",
        "ertificate",
        "not on whitelist",
        "Unsafe file",
        "allowed_segment",
        "allowed extensions",
        "key file",
        "moov atom",
        "partial file",
        "File ended",
        "matches no streams",
        "not found",
        "no decoder",
        "encoder",
        "Cannot load",
        "Device creation",
        "No device",
        "device setup",
        "Unrecognized",
        "No such file",
        "Is a directory",
        "Invalid data",
        "codec parameters",
        "unreachable",
        "No route",
        "redirects",
    ];
    Regex::new(&literals.join("|")).expect("the literals are ours")
});

impl Fault {
    /// The cause that a line names, if it names one.
    pub fn named_in(text: &str) -> Option<Self> {
        if !MAYBE.is_match(text) {
            return None;
        }
        MEANINGS.matches(text).iter().next().and_then(|hit| PATTERNS[hit].1)
    }

    /// Whether, and how soon, trying again makes sense.
    pub fn retry(self) -> Retry {
        match self {
            Self::Dropped => Retry::AtOnce,
            Self::ServerError | Self::Dns | Self::Refused | Self::Timeout => Retry::Usual,
            Self::Auth | Self::NotFound | Self::Refusal | Self::Tls | Self::NotMedia | Self::Io => {
                Retry::Slow
            }
            Self::RateLimited => Retry::Later,
            Self::Encoder => Retry::InSoftware,
            Self::HostileInput
            | Self::Drm
            | Self::Truncated
            | Self::NoStream
            | Self::Undecodable
            | Self::BadArguments
            | Self::MissingFile
            | Self::IsDirectory => Retry::Never,
        }
    }

    /// Whether it may go away by itself. A wrong password won't become right.
    pub fn heals(self) -> bool {
        !matches!(self, Self::Auth | Self::NotFound)
            && !matches!(self.retry(), Retry::Never | Retry::InSoftware)
    }

    /// One word for machines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::NotFound => "not_found",
            Self::RateLimited => "rate_limited",
            Self::Refusal => "refusal",
            Self::ServerError => "server_error",
            Self::Dns => "dns",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Dropped => "dropped",
            Self::Tls => "tls",
            Self::HostileInput => "hostile_input",
            Self::Drm => "drm",
            Self::Truncated => "truncated",
            Self::NoStream => "no_stream",
            Self::Undecodable => "undecodable",
            Self::Encoder => "encoder",
            Self::BadArguments => "bad_arguments",
            Self::MissingFile => "missing_file",
            Self::IsDirectory => "is_directory",
            Self::NotMedia => "not_media",
            Self::Io => "io",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auth => "the source refused our credentials",
            Self::NotFound => "the source does not have it",
            Self::RateLimited => "the source wants to be asked less often",
            Self::Refusal => "the source refused the request",
            Self::ServerError => "the source has a fault of its own",
            Self::Dns => "the source's name is not known",
            Self::Refused => "nothing answers at the source's address",
            Self::Timeout => "the source did not answer in time",
            Self::Dropped => "the source cut the connection",
            Self::Tls => "no secure connection to the source could be made",
            Self::HostileInput => "the input wanted something opened that it must not",
            Self::Drm => "the input is protected",
            Self::Truncated => "the input stops before its end",
            Self::NoStream => "the input lacks a stream that it had",
            Self::Undecodable => "ffmpeg can't decode the input",
            Self::Encoder => "the encoder can't be used",
            Self::BadArguments => "ffmpeg refused its arguments",
            Self::MissingFile => "there is no such file",
            Self::IsDirectory => "the address is a directory",
            Self::NotMedia => "the input is not media",
            Self::Io => "the source could not be read",
        })
    }
}

/// What all lines of a run say together. Holds one line a cause.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    faults: BTreeMap<Fault, String>,
}

impl Evidence {
    /// Takes a line into account.
    pub fn observe(&mut self, line: &Line) {
        if let Some(fault) = line.fault {
            self.faults.entry(fault).or_insert_with(|| line.text.clone());
        }
    }

    /// The most telling cause of a run that made nothing, with the line that named it.
    pub fn fault(&self) -> Option<(Fault, &str)> {
        self.faults.iter().next().map(|(fault, text)| (*fault, text.as_str()))
    }

    /// The most telling cause of a run that made something: what it read was media then, whatever a damaged
    /// packet made ffmpeg say.
    pub fn fault_despite_output(&self) -> Option<(Fault, &str)> {
        let mut others = self.faults.iter().filter(|(fault, _)| **fault != Fault::NotMedia);
        others.next().map(|(fault, text)| (*fault, text.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffmpeg::log::Lines;

    fn evidence(log: &str) -> Evidence {
        let (mut reader, mut lines, mut evidence) = (Lines::default(), Vec::new(), Evidence::default());
        reader.feed(log.as_bytes(), &mut lines);
        reader.finish(&mut lines);
        lines.iter().for_each(|line| evidence.observe(line));
        evidence
    }

    fn check(log: &str, expected: Option<Fault>) {
        assert_eq!(evidence(log).fault().map(|(fault, _)| fault), expected, "{log}");
    }

    macro_rules! captured {
        ($($name:literal => $fault:expr),* $(,)?) => {
            $(check(include_str!(concat!("fixtures/stderr/", $name, ".txt")), $fault);)*
        };
    }

    #[test]
    fn captured_failures_are_named() {
        captured! {
            "http-401" => Some(Fault::Auth),
            "http-403" => Some(Fault::Auth),
            "http-404" => Some(Fault::NotFound),
            "http-410" => Some(Fault::NotFound),
            "http-429" => Some(Fault::RateLimited),
            "http-451" => Some(Fault::Refusal),
            "http-503" => Some(Fault::ServerError),
            "dns" => Some(Fault::Dns),
            "refused" => Some(Fault::Refused),
            "timeout" => Some(Fault::Timeout),
            "dropped" => Some(Fault::Dropped),
            "tls" => Some(Fault::Tls),
            "hostile" => Some(Fault::HostileInput),
            "protocol" => Some(Fault::HostileInput),
            "truncated" => Some(Fault::Truncated),
            "garbage" => Some(Fault::Truncated),
            "no-stream" => Some(Fault::NoStream),
            "encoder" => Some(Fault::Encoder),
            "encoder-open" => Some(Fault::Encoder),
            "option" => Some(Fault::BadArguments),
            "unrecognized" => Some(Fault::BadArguments),
            "missing" => Some(Fault::MissingFile),
            "directory" => Some(Fault::IsDirectory),
            "html" => Some(Fault::NotMedia),
            "html-as-ts" => Some(Fault::NotMedia),
            "ring" => Some(Fault::Io),
            "mid-gop" => None,
        }
    }

    #[test]
    fn the_words_of_newer_versions_are_known_too() {
        check(
            "[in#0 @ 0x1] [error] Error opening input: Invalid data found when processing input",
            Some(Fault::NotMedia),
        );
        check("[in#0 @ 0x1] [error] Error during demuxing: Input/output error", Some(Fault::Dropped));
        check("[fatal] Stream map '' matches no streams.", Some(Fault::NoStream));
        check("[tls @ 0x1] [error] error:0A00010B:SSL routines::wrong version number", Some(Fault::Tls));
        check(
            "[dec:h264 @ 0x1] [error] Error submitting packet to decoder: Invalid data found when processing input",
            None,
        );
        check("[hls @ 0x1] [error] Unable to open key file http://a/k", Some(Fault::Drm));
        check("[fatal] Decoder (codec none) not found for input stream #0:1", Some(Fault::Undecodable));
    }

    #[test]
    fn every_literal_lets_its_pattern_through() {
        // The cheap pass may never hide what the patterns would have found.
        let said = [
            "HTTP error 404",
            "Server returned 5XX Server Error reply",
            "Failed to resolve hostname",
            "Connection refused",
            "Connection timed out",
            "Stream ends prematurely",
            "Error during demuxing: Input/output error",
            "Connection reset by peer",
            "unexpected TLS packet",
            "SSL routines",
            "Certificate",
            "not on whitelist",
            "Unsafe file name",
            "not in allowed_segment_extensions",
            "mismatches allowed extensions",
            "Unable to open key file",
            "moov atom not found",
            "partial file",
            "File ended prematurely",
            "Stream map 'x' matches no streams",
            "Decoder (x) not found",
            "no decoder found",
            "Unknown encoder",
            "Error while opening encoder",
            "Could not open encoder",
            "Cannot load libcuda",
            "Device creation failed",
            "No device available for decoder",
            "Hardware device setup failed",
            "Option x not found",
            "Unrecognized option",
            "Protocol not found",
            "No such file or directory",
            "Is a directory",
            "Invalid data found when processing input",
            ": could not find codec parameters",
            ": Input/output error",
            "Network is unreachable",
            "No route to host",
            "Too many HTTP redirects",
            "Maximum number of redirects",
        ];
        for text in said {
            assert!(Fault::named_in(text).is_some(), "{text}");
        }
    }

    #[test]
    fn the_most_telling_line_counts_wherever_it_stands() {
        let log = "[error] http://a/: Input/output error\n[http @ 0x1] [warning] HTTP error 404 Not Found\n\
                   [error] a: Invalid data found when processing input\n";
        assert_eq!(evidence(log).fault(), Some((Fault::NotFound, "http: HTTP error 404 Not Found")));
    }

    #[test]
    fn what_made_output_was_media() {
        let log =
            "[error] a: Invalid data found when processing input\n[error] http://a/: Input/output error\n";
        assert_eq!(evidence(log).fault().unwrap().0, Fault::NotMedia);
        assert_eq!(evidence(log).fault_despite_output().unwrap().0, Fault::Io);
    }

    #[test]
    fn a_flood_of_causes_keeps_one_line_each() {
        let log = "[error] a: Connection refused\n[error] b: Input/output error\n".repeat(10_000);
        assert_eq!(evidence(&log).faults.len(), 2);
    }

    #[test]
    fn what_will_not_heal_is_told_from_what_may() {
        for fault in [Fault::Auth, Fault::NotFound, Fault::MissingFile, Fault::Drm, Fault::BadArguments] {
            assert!(!fault.heals(), "{fault}");
        }
        for fault in [Fault::Timeout, Fault::Dropped, Fault::ServerError, Fault::RateLimited, Fault::NotMedia]
        {
            assert!(fault.heals(), "{fault}");
        }
        assert_eq!(Fault::RateLimited.retry(), Retry::Later);
        assert_eq!(Fault::Encoder.retry(), Retry::InSoftware);
    }
}
