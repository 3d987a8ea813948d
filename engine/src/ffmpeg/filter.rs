//! Filter chains: how frames and samples of any source are put on the grid that was decided for them.

use super::decide::{AudioEncode, Colour, Snap, VideoEncode};
use crate::mux::Time;

/// Samples in an AAC packet, which the grid of encoded audio is made of.
const PACKET: i64 = 1024;
/// AAC codes each packet together with its neighbours. Packets made before the first wanted one and after the
/// last, and dropped by the reader, keep the joint between two runs below hearing.
const BEFORE: i64 = 4;
const AFTER: i64 = 2;

/// Where a chain begins and ends, in film time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    /// From wherever the input was joined, without end.
    Live,
    /// Part of a film.
    Film { from: Time, until: Option<Time> },
}

/// A quarter of a frame: far enough from a grid point to survive any rounding of times. At half a frame
/// `trim` rounds the last frame of a segment away.
pub(super) fn quarter_frame(encode: &VideoEncode) -> Time {
    Time::new(i64::from(encode.rate.den), encode.rate.num * 4)
}

/// When the first packet that an encoded audio track makes begins.
pub(super) fn audio_lead(encode: &AudioEncode, from: Time) -> Time {
    packet_time(encode, first_packet(encode, from) - BEFORE)
}

/// The chain of an encoded video.
pub(super) fn video(encode: &VideoEncode, span: Span) -> String {
    let mut chain = Vec::new();
    // Before `fps`, which would pick among fields what belongs together.
    if encode.deinterlace {
        chain.push("bwdif=mode=send_frame:deint=interlaced".to_owned());
    }
    let is_start = matches!(span, Span::Film { from, .. } if from == Time::ZERO);
    chain.push(format!("fps={}{}", encode.rate, if is_start { ":start_time=0" } else { "" }));
    let early = |time: Time| micros(time - quarter_frame(encode));
    chain.extend(trim("trim", span, early, early));
    // After `trim`, so that frames decoded only to get here are not scaled.
    scale(&mut chain, encode);
    chain.join(",")
}

/// The chain of an encoded audio.
pub(super) fn audio(encode: &AudioEncode, span: Span) -> String {
    let mut chain = Vec::new();
    let mut resample = format!("aresample={}:async=1", encode.sample_rate);
    if let Span::Film { from, until } = span {
        chain.extend(encode.snap.map(snap));
        // A hole of 30 ms in the source is filled by a run that saw it and by one that began after it alike.
        // Live has one run, and would only hear every jitter of its times.
        resample.push_str(":min_hard_comp=0.02");
        if from == Time::ZERO {
            resample.push_str(":first_pts=0");
        }
        chain.extend([resample, "aformat=channel_layouts=stereo".to_owned()]);
        // Audio that ends before the video would leave the last segments short.
        chain.extend(until.map(|_| "apad".to_owned()));
        let start = |from| micros(audio_lead(encode, from));
        let end = |until| micros(packet_time(encode, first_packet(encode, until) + AFTER));
        chain.extend(trim("atrim", span, start, end));
    } else {
        chain.extend([resample, "aformat=channel_layouts=stereo".to_owned()]);
    }
    chain.join(",")
}

/// As ffmpeg reads a time: it cuts off what is finer than a microsecond.
pub(super) fn micros(time: Time) -> String {
    Time::new(time.ticks_in(1_000_000), 1_000_000).to_string()
}

fn trim(
    name: &str,
    span: Span,
    start: impl Fn(Time) -> String,
    end: impl Fn(Time) -> String,
) -> Option<String> {
    let Span::Film { from, until } = span else { return None };
    let start = (from > Time::ZERO).then(|| format!("start={}", start(from)));
    let end = until.map(|until| format!("end={}", end(until)));
    let bounds: Vec<String> = start.into_iter().chain(end).collect();
    (!bounds.is_empty()).then(|| format!("{name}={}", bounds.join(":")))
}

fn scale(chain: &mut Vec<String>, encode: &VideoEncode) {
    let size = match (encode.size, encode.max_height) {
        (Some((width, height)), _) => format!("w={width}:h={height}"),
        (None, Some(max)) => {
            format!("w='trunc(iw*sar*min(1\\,{max}/ih)/2)*2':h='trunc(min(ih\\,{max})/2)*2'")
        }
        (None, None) => "w='trunc(iw*sar/2)*2':h='trunc(ih/2)*2'".to_owned(),
    };
    let matrix = if encode.colour == Colour::Rgb { ":out_color_matrix=bt709" } else { "" };
    chain.push(format!("scale={size}{matrix}:out_range=tv"));
    // The tone-mapper works on every pixel in floating point: after the picture has become small.
    if let Colour::High { tagged } = encode.colour {
        if !tagged {
            chain.push(
                "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv"
                    .to_owned(),
            );
        }
        let steps = [
            "zscale=t=linear:npl=100",
            "format=gbrpf32le",
            "zscale=p=bt709",
            "tonemap=tonemap=hable:desat=0",
            "zscale=t=bt709:m=bt709:r=tv",
        ];
        chain.extend(steps.map(str::to_owned));
    }
    chain.extend(["setsar=1", "format=yuv420p"].map(str::to_owned));
    if encode.colour == Colour::Rgb {
        // As options of the encoder newer versions ignore them.
        chain.push("setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv".to_owned());
    }
}

/// Puts packets that lie within a tenth of one of their grid exactly on it: a clock of milliseconds would
/// move each run's audio by up to half of one.
fn snap(snap: Snap) -> String {
    let (start, packet) = (micros(snap.start), snap.packet);
    format!(
        "asetpts=st(0\\,(PTS*TB-({start}))*SR/{packet})*0+if(lt(abs(ld(0)-round(ld(0)))\\,0.1)\\,\
         round(round(ld(0))*{packet}+({start})*SR)\\,PTS)"
    )
}

fn first_packet(encode: &AudioEncode, time: Time) -> i64 {
    (time.ceil_in(encode.sample_rate) + PACKET - 1).div_euclid(PACKET)
}

fn packet_time(encode: &AudioEncode, packet: i64) -> Time {
    Time::new(packet * PACKET, encode.sample_rate)
}
