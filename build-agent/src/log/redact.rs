//! Takes secrets out of a stream, whatever pieces it arrives in.
//!
//! Every stretch of bytes that is covered by one or several overlapping secrets becomes one [`MASK`]. Only as much is
//! held back as could still become a secret, so memory is bounded by the longest one.

/// What a reader of the log sees in a secret's place.
pub const MASK: &[u8] = b"[REDACTED]";

/// Shorter values are not hidden: masking `true` or `1` would destroy the log and protect nothing.
pub const MIN_BYTES: usize = 6;

/// A redactor between a writer and a log.
#[derive(Default)]
pub struct Redactor {
    /// Secrets by their first byte.
    needles: Vec<Vec<Vec<u8>>>,
    /// Not written yet: it may be the start of a secret.
    held: Vec<u8>,
    /// So many bytes of `held` belong to a stretch whose mask is written already.
    covered: usize,
}

/// A stretch of held bytes to be masked.
#[derive(Clone, Copy)]
struct Stretch {
    start: usize,
    end: usize,
    masked: bool,
}

impl Redactor {
    /// Hides `value` from now on, in the forms it may be printed in: as it is, without blank ends, with the line ends
    /// of a terminal, and quoted as JSON does. Values below [`MIN_BYTES`] are ignored.
    pub fn add(&mut self, value: &[u8]) {
        let trimmed = value.trim_ascii();
        for form in [value, trimmed] {
            self.add_form(form);
            if form.contains(&b'\n') {
                self.add_form(&with_terminal_line_ends(form));
            }
        }
        if let Ok(quoted) = std::str::from_utf8(trimmed).map(|text| serde_json::Value::from(text).to_string())
        {
            self.add_form(&quoted.as_bytes()[1..quoted.len() - 1]);
        }
    }

    fn add_form(&mut self, form: &[u8]) {
        if form.len() < MIN_BYTES {
            return;
        }
        self.needles.resize(256, Vec::new());
        let same_start = &mut self.needles[usize::from(form[0])];
        if !same_start.iter().any(|needle| needle == form) {
            same_start.push(form.to_vec());
        }
    }

    /// Takes the next bytes of the stream and returns what may be shown of it now.
    pub fn write(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let open = self.first_open();
        self.release(open)
    }

    /// Returns the rest of the stream.
    pub fn finish(&mut self) -> Vec<u8> {
        self.release(self.held.len())
    }

    /// The first held byte from which on everything held could be the start of a longer secret.
    fn first_open(&self) -> usize {
        let open = |start: &usize| {
            let rest = &self.held[*start..];
            self.starting_with(rest[0])
                .iter()
                .any(|needle| needle.len() > rest.len() && needle.starts_with(rest))
        };
        (0..self.held.len()).find(open).unwrap_or(self.held.len())
    }

    fn starting_with(&self, byte: u8) -> &[Vec<u8>] {
        self.needles.get(usize::from(byte)).map_or(&[], Vec::as_slice)
    }

    /// Stretches of held bytes that secrets cover, in order; overlapping ones are one.
    fn stretches(&self) -> Vec<Stretch> {
        let mut found = Vec::new();
        if self.covered > 0 {
            found.push(Stretch { start: 0, end: self.covered, masked: true });
        }
        for start in 0..self.held.len() {
            let rest = &self.held[start..];
            let needles = self.starting_with(rest[0]).iter().filter(|needle| rest.starts_with(needle));
            let Some(longest) = needles.map(Vec::len).max() else { continue };
            match found.last_mut() {
                Some(last) if start < last.end => last.end = last.end.max(start + longest),
                _ => found.push(Stretch { start, end: start + longest, masked: false }),
            }
        }
        found
    }

    /// Gives out everything before `limit` and keeps the rest.
    fn release(&mut self, limit: usize) -> Vec<u8> {
        let mut shown = Vec::with_capacity(limit);
        let mut at = 0;
        let mut covered = self.covered.saturating_sub(limit);
        for stretch in self.stretches().into_iter().filter(|stretch| stretch.start < limit) {
            shown.extend_from_slice(&self.held[at..stretch.start]);
            if !stretch.masked {
                shown.extend_from_slice(MASK);
            }
            at = stretch.end.min(limit);
            covered = stretch.end.saturating_sub(limit);
        }
        shown.extend_from_slice(&self.held[at..limit]);
        self.held.drain(..limit);
        self.covered = covered;
        shown
    }
}

fn with_terminal_line_ends(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 8);
    for (index, byte) in text.iter().enumerate() {
        if *byte == b'\n' && (index == 0 || text[index - 1] != b'\r') {
            out.push(b'\r');
        }
        out.push(*byte);
    }
    out
}

/// Is `name` one of those whose values are secrets? `patterns` are names with `*` for any text.
#[must_use]
pub fn is_secret_name(name: &str, patterns: &[String]) -> bool {
    patterns.iter().any(|pattern| glob(pattern.as_bytes(), name.as_bytes()))
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skip| glob(rest, &text[skip..])),
        Some((b'?', rest)) => !text.is_empty() && glob(rest, &text[1..]),
        Some((byte, rest)) => text.first() == Some(byte) && glob(rest, &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        let mut redactor = Redactor::default();
        secrets.iter().for_each(|secret| redactor.add(secret.as_bytes()));
        redactor
    }

    fn whole(secrets: &[&str], text: &str) -> String {
        let mut redactor = redactor(secrets);
        let mut out = redactor.write(text.as_bytes());
        out.extend(redactor.finish());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn row_14_redaction_table() {
        let table: [(&[&str], &str, &str); 9] = [
            (&["hunter22"], "a hunter22 b hunter22", "a [REDACTED] b [REDACTED]"),
            (&["short"], "short is shown", "short is shown"),
            (&["secret"], "a secre", "a secre"),
            (&["abcdef", "defghi"], "abcdefghi!", "[REDACTED]!"),
            (&["abcdef", "abcdefgh"], "abcdefgh abcdefg", "[REDACTED] [REDACTED]g"),
            (&["aaaaaa"], "aaaaaaaaaaaaaaab", "[REDACTED]b"),
            (&["line 1\nline 2\n"], "x line 1\r\nline 2\r\ny", "x [REDACTED]y"),
            (&["quote\"d value"], r#"{"v":"quote\"d value"}"#, r#"{"v":"[REDACTED]"}"#),
            (&["abcdef"], "abcdefabcdef", "[REDACTED][REDACTED]"),
        ];
        for (secrets, text, shown) in table {
            assert_eq!(whole(secrets, text), shown, "{secrets:?}");
        }
    }

    #[test]
    fn row_14_secrets_across_writes_and_added_later() {
        let mut redactor = redactor(&["hunter22"]);
        assert_eq!(redactor.write(b"a hun"), b"a ");
        assert_eq!(redactor.write(b"ter22 b"), b"[REDACTED] b");
        redactor.add(b"another secret");
        assert_eq!(redactor.write(b" another secret."), b" [REDACTED].");
    }

    #[test]
    fn row_14_names() {
        let patterns: Vec<String> = ["*_TOKEN", "*_ACCESS_KEY"].map(String::from).into();
        for (name, secret) in [("MY_TOKEN", true), ("_TOKEN", true), ("TOKEN", false), ("MY_TOKENS", false)] {
            assert_eq!(is_secret_name(name, &patterns), secret, "{name}");
        }
    }

    proptest! {
        #[test]
        fn row_14_any_split_gives_the_whole_text_redaction(
            secrets in proptest::collection::vec("[ab]{6,9}", 0..4),
            text in "[abc]{0,80}",
            cuts in proptest::collection::vec(0_usize..80, 0..8),
        ) {
            let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
            let mut redactor = redactor(&secrets);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut out = Vec::new();
            for pair in cuts.windows(2) {
                out.extend(redactor.write(&text.as_bytes()[pair[0]..pair[1]]));
            }
            out.extend(redactor.finish());
            let out = String::from_utf8(out).unwrap();
            prop_assert_eq!(&out, &whole(&secrets, &text));
            for secret in secrets {
                prop_assert!(!out.contains(secret));
            }
        }
    }
}
