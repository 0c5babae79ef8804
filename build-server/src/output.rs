//! Job output: log chunks as agents send them, and the log as people read it.

use std::io::Read;

use flate2::read::MultiGzDecoder;

/// Longest chunk in uncompressed bytes that agents are told to send.
pub const CHUNK_BYTES: u64 = 102_400;

/// Longest chunk that is taken; above it, a small body may be a compression bomb.
pub const CHUNK_BYTES_LIMIT: u64 = 1024 * 1024;

/// Why a chunk cannot be taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChunkFault {
    /// Its gzip does not unpack.
    #[error("the log chunk is not valid gzip")]
    Corrupt,
    /// It unpacks to more than [`CHUNK_BYTES_LIMIT`].
    #[error("the log chunk is longer than {CHUNK_BYTES_LIMIT} bytes")]
    TooLong,
}

/// The bytes of a chunk. Never holds more than the limit in memory, whatever the body says.
pub fn unpack(body: &[u8], gzipped: bool) -> Result<Vec<u8>, ChunkFault> {
    let mut bytes = Vec::new();
    if gzipped {
        let limited = MultiGzDecoder::new(body).take(CHUNK_BYTES_LIMIT + 1);
        { limited }.read_to_end(&mut bytes).map_err(|_| ChunkFault::Corrupt)?;
    } else {
        bytes.extend_from_slice(body);
    }
    if bytes.len() as u64 > CHUNK_BYTES_LIMIT { Err(ChunkFault::TooLong) } else { Ok(bytes) }
}

const MARK: &[u8] = b"\x1b_bk;t=";
const MARK_LIMIT: usize = 64;

/// Takes the agents' inline time marks (`ESC _bk;t=<ms> BEL`) out of a log that comes in pieces.
#[derive(Default)]
pub struct Stripper {
    held: Vec<u8>,
}

impl Stripper {
    /// The text of the next piece, without marks. The start of a mark at its end is held back.
    pub fn strip(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut text = Vec::with_capacity(piece.len());
        for &byte in piece {
            self.take(byte, &mut text);
        }
        text
    }

    /// What was held back when the log ends.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    fn take(&mut self, byte: u8, text: &mut Vec<u8>) {
        let at = self.held.len();
        let expected = match MARK.get(at) {
            Some(&mark) => byte == mark,
            None => at < MARK_LIMIT && (byte.is_ascii_digit() || byte == b'\x07'),
        };
        if expected && byte == b'\x07' {
            self.held.clear();
        } else if expected {
            self.held.push(byte);
        } else if at == 0 {
            text.push(byte);
        } else {
            text.append(&mut self.held);
            self.take(byte, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn chunks_are_unpacked_within_bounds() {
        let limit = CHUNK_BYTES_LIMIT as usize;
        assert_eq!(unpack(&gzip(b"hello\n"), true).unwrap(), b"hello\n");
        assert_eq!(unpack(b"plain", false).unwrap(), b"plain");
        assert_eq!(unpack(&gzip(&vec![b'a'; limit]), true).unwrap().len(), limit);
        assert_eq!(unpack(&gzip(&vec![0; 8 * limit]), true), Err(ChunkFault::TooLong));
        assert_eq!(unpack(b"not gzip", true), Err(ChunkFault::Corrupt));
        assert_eq!(unpack(&gzip(b"cut in two halves")[..20], true), Err(ChunkFault::Corrupt));
    }

    #[test]
    fn time_marks_are_taken_out_and_nothing_else() {
        for (log, text) in [
            ("\x1b_bk;t=1700000000000\x07line\r\n", "line\r\n"),
            ("\x1b[32mgreen\x1b[0m", "\x1b[32mgreen\x1b[0m"),
            ("a\x1b_bk;t=\x07b", "ab"),
            ("\x1b\x1b_bk;t=5\x07x", "\x1bx"),
            ("\x1b_bk;x=1\x07", "\x1b_bk;x=1\x07"),
            ("end \x1b_bk;t=17", "end \x1b_bk;t=17"),
        ] {
            let mut stripper = Stripper::default();
            let mut out = stripper.strip(log.as_bytes());
            out.extend(stripper.finish());
            assert_eq!(String::from_utf8_lossy(&out), text, "{log:?}");
        }
    }

    proptest! {
        #[test]
        fn where_a_log_is_cut_does_not_matter(
            parts in prop::collection::vec("[a-z\u{1b}\u{7}_bk;t=0-9]{0,12}|\u{1b}_bk;t=[0-9]{1,13}\u{7}", 0..12),
            cut in 0..200usize,
        ) {
            let log = parts.concat().into_bytes();
            let cut = cut.min(log.len());
            let (mut whole, mut pieces) = (Stripper::default(), Stripper::default());
            let mut expected = whole.strip(&log);
            expected.extend(whole.finish());
            let mut actual = pieces.strip(&log[..cut]);
            actual.extend(pieces.strip(&log[cut..]));
            actual.extend(pieces.finish());
            prop_assert_eq!(actual, expected);
        }
    }
}
