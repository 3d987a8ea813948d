//! Whether the clock of a transport stream runs through, from a few looks at it.
//!
//! A recording that was pasted together begins anew in the middle, or leaps over hours. What ffprobe then calls its
//! length is the distance of its last time from its first, and a place in it can't be found by time.

/// A program's clock (ISO/IEC 13818-1 section 2.4.3.5), at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The byte of the file.
    pub at: u64,
    /// Ticks of 90 kHz, of 33 bits.
    pub ticks: u64,
}

/// Bytes of a packet.
const PACKET: usize = 188;
/// What a packet begins with.
const SYNC: u8 = 0x47;
/// The clock begins anew after these.
const WRAP: u64 = 1 << 33;
/// Between two readings of one look no more than this lies: the standard asks for ten a second.
const MOST_APART: u64 = 10 * 90_000;
/// Bit rates of the parts of a film differ, but a part with so many times as much time for its bytes as most
/// has a leap in it.
const MOST_UNEVEN: u128 = 4;

/// The readings of one program in bytes that were read from the byte `from` on; of the first program that is
/// found, where none is known yet.
pub fn readings(bytes: &[u8], from: u64, program: &mut Option<u16>) -> Vec<Reading> {
    let is_packet = |at: usize| (0..3).all(|n| bytes.get(at + n * PACKET).is_none_or(|byte| *byte == SYNC));
    let Some(first) = (0..PACKET.min(bytes.len())).find(|at| is_packet(*at)) else { return Vec::new() };
    let mut found = Vec::new();
    for (n, packet) in bytes[first..].chunks_exact(PACKET).enumerate() {
        if packet[0] != SYNC {
            break;
        }
        let pid = u16::from_be_bytes([packet[1], packet[2]]) & 0x1fff;
        // An adaptation field that is long enough, and says that it carries a clock.
        let has_clock = packet[3] & 0x20 != 0 && packet[4] >= 7 && packet[5] & 0x10 != 0;
        if has_clock && *program.get_or_insert(pid) == pid {
            let high = u32::from_be_bytes([packet[6], packet[7], packet[8], packet[9]]);
            let ticks = u64::from(high) << 1 | u64::from(packet[10] >> 7);
            found.push(Reading { at: from + (first + n * PACKET) as u64, ticks });
        }
    }
    found
}

/// Whether the clock leaps, forth or back, as far as looks at places one behind the other show it. Leaps that are
/// shorter than the distance of the places may stay unseen.
pub fn leaps(looks: &[Vec<Reading>]) -> bool {
    let within = looks.iter().flat_map(|look| look.windows(2));
    if within.into_iter().any(|pair| passed(pair[0], pair[1]).is_none_or(|ticks| ticks > MOST_APART)) {
        return true;
    }
    let firsts: Vec<Reading> = looks.iter().filter_map(|look| look.first().copied()).collect();
    let mut pace = Vec::new();
    for pair in firsts.windows(2) {
        let Some(ticks) = passed(pair[0], pair[1]) else { return true };
        // A part's time for a mebibyte, exact enough for any length.
        pace.push((u128::from(ticks) << 20) / u128::from((pair[1].at - pair[0].at).max(1)));
    }
    pace.sort_unstable();
    let (Some(most), Some(middle)) = (pace.last(), pace.get(pace.len() / 2)) else {
        return false;
    };
    pace.len() > 2 && *most > middle * MOST_UNEVEN
}

/// How much time passed; `None` where it went back.
fn passed(from: Reading, to: Reading) -> Option<u64> {
    let ticks = (to.ticks + WRAP - from.ticks) % WRAP;
    (ticks < WRAP / 2).then_some(ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(pid: u16, ticks: Option<u64>) -> Vec<u8> {
        let mut packet = vec![0xff; PACKET];
        packet[0] = SYNC;
        packet[1..3].copy_from_slice(&pid.to_be_bytes());
        packet[3] = if ticks.is_some() { 0x30 } else { 0x10 };
        if let Some(ticks) = ticks {
            packet[4..6].copy_from_slice(&[7, 0x10]);
            packet[6..10].copy_from_slice(&((ticks >> 1) as u32).to_be_bytes());
            packet[10] = (ticks as u8 & 1) << 7 | 0x7e;
        }
        packet
    }

    /// One look at each place, with two readings a tenth of a second apart.
    fn film(seconds: &[u64]) -> Vec<Vec<Reading>> {
        let look = |(n, second): (usize, &u64)| {
            let (at, ticks) = (n as u64 * 100_000_000, second * 90_000 % WRAP);
            vec![Reading { at, ticks }, Reading { at: at + 50_000, ticks: (ticks + 9_000) % WRAP }]
        };
        seconds.iter().enumerate().map(look).collect()
    }

    #[test]
    fn the_clock_of_one_program_is_read_wherever_its_packets_begin() {
        let mut bytes = vec![1, 2, 3];
        for (pid, ticks) in [(0, None), (256, Some(WRAP - 1)), (300, Some(5)), (256, None), (256, Some(8))] {
            bytes.extend(packet(pid, ticks));
        }
        let mut program = None;
        let found = readings(&bytes, 1_000, &mut program);
        let place = |n: u64| 1_003 + n * PACKET as u64;
        let expected = [Reading { at: place(1), ticks: WRAP - 1 }, Reading { at: place(4), ticks: 8 }];
        assert_eq!((found.as_slice(), program), (expected.as_slice(), Some(256)));
        assert_eq!(readings(&bytes, 0, &mut Some(7)), []);
        assert_eq!(readings(&[SYNC; 100], 0, &mut None), []);
        assert_eq!(readings(&[], 0, &mut None), []);
    }

    #[test]
    fn a_clock_that_leaps_or_begins_anew_is_told_from_one_that_wraps_or_is_uneven() {
        for (seconds, expected) in [
            (&[0, 600, 1200, 1800, 2400][..], false),
            (&[0, 300, 1500, 1800, 2900], false),
            (&[95_000, 95_200, 95_400, 95_600, 95_800], false),
            (&[0, 600, 1200, 7800, 8400], true),
            (&[5000, 5600, 0, 600, 1200], true),
            (&[0, 5000], false),
            (&[0], false),
            (&[], false),
        ] {
            assert_eq!(leaps(&film(seconds)), expected, "{seconds:?}");
        }
        let mut short = film(&[0]);
        short[0][1].ticks = 5000 * 90_000;
        assert!(leaps(&short));
    }
}
