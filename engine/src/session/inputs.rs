//! What is known about an address: its first bytes, the probe, the index of its key frames, and the memory of
//! all three.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::run::{failure_fault, shown};
use super::{Cause, Code, Fault, Heals};
use crate::address::{Address, AddressError, Mask, Meaning, Rules};
use crate::config::{Config, Source, UserAgent};
use crate::fetch::{FetchError, Fetcher, FirstBytes};
use crate::ffmpeg::{self, Container, Evidence, Input, Lines, Probe, ProbeError, Sniff, Transport};
use crate::mux::clock;
use crate::mux::index::{self, KeyFrames, Layout, NoIndex, Step};
use crate::process::{CaptureError, Launcher, Order, Pipe, SpawnError, capture};

/// What was learnt is believed for this long.
const BELIEVED: Duration = Duration::from_secs(60 * 60);
/// So many addresses are remembered.
const MOST: usize = 1_000;
/// So many key frames are remembered of all of them together: 64 MiB.
const MOST_KEYS: usize = 4 << 20;
/// The clock of a transport stream is looked at so often after its beginning, its end included, and each time in
/// so many bytes: a stream of 20 Mbit/s tells it in so many at least once.
const CLOCK_LOOKS: u64 = 4;
const CLOCK_BYTES: u64 = 128 * 1024;
/// An answer of ffprobe is never this large.
const PROBE_BYTES: usize = 4 * 1024 * 1024;

/// Looks at inputs, and remembers what it saw.
#[derive(Debug)]
pub struct Inputs {
    rules: Arc<Rules>,
    fetcher: Fetcher,
    launcher: Launcher,
    ffprobe: PathBuf,
    user_agent: UserAgent,
    tls_verify: bool,
    limit: Duration,
    known: Mutex<HashMap<String, Arc<Known>>>,
}

/// What is known about an address.
#[derive(Debug)]
pub(super) struct Known {
    pub input: Input,
    pub probe: Probe,
    /// It can be continued at any place.
    pub ranges: bool,
    /// It has an end: a length, or a playlist that says so.
    pub bounded: bool,
    /// Bytes of the whole, where it is known.
    pub length: Option<u64>,
    /// Where its video may be cut without encoding it.
    pub keys: Result<Arc<KeyFrames>, NoIndex>,
    /// Its clock leaps on the way: no place of it can be found by its time.
    pub clock_jumps: bool,
    at: Instant,
}

impl Inputs {
    /// Looks at inputs as the config says.
    pub fn new(rules: Arc<Rules>, fetcher: Fetcher, launcher: Launcher, config: &Config) -> Self {
        Self {
            rules,
            fetcher,
            launcher,
            ffprobe: config.ffmpeg.ffprobe_path.clone(),
            user_agent: config.input.user_agent.clone(),
            tls_verify: config.input.tls_verify,
            limit: config.sessions.probe_timeout,
            known: Mutex::default(),
        }
    }

    /// Looks at an address, or remembers.
    pub(super) async fn look(&self, address: &Address, source: Option<&Source>) -> Result<Arc<Known>, Fault> {
        let deadline = Instant::now() + self.limit;
        let looked = timeout_at(deadline, async {
            if let Some(known) = self.remembered(address) {
                // What was allowed then may point elsewhere now.
                self.rules.resolve(address).await.map_err(|error| address_fault(&error))?;
                return Ok(known);
            }
            self.look_anew(address, source, deadline).await
        });
        looked.await.unwrap_or_else(|_| {
            let reason = format!(
                "the source did not answer within {} s (sessions.probe_timeout)",
                self.limit.as_secs()
            );
            Err(Fault::new(Code::Unreachable, Cause::Source, reason))
        })
    }

    /// What was learnt of it proved wrong, or useless.
    pub(super) fn forget(&self, address: &Address) {
        self.lock().remove(address.as_ffmpeg());
    }

    fn remembered(&self, address: &Address) -> Option<Arc<Known>> {
        let known = self.lock().get(address.as_ffmpeg()).cloned()?;
        (known.at.elapsed() < BELIEVED).then_some(known)
    }

    async fn look_anew(
        &self,
        address: &Address,
        source: Option<&Source>,
        deadline: Instant,
    ) -> Result<Arc<Known>, Fault> {
        let first = self
            .fetcher
            .first_bytes(address, source, self.limit)
            .await
            .map_err(|error| fetch_fault(&error))?;
        let sniffed = ffmpeg::sniff(&first.bytes);
        let container = container(sniffed)?;
        if container == Container::Hls {
            admit_playlist(&first.bytes, address.is_file())?;
        }
        let user_agent = source.and_then(|source| source.user_agent.as_ref()).unwrap_or(&self.user_agent);
        let input = Input {
            address: match address.path() {
                Some(path) => path.to_string_lossy().into_owned(),
                // TLS options are fatal on plain HTTP, so an address that leads to TLS is given as it ends.
                None if first.final_url.scheme() == "https" && !address.as_ffmpeg().starts_with("https:") => {
                    first.final_url.to_string()
                }
                None => address.as_ffmpeg().to_owned(),
            },
            transport: if address.is_file() {
                Transport::File
            } else {
                Transport::Http { ranges: first.ranges }
            },
            container: Some(container),
            user_agent: user_agent.text().map(str::to_owned),
            headers: source.map(|source| source.headers.clone()).unwrap_or_default(),
            tls_verify: self.tls_verify,
            by_mfra: false,
        };
        let probe = self.probe(&input, &address.mask()).await?;
        let playlist_ended = sniffed == Sniff::HlsMedia { ended: true };
        let bounded =
            playlist_ended || (container != Container::Hls && (first.ranges || first.length.is_some()));
        // A playlist's segments are asked for whole; where it ends, any of them can be asked for again, and where
        // it does not they are gone after a while, whatever the server does for the playlist itself.
        let ranges = if container == Container::Hls { playlist_ended } else { first.ranges };
        let keys = self.key_frames(address, source, &first, &probe, deadline).await.map(Arc::new);
        let clock_jumps = self.clock_leaps(address, source, &first, &probe, deadline).await;
        // A source that failed for a moment is asked again by the next who wants the film.
        let passing = matches!(keys, Err(NoIndex::Unreadable(_)));
        let length = first.length;
        let known = Arc::new(Known {
            input,
            probe,
            ranges: ranges && !clock_jumps,
            bounded,
            length,
            keys,
            clock_jumps,
            at: Instant::now(),
        });
        match &known.keys {
            Ok(keys) => {
                tracing::debug!(length = known.length, keys = keys.times.len(), by = ?keys.by, "indexed")
            }
            Err(why) => tracing::debug!(length = known.length, %why, "no index of key frames"),
        }
        if passing {
            return Ok(known);
        }
        let mut all = self.lock();
        if all.len() >= MOST {
            all.retain(|_, known| known.at.elapsed() < BELIEVED / 2);
        }
        let keys = |known: &Known| known.keys.as_ref().map_or(0, |keys| keys.times.len());
        let remembered: usize = all.values().map(|known| keys(known)).sum();
        if all.len() < MOST && remembered + keys(&known) <= MOST_KEYS {
            all.insert(address.as_ffmpeg().to_owned(), known.clone());
        }
        Ok(known)
    }

    /// The index of key frames, read in what is left of the time. A film without one is encoded, so nothing that
    /// goes wrong here is a failure.
    async fn key_frames(
        &self,
        address: &Address,
        source: Option<&Source>,
        first: &FirstBytes,
        probe: &Probe,
        deadline: Instant,
    ) -> Result<KeyFrames, NoIndex> {
        let Some(video) = probe.video().filter(|video| video.codec.as_deref() == Some("h264")) else {
            return Err(NoIndex::NotCopied);
        };
        let layout = match probe.container() {
            Some(Container::Mp4) => Layout::Mp4,
            Some(Container::Matroska) => Layout::Matroska,
            _ => return Err(NoIndex::Container),
        };
        let Some(length) = first.length.filter(|_| first.ranges) else { return Err(NoIndex::Ranges) };
        let stream = index::Stream { index: video.index, id: video.id };
        let reader = index::Reader::new(layout, stream, length, first.bytes.clone());
        let read = read_index(&self.fetcher, address, source, reader, deadline);
        // Most often the source's limit is what stops it, but a reader at work has none of its own.
        timeout_at(deadline, read).await.unwrap_or_else(|_| Err(unreadable(&FetchError::TimedOut)))
    }

    /// A few looks at the clock of a transport stream, in what is left of the time. One that can't be looked at is
    /// believed.
    async fn clock_leaps(
        &self,
        address: &Address,
        source: Option<&Source>,
        first: &FirstBytes,
        probe: &Probe,
        deadline: Instant,
    ) -> bool {
        let is_stream = probe.container() == Some(Container::MpegTs);
        let Some(length) = first.length.filter(|_| first.ranges && is_stream) else { return false };
        let mut program = None;
        let mut looks = vec![clock::readings(&first.bytes, 0, &mut program)];
        for n in 1..=CLOCK_LOOKS {
            let from = (length / CLOCK_LOOKS * n).min(length.saturating_sub(CLOCK_BYTES));
            let size = CLOCK_BYTES.min(length - from);
            let left = deadline.saturating_duration_since(Instant::now());
            match self.fetcher.range(address, source, from, size, left).await {
                Ok(bytes) => looks.push(clock::readings(&bytes, from, &mut program)),
                Err(error) => {
                    tracing::debug!(%error, "the clock could not be looked at");
                    return false;
                }
            }
        }
        clock::leaps(&looks)
    }

    async fn probe(&self, input: &Input, mask: &Mask) -> Result<Probe, Fault> {
        let order = Order {
            program: self.ffprobe.clone(),
            args: ffmpeg::probe::arguments(input),
            outputs: vec![Pipe::Media],
            stdout: Some(0),
            label: "probe".to_owned(),
        };
        let captured = capture(&self.launcher, order, self.limit, PROBE_BYTES)
            .await
            .map_err(|error| capture_fault(&error))?;
        let mut evidence = Evidence::default();
        let (mut lines, mut said) = (Lines::default(), Vec::new());
        lines.feed(&captured.stderr, &mut said);
        lines.finish(&mut said);
        for line in &mut said {
            line.text = shown(&line.text, input, mask);
            evidence.observe(line);
        }
        match Probe::parse(&captured.stdout) {
            Ok(probe) if probe.is_protected() => Err(protected()),
            Ok(probe) if probe.video().is_none() && probe.audio().is_none() => {
                let reason = "there is neither picture nor sound in it that ffmpeg knows";
                Err(Fault::new(Code::Unsupported, Cause::Source, reason).heals(Heals::Never))
            }
            Ok(probe) => Ok(probe),
            Err(error) => Err(match (evidence.fault(), error) {
                (Some((failure, line)), _) => failure_fault(failure, line, false),
                (None, ProbeError::NoStreams) => {
                    Fault::new(Code::NotMedia, Cause::Source, "ffprobe found no media in it")
                        .heals(Heals::Never)
                }
                (None, error) => {
                    Fault::new(Code::NotMedia, Cause::Source, format!("{error} ({})", captured.exit))
                        .heals(Heals::Never)
                }
            }),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_index(
    fetcher: &Fetcher,
    address: &Address,
    source: Option<&Source>,
    mut reader: index::Reader,
    deadline: Instant,
) -> Result<KeyFrames, NoIndex> {
    loop {
        // The table of a long film takes a while, in which this thread has better things to do.
        let stepped = tokio::task::spawn_blocking(move || {
            let step = reader.step();
            (reader, step)
        });
        let (back, step) = stepped.await.map_err(|error| unreadable(&error))?;
        reader = back;
        let (from, length) = match step {
            Step::Need { from, length } => (from, length),
            Step::Found(keys) => return Ok(keys),
            Step::None(why) => return Err(why),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let bytes = fetcher.range(address, source, from, length, left).await;
        reader.feed(from, bytes.map_err(|error| unreadable(&error))?);
    }
}

fn unreadable(error: &dyn std::error::Error) -> NoIndex {
    NoIndex::Unreadable(error.to_string())
}

/// What ffmpeg would refuse in words that help nobody.
fn admit_playlist(bytes: &[u8], is_file: bool) -> Result<(), Fault> {
    let has = |name: &[u8]| bytes.windows(name.len()).any(|window| window == name);
    // RFC 8216 section 4.3.2.4: sample encryption needs a key system, which ffmpeg has none of.
    if has(b"METHOD=SAMPLE-AES") || has(b"URI=\"skd:") {
        return Err(protected());
    }
    if is_file {
        let reason = "HLS playlists are played over HTTP only, since a local one could name any file";
        return Err(Fault::new(Code::Unsupported, Cause::Source, reason).heals(Heals::Never));
    }
    Ok(())
}

fn protected() -> Fault {
    let reason = "the media is encrypted; it can't be played without its keys";
    Fault::new(Code::Protected, Cause::Source, reason).heals(Heals::Never)
}

fn container(sniffed: Sniff) -> Result<Container, Fault> {
    let not_media = |reason: &str| Err(Fault::new(Code::NotMedia, Cause::Source, reason).heals(Heals::Never));
    match sniffed {
        Sniff::Media(container) => Ok(container),
        Sniff::HlsMedia { .. } => Ok(Container::Hls),
        Sniff::Unknown => Ok(Container::Other),
        Sniff::HlsMaster => {
            let reason = "the address is an HLS multivariant playlist, which this version does not resolve: give the address of one of its variants";
            Err(Fault::new(Code::Unsupported, Cause::Source, reason).heals(Heals::Never))
        }
        Sniff::Html => {
            not_media("the source sent a web page instead of media: look at the address and the account")
        }
        Sniff::Json => {
            not_media("the source sent JSON instead of media: look at the address and the account")
        }
        Sniff::Text => not_media("the source sent text instead of media"),
        Sniff::Empty => not_media("the source sent nothing: zero bytes"),
    }
}

/// What the address rules refuse, in the session's terms.
pub(super) fn address_fault(error: &AddressError) -> Fault {
    let (code, cause, heals) = match error.meaning() {
        Meaning::Forbidden => (Code::ForbiddenAddress, Cause::Config, Heals::Never),
        Meaning::Unreachable => (Code::Unreachable, Cause::Source, Heals::Soon),
        Meaning::NotFound => (Code::NotFound, Cause::Source, Heals::Never),
        Meaning::Bad => (Code::BadRequest, Cause::Viewer, Heals::Never),
    };
    Fault::new(code, cause, error.to_string()).heals(heals)
}

fn fetch_fault(error: &FetchError) -> Fault {
    let source = |code, heals| Fault::new(code, Cause::Source, error.to_string()).heals(heals);
    match error {
        FetchError::Forbidden(error) => address_fault(error),
        FetchError::Refused { .. } => source(Code::Refused, Heals::Rarely),
        FetchError::NotFound { .. } => source(Code::NotFound, Heals::Rarely),
        FetchError::Empty => source(Code::NotMedia, Heals::Never),
        _ => source(Code::Unreachable, Heals::Soon),
    }
}

fn capture_fault(error: &CaptureError) -> Fault {
    match error {
        CaptureError::Spawn(SpawnError::NotFound(program) | SpawnError::Denied(program)) => {
            let reason = format!(
                "`{}` can't be run: install ffmpeg, or correct ffmpeg.ffprobe_path",
                program.display()
            );
            Fault::new(Code::FfmpegMissing, Cause::Config, reason).heals(Heals::Never)
        }
        other => {
            Fault::new(Code::Unreachable, Cause::Source, format!("the input could not be probed: {other}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILM: &[u8] = include_bytes!("../mux/index/fixtures/plain.mp4");

    /// Reads the index of a film in a folder, where its first bytes are known; its tables lie behind.
    async fn read(film: &std::path::Path, deadline: Instant) -> Result<KeyFrames, NoIndex> {
        let input = crate::config::Input {
            files: vec![film.parent().unwrap().to_path_buf()],
            ..crate::config::Input::default()
        };
        let rules = Arc::new(Rules::new(&input, &[]));
        std::fs::write(film, FILM).unwrap();
        let address = Address::parse(film.to_str().unwrap(), &rules).unwrap();
        let fetcher = Fetcher::new(rules, &input).unwrap();
        let stream = index::Stream { index: 0, id: Some(1) };
        let first = FILM[..64].to_vec().into();
        let reader = index::Reader::new(Layout::Mp4, stream, FILM.len() as u64, first);
        if deadline < Instant::now() {
            std::fs::remove_file(film).unwrap();
        }
        read_index(&fetcher, &address, None, reader, deadline).await
    }

    #[tokio::test]
    async fn the_index_of_a_film_is_read_in_parts_and_a_source_that_fails_has_none() {
        let directory = tempfile::tempdir().unwrap();
        let film = directory.path().join("film.mp4");
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!(read(&film, later).await.unwrap().times.len(), 8);
        let failed = read(&film, Instant::now() - Duration::from_millis(1)).await.unwrap_err();
        assert!(matches!(failed, NoIndex::Unreadable(_)), "{failed}");
        assert!(failed.to_string().starts_with("the index could not be read: "), "{failed}");
    }
}
