//! Durations, rates, sizes and counts as short text that fits a column.

use std::{net::SocketAddr, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use uuid::Uuid;

/// What stands where something is not known.
pub(crate) const UNKNOWN: &str = "-";

/// A duration in at most five characters: `41s`, `58m02`, `2h11m`, `23h15`, `2d23h`.
pub(crate) fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..6000 => format!("{minutes}m{:02}", seconds % 60),
        6000..36_000 => format!("{hours}h{:02}m", minutes % 60),
        36_000..172_800 => format!("{hours}h{:02}", minutes % 60),
        172_800..864_000 => format!("{days}d{:02}h", hours % 24),
        _ => format!("{days}d"),
    }
}

/// A duration in at most three characters: `41s`, `58m`, `2h`.
pub(crate) fn brief(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..100 => format!("{seconds}s"),
        100..6000 => format!("{}m", seconds / 60),
        6000..345_600 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Seconds of media as a clock: `0:07`, `41:10`, `2:35:20`.
pub(crate) fn clock(seconds: f64) -> String {
    let whole = if seconds.is_finite() { seconds.max(0.0) as u64 } else { 0 };
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// Signed seconds: `8s`, `-4s`, `95s`, `12m04`.
pub(crate) fn lead(seconds: f64) -> String {
    if !seconds.is_finite() {
        return UNKNOWN.to_owned();
    }
    let size = seconds.abs();
    let text = if size < 600.0 { format!("{size:.0}s") } else { age(Duration::from_secs(size as u64)) };
    if seconds < -0.5 { format!("-{text}") } else { text }
}

/// Bits a second: `300k`, `3.1M`, `24M`.
pub(crate) fn rate(bits: u64) -> String {
    scaled(bits as f64, 1000.0, &["", "k", "M", "G", "T"])
}

/// Bytes, in powers of 1024: `212M`, `1.9G`.
pub(crate) fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, &["B", "K", "M", "G", "T", "P"])
}

/// A count: `5431`, `13.9k`.
pub(crate) fn count(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..100_000 => format!("{:.1}k", count as f64 / 1000.0),
        100_000..1_000_000 => format!("{}k", count / 1000),
        _ => scaled(count as f64, 1000.0, &["", "k", "M", "G", "T"]),
    }
}

/// Media time per wall time: `1.00x`, `12.5x`.
pub(crate) fn ratio(speed: f64) -> String {
    match speed {
        s if !s.is_finite() => UNKNOWN.to_owned(),
        s if s < 10.0 => format!("{s:.2}x"),
        s if s < 100.0 => format!("{s:.1}x"),
        s => format!("{s:.0}x"),
    }
}

/// Percent without a fraction.
pub(crate) fn percent(percent: f64) -> String {
    if percent.is_finite() { format!("{percent:.0}%") } else { UNKNOWN.to_owned() }
}

/// The part of an id that people read and type.
pub(crate) fn short(id: Uuid) -> String {
    let mut text = id.simple().to_string();
    text.truncate(8);
    text
}

/// A moment as a time of day: `12:34:09`.
pub(crate) fn time_of_day(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned_datetime(zone.clone()).strftime("%H:%M:%S").to_string()
}

/// The same with milliseconds: `12:34:09.402`.
pub(crate) fn exact_time_of_day(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned_datetime(zone.clone()).strftime("%H:%M:%S%.3f").to_string()
}

/// How long `since` is ago at `now`; a moment in the future is now.
pub(crate) fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

/// `1 viewer`, `3 viewers`.
pub(crate) fn plural(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut unit = 0;
    while value >= step - 0.5 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    if unit > 0 && value < 9.95 {
        format!("{value:.1}{}", units[unit])
    } else {
        format!("{value:.0}{}", units[unit])
    }
}

/// An engine that listens on every address is reached on this machine's own.
pub(crate) fn reachable(listen: &str) -> String {
    match listen.parse::<SocketAddr>() {
        Ok(SocketAddr::V4(address)) if address.ip().is_unspecified() => {
            format!("127.0.0.1:{}", address.port())
        }
        Ok(SocketAddr::V6(address)) if address.ip().is_unspecified() => format!("[::1]:{}", address.port()),
        _ => listen.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_fit_five_characters() {
        let check = |seconds, expected: &str| assert_eq!(age(Duration::from_secs(seconds)), expected);
        check(0, "0s");
        check(59, "59s");
        check(60, "1m00");
        check(3482, "58m02");
        check(7860, "2h11m");
        check(36_000, "10h00");
        check(83_700, "23h15");
        check(255_600, "2d23h");
        check(86_400 * 400, "400d");
    }

    #[test]
    fn numbers_keep_two_figures_and_a_unit() {
        assert_eq!(rate(300_000), "300k");
        assert_eq!(rate(3_100_000), "3.1M");
        assert_eq!(rate(999_999), "1.0M");
        assert_eq!(bytes(222_298_112), "212M");
        assert_eq!(bytes(512), "512B");
        assert_eq!(count(5431), "5431");
        assert_eq!(count(13_900), "13.9k");
        assert_eq!(ratio(0.7149), "0.71x");
        assert_eq!(lead(-4.2), "-4s");
        assert_eq!(clock(9320.4), "2:35:20");
    }

    #[test]
    fn what_is_no_number_does_not_reach_the_screen_as_one() {
        assert_eq!(ratio(f64::NAN), "-");
        assert_eq!(clock(f64::INFINITY), "0:00");
        assert_eq!(percent(f64::NAN), "-");
        assert_eq!(lead(f64::NAN), "-");
    }
}
