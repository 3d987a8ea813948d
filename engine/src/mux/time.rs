//! Exact instants and durations on a media axis, and frame rates: fractions, never floats.
//!
//! A cut that is off by one part in a million lands on the wrong side of a frame, and then every segment of
//! a film loses one. It knows no clocks: this is the time that samples carry.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Add, AddAssign, Mul, Neg, Sub, SubAssign};
use std::time::Duration;

/// An instant or a duration: so many ticks of one `scale`-th of a second. Equal values are equal, whatever
/// their scales.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    ticks: i64,
    scale: u32,
}

/// Frames per second. Neither part is zero; [`Rate::parse`] sees to it for what was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Frames in `den` seconds.
    pub num: u32,
    /// The seconds that `num` frames take.
    pub den: u32,
}

/// What a fraction that does not fit is rounded to: a nanosecond.
const FINEST: u32 = 1_000_000_000;

impl Time {
    /// No time at all, or where the axis begins.
    pub const ZERO: Time = Time { ticks: 0, scale: 1 };

    /// `ticks` of one `scale`-th of a second. Panics on a scale of zero: who reads one from bytes refuses it.
    pub const fn new(ticks: i64, scale: u32) -> Time {
        assert!(scale > 0, "a time scale is never zero");
        Time { ticks, scale }
    }

    /// Whole seconds.
    pub const fn from_secs(seconds: i64) -> Time {
        Time { ticks: seconds, scale: 1 }
    }

    /// Whole milliseconds.
    pub const fn from_millis(millis: i64) -> Time {
        Time { ticks: millis, scale: 1_000 }
    }

    /// A decimal as ffprobe prints it, exactly: `3602.858667`, `-10.86`. More than nine decimals are rounded
    /// to nine; anything else than a decimal is nothing.
    pub fn parse_decimal(text: &str) -> Option<Time> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && decimals.is_empty()) || !all_digits(whole) || !all_digits(decimals) {
            return None;
        }
        let decimals = decimals.trim_end_matches('0');
        let (kept, dropped) = decimals.split_at(decimals.len().min(9));
        let scale = 10_u32.pow(kept.len() as u32);
        let number = |part: &str| if part.is_empty() { Some(0) } else { part.parse::<i64>().ok() };
        let rounding = i64::from(dropped.starts_with(|digit: char| digit >= '5'));
        let ticks = number(whole)?
            .checked_mul(i64::from(scale))?
            .checked_add(number(kept)?)?
            .checked_add(rounding)?;
        Some(Time { ticks: if negative { -ticks } else { ticks }, scale })
    }

    /// Ticks of another scale, the nearest (halves away from zero).
    pub fn ticks_in(self, scale: u32) -> i64 {
        saturated(divided(self.in_parts(scale), i128::from(self.scale)))
    }

    /// Ticks of another scale, the last one that is not later.
    pub fn floor_in(self, scale: u32) -> i64 {
        saturated(self.in_parts(scale).div_euclid(i128::from(self.scale)))
    }

    /// Ticks of another scale, the first one that is not earlier.
    pub fn ceil_in(self, scale: u32) -> i64 {
        saturated(-(-self.in_parts(scale)).div_euclid(i128::from(self.scale)))
    }

    /// Seconds for people and for playlists; never for deciding.
    pub fn seconds(self) -> f64 {
        self.ticks as f64 / f64::from(self.scale)
    }

    /// As a duration of the standard library; a negative time is none.
    pub fn duration(self) -> Duration {
        let nanos = self.in_parts(FINEST).max(0) / i128::from(self.scale);
        let second = i128::from(FINEST);
        Duration::new((nanos / second) as u64, (nanos % second) as u32)
    }

    /// The ticks of another scale times our own scale: at most 95 bits.
    fn in_parts(self, scale: u32) -> i128 {
        i128::from(self.ticks) * i128::from(scale)
    }

    /// `numerator / denominator`, exactly wherever it fits; the denominator is positive and below 2^64.
    fn fraction(numerator: i128, denominator: i128) -> Time {
        let common =
            i128::from(common_divisor(denominator as u64, (numerator % denominator).unsigned_abs() as u64));
        let (numerator, denominator) = (numerator / common, denominator / common);
        match (i64::try_from(numerator), u32::try_from(denominator)) {
            (Ok(ticks), Ok(scale)) => Time { ticks, scale },
            // Scales that met in practice never come here: their least common multiple has 32 bits.
            _ => {
                let whole = numerator / denominator * i128::from(FINEST);
                let rest = divided(numerator % denominator * i128::from(FINEST), denominator);
                Time { ticks: saturated(whole + rest), scale: FINEST }
            }
        }
    }

    fn reduced(self) -> (i64, u32) {
        let common = common_divisor(u64::from(self.scale), self.ticks.unsigned_abs());
        ((i128::from(self.ticks) / i128::from(common)) as i64, (u64::from(self.scale) / common) as u32)
    }
}

impl Rate {
    /// A rate as ffprobe prints it, `30000/1001` or `25`. `0/0`, its word for unknown, is nothing.
    pub fn parse(text: &str) -> Option<Rate> {
        let (num, den) = text.split_once('/').unwrap_or((text, "1"));
        let rate = Rate { num: num.parse().ok()?, den: den.parse().ok()? };
        (rate.num > 0 && rate.den > 0).then_some(rate)
    }

    /// How long `n` frames take, which is also where frame `n` begins.
    pub fn frame(self, n: i64) -> Time {
        assert!(self.num > 0, "a rate is never zero");
        match n.checked_mul(i64::from(self.den)) {
            Some(ticks) => Time { ticks, scale: self.num },
            None => Time::fraction(i128::from(n) * i128::from(self.den), i128::from(self.num)),
        }
    }

    /// Frames that begin before `time`, counted from zero: also the first frame that is not earlier.
    pub fn frames_in(self, time: Time) -> i64 {
        let (frames, parts) = self.count(time);
        saturated(-(-frames).div_euclid(parts))
    }

    /// The frame that begins nearest to `time`.
    pub fn nearest_frame(self, time: Time) -> i64 {
        let (frames, parts) = self.count(time);
        saturated(divided(frames, parts))
    }

    fn count(self, time: Time) -> (i128, i128) {
        assert!(self.den > 0, "a rate's seconds are never zero");
        (time.in_parts(self.num), i128::from(time.scale) * i128::from(self.den))
    }
}

impl From<Duration> for Time {
    fn from(duration: Duration) -> Time {
        let nanos = i128::try_from(duration.as_nanos()).expect("2^64 seconds are 2^94 nanoseconds");
        Time::fraction(nanos, i128::from(FINEST))
    }
}

impl Add for Time {
    type Output = Time;

    fn add(self, other: Time) -> Time {
        if self.scale == other.scale
            && let Some(ticks) = self.ticks.checked_add(other.ticks)
        {
            return Time { ticks, scale: self.scale };
        }
        let sum = self.in_parts(other.scale) + other.in_parts(self.scale);
        Time::fraction(sum, i128::from(self.scale) * i128::from(other.scale))
    }
}

impl Neg for Time {
    type Output = Time;

    fn neg(self) -> Time {
        Time { ticks: self.ticks.saturating_neg(), scale: self.scale }
    }
}

impl Sub for Time {
    type Output = Time;

    fn sub(self, other: Time) -> Time {
        self + -other
    }
}

impl Mul<i64> for Time {
    type Output = Time;

    fn mul(self, factor: i64) -> Time {
        match self.ticks.checked_mul(factor) {
            Some(ticks) => Time { ticks, scale: self.scale },
            None => Time::fraction(i128::from(self.ticks) * i128::from(factor), i128::from(self.scale)),
        }
    }
}

impl AddAssign for Time {
    fn add_assign(&mut self, other: Time) {
        *self = *self + other;
    }
}

impl SubAssign for Time {
    fn sub_assign(&mut self, other: Time) {
        *self = *self - other;
    }
}

impl Ord for Time {
    fn cmp(&self, other: &Time) -> Ordering {
        self.in_parts(other.scale).cmp(&other.in_parts(self.scale))
    }
}

impl PartialOrd for Time {
    fn partial_cmp(&self, other: &Time) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Time {
    fn eq(&self, other: &Time) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Time {}

impl Hash for Time {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.reduced().hash(state);
    }
}

/// A decimal such as ffmpeg takes: as many digits as it needs, at most nine, rounded; `{:.3}` gives three.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(9).min(9);
        let scale = 10_u32.pow(digits as u32);
        let parts = divided(self.in_parts(scale), i128::from(self.scale));
        let (whole, rest) = (parts.abs() / i128::from(scale), parts.abs() % i128::from(scale));
        let sign = if parts < 0 { "-" } else { "" };
        let decimals = if digits > 0 { format!("{rest:0digits$}") } else { String::new() };
        let shown = if f.precision().is_some() { &decimals } else { decimals.trim_end_matches('0') };
        if shown.is_empty() { write!(f, "{sign}{whole}") } else { write!(f, "{sign}{whole}.{shown}") }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.num, self.den)
    }
}

/// Rounded to the nearest, halves away from zero, as ffmpeg rescales.
fn divided(numerator: i128, denominator: i128) -> i128 {
    let half = if numerator < 0 { -(denominator / 2) } else { denominator / 2 };
    (numerator + half) / denominator
}

fn saturated(value: i128) -> i64 {
    value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const NTSC: Rate = Rate { num: 30_000, den: 1_001 };

    #[test]
    fn equal_values_are_one_value_whatever_their_scale() {
        let times = [
            Time::new(90_000, 90_000),
            Time::from_secs(1),
            Time::from_millis(1_000),
            Time::new(48_000, 48_000),
        ];
        assert_eq!(HashSet::from(times).len(), 1);
        assert_eq!(HashSet::from([Time::ZERO, Time::new(0, 90_000)]).len(), 1);
        assert!(Time::new(1_001, 30_000) > Time::new(1, 30));
        assert_eq!(Time::from_secs(-3).min(Time::ZERO), Time::from_millis(-3_000));
    }

    #[test]
    fn a_decimal_is_read_exactly_and_written_back() {
        for text in ["3602.858667", "-10.86", "0", "0.04", "-0.021333333", "12", "9223372036"] {
            assert_eq!(Time::parse_decimal(text).map(|time| time.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Time::parse_decimal("3602.880000"), Some(Time::new(360_288, 100)));
        assert_eq!(Time::parse_decimal("9.97666666666666"), Some(Time::new(9_976_666_667, 1_000_000_000)));
        for text in ["", "-", ".", "N/A", "1e3", " 1", "1.2.3", "--1", "+1", "99999999999999999999"] {
            assert_eq!(Time::parse_decimal(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_decimal_is_rounded_to_what_was_asked_for() {
        assert_eq!(NTSC.frame(1).to_string(), "0.033366667");
        assert_eq!(format!("{:.6}", NTSC.frame(-1)), "-0.033367");
        assert_eq!(format!("{:.3}", Time::from_secs(2)), "2.000");
        assert_eq!(format!("{:.0}", Time::from_millis(1_500)), "2");
        assert_eq!(format!("{:.2}", Time::new(-1, 1_000)), "0.00");
    }

    #[test]
    fn ticks_are_rounded_the_way_that_was_asked_for() {
        let third = Time::new(1, 3);
        assert_eq!((third.floor_in(100), third.ticks_in(100), third.ceil_in(100)), (33, 33, 34));
        assert_eq!(((-third).floor_in(100), (-third).ticks_in(100), (-third).ceil_in(100)), (-34, -33, -33));
        assert_eq!((Time::new(1, 2).ticks_in(1), Time::new(-1, 2).ticks_in(1)), (1, -1));
        assert_eq!(Time::from_secs(i64::MAX).ticks_in(90_000), i64::MAX);
    }

    #[test]
    fn frames_are_counted_without_drift() {
        let day = NTSC.frame(2_589_411);
        assert_eq!(NTSC.frames_in(day), 2_589_411);
        assert_eq!(NTSC.frames_in(day + Time::new(1, 1_000_000)), 2_589_412);
        assert_eq!(NTSC.nearest_frame(day + Time::new(1, 1_000_000)), 2_589_411);
        assert_eq!(NTSC.nearest_frame(-NTSC.frame(7)), -7);
        assert_eq!(Rate::parse("30000/1001"), Some(NTSC));
        assert_eq!(Rate::parse("25"), Some(Rate { num: 25, den: 1 }));
        assert_eq!(Rate::parse("0/0"), None);
        assert_eq!(NTSC.to_string(), "30000/1001");
    }

    #[test]
    fn a_negative_time_is_no_duration() {
        assert_eq!(Time::from_millis(1_500).duration(), Duration::from_millis(1_500));
        assert_eq!(Time::from_millis(-1).duration(), Duration::ZERO);
        assert_eq!(Time::from(Duration::from_millis(1_500)), Time::new(3, 2));
        assert_eq!(Time::from(Duration::MAX), Time::new(i64::MAX, FINEST));
    }

    #[test]
    fn what_does_not_fit_is_rounded_to_a_nanosecond() {
        let odd = Time::new(1, 4_294_967_291) + Time::new(1, 4_294_967_279);
        assert_eq!(odd, Time::ZERO, "two quarters of a nanosecond");
        assert_eq!(Time::from_secs(i64::MAX) + Time::from_secs(1), Time::new(i64::MAX, FINEST));
        assert_eq!(-Time::from_secs(i64::MIN), Time::from_secs(i64::MAX));
    }

    fn times() -> impl Strategy<Value = Time> {
        let scales =
            prop::sample::select(vec![1, 25, 1_000, 12_800, 24_000, 30_000, 44_100, 48_000, 60_000, 90_000]);
        (-1_000_000_000_000_i64..1_000_000_000_000, scales).prop_map(|(ticks, scale)| Time::new(ticks, scale))
    }

    proptest! {
        #[test]
        fn sums_are_exact(a in times(), b in times(), n in -1_000_i64..1_000) {
            prop_assert_eq!(a + b - b, a);
            prop_assert_eq!(a + b, b + a);
            prop_assert_eq!((a + b) * n, a * n + b * n);
            prop_assert_eq!(a < b, a - b < Time::ZERO);
        }

        #[test]
        fn rounding_never_leaves_its_tick(a in times(), scale in 1_u32..1_000_000) {
            let (floor, ceil) = (a.floor_in(scale), a.ceil_in(scale));
            prop_assert!(Time::new(floor, scale) <= a && a <= Time::new(ceil, scale));
            prop_assert!(ceil - floor <= 1);
            prop_assert!((floor..=ceil).contains(&a.ticks_in(scale)));
        }
    }
}
