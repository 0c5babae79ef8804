//! From any bytes to events that CloudWatch Logs takes and people can read. Pure.

use jiff::Timestamp;

use super::batch::{Event, LARGEST_MESSAGE};
use super::record::Record;

const MINUTE: i64 = 60_000;

/// An event may lie two hours ahead; one minute less, since the clocks differ.
const AHEAD: i64 = 119 * MINUTE;

/// An event may be fourteen days old; one hour less, since it may wait on its way.
const BEHIND: i64 = (14 * 24 - 1) * 60 * MINUTE;

/// Characters of a label. Whoever may write to the journal chooses its syslog name, of any length.
const LONGEST_LABEL: usize = 64;

/// The events of a record. A long message becomes several, an empty one none.
#[must_use]
pub fn events(record: &Record, now: i64) -> Vec<Event> {
    let (at, mut prefix) = timely(record.at, now);
    if let Some(label) = &record.label {
        prefix.extend(label.chars().take(LONGEST_LABEL).map(visible));
        prefix.push_str(": ");
    }
    let mut text = readable(&record.message);
    if record.cut > 0 {
        text.push_str(&format!(" [{} bytes more are only on the instance]", record.cut));
    }
    let room = LARGEST_MESSAGE.saturating_sub(prefix.len());
    pieces(&text, room).map(|piece| Event { at, message: format!("{prefix}{piece}") }).collect()
}

/// CloudWatch Logs refuses what lies too far from now (a clock that was set, a journal of last month). Such an event
/// gets the time of now, and its own time as text.
fn timely(at: i64, now: i64) -> (i64, String) {
    if (now - BEHIND..=now + AHEAD).contains(&at) {
        return (at, String::new());
    }
    let own = Timestamp::from_millisecond(at).map_or_else(|_| "no time".to_owned(), |at| at.to_string());
    (now, format!("[{own}] "))
}

/// UTF-8 without control characters: those below 32 become their pictures (ESC is `␛`), which no terminal obeys.
/// Tabs and line breaks stay; trailing white space goes.
fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim_end().chars().map(picture).collect()
}

fn picture(c: char) -> char {
    if matches!(c, '\t' | '\n') { c } else { visible(c) }
}

fn visible(c: char) -> char {
    match c {
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\x7f' => '\u{2421}',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// Pieces of at most `room` bytes, none empty, characters whole.
fn pieces(text: &str, room: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut end = rest.len().min(room.max(4));
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, after) = rest.split_at(end);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::logs::record::Kind;

    fn record(at: i64, message: &[u8]) -> Record {
        Record { at, kind: Kind::System, label: None, message: message.to_vec(), cut: 0 }
    }

    #[test]
    fn what_terminals_obey_becomes_visible() {
        for (bytes, expected) in [
            (&b"plain"[..], "plain"),
            (b"tab\tand\nbreak \r\n", "tab\tand\nbreak"),
            (b"\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
            (b"nul\0del\x7fbell\x07", "nul␀del␡bell␇"),
            (b"bin \xff\xfe x", "bin \u{fffd}\u{fffd} x"),
            ("c1 \u{9b}31m".as_bytes(), "c1 \u{fffd}31m"),
            ("grün 🚰".as_bytes(), "grün 🚰"),
        ] {
            let events = events(&record(0, bytes), 0);
            assert_eq!(events, [Event { at: 0, message: expected.to_owned() }], "{bytes:?}");
        }
        assert_eq!(events(&record(0, b""), 0), []);
        assert_eq!(events(&record(0, b" \n"), 0), []);
    }

    #[test]
    fn a_time_that_would_be_refused_becomes_text() {
        let now = 1_795_267_126_000;
        let day = 24 * 60 * MINUTE;
        for (at, expected) in [
            (now, (now, "x")),
            (now - 13 * day, (now - 13 * day, "x")),
            (now + 100 * MINUTE, (now + 100 * MINUTE, "x")),
            (now - 14 * day, (now, "[2026-11-07T13:18:46Z] x")),
            (now + 2 * 60 * MINUTE, (now, "[2026-11-21T15:18:46Z] x")),
            (i64::MAX / 2, (now, "[no time] x")),
        ] {
            let events = events(&record(at, b"x"), now);
            assert_eq!((events[0].at, events[0].message.as_str()), expected, "{at}");
        }
    }

    #[test]
    fn a_label_stands_before_each_piece_and_a_cut_is_told() {
        let long = Record { label: Some("agent-2".into()), ..record(0, &vec![b'a'; LARGEST_MESSAGE]) };
        let found = events(&long, 0);
        assert_eq!(found.len(), 2);
        assert!(
            found.iter().all(|e| e.message.starts_with("agent-2: a") && e.message.len() <= LARGEST_MESSAGE)
        );
        let cut = Record { cut: 7, ..record(0, b"begin") };
        assert_eq!(events(&cut, 0)[0].message, "begin [7 bytes more are only on the instance]");
    }

    #[test]
    fn a_label_of_any_length_and_bytes_is_short_and_visible() {
        let name = format!("a\n\x1b[31m{}", "x".repeat(LARGEST_MESSAGE));
        let found = events(&Record { label: Some(name), ..record(0, &vec![b'm'; LARGEST_MESSAGE]) }, 0);
        assert_eq!(found.len(), 2, "the room of a message is not the label's");
        for event in &found {
            assert!(
                event.message.len() <= LARGEST_MESSAGE && event.message.starts_with("a␊␛[31mxxx"),
                "{event:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn pieces_together_are_the_whole(text in "\\PC{0,200}", room in 4usize..40) {
            let all: Vec<&str> = pieces(&text, room).collect();
            prop_assert_eq!(all.concat(), text.as_str());
            prop_assert!(all.iter().all(|p| !p.is_empty() && p.len() <= room));
        }

        #[test]
        fn any_bytes_become_text_without_control_characters(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = readable(&bytes);
            prop_assert!(text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'));
        }
    }
}
