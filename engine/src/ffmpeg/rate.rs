//! Which constant rate a video of any rate is put on.

use super::probe::{FieldOrder, Stream};
use crate::mux::Rate;

/// The constant rate that a stream's frames are put on.
///
/// The container's lowest common rate is right for most films, the mean for none with a gap; the first is
/// absurd where times vary (90000, 1000) and twice the frames where fields were counted.
pub fn frame_rate(stream: &Stream) -> Rate {
    let sane = |rate: &Rate| (1.0..=120.5).contains(&value(*rate));
    let real = stream.real_rate.filter(sane);
    let average = stream.average_rate.filter(sane);
    let chosen = match (real, average) {
        (Some(real), Some(average)) if near(value(real), value(average), 0.01) => real,
        (Some(real), Some(average)) if near(value(real), 2.0 * value(average), 0.01) => average,
        // Times vary: the rate that they all fit, as long as it costs little.
        (Some(real), Some(_)) if value(real) <= 60.5 => real,
        (_, Some(average)) => at_least(average),
        (Some(real), None) => real,
        (None, None) => Rate { num: 25, den: 1 },
    };
    let chosen = standard(chosen);
    // Nothing is broadcast with more than 30 interlaced frames a second; some probes count the fields.
    if stream.field_order == Some(FieldOrder::Interlaced) && value(chosen) > 45.0 {
        return standard(Rate { num: chosen.num, den: chosen.den * 2 });
    }
    chosen
}

/// Frames a second.
pub(super) fn value(rate: Rate) -> f64 {
    f64::from(rate.num) / f64::from(rate.den)
}

fn near(a: f64, b: f64, share: f64) -> bool {
    (a - b).abs() <= b * share
}

const STANDARD: [Rate; 15] = [
    Rate { num: 1, den: 1 },
    Rate { num: 5, den: 1 },
    Rate { num: 10, den: 1 },
    Rate { num: 12, den: 1 },
    Rate { num: 15, den: 1 },
    Rate { num: 20, den: 1 },
    Rate { num: 24_000, den: 1001 },
    Rate { num: 24, den: 1 },
    Rate { num: 25, den: 1 },
    Rate { num: 30_000, den: 1001 },
    Rate { num: 30, den: 1 },
    Rate { num: 50, den: 1 },
    Rate { num: 60_000, den: 1001 },
    Rate { num: 60, den: 1 },
    Rate { num: 120, den: 1 },
];

/// The rate that people meant, where a container wrote it with less care (2997/125); any other in few digits,
/// since the encoder's time base is made of it.
fn standard(rate: Rate) -> Rate {
    let exact = value(rate);
    let closest =
        STANDARD.into_iter().min_by(|a, b| (value(*a) - exact).abs().total_cmp(&(value(*b) - exact).abs()));
    match closest {
        Some(closest) if near(exact, value(closest), 0.0004) => closest,
        _ if rate.den <= 1001 => reduced(rate),
        _ => reduced(Rate { num: (exact * 1000.0).round() as u32, den: 1000 }),
    }
}

/// A rate too low loses frames, one too high repeats some.
fn at_least(average: Rate) -> Rate {
    let (meant, frames) = (standard(average), value(average));
    if STANDARD.contains(&meant) {
        return meant;
    }
    STANDARD.into_iter().find(|rate| value(*rate) >= frames * 0.99).unwrap_or(Rate { num: 120, den: 1 })
}

fn reduced(rate: Rate) -> Rate {
    let (mut a, mut b) = (rate.num, rate.den);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    Rate { num: rate.num / a, den: rate.den / a }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffmpeg::decide::tests::probe;

    #[test]
    fn the_constant_rate_is_the_one_that_people_meant() {
        let check = |real: &str, average: &str, order: &str, expected: &str| {
            let changes =
                format!(r#""r_frame_rate":"{real}","avg_frame_rate":"{average}","field_order":"{order}""#);
            let probe = probe("mov", &changes, "");
            assert_eq!(frame_rate(probe.video().unwrap()).to_string(), expected, "{real} {average} {order}");
        };
        check("25/1", "25/1", "progressive", "25/1");
        check("30000/1001", "30000/1001", "progressive", "30000/1001");
        check("24000/1001", "2997/125", "progressive", "24000/1001");
        check("19001/317", "19001/317", "progressive", "60000/1001");
        check("120/1", "120/1", "progressive", "120/1");
        check("5/1", "5/1", "progressive", "5/1");
        check("37/2", "37/2", "progressive", "37/2");
        // Varying times: from 25 down to sparse, a phone, a screen recording.
        check("25/1", "5050/367", "progressive", "25/1");
        check("90000/1", "359400/12031", "progressive", "30000/1001");
        check("1000/1", "45/4", "progressive", "12/1");
        check("120/1", "449/15", "progressive", "30000/1001");
        // 50 fields are 25 frames, whoever counts.
        check("25/1", "25/1", "tt", "25/1");
        check("50/1", "25/1", "tt", "25/1");
        check("50/1", "50/1", "tb", "25/1");
        check("60000/1001", "60000/1001", "bb", "30000/1001");
        check("50/1", "25/1", "progressive", "25/1");
        check("50/1", "50/1", "progressive", "50/1");
        check("0/0", "0/0", "unknown", "25/1");
        check("90000/1", "0/0", "unknown", "25/1");
        check("0/0", "24/1", "unknown", "24/1");
        check("4294967295/4294967294", "4294967295/4294967294", "unknown", "1/1");
    }
}
