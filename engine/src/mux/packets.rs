//! The grammar under MPEG transport streams: packets of 188 bytes with their adaptation fields, the two
//! tables that say what is in a stream, and the headers of its units. It knows no samples and no codecs.

/// The packets of one elementary stream, or of one table, in one segment.
#[derive(Debug)]
pub(super) struct Lane {
    pid: u16,
    /// What the next packet with a payload counts.
    counter: u8,
    begun: bool,
}

/// What the first packet of a unit says beside the unit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    /// The clock of the whole stream (PCR), in ticks of 90 kHz.
    pub(super) clock: Option<i64>,
    /// Decoding may begin with this unit.
    pub(super) random_access: bool,
}

/// An elementary stream as the table of the programme lists it.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) kind: u8,
    pub(super) pid: u16,
    pub(super) descriptors: &'static [u8],
}

pub(super) const PACKET: usize = 188;
const HEADER: usize = 4;
const SYNC: u8 = 0x47;

const PROGRAMMES_PID: u16 = 0;
const PROGRAMME_PID: u16 = 0x1000;
const PROGRAMME: u16 = 1;

const DISCONTINUITY: u8 = 0x80;
const RANDOM_ACCESS: u8 = 0x40;
const CLOCK: u8 = 0x10;

impl Lane {
    /// The counter starts at zero, and the first packet says so: segments are made apart from each other, and
    /// a demuxer that saw another one before would take its last unit for damaged.
    pub(super) fn new(pid: u16) -> Lane {
        Lane { pid, counter: 0, begun: false }
    }

    /// Appends a unit in as many packets as it needs; the last one is stuffed.
    pub(super) fn write(&mut self, marks: Marks, unit: &[u8], out: &mut Vec<u8>) {
        let mut rest = self.packet(true, marks, unit, out);
        while !rest.is_empty() {
            rest = self.packet(false, Marks::default(), rest, out);
        }
    }

    /// Appends a packet that has the clock and nothing else.
    pub(super) fn write_clock(&mut self, clock: i64, out: &mut Vec<u8>) {
        self.packet(false, Marks { clock: Some(clock), random_access: false }, &[], out);
    }

    /// Appends one packet with as much of the payload as fits, and returns the rest.
    fn packet<'a>(&mut self, begins: bool, marks: Marks, payload: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let mut flags = if self.begun { 0 } else { DISCONTINUITY };
        flags |= if marks.random_access { RANDOM_ACCESS } else { 0 };
        flags |= if marks.clock.is_some() { CLOCK } else { 0 };
        let fields = if flags == 0 { 0 } else { 2 + if marks.clock.is_some() { 6 } else { 0 } };
        let room = PACKET - HEADER - fields;
        let (now, later) = payload.split_at(payload.len().min(room));
        let adaptation = PACKET - HEADER - now.len();

        // Without a payload the packet counts as the one before it did.
        let counter = if now.is_empty() { self.counter.wrapping_sub(1) & 0xf } else { self.counter };
        let control = if adaptation > 0 { 0x20 } else { 0 } | if now.is_empty() { 0 } else { 0x10 };
        let [high, low] = self.pid.to_be_bytes();
        let end_of_adaptation = out.len() + HEADER + adaptation;
        out.extend_from_slice(&[SYNC, if begins { 0x40 } else { 0 } | high, low, control | counter]);
        if adaptation > 0 {
            out.push(adaptation as u8 - 1);
        }
        if adaptation > 1 {
            out.push(flags);
            if let Some(clock) = marks.clock {
                let base = wrapped(clock);
                // 33 bits, six that are reserved, and nine of 27 MHz, which we never need.
                out.extend_from_slice(&((base << 15 | 0x7e00) << 16).to_be_bytes()[..6]);
            }
            out.resize(end_of_adaptation, 0xff);
        }
        out.extend_from_slice(now);

        self.begun = true;
        self.counter = counter.wrapping_add(1) & 0xf;
        later
    }
}

/// Appends the two tables that open a segment: one programme, and its streams.
pub(super) fn write_tables(clock_pid: u16, streams: &[Listed], out: &mut Vec<u8>) {
    let word = |value: u16| value.to_be_bytes();
    let mut programmes = Vec::new();
    programmes.extend_from_slice(&word(PROGRAMME));
    programmes.extend_from_slice(&word(0xe000 | PROGRAMME_PID));
    write_table(PROGRAMMES_PID, 0, &programmes, out);

    let mut programme = Vec::new();
    programme.extend_from_slice(&word(0xe000 | clock_pid));
    programme.extend_from_slice(&word(0xf000));
    for stream in streams {
        programme.push(stream.kind);
        programme.extend_from_slice(&word(0xe000 | stream.pid));
        programme.extend_from_slice(&word(0xf000 | stream.descriptors.len() as u16));
        programme.extend_from_slice(stream.descriptors);
    }
    write_table(PROGRAMME_PID, 2, &programme, out);
}

/// Writes a unit in place of what `unit` held: a header with its times, in ticks of 90 kHz, and what `body`
/// appends.
pub(super) fn write_unit<E>(
    stream_id: u8,
    (pts, dts): (i64, i64),
    unit: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    const BEFORE_LENGTH: usize = 4;
    const BEHIND_LENGTH: usize = 6;
    unit.clear();
    unit.extend_from_slice(&[0, 0, 1, stream_id, 0, 0, 0x80]);
    if dts == pts {
        unit.extend_from_slice(&[0x80, 5]);
        unit.extend_from_slice(&stamp(0x21, pts));
    } else {
        unit.extend_from_slice(&[0xc0, 10]);
        unit.extend_from_slice(&stamp(0x31, pts));
        unit.extend_from_slice(&stamp(0x11, dts));
    }
    body(unit)?;
    // Zero says that the unit ends where the next begins, which only video may say. Where the length is
    // known a demuxer need not wait for that, which matters for the last picture of a segment.
    let length = u16::try_from(unit.len() - BEHIND_LENGTH).unwrap_or(0);
    unit[BEFORE_LENGTH..BEHIND_LENGTH].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn write_table(pid: u16, table: u8, body: &[u8], out: &mut Vec<u8>) {
    // All in one section: its number (the programme, or the stream), version 0, in force, the first and last.
    const NUMBERED: [u8; 5] = [0, 1, 0xc1, 0, 0];
    const CHECKSUM: usize = 4;
    let mut section = vec![table];
    let length = NUMBERED.len() + body.len() + CHECKSUM;
    section.extend_from_slice(&(0xb000 | length as u16).to_be_bytes());
    section.extend_from_slice(&NUMBERED);
    section.extend_from_slice(body);
    section.extend_from_slice(&checksum(&section).to_be_bytes());

    // It begins right behind a pointer. What is left is filled here, as for tables that is not left to the
    // adaptation field.
    let mut payload = vec![0];
    payload.extend_from_slice(&section);
    payload.resize(PACKET - HEADER - 2, 0xff);
    Lane::new(pid).write(Marks::default(), &payload, out);
}

/// Three pieces of 33 bits, each with a marker bit behind it. `prefix` has the first marker.
fn stamp(prefix: u8, ticks: i64) -> [u8; 5] {
    let ticks = wrapped(ticks);
    [
        prefix | (ticks >> 29) as u8 & 0x0e,
        (ticks >> 22) as u8,
        (ticks >> 14) as u8 | 1,
        (ticks >> 7) as u8,
        (ticks << 1) as u8 | 1,
    ]
}

/// Times have 33 bits, about 26.5 hours; they begin anew behind that, and before zero they wrap too.
fn wrapped(ticks: i64) -> u64 {
    ticks as u64 & ((1 << 33) - 1)
}

/// CRC-32 as MPEG-2 has it: not reflected, and not inverted at the end.
fn checksum(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x04c1_1db7;
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            crc << 1 ^ if crc & 0x8000_0000 == 0 { 0 } else { POLYNOMIAL }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(out: &[u8]) -> Vec<&[u8]> {
        assert_eq!(out.len() % PACKET, 0);
        out.chunks(PACKET).collect()
    }

    #[test]
    fn the_tables_are_those_that_ffmpeg_writes() {
        let mut out = Vec::new();
        let streams = [
            Listed { kind: 0x1b, pid: 0x100, descriptors: &[] },
            Listed { kind: 0x0f, pid: 0x101, descriptors: &[] },
        ];
        write_tables(0x100, &streams, &mut out);
        let [programmes, programme] = packets(&out)[..] else { panic!("two packets") };
        let head = b"\x47\x40\0\x30\x01\x80\0";
        assert_eq!(programmes[..7], head[..]);
        // Sections as ffmpeg 5.1 has them for one H.264 and one AAC stream, checksums included.
        assert_eq!(programmes[7..23], b"\0\xb0\x0d\0\x01\xc1\0\0\0\x01\xf0\0\x2a\xb1\x04\xb2"[..]);
        assert_eq!(
            programme[7..33],
            b"\x02\xb0\x17\0\x01\xc1\0\0\xe1\0\xf0\0\x1b\xe1\0\xf0\0\x0f\xe1\x01\xf0\0\x2f\x44\xb9\x9b"[..]
        );
        assert!(programmes[23..].iter().chain(&programme[33..]).all(|byte| *byte == 0xff));
    }

    #[test]
    fn a_unit_of_any_length_fills_whole_packets() {
        for length in 1..3 * PACKET {
            let unit: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let mut lane = Lane::new(0x100);
            let mut out = Vec::new();
            lane.write(Marks::default(), &unit, &mut out);
            lane.write(Marks::default(), &unit, &mut out);
            let mut back = Vec::new();
            for (index, packet) in packets(&out).into_iter().enumerate() {
                assert_eq!(usize::from(packet[3] & 0xf), index % 16);
                let adaptation = if packet[3] & 0x20 == 0 { 0 } else { 1 + usize::from(packet[4]) };
                back.extend_from_slice(&packet[HEADER + adaptation..]);
            }
            assert_eq!(back, [unit.as_slice(), &unit].concat());
        }
    }

    #[test]
    fn a_clock_alone_does_not_count() {
        let (mut lane, mut out) = (Lane::new(0x100), Vec::new());
        lane.write(Marks::default(), b"unit", &mut out);
        lane.write_clock(0x1_2345_6789, &mut out);
        lane.write(Marks::default(), b"unit", &mut out);
        let [first, clock, second] = packets(&out)[..] else { panic!("three packets") };
        assert_eq!((first[3], clock[3], second[3]), (0x30, 0x20, 0x31));
        // 33 bits 1 0010 0011 0100 0101 0110 0111 1000 1001, then six ones, then zeros.
        assert_eq!(clock[4..12], *b"\xb7\x10\x91\xa2\xb3\xc4\xfe\x00");
        assert!(clock[12..].iter().all(|byte| *byte == 0xff));
    }

    #[test]
    fn times_wrap_at_33_bits() {
        assert_eq!(stamp(0x21, (1 << 33) - 1), [0x2f, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(stamp(0x21, 1 << 33), [0x21, 0, 1, 0, 1]);
        assert_eq!(stamp(0x21, (1 << 33) + 900_000), stamp(0x21, 900_000));
        assert_eq!(stamp(0x11, -1), [0x1f, 0xff, 0xff, 0xff, 0xff]);
    }
}
