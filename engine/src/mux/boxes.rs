//! The grammar under MP4: big-endian fields and boxes within boxes, read with every bound checked, and
//! written with sizes filled in. It knows no box by name.

use std::fmt;

/// The four characters that say what a box or a sample entry is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FourCc(pub [u8; 4]);

/// Reads fields from the front of some bytes; `None` means that there were too few.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

/// The boxes in a container's payload. A torn one yields `None`, and is the last.
pub(super) struct Boxes<'a>(Fields<'a>);

/// The size and name that every box opens with.
pub(super) const HEADER: usize = 8;

impl FourCc {
    /// The characters, with escapes for those that cannot be shown: a broken input names boxes at random.
    pub fn text(self) -> String {
        self.0.escape_ascii().to_string()
    }
}

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields(bytes)
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(|_| ())
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// The version and the flags of a full box.
    pub(super) fn version_and_flags(&mut self) -> Option<(u8, u32)> {
        let word = self.u32()?;
        Some(((word >> 24) as u8, word & 0x00ff_ffff))
    }

    /// A number that has 64 bits in version 1 of its box and 32 before.
    pub(super) fn wide(&mut self, version: u8) -> Option<u64> {
        if version == 1 { self.u64() } else { self.u32().map(u64::from) }
    }
}

impl<'a> Boxes<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Boxes<'a> {
        Boxes(Fields(payload))
    }

    /// The first box of this name. A torn box before it hides it.
    pub(super) fn find(payload: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
        Boxes::new(payload).map_while(|entry| entry).find(|(kind, _)| kind.0 == *name).map(|(_, body)| body)
    }
}

impl<'a> Iterator for Boxes<'a> {
    type Item = Option<(FourCc, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = (|| {
            let size = self.0.u32()? as usize;
            let kind = FourCc(self.0.array()?);
            // Sizes of 0 (to the end) and 1 (64 bits) are for top-level boxes; nobody writes them inside.
            Some((kind, self.0.take(size.checked_sub(HEADER)?)?))
        })();
        if entry.is_none() {
            self.0 = Fields(&[]);
        }
        Some(entry)
    }
}

/// Writes one box: its name, what `body` appends, and the size in front once it is known.
pub(super) fn write_box(out: &mut Vec<u8>, name: &[u8; 4], body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(name);
    body(out);
    let size = u32::try_from(out.len() - start).expect("what we write beside media data is small");
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// Appends big-endian words.
pub(super) fn write_words(out: &mut Vec<u8>, words: &[u32]) {
    for word in words {
        out.extend_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_that_were_written_are_found_again() {
        let mut bytes = Vec::new();
        write_box(&mut bytes, b"free", |_| {});
        write_box(&mut bytes, b"trak", |out| write_box(out, b"mdia", |out| write_words(out, &[1, 2])));
        let inner = Boxes::find(&bytes, b"trak").and_then(|body| Boxes::find(body, b"mdia"));
        assert_eq!(inner, Some(&[0, 0, 0, 1, 0, 0, 0, 2][..]));
        assert_eq!(Boxes::find(&bytes, b"moov"), None);
    }

    #[test]
    fn a_torn_box_is_the_last_one() {
        for torn in [&b"\0\0\0\x09free"[..], b"\0\0\0\x07free", b"\0\0\0\0free", b"\0\0\0\x08fre"] {
            let entries: Vec<_> = Boxes::new(torn).collect();
            assert_eq!(entries.len(), 1);
            assert!(entries[0].is_none());
        }
    }

    #[test]
    fn a_name_that_is_no_text_can_be_shown() {
        assert_eq!(FourCc(*b"a\0\xff\n").to_string(), "a\\x00\\xff\\n");
    }
}
