//! The footer of a Parquet file as bytes, before a library reads it: a structure in Thrift's compact protocol
//! (<https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>), behind it its length and `PAR1`.
//!
//! The library skips fields that it does not know, and lists of booleans without reading their elements, so a few bytes that claim
//! two billion elements keep it busy for seconds.

use std::fs::File;
use std::os::unix::fs::FileExt;

const MAGIC: &[u8] = b"PAR1";
/// Nesting of structures and lists; the format has less than ten.
const DEPTH_MAX: usize = 64;

/// Refuses a footer with lists that are longer than itself, or of a kind that the format does not have.
pub(super) fn check(file: &File) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let size = file.metadata().map_err(failed)?.len();
    let mut tail = [0; 8];
    // A file that is no Parquet file is reported by the library.
    let Some(tail_at) = size.checked_sub(8) else { return Ok(()) };
    file.read_exact_at(&mut tail, tail_at).map_err(failed)?;
    let (length, magic) = tail.split_at(4);
    let length = u64::from(u32::from_le_bytes(std::array::from_fn(|at| length[at])));
    let Some(start) = tail_at.checked_sub(length).filter(|_| magic == MAGIC) else { return Ok(()) };
    let mut footer = vec![0; length as usize];
    file.read_exact_at(&mut footer, start).map_err(failed)?;
    Walk { rest: &footer }.structure(0).ok_or_else(|| "its footer is damaged".to_owned())
}

/// Passes over values; `None` if there is something that must not be there.
struct Walk<'b> {
    rest: &'b [u8],
}

impl Walk<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn skip(&mut self, count: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(count).ok()?..)?;
        Some(())
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn structure(&mut self, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            // The identifier of a field, unless it is given as a difference.
            if head >> 4 == 0 {
                self.number()?;
            }
            match head & 0xf {
                // The value of a boolean is its type.
                1 | 2 => {}
                kind => self.value(kind, depth)?,
            }
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            3 => self.skip(1),
            4..=6 => self.number().map(drop),
            7 => self.skip(8),
            8 => {
                let length = self.number()?;
                self.skip(length)
            }
            9 | 10 => self.list(depth + 1),
            12 => self.structure(depth + 1),
            // Maps, and lists of booleans, which come here too, are not in the format.
            _ => None,
        }
    }

    fn list(&mut self, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.number()? } else { u64::from(head >> 4) };
        // Each element has at least a byte.
        if count > self.rest.len() as u64 {
            return None;
        }
        (0..count).try_for_each(|_| self.value(head & 0xf, depth))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn checked(footer: &[u8]) -> Result<(), String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"PAR1").unwrap();
        file.write_all(footer).unwrap();
        file.write_all(&(footer.len() as u32).to_le_bytes()).unwrap();
        file.write_all(b"PAR1").unwrap();
        check(&file)
    }

    #[test]
    fn lists_that_claim_more_than_there_is_are_refused() {
        // version: 1, num_rows: 0, and an unknown list.
        let with = |list: &[u8]| [&[0x15, 2, 0x26, 0, 0x69][..], list, &[0]].concat();
        assert_eq!(checked(&with(&[0x25, 2, 4])), Ok(()));
        let damaged = Err("its footer is damaged".to_owned());
        // Two billion structures, a boolean, and an end that is missing.
        assert_eq!(checked(&with(&[0xfc, 0xff, 0xff, 0xff, 0xff, 7])), damaged);
        assert_eq!(checked(&with(&[0x11, 1])), damaged);
        assert_eq!(checked(&[0x15, 2]), damaged);
        assert_eq!(checked(&[0x1c; 100_000]), damaged);
        assert_eq!(checked(&[0x19].repeat(100_000)), damaged);
    }
}
