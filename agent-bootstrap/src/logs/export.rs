//! The journal's export format (systemd.io/JOURNAL_EXPORT_FORMATS), read piece by piece. Pure.
//!
//! Not JSON: its fields keep their exact bytes, carry their size, and a long one need not be held to be passed over.

/// Most bytes of one field that are kept.
pub const LONGEST_FIELD: usize = 512 * 1024;

/// No field of the journal has a longer name.
const LONGEST_NAME: usize = 64;

/// The fields of one entry that matter here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// Where in the journal it is.
    pub cursor: String,
    /// Microseconds since 1970.
    pub realtime: i64,
    /// Any bytes, [`LONGEST_FIELD`] at most.
    pub message: Vec<u8>,
    /// Bytes of the message beyond that.
    pub cut: u64,
    /// The unit that said it.
    pub unit: String,
    /// The unit that systemd says something of.
    pub about: String,
    /// The syslog name of who said it.
    pub identifier: String,
    /// The syslog facility's number.
    pub facility: String,
}

/// The bytes are no export format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("journalctl's output is not in the export format")]
pub struct NotExport;

/// Takes bytes in any pieces and gives entries.
#[derive(Debug, Default)]
pub struct Parser {
    state: State,
    entry: Entry,
}

#[derive(Debug)]
enum State {
    /// In a name, or at an entry's end.
    Name(Vec<u8>),
    /// In a value that ends with its line.
    Text(Field),
    /// In the eight bytes of a value's size.
    Size(Vec<u8>, Vec<u8>),
    /// In a value of so many more bytes.
    Data(Field, u64),
    /// At the line break after it.
    Break,
}

impl Default for State {
    fn default() -> Self {
        Self::Name(Vec::new())
    }
}

#[derive(Debug)]
struct Field {
    name: Vec<u8>,
    value: Vec<u8>,
    cut: u64,
}

impl Field {
    fn new(name: Vec<u8>) -> Self {
        Self { name, value: Vec::new(), cut: 0 }
    }

    fn add(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(LONGEST_FIELD - self.value.len());
        self.value.extend_from_slice(&bytes[..kept]);
        self.cut += (bytes.len() - kept) as u64;
    }
}

impl Parser {
    /// Takes the next bytes, appends the entries that they complete.
    ///
    /// # Errors
    /// When they are no such format.
    pub fn feed(&mut self, mut bytes: &[u8], entries: &mut Vec<Entry>) -> Result<(), NotExport> {
        while !bytes.is_empty() {
            let state = std::mem::take(&mut self.state);
            (self.state, bytes) = self.step(state, bytes, entries)?;
        }
        Ok(())
    }

    fn step<'a>(
        &mut self,
        state: State,
        bytes: &'a [u8],
        entries: &mut Vec<Entry>,
    ) -> Result<(State, &'a [u8]), NotExport> {
        Ok(match state {
            State::Name(mut name) => {
                let end = bytes.iter().position(|b| matches!(b, b'=' | b'\n'));
                name.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
                if name.len() > LONGEST_NAME {
                    return Err(NotExport);
                }
                match end {
                    None => (State::Name(name), &[]),
                    Some(end) if bytes[end] == b'=' => (State::Text(Field::new(name)), &bytes[end + 1..]),
                    Some(end) if name.is_empty() => {
                        let entry = std::mem::take(&mut self.entry);
                        if !entry.cursor.is_empty() {
                            entries.push(entry);
                        }
                        (State::default(), &bytes[end + 1..])
                    }
                    Some(end) => (State::Size(name, Vec::with_capacity(8)), &bytes[end + 1..]),
                }
            }
            State::Text(mut field) => {
                let end = bytes.iter().position(|b| *b == b'\n');
                field.add(&bytes[..end.unwrap_or(bytes.len())]);
                match end {
                    None => (State::Text(field), &[]),
                    Some(end) => {
                        self.take(field);
                        (State::default(), &bytes[end + 1..])
                    }
                }
            }
            State::Size(name, mut size) => {
                let (more, rest) = bytes.split_at(bytes.len().min(8 - size.len()));
                size.extend_from_slice(more);
                match <[u8; 8]>::try_from(size.as_slice()) {
                    Err(_) => (State::Size(name, size), rest),
                    Ok(size) => (State::Data(Field::new(name), u64::from_le_bytes(size)), rest),
                }
            }
            State::Data(mut field, left) => {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                field.add(&bytes[..here]);
                let left = left - here as u64;
                if left > 0 {
                    (State::Data(field, left), &bytes[here..])
                } else {
                    self.take(field);
                    (State::Break, &bytes[here..])
                }
            }
            State::Break if bytes[0] == b'\n' => (State::default(), &bytes[1..]),
            State::Break => return Err(NotExport),
        })
    }

    fn take(&mut self, field: Field) {
        let text = || String::from_utf8_lossy(&field.value).into_owned();
        match field.name.as_slice() {
            b"__CURSOR" => self.entry.cursor = text(),
            b"__REALTIME_TIMESTAMP" => self.entry.realtime = text().parse().unwrap_or_default(),
            b"_SYSTEMD_UNIT" => self.entry.unit = text(),
            b"UNIT" => self.entry.about = text(),
            b"SYSLOG_IDENTIFIER" => self.entry.identifier = text(),
            b"SYSLOG_FACILITY" => self.entry.facility = text(),
            b"MESSAGE" => (self.entry.message, self.entry.cut) = (field.value, field.cut),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As journalctl of systemd 252 writes it.
    fn sample() -> Vec<u8> {
        let mut bytes = b"__CURSOR=s=9;i=1\n__REALTIME_TIMESTAMP=1795267126808903\n_BOOT_ID=69\n\
            SYSLOG_IDENTIFIER=agent\n_SYSTEMD_UNIT=tidemark-agent@1.service\nMESSAGE=a=b\n\n\
            __CURSOR=s=9;i=2\n__REALTIME_TIMESTAMP=1795267126808904\nSYSLOG_FACILITY=10\nMESSAGE\n"
            .to_vec();
        let message = b"bin \x01\xff\nnext=line\n\n";
        bytes.extend((message.len() as u64).to_le_bytes());
        bytes.extend(message);
        bytes.extend(b"\nUNIT=x.service\n\n");
        bytes
    }

    fn parse(pieces: &[&[u8]]) -> Vec<Entry> {
        let (mut parser, mut entries) = (Parser::default(), Vec::new());
        for piece in pieces {
            parser.feed(piece, &mut entries).unwrap();
        }
        entries
    }

    #[test]
    fn entries_keep_their_exact_bytes() {
        let entries = parse(&[&sample()]);
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].cursor.as_str(), entries[0].message.as_slice()), ("s=9;i=1", &b"a=b"[..]));
        assert_eq!(entries[0].unit, "tidemark-agent@1.service");
        assert_eq!(entries[1].message, b"bin \x01\xff\nnext=line\n\n");
        assert_eq!((entries[1].about.as_str(), entries[1].facility.as_str()), ("x.service", "10"));
        assert_eq!(entries[1].realtime, 1_795_267_126_808_904);
    }

    #[test]
    fn a_long_field_is_cut_not_held_and_garbage_is_told() {
        let long = vec![b'x'; LONGEST_FIELD + 5];
        let entries = parse(&[b"__CURSOR=c\nMESSAGE=", &long, b"\n\n__CURSOR=d\n\n"]);
        assert_eq!((entries[0].message.len(), entries[0].cut), (LONGEST_FIELD, 5));
        assert_eq!(entries[1].cursor, "d");
        let mut parser = Parser::default();
        assert_eq!(parser.feed(&[b'x'; 100], &mut Vec::new()), Err(NotExport));
        let mut size = b"MESSAGE\n".to_vec();
        size.extend(1u64.to_le_bytes());
        size.extend(b"xy");
        assert_eq!(Parser::default().feed(&size, &mut Vec::new()), Err(NotExport));
    }

    proptest! {
        #[test]
        fn the_pieces_bytes_come_in_do_not_matter(mut cuts in proptest::collection::vec(0usize..280, 0..12)) {
            let sample = sample();
            cuts.push(sample.len());
            cuts.iter_mut().for_each(|cut| *cut = (*cut).min(sample.len()));
            cuts.sort_unstable();
            let mut from = 0;
            let pieces: Vec<&[u8]> =
                cuts.iter().map(|cut| { let piece = &sample[from..*cut]; from = *cut; piece }).collect();
            prop_assert_eq!(parse(&pieces), parse(&[&sample]));
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Parser::default().feed(&bytes, &mut Vec::new());
        }
    }
}
