//! YAML as kiln's audits have it, byte for byte. kiln wrote them with spyc's dump: two spaces of indent, long text folded
//! at forty columns, its own rules of quoting. The rules are seed-systems.md §1.2; fixtures in `tests` are spyc's output.

use std::fmt::Write as _;

/// Text longer than this is folded.
const FOLD: usize = 40;

/// A value of an audit.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Text.
    Text(String),
    /// A switch.
    Switch(bool),
    /// A number with a fraction, seconds.
    Seconds(f64),
    /// Nothing at all.
    Null,
    /// Keys and values in their order.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// A value of text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

/// The document of these keys, without an opening `---`.
#[must_use]
pub fn emit(keys: &[(String, Node)]) -> String {
    let mut out = String::new();
    for (key, node) in keys {
        line(&mut out, key, node, 0);
    }
    out
}

fn line(out: &mut String, key: &str, node: &Node, indent: usize) {
    let value = match node {
        Node::Map(_) => String::new(),
        Node::Text(text) => scalar(text, indent),
        Node::Switch(switch) => switch.to_string(),
        Node::Seconds(seconds) => number(*seconds),
        Node::Null => "null".to_owned(),
    };
    let key = if key.contains([':', '#']) { format!("\"{key}\"") } else { key.to_owned() };
    let text = format!("{:indent$}{key}: {value}", "");
    // A string cannot fail to be written to.
    let _ = writeln!(out, "{}", text.trim_end_matches(is_trimmed));
    if let Node::Map(children) = node {
        for (key, node) in children {
            line(out, key, node, indent + 2);
        }
    }
}

/// What PHP's `trim` takes away.
fn is_trimmed(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\0' | '\x0b')
}

fn scalar(text: &str, indent: usize) -> String {
    let mut value = if is_special(text) { literal(text, indent) } else { folded(text, indent) };
    if value.is_empty() {
        "\"\"".clone_into(&mut value);
    }
    if is_word(&value) {
        value = literal(&value, indent);
    }
    if value.trim_matches(is_trimmed) != value {
        value = literal(&value, indent);
    }
    value
}

fn is_special(text: &str) -> bool {
    const PARTS: [&str; 13] = ["\n", ": ", "- ", "*", "#", "<", ">", "  ", "[", "]", "{", "}", "&"];
    PARTS.iter().any(|part| text.contains(part))
        || text.contains('\'')
        || text.starts_with('!')
        || text.ends_with(':')
}

/// Quoted, or a literal block where no quoting will do.
fn literal(text: &str, indent: usize) -> String {
    if text == "\n" {
        return "\\n".to_owned();
    }
    if !text.contains('\n') && !text.contains('\'') {
        return format!("'{text}'");
    }
    if !text.contains('\n') && !text.contains('"') {
        return format!("\"{text}\"");
    }
    let mut block = "|".to_owned();
    for part in text.split('\n') {
        let _ = write!(block, "\n{:width$}{part}", "", width = indent + 2);
    }
    block
}

fn folded(text: &str, indent: usize) -> String {
    if text.len() > FOLD {
        let pad = " ".repeat(indent + 2);
        return format!(">\n{pad}{}", wrapped(text, &format!("\n{pad}")));
    }
    if is_numeric(text) { format!("\"{text}\"") } else { text.to_owned() }
}

/// PHP's `wordwrap` without cutting: lines break at spaces only, so a long word stays whole. Widths are bytes.
fn wrapped(text: &str, newline: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut start, mut space) = (String::new(), 0, 0);
    for (at, byte) in bytes.iter().enumerate() {
        if *byte == b' ' {
            if at - start >= FOLD {
                out.push_str(&text[start..at]);
                out.push_str(newline);
                start = at + 1;
            }
            space = at;
        } else if at - start >= FOLD && start < space {
            out.push_str(&text[start..space]);
            out.push_str(newline);
            start = space + 1;
            space = start;
        }
    }
    out.push_str(&text[start..]);
    out
}

/// PHP's `is_numeric`: a decimal number, perhaps with a sign, an exponent and spaces around it.
fn is_numeric(text: &str) -> bool {
    let number = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let unsigned = number.strip_prefix(['+', '-']).unwrap_or(number);
    let plain = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.contains(|c: char| c.is_ascii_digit())
        && unsigned.chars().all(|c| c.is_ascii_digit() || ".eE+-".contains(c));
    plain && number.parse::<f64>().is_ok()
}

/// Words that YAML 1.1 takes for a switch or for nothing, in spyc's three spellings.
fn is_word(text: &str) -> bool {
    const WORDS: [&str; 10] = ["true", "on", "yes", "y", "false", "off", "no", "n", "null", "~"];
    let (lower, upper) = (text.to_ascii_lowercase(), text.to_ascii_uppercase());
    let mut first = lower.clone();
    if let Some(start) = first.get_mut(..1) {
        start.make_ascii_uppercase();
    }
    WORDS.contains(&lower.as_str()) && [&lower, &upper, &first].iter().any(|spelling| *spelling == text)
}

/// Fourteen significant digits as PHP prints them; quoted where those digits are not the whole number, which spyc finds
/// by comparing the text with the number.
fn number(seconds: f64) -> String {
    let text = digits(seconds);
    let exact = text.parse::<f64>().is_ok_and(|read| read.to_bits() == seconds.to_bits());
    if exact { text } else { format!("'{text}'") }
}

fn digits(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{number:.13e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..14).contains(&exponent) {
        let decimals = usize::try_from(13 - exponent).unwrap_or_default();
        let plain = format!("{number:.decimals$}");
        return if plain.contains('.') {
            plain.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            plain
        };
    }
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    let point = if mantissa.contains('.') { "" } else { ".0" };
    format!("{mantissa}{point}E{exponent:+}")
}
