//! How an input is opened: the options in front of `-i`, the same for a probe and for a run.
//!
//! An option that a demuxer or a protocol does not know is fatal ("Option not found"), so every list is chosen
//! by the kind of input. The whitelists keep a hostile playlist from opening a file or a foreign protocol; they
//! don't keep it from private networks, which is the caller's work.

/// What a file or stream is packed in, as far as options depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// MPEG transport stream.
    MpegTs,
    /// An HLS playlist, multivariant or media.
    Hls,
    /// MP4, QuickTime, fragmented or not.
    Mp4,
    /// Matroska, WebM.
    Matroska,
    /// AVI.
    Avi,
    /// Anything else: ffmpeg finds out.
    Other,
}

/// How the bytes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A local file; the address is its absolute path.
    File,
    /// HTTP or HTTPS.
    Http {
        /// Whether the server answered 206 to a range. One that doesn't begins anew at byte 0 on every new
        /// request, and ffmpeg would not notice.
        ranges: bool,
    },
}

/// An input as ffmpeg is to open it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// A normalised address, or an absolute path.
    pub address: String,
    /// How the bytes come.
    pub transport: Transport,
    /// What the first bytes said, if anybody looked.
    pub container: Option<Container>,
    /// What to call ourselves; `None` is ffmpeg's own name.
    pub user_agent: Option<String>,
    /// Further request headers, name and value.
    pub headers: Vec<(String, String)>,
    /// Whether a certificate must be right.
    pub tls_verify: bool,
    /// Whether a run jumps by the random access table at the end of a fragmented MP4. Without being told to,
    /// ffmpeg reads all that lies before the place.
    pub by_mfra: bool,
}

/// What the input is opened for: how long a silent source is waited for, and who tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Probe,
    Live,
    Film,
}

const REMOTE_PROTOCOLS: &str = "http,https,tcp,tls,crypto,data";
const ANY_FORMAT: &str = "aac,ac3,asf,avi,eac3,flac,flv,hls,matroska,mov,mp3,mpeg,mpegts,ogg,wav,webvtt";
const HLS_FORMATS: &str = "aac,ac3,eac3,flac,hls,matroska,mov,mp3,mpegts,webvtt";
/// Without the formats that make ffmpeg open further addresses.
const FILE_FORMATS: &str = "aac,ac3,asf,avi,eac3,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,wav";

/// All that belongs in front of the address, up to `-i` and the address itself. `before` goes right in front
/// of `-i`: the seek and the time options of a run.
pub(super) fn arguments(input: &Input, purpose: Purpose, before: Vec<String>) -> Vec<String> {
    let mut args = Vec::new();
    let mut push = |items: &[&str]| args.extend(items.iter().map(|item| (*item).to_owned()));

    match input.transport {
        Transport::File => push(&["-protocol_whitelist", "file"]),
        Transport::Http { ranges } => {
            push(&["-protocol_whitelist", REMOTE_PROTOCOLS]);
            push(&["-rw_timeout", patience(purpose)]);
            // On live ffmpeg's own reconnecting splices torn packets into one timeline without a mark, and
            // without ranges it mixes the film's beginning into its middle. A playlist's segments never get
            // these options, its first request is made once.
            if purpose == Purpose::Film && ranges && input.container != Some(Container::Hls) {
                push(&["-reconnect", "1", "-reconnect_streamed", "1"]);
                push(&["-reconnect_on_network_error", "1", "-reconnect_delay_max", "4"]);
            }
            if let Some(name) = input.user_agent.as_deref().filter(|name| is_one_line(name)) {
                push(&["-user_agent", name]);
            }
            let headers = header_block(&input.headers);
            if !headers.is_empty() {
                push(&["-headers", &headers]);
            }
            // Off by default in 5.1, on in 9.0, and fatal where there is no TLS.
            if input.address.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:")) {
                push(&["-tls_verify", if input.tls_verify { "1" } else { "0" }]);
            }
        }
    }
    push(&["-format_whitelist", formats(input)]);
    match input.container {
        // ffmpeg asks the demuxer to wait for streams of all programmes and then measures the frame rate: 5 s
        // that a live start can't spare. Probe and run must open alike, else they'd disagree about the start.
        Some(Container::MpegTs) => push(&["-scan_all_pmts", "0", "-fpsprobesize", "0", "-f", "mpegts"]),
        // A playlist without the usual extension and type isn't recognised by newer versions.
        Some(Container::Hls) if input.transport != Transport::File => push(&["-f", "hls"]),
        _ => {}
    }
    if input.by_mfra && input.container == Some(Container::Mp4) && purpose == Purpose::Film {
        args.extend(["-use_mfra_for", "pts"].map(str::to_owned));
    }
    args.extend(before);
    args.push("-i".to_owned());
    args.push(match input.transport {
        Transport::File => format!("file:{}", input.address),
        Transport::Http { .. } => input.address.clone(),
    });
    args
}

/// Microseconds of silence after which ffmpeg gives up: on a probe a little before its own deadline, so that
/// the cause gets named; on a film long, since a slow answer to a jump would end in an empty output.
fn patience(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Probe => "8000000",
        Purpose::Live => "5000000",
        Purpose::Film => "10000000",
    }
}

fn formats(input: &Input) -> &'static str {
    match (input.container, input.transport) {
        (Some(Container::MpegTs), _) => "mpegts",
        (Some(Container::Mp4), _) => "mov",
        (Some(Container::Matroska), _) => "matroska",
        (Some(Container::Avi), _) => "avi",
        (_, Transport::File) => FILE_FORMATS,
        (Some(Container::Hls), Transport::Http { .. }) => HLS_FORMATS,
        (Some(Container::Other) | None, Transport::Http { .. }) => ANY_FORMAT,
    }
}

/// One argument for all headers. What would inject another header is left out; the config refuses it earlier.
fn header_block(headers: &[(String, String)]) -> String {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    headers
        .iter()
        .filter(|(name, value)| is_name(name) && is_one_line(value))
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect()
}

fn is_one_line(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(container: Option<Container>) -> Input {
        Input {
            address: "http://example.com/film".to_owned(),
            transport: Transport::Http { ranges: true },
            container,
            user_agent: None,
            headers: Vec::new(),
            tls_verify: true,
            by_mfra: false,
        }
    }

    fn line(input: &Input, purpose: Purpose) -> String {
        arguments(input, purpose, Vec::new()).join(" ")
    }

    #[test]
    fn options_that_only_transport_streams_know_are_given_to_nothing_else() {
        for container in [None, Some(Container::Mp4), Some(Container::Hls), Some(Container::Other)] {
            assert!(!line(&remote(container), Purpose::Live).contains("scan_all_pmts"), "{container:?}");
        }
        assert!(
            line(&remote(Some(Container::MpegTs)), Purpose::Probe)
                .contains("-scan_all_pmts 0 -fpsprobesize 0")
        );
    }

    #[test]
    fn only_a_film_on_a_server_with_ranges_is_reconnected() {
        let mut input = remote(Some(Container::Mp4));
        assert!(line(&input, Purpose::Film).contains("-reconnect 1"));
        assert!(!line(&input, Purpose::Live).contains("-reconnect"));
        assert!(!line(&input, Purpose::Probe).contains("-reconnect"));
        input.transport = Transport::Http { ranges: false };
        assert!(!line(&input, Purpose::Film).contains("-reconnect"));
    }

    #[test]
    fn only_a_run_of_a_fragmented_film_is_told_of_its_table() {
        for container in [Container::Mp4, Container::Matroska, Container::MpegTs] {
            let input = Input { by_mfra: true, ..remote(Some(container)) };
            let has = |purpose| line(&input, purpose).contains("-use_mfra_for pts -i");
            assert_eq!(has(Purpose::Film), container == Container::Mp4, "{container:?}");
            assert!(!has(Purpose::Probe), "{container:?}");
        }
        assert!(!line(&remote(Some(Container::Mp4)), Purpose::Film).contains("use_mfra_for"));
    }

    #[test]
    fn tls_is_spoken_of_exactly_where_there_is_tls() {
        let mut input = remote(None);
        assert!(!line(&input, Purpose::Live).contains("tls_verify"));
        input.address = "HTTPS://example.com/".to_owned();
        assert!(line(&input, Purpose::Live).contains("-tls_verify 1"));
        input.tls_verify = false;
        assert!(line(&input, Purpose::Live).contains("-tls_verify 0"));
    }

    #[test]
    fn a_header_that_would_inject_another_is_left_out() {
        let mut input = remote(None);
        input.user_agent = Some("VLC/3\r\nX: y".to_owned());
        input.headers = vec![
            ("Referer".to_owned(), "http://a/".to_owned()),
            ("X".to_owned(), "a\r\nHost: b".to_owned()),
            ("Bad Name".to_owned(), "v".to_owned()),
            ("Cookie".to_owned(), "k=v".to_owned()),
        ];
        let args = arguments(&input, Purpose::Film, Vec::new());
        assert!(args.contains(&"Referer: http://a/\r\nCookie: k=v\r\n".to_owned()), "{args:?}");
        assert!(!args.contains(&"-user_agent".to_owned()));
    }

    #[test]
    fn a_local_file_may_open_nothing_else() {
        let file =
            Input { address: "/films/-vf %03d.mp4".to_owned(), transport: Transport::File, ..remote(None) };
        let args = arguments(&file, Purpose::Film, Vec::new());
        assert_eq!(args[..2], ["-protocol_whitelist", "file"]);
        assert_eq!(args.last().unwrap(), "file:/films/-vf %03d.mp4");
        assert!(!args.join(" ").contains("hls"));
        assert!(!args.join(" ").contains("rw_timeout"));
    }
}
