//! Times inside a log: each line starts with `ESC _bk;t=<milliseconds since 1970> BEL`, which viewers hide.

/// Puts the time before every line.
#[derive(Debug)]
pub struct Stamper {
    at_line_start: bool,
}

impl Default for Stamper {
    fn default() -> Self {
        Self { at_line_start: true }
    }
}

impl Stamper {
    /// The same bytes with `now_ms` before each line that starts in them.
    pub fn write(&mut self, bytes: &[u8], now_ms: i64) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + 32);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.at_line_start {
                out.extend_from_slice(format!("\x1b_bk;t={now_ms}\x07").as_bytes());
            }
            out.extend_from_slice(line);
            self.at_line_start = line.ends_with(b"\n");
        }
        out
    }
}

/// Longest line that can be a group header.
const HEADER_BYTES: usize = 500;

/// Counts group headers (`~~~`, `---`, `+++`) in a log without times, for servers that want them by index.
#[derive(Debug, Default)]
pub struct HeaderCounter {
    line: Vec<u8>,
    seen: u64,
}

impl HeaderCounter {
    /// Indexes (from 0) of the headers whose lines end in these bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Vec<u64> {
        let mut found = Vec::new();
        for byte in bytes {
            if *byte != b'\n' {
                if self.line.len() <= HEADER_BYTES {
                    self.line.push(*byte);
                }
                continue;
            }
            if is_header(&self.line) {
                found.push(self.seen);
                self.seen += 1;
            }
            self.line.clear();
        }
        found
    }
}

fn is_header(line: &[u8]) -> bool {
    let plain = without_colours(line);
    line.len() < HEADER_BYTES && [b"~~~ ", b"--- ", b"+++ "].iter().any(|marker| plain.starts_with(*marker))
}

fn without_colours(line: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some((byte, after)) = rest.split_first() {
        if *byte == 0x1b && after.first() == Some(&b'[') {
            let end =
                after.iter().position(|byte| byte.is_ascii_alphabetic()).map_or(after.len(), |end| end + 1);
            rest = &after[end..];
        } else {
            plain.push(*byte);
            rest = after;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_15_inline_times_once_per_line_over_several_writes() {
        let mut stamper = Stamper::default();
        let mut out = stamper.write(b"one\ntw", 1);
        out.extend(stamper.write(b"o\n", 2));
        out.extend(stamper.write(b"three", 3));
        let expected = "\x1b_bk;t=1\x07one\n\x1b_bk;t=1\x07two\n\x1b_bk;t=3\x07three";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn row_15_headers_by_index() {
        let mut counter = HeaderCounter::default();
        assert_eq!(counter.write(b"~~~ a\r\nplain\n--"), [0]);
        assert_eq!(counter.write(b"- b\n\x1b[90m+++ c\n---no\n^^^ +++\n"), [1, 2]);
    }
}
