//! A player without a screen: reads the playlists of a session and fetches everything they name.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use m3u8_rs::{AlternativeMedia, AlternativeMediaType, MasterPlaylist, MediaPlaylist};
use reqwest::Url;

/// How long between two looks at a playlist that grows.
const PAUSE: Duration = Duration::from_millis(100);

/// The playlists of a session, by address.
#[derive(Debug, Clone)]
pub struct Stream {
    client: reqwest::Client,
    /// Where the multivariant playlist is.
    pub address: Url,
    /// The multivariant playlist.
    pub variants: MasterPlaylist,
    /// Where the video rendition is, if there is one.
    pub video: Option<Url>,
    /// Where the first audio rendition is, if there is one.
    pub audio: Option<Url>,
}

impl Stream {
    /// Opens the multivariant playlist at `address`.
    ///
    /// # Panics
    ///
    /// Where it is none, or names nothing to play.
    pub async fn open(client: &reqwest::Client, address: Url) -> Self {
        let text = text(client, &address).await;
        let variants = match m3u8_rs::parse_playlist_res(text.as_bytes()) {
            Ok(m3u8_rs::Playlist::MasterPlaylist(variants)) => variants,
            other => panic!("{address} is no multivariant playlist: {other:?}\n{text}"),
        };
        let main = variants.variants.first().unwrap_or_else(|| panic!("{address} names no variant:\n{text}"));
        let join = |uri: &str| address.join(uri).expect("a playlist names addresses");
        let audio = of_type(&variants, AlternativeMediaType::Audio).next().map(|(_, uri)| join(uri));
        // Sound alone has no alternatives: the one variant is the audio rendition.
        let (video, audio) = if main.uri.contains("audio") {
            (None, Some(join(&main.uri)))
        } else {
            (Some(join(&main.uri)), audio)
        };
        Self { client: client.clone(), address, variants, video, audio }
    }

    /// The renditions of one type beside the main one, as they are offered, and where they are.
    pub fn alternatives(&self, wanted: AlternativeMediaType) -> Vec<(&AlternativeMedia, Url)> {
        of_type(&self.variants, wanted)
            .map(|(other, uri)| (other, self.address.join(uri).expect("a playlist names addresses")))
            .collect()
    }

    /// Everything that a player may play of it: video, then audio in its order.
    pub async fn renditions(&self) -> Vec<Rendition> {
        let mut addresses: Vec<Url> = self.video.iter().cloned().collect();
        match self.video {
            Some(_) => {
                addresses
                    .extend(self.alternatives(AlternativeMediaType::Audio).into_iter().map(|(_, url)| url));
            }
            None => addresses.extend(self.audio.clone()),
        }
        join_all(addresses.iter().map(|address| self.rendition(address))).await
    }

    /// The same as muxed MPEG-TS.
    pub async fn transport_stream(&self) -> Rendition {
        self.rendition(&self.address.join("ts.m3u8").expect("it is a plain name")).await
    }

    /// The media playlist at `address`.
    pub async fn rendition(&self, address: &Url) -> Rendition {
        let mut rendition = Rendition {
            client: self.client.clone(),
            address: address.clone(),
            list: None,
            segments: BTreeMap::new(),
        };
        rendition.reload().await;
        rendition
    }

    /// The video rendition.
    pub async fn video(&self) -> Rendition {
        self.rendition(self.video.as_ref().expect("there is a video rendition")).await
    }

    /// The first audio rendition.
    pub async fn audio(&self) -> Rendition {
        self.rendition(self.audio.as_ref().expect("there is an audio rendition")).await
    }
}

/// A segment that a playlist named.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Where it is.
    pub address: Url,
    /// Where the initialisation section is that it needs.
    pub init: Option<Url>,
    /// What the playlist said of its length, in seconds.
    pub duration: f32,
    /// Whether its clock has nothing to do with the segment before.
    pub discontinuity: bool,
    /// Whether the playlist says that there is nothing to fetch.
    pub gap: bool,
}

fn of_type(
    variants: &MasterPlaylist,
    wanted: AlternativeMediaType,
) -> impl Iterator<Item = (&AlternativeMedia, &str)> {
    variants
        .alternatives
        .iter()
        .filter(move |other| other.media_type == wanted)
        .filter_map(|other| Some((other, other.uri.as_deref()?)))
}

/// One media playlist, and every segment that it ever named while we looked.
#[derive(Debug, Clone)]
pub struct Rendition {
    client: reqwest::Client,
    /// Where the playlist is.
    pub address: Url,
    list: Option<MediaPlaylist>,
    /// By media sequence number.
    pub segments: BTreeMap<u64, Segment>,
}

impl Rendition {
    /// The playlist as it was at the last look.
    pub fn list(&self) -> &MediaPlaylist {
        self.list.as_ref().expect("a rendition is read when it is made")
    }

    /// The same, as somebody finds it who comes now.
    pub async fn anew(&self) -> Self {
        let mut anew = Self { list: None, segments: BTreeMap::new(), ..self.clone() };
        anew.reload().await;
        anew
    }

    /// Looks again.
    ///
    /// # Panics
    ///
    /// Where it is no media playlist, or says something else of a segment than it said before.
    pub async fn reload(&mut self) {
        let text = text(&self.client, &self.address).await;
        let list = match m3u8_rs::parse_playlist_res(text.as_bytes()) {
            Ok(m3u8_rs::Playlist::MediaPlaylist(list)) => list,
            other => panic!("{} is no media playlist: {other:?}\n{text}", self.address),
        };
        let mut init = None;
        for (sequence, entry) in (list.media_sequence..).zip(&list.segments) {
            if let Some(map) = &entry.map {
                init = Some(self.address.join(&map.uri).expect("a playlist names addresses"));
            }
            let segment = Segment {
                address: self.address.join(&entry.uri).expect("a playlist names addresses"),
                init: init.clone(),
                duration: entry.duration,
                discontinuity: entry.discontinuity,
                gap: entry.unknown_tags.iter().any(|tag| tag.tag == "X-GAP"),
            };
            if let Some(before) = self.segments.insert(sequence, segment.clone()) {
                assert_eq!(before, segment, "what a playlist said of segment {sequence} stays so");
            }
        }
        self.list = Some(list);
    }

    /// How long the list says that all is, in seconds.
    pub fn length(&self) -> f64 {
        self.segments.values().map(|segment| f64::from(segment.duration)).sum()
    }

    /// Where each segment begins by the list, in seconds, and at the end where the last one ends.
    pub fn boundaries(&self) -> Vec<f64> {
        let mut at = 0.0;
        let ends = self.segments.values().map(|segment| {
            at += f64::from(segment.duration);
            at
        });
        std::iter::once(0.0).chain(ends).collect()
    }

    /// Looks until the list has an end.
    pub async fn until_ended(&mut self, limit: Duration) -> &mut Self {
        self.follow(limit, "the playlist to end", |rendition| rendition.list().end_list).await
    }

    /// Looks until `count` segments were named.
    pub async fn until_segments(&mut self, limit: Duration, count: usize) -> &mut Self {
        self.follow(limit, "more segments", |rendition| rendition.segments.len() >= count).await
    }

    async fn follow(&mut self, limit: Duration, what: &str, enough: impl Fn(&Self) -> bool) -> &mut Self {
        let end = Instant::now() + limit;
        while !enough(self) {
            assert!(Instant::now() < end, "waited {limit:?} in vain for {what} at {}", self.address);
            tokio::time::sleep(PAUSE).await;
            self.reload().await;
        }
        self
    }

    /// The bytes of one segment.
    pub async fn fetch(&self, sequence: u64) -> Vec<u8> {
        bytes(&self.client, &self.segments[&sequence].address).await
    }

    /// The initialisation section that one segment needs, or nothing where it needs none, as in a transport stream.
    pub async fn init(&self, sequence: u64) -> Vec<u8> {
        match &self.segments[&sequence].init {
            Some(init) => bytes(&self.client, init).await,
            None => Vec::new(),
        }
    }

    /// Everything that was named and is no gap, as one file: the initialisation section of the first segment, then all.
    ///
    /// # Panics
    ///
    /// Where a segment is missing in between, or a later one needs another initialisation section: ask for
    /// [`Self::stretches`] then.
    pub async fn whole(&self) -> Vec<u8> {
        let mut stretches = self.stretches().await;
        assert_eq!(stretches.len(), 1, "{} is one stretch without a break", self.address);
        stretches.remove(0)
    }

    /// The same, cut where a discontinuity lies.
    pub async fn stretches(&self) -> Vec<Vec<u8>> {
        let mut stretches: Vec<Vec<u8>> = Vec::new();
        let first = self.segments.keys().next().copied().unwrap_or_default();
        let mut init = None;
        for (expected, (sequence, segment)) in (first..).zip(&self.segments) {
            assert_eq!(*sequence, expected, "no segment was missed between two looks");
            if segment.gap {
                continue;
            }
            if stretches.is_empty() || segment.discontinuity || segment.init != init {
                let section = segment.init.as_ref().expect("fragmented MP4 has an initialisation section");
                stretches.push(bytes(&self.client, section).await);
                init.clone_from(&segment.init);
            }
            let media = bytes(&self.client, &segment.address).await;
            stretches.last_mut().expect("one was just put there").extend(media);
        }
        stretches
    }
}

async fn text(client: &reqwest::Client, address: &Url) -> String {
    String::from_utf8(bytes(client, address).await).expect("a playlist is text")
}

async fn bytes(client: &reqwest::Client, address: &Url) -> Vec<u8> {
    let answer =
        client.get(address.clone()).send().await.unwrap_or_else(|error| panic!("{address}: {error}"));
    let status = answer.status();
    let body = answer.bytes().await.unwrap_or_else(|error| panic!("{address} broke off: {error}"));
    assert!(status.is_success(), "{address} was answered {status}: {}", String::from_utf8_lossy(&body));
    body.to_vec()
}
