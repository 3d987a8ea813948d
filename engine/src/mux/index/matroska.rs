//! Matroska: the seek head leads to the cues, and these list key frames. They may be before or behind the film,
//! sparse, or missing.

use super::super::Time;
use super::super::boxes::Fields;
use super::{By, KeyFrames, MOST_KEYS, NoIndex, PAGE, Stop, Stream, Window, refuse, sound};

const EBML: u32 = 0x1a45_dfa3;
const SEGMENT: u32 = 0x1853_8067;
const SEEK_HEAD: u32 = 0x114d_9b74;
const SEEK: u32 = 0x4dbb;
const SEEK_ID: u32 = 0x53ab;
const SEEK_POSITION: u32 = 0x53ac;
const INFO: u32 = 0x1549_a966;
const TIMESTAMP_SCALE: u32 = 0x2a_d7b1;
const TRACKS: u32 = 0x1654_ae6b;
const TRACK_ENTRY: u32 = 0xae;
const TRACK_NUMBER: u32 = 0xd7;
const TRACK_TYPE: u32 = 0x83;
const TRACK_SCALE: u32 = 0x23_314f;
const CODEC_ID: u32 = 0x86;
const CUES: u32 = 0x1c53_bb6b;
const CUE_POINT: u32 = 0xbb;
const CUE_TIME: u32 = 0xb3;
const CUE_POSITIONS: u32 = 0xb7;
const CUE_TRACK: u32 = 0xf7;
const CLUSTER: u32 = 0x1f43_b675;
const TIMESTAMP: u32 = 0xe7;
const SIMPLE_BLOCK: u32 = 0xa3;
const BLOCK_GROUP: u32 = 0xa0;
const BLOCK: u32 = 0xa1;

/// Far more than a quarter of a million cues take, which is a key frame a second for three days.
const MOST_CUES: u64 = 16 << 20;
/// What describes the film beside its index.
const MOST_HEAD: u64 = 4 << 20;
/// Places that seek heads may lead to, and seek heads that other ones lead to.
const MOST_PLACES: usize = 64;
const MOST_SEEK_HEADS: u32 = 2;
const NANOSECONDS: u32 = 1_000_000_000;

#[derive(Debug)]
pub(super) struct Walk {
    stream: Stream,
    /// Where the segment's elements begin, which is what all places are counted from.
    base: Option<u64>,
    /// The element that is looked at next, before the first cluster.
    at: u64,
    /// Places of elements that were not met on the way.
    places: Vec<(u32, u64)>,
    followed: u32,
    cluster: Option<u64>,
    /// Nanoseconds of a tick.
    scale: Option<u64>,
    track: Option<u64>,
    cues: Option<(u64, u64)>,
    /// When the first picture is shown, and whether it is a key frame.
    first: Option<(i64, bool)>,
}

/// An element in the file: its name, where it and its contents begin, and how long these are if it says so.
struct Element {
    id: u32,
    start: u64,
    body: u64,
    size: Option<u64>,
}

impl Walk {
    pub(super) fn new(stream: Stream) -> Walk {
        Walk {
            stream,
            base: None,
            at: 0,
            places: Vec::new(),
            followed: 0,
            cluster: None,
            scale: None,
            track: None,
            cues: None,
            first: None,
        }
    }

    pub(super) fn go_on(&mut self, window: &Window) -> Result<KeyFrames, Stop> {
        let base = match self.base {
            Some(base) => base,
            None => {
                let head = element(window, 0)?;
                let size = head.size.filter(|_| head.id == EBML);
                let end = sound(size.and_then(|size| head.body.checked_add(size)), "the EBML head")?;
                let segment = element(window, end)?;
                if segment.id != SEGMENT {
                    return refuse(NoIndex::Damaged("the segment"));
                }
                self.at = segment.body;
                *self.base.insert(segment.body)
            }
        };
        while self.cluster.is_none() && self.at < window.length {
            let element = element(window, self.at)?;
            if element.id == CLUSTER {
                self.cluster = Some(self.at);
            } else {
                self.read(window, &element)?;
                let size = sound(element.size, "an element without a size")?;
                self.at = sound(element.body.checked_add(size), "an element")?;
            }
        }
        // While the beginning is at hand; most often this asks for nothing.
        if let (Some(track), Some(cluster), None) = (self.track, self.cluster, self.first)
            && (self.cues.is_some() || self.places.iter().any(|(id, _)| *id == CUES))
        {
            self.first = Some(first_picture(window, cluster, track)?);
        }
        // What was not met on the way to the pictures lies behind them.
        while self.track.is_none() || self.scale.is_none() || self.cues.is_none() {
            let missing = |id: u32| match id {
                TRACKS => self.track.is_none(),
                INFO => self.scale.is_none(),
                CUES => self.cues.is_none(),
                _ => id == SEEK_HEAD && self.followed < MOST_SEEK_HEADS,
            };
            let Some(place) = self.places.iter().position(|(id, _)| missing(*id)) else { break };
            let (id, at) = self.places[place];
            let element = element(window, sound(base.checked_add(at), "the seek head")?)?;
            if element.id != id {
                return refuse(NoIndex::Damaged("the seek head"));
            }
            self.read(window, &element)?;
            self.places.remove(place);
            self.followed += u32::from(id == SEEK_HEAD);
        }
        let track = self.track.ok_or(Stop::No(NoIndex::Track))?;
        let (from, size) = self.cues.ok_or(Stop::No(NoIndex::Absent))?;
        let cluster = self.cluster.ok_or(Stop::No(NoIndex::Absent))?;
        let (first, is_key) = match self.first {
            Some(first) => first,
            None => *self.first.insert(first_picture(window, cluster, track)?),
        };
        let mut ticks = cue_times(window.whole(from, size)?, track)?;
        match ticks.first() {
            // Cues need not begin with the film.
            Some(cue) if is_key && first < *cue => ticks.insert(0, first),
            _ => {}
        }
        let scale = self.scale.unwrap_or(1_000_000);
        let times: Option<Vec<_>> = ticks.into_iter().map(|ticks| time(ticks, scale)).collect();
        Ok(KeyFrames { times: sound(times, "its times")?, end: None, delay: None, by: By::Cues })
    }

    fn read(&mut self, window: &Window, element: &Element) -> Result<(), Stop> {
        let Element { id, start, body, size: Some(size) } = *element else {
            return if element.id == CUES { refuse(NoIndex::Damaged("cues")) } else { Ok(()) };
        };
        let end = sound(body.checked_add(size), "an element")?;
        let most = if id == CUES { MOST_CUES } else { MOST_HEAD };
        match id {
            SEEK_HEAD | INFO | TRACKS if size > most => return refuse(NoIndex::TooLarge("its head", most)),
            CUES if size > most => return refuse(NoIndex::TooLarge("cues", most)),
            SEEK_HEAD => {
                let found = places(window.inside(start, body, end)?);
                let room = MOST_PLACES.saturating_sub(self.places.len());
                self.places.extend(found.take(room));
            }
            INFO => {
                let scale = Elements::of(window.inside(start, body, end)?).uint(TIMESTAMP_SCALE);
                self.scale =
                    Some(sound(Some(scale.unwrap_or(1_000_000)).filter(|scale| *scale > 0), "its scale")?);
            }
            TRACKS => self.track = Some(video(window.inside(start, body, end)?, self.stream)?),
            // They can't be understood before the tracks are known.
            CUES => self.cues = Some((body, size)),
            _ => {}
        }
        Ok(())
    }
}

fn element(window: &Window, at: u64) -> Result<Element, Stop> {
    // Four bytes of name and eight of size.
    let bytes = window.onward(at, 12)?;
    let mut fields = Fields::new(bytes);
    let head = (|| Some((name(&mut fields)?, size(&mut fields)?)))();
    let (id, size) = sound(head, "an element")?;
    Ok(Element { id, start: at, body: at + (bytes.len() - fields.rest().len()) as u64, size })
}

fn places(seek_head: &[u8]) -> impl Iterator<Item = (u32, u64)> {
    let seeks = Elements::of(seek_head).filter(|(id, _)| *id == SEEK);
    seeks.filter_map(|(_, seek)| {
        let id = Elements::of(seek).uint(SEEK_ID).and_then(|id| u32::try_from(id).ok())?;
        Some((id, Elements::of(seek).uint(SEEK_POSITION)?))
    })
}

/// The number of the track that ffprobe chose: ffmpeg counts the tracks that it knows the kind of.
fn video(tracks: &[u8], stream: Stream) -> Result<u64, Stop> {
    const VIDEO: u64 = 1;
    let entries = || {
        let entries = Elements::of(tracks).filter(|(id, _)| *id == TRACK_ENTRY).map(|(_, entry)| entry);
        entries.filter_map(|entry| {
            let kind = Elements::of(entry).uint(TRACK_TYPE)?;
            let has_codec = Elements::of(entry).any(|(id, _)| id == CODEC_ID);
            (has_codec && matches!(kind, 1 | 2 | 0x11 | 0x21)).then_some((kind, entry))
        })
    };
    let chosen = entries().nth(stream.index as usize).filter(|(kind, _)| *kind == VIDEO);
    let videos = || entries().filter(|(kind, _)| *kind == VIDEO);
    let only = || videos().next().filter(|_| videos().count() == 1);
    let (_, entry) = chosen.or_else(only).ok_or(Stop::No(NoIndex::Track))?;
    // A track that runs at a pace of its own went out of use before H.264 came.
    let pace = Elements::of(entry).find(|(id, _)| *id == TRACK_SCALE).map(|(_, value)| value);
    if pace.is_some_and(|pace| pace != 1_f32.to_be_bytes() && pace != 1_f64.to_be_bytes()) {
        return refuse(NoIndex::Damaged("the track's scale"));
    }
    sound(Elements::of(entry).uint(TRACK_NUMBER), "the track's number")
}

fn cue_times(cues: &[u8], track: u64) -> Result<Vec<i64>, Stop> {
    let mut times: Vec<i64> = Vec::new();
    for (_, point) in Elements::of(cues).filter(|(id, _)| *id == CUE_POINT) {
        let is_ours = Elements::of(point)
            .filter(|(id, _)| *id == CUE_POSITIONS)
            .any(|(_, positions)| Elements::of(positions).uint(CUE_TRACK) == Some(track));
        if !is_ours {
            continue;
        }
        let time = Elements::of(point).uint(CUE_TIME).and_then(|time| i64::try_from(time).ok());
        let time = sound(time, "a cue")?;
        if times.len() == MOST_KEYS {
            return refuse(NoIndex::TooMany);
        }
        // A cue may be there twice, once for each of two kinds of index.
        if times.last() != Some(&time) {
            times.push(time);
        }
    }
    Ok(times)
}

fn time(ticks: i64, scale: u64) -> Option<Time> {
    let scale = i64::try_from(scale).ok()?;
    let nanoseconds = i64::from(NANOSECONDS);
    if nanoseconds % scale == 0 {
        return Some(Time::new(ticks, (nanoseconds / scale) as u32));
    }
    ticks.checked_mul(scale).map(|ticks| Time::new(ticks, NANOSECONDS))
}

/// The first picture in the clusters from here on, in ticks, and whether it is a key frame.
fn first_picture(window: &Window, cluster: u64, track: u64) -> Result<(i64, bool), Stop> {
    let bytes = window.onward(cluster, 1)?;
    let left = window.length - cluster;
    if let Some(found) = picture(bytes, track) {
        return Ok(found);
    }
    if bytes.len() as u64 >= PAGE.min(left) {
        return refuse(NoIndex::Beginning);
    }
    picture(window.onward(cluster, PAGE)?, track).ok_or(Stop::No(NoIndex::Beginning))
}

fn picture(clusters: &[u8], track: u64) -> Option<(i64, bool)> {
    let mut fields = Fields::new(clusters);
    let mut of_cluster = None;
    while !fields.is_empty() {
        let (id, size) = (name(&mut fields)?, size(&mut fields)?);
        match id {
            // What is inside comes next, as if it were not inside.
            CLUSTER | BLOCK_GROUP => continue,
            TIMESTAMP => {
                of_cluster = Some(uint(fields.take(usize::try_from(size?).ok()?)?)?);
                continue;
            }
            SIMPLE_BLOCK | BLOCK => {
                let mut head = fields;
                if self::size(&mut head)? == Some(track) {
                    let base = i64::try_from(of_cluster?).ok()?;
                    let shown = base.checked_add(i64::from(head.u16()? as i16))?;
                    // In a group, what follows the block would tell. The first of a film is taken for one.
                    return Some((shown, id == BLOCK || head.u8()? & 0x80 != 0));
                }
            }
            _ => {}
        }
        fields.skip(usize::try_from(size?).ok()?)?;
    }
    None
}

/// The elements in a parent's contents. A torn one is the end.
#[derive(Clone)]
struct Elements<'a>(Fields<'a>);

impl<'a> Elements<'a> {
    fn of(body: &'a [u8]) -> Elements<'a> {
        Elements(Fields::new(body))
    }

    /// The first number of this name.
    fn uint(mut self, wanted: u32) -> Option<u64> {
        self.find(|(id, _)| *id == wanted).and_then(|(_, body)| uint(body))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let id = name(&mut self.0)?;
        let size = size(&mut self.0)??;
        Some((id, self.0.take(usize::try_from(size).ok()?)?))
    }
}

/// A name of one to four bytes; the leading zeros say how many.
fn name(fields: &mut Fields<'_>) -> Option<u32> {
    let first = fields.u8()?;
    let more = first.leading_zeros() as usize;
    let rest = fields.take(more).filter(|_| more < 4)?;
    Some(rest.iter().fold(u32::from(first), |all, byte| all << 8 | u32::from(*byte)))
}

/// A size of one to eight bytes, where all bits set mean that it isn't known.
fn size(fields: &mut Fields<'_>) -> Option<Option<u64>> {
    let first = fields.u8()?;
    let more = first.leading_zeros() as usize;
    let rest = fields.take(more).filter(|_| more < 8)?;
    let mask = (1_u64 << (7 * (more + 1))) - 1;
    let all = rest.iter().fold(u64::from(first), |all, byte| all << 8 | u64::from(*byte)) & mask;
    Some((all != mask).then_some(all))
}

fn uint(body: &[u8]) -> Option<u64> {
    (body.len() <= 8).then(|| body.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)))
}
