//! Sound as numbers, and how far one recording of it lies from another.

use std::ops::Range;

use crate::frames::{Input, decode, field};

/// Decoded sound of one channel.
#[derive(Debug, Clone)]
pub struct Sound {
    /// Samples a second.
    pub rate: u32,
    /// When the first sample is heard, in samples from the zero of the file's clock.
    pub start: i64,
    /// From -1 to 1.
    pub samples: Vec<f32>,
}

/// How one recording lies against another around a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Match {
    /// By how many samples it is late.
    pub lag: f64,
    /// How much weaker than the sound the difference is that then remains, in decibels.
    pub clean: f64,
}

/// So many samples on both sides of a moment are compared.
const HALF_WINDOW: i64 = 2_400;
/// So far a lag is looked for: less than half of a hum's period, so that there is one best answer.
const MOST_LAG: i64 = 96;
/// Weaker than this is silence, of which nothing can be said.
const SILENCE: f64 = 1e-6;

/// Decodes the first audio stream, or another one by its place among them.
///
/// # Panics
///
/// Where samples do not follow each other without a hole.
pub async fn sound(input: impl Into<Input>, track: usize, rate: u32) -> Sound {
    let chain = format!("aresample={rate},aformat=sample_fmts=flt:channel_layouts=mono,ashowinfo");
    let map = format!("0:a:{track}");
    let (bytes, said) = decode(&input.into(), &["-map", &map, "-af", &chain, "-f", "f32le"]).await;
    let samples = bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
    let pieces = said.lines().filter_map(|line| {
        Some((field(line, "ashowinfo", " pts:")?, field(line, "ashowinfo", " nb_samples:")?))
    });
    let mut start = None;
    let mut end = 0.0;
    for (at, length) in pieces {
        let hole = if start.is_some() { at - end } else { 0.0 };
        // Containers with coarse clocks move packets by a millisecond and less.
        assert!(hole.abs() < f64::from(rate) / 500.0, "{hole} samples are missing at {at}");
        start.get_or_insert(at);
        end = at + length;
    }
    Sound { rate, start: start.map_or(0, |start| start.round() as i64), samples: samples.collect() }
}

impl Sound {
    /// The same, its clock moved so that `zero` seconds become 0.
    #[must_use]
    pub fn from(mut self, zero: f64) -> Self {
        self.start -= (zero * f64::from(self.rate)).round() as i64;
        self
    }

    /// How this lies against `truth` around `moment`, in seconds of both clocks. Nothing where either is silent there
    /// or does not reach so far.
    pub fn against(&self, truth: &Self, moment: f64) -> Option<Match> {
        assert_eq!(self.rate, truth.rate, "only sound of the same rate can be compared");
        let centre = (moment * f64::from(self.rate)).round() as i64;
        let window = centre - HALF_WINDOW..centre + HALF_WINDOW;
        let truth = truth.within(window.clone())?;
        let likeness = |lag: i64| {
            let ours = self.within(window.start + lag..window.end + lag)?;
            let (power, ours_power) = (energy(truth), energy(ours));
            (power.min(ours_power) > SILENCE).then(|| {
                ours.iter().zip(truth).map(|(one, other)| f64::from(*one) * f64::from(*other)).sum::<f64>()
                    / (power * ours_power).sqrt()
            })
        };
        let all: Option<Vec<f64>> = (-MOST_LAG..=MOST_LAG).map(likeness).collect();
        let all = all?;
        let best = (0..all.len()).max_by(|one, other| all[*one].total_cmp(&all[*other]))?;
        // The peak between samples is that of the parabola through the three around it.
        let between = match (best.checked_sub(1).map(|before| all[before]), all.get(best + 1)) {
            (Some(before), Some(after)) => (before - after) / (2.0 * (before - 2.0 * all[best] + after)),
            _ => 0.0,
        };
        let lag = best as i64 - MOST_LAG;
        let ours = self.within(window.start + lag..window.end + lag)?;
        // How loud it is does not count: a mix of six channels is not as loud as one of two.
        let both = ours.iter().zip(truth).map(|(one, other)| (f64::from(*one), f64::from(*other)));
        let gain = both.clone().map(|(one, other)| one * other).sum::<f64>() / energy(truth);
        let rest = both.map(|(one, other)| (one - gain * other).powi(2)).sum::<f64>().max(1e-12);
        Some(Match { lag: lag as f64 + between, clean: 10.0 * (energy(ours) / rest).log10() })
    }

    fn within(&self, range: Range<i64>) -> Option<&[f32]> {
        let place = |at: i64| usize::try_from(at - self.start).ok();
        self.samples.get(place(range.start)?..place(range.end)?)
    }
}

fn energy(samples: &[f32]) -> f64 {
    samples.iter().map(|sample| f64::from(*sample).powi(2)).sum()
}
