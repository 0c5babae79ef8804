//! Packer's `-machine-readable` output: `timestamp,target,type,data…` a line, commas and newlines in data escaped.
//! Source: Packer's documentation of the format; the lines of the tests are Debian's 1.6.6.

use serde::{Deserialize, Serialize};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Words for people, of a builder or of Packer itself.
    Say {
        /// Is it a complaint?
        error: bool,
        /// The words, without colours.
        text: String,
    },
    /// Images that a builder has made.
    Images(Vec<Image>),
    /// Packer's version.
    Version(String),
    /// So many of the template's builders failed.
    Errors(u32),
    /// What we have no use for.
    Other,
}

/// An image in a region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Image {
    /// The template's name of the builder that made it.
    pub builder: String,
    /// Where it is.
    pub region: String,
    /// `ami-…`
    pub id: String,
}

/// Reads a line. What is not of the format is words of a plugin or of the Go runtime.
#[must_use]
pub fn read(line: &str) -> Line {
    let mut parts = line.splitn(4, ',');
    let (Some(time), Some(target), Some(kind), data) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return words(false, line);
    };
    if time.is_empty() || !time.bytes().all(|byte| byte.is_ascii_digit()) {
        return words(false, line);
    }
    let data = data.unwrap_or_default();
    match kind {
        "ui" => {
            let (level, text) = data.split_once(',').unwrap_or(("say", data));
            words(level == "error", &plain(text))
        }
        "artifact" => artifact(target, data),
        "error-count" => Line::Errors(data.trim().parse().unwrap_or(1)),
        "version" => Line::Version(plain(data).trim_start_matches('v').to_owned()),
        _ => Line::Other,
    }
}

fn words(error: bool, text: &str) -> Line {
    Line::Say { error, text: without_colours(text) }
}

/// `0,id,us-east-1:ami-1%!(PACKER_COMMA)eu-west-1:ami-2`
fn artifact(builder: &str, data: &str) -> Line {
    let mut parts = data.splitn(3, ',');
    let (_, Some("id"), Some(ids)) = (parts.next(), parts.next(), parts.next()) else { return Line::Other };
    let ids = plain(ids);
    let images = ids.split(',').filter_map(|id| {
        let (region, id) = id.trim().split_once(':')?;
        let hexadecimal = id
            .strip_prefix("ami-")
            .is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_hexdigit()));
        let image = Image { builder: builder.to_owned(), region: region.to_owned(), id: id.to_owned() };
        (hexadecimal && !region.is_empty()).then_some(image)
    });
    Line::Images(images.collect())
}

fn plain(text: &str) -> String {
    text.replace("%!(PACKER_COMMA)", ",").replace("\\n", "\n").replace("\\r", "\r")
}

/// Without the escape sequences that colour a terminal, and without control characters that would move its cursor.
fn without_colours(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text.chars());
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                // `ESC [ … letter`
                if rest.next() == Some('[') {
                    let _ = rest.by_ref().find(char::is_ascii_alphabetic);
                }
            }
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// What a Packer that is killed leaves behind, as its words name it. One that ends by itself takes all of it away but the
/// image, and that is told as an artifact then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Temporary {
    /// `i-…`
    pub instances: Vec<String>,
    /// `packer_…`
    pub key_pairs: Vec<String>,
    /// Names of security groups, `packer_…`.
    pub security_groups: Vec<String>,
    /// `ami-…` that were begun.
    pub images: Vec<String>,
}

impl Temporary {
    /// Takes note of what `text` names in Packer's own phrases; true where that is new. A provisioner may print the same
    /// phrases, so whoever removes something looks at its age first.
    pub fn note(&mut self, text: &str) -> bool {
        let named =
            |phrase: &str| text.split_once(phrase).and_then(|(_, rest)| rest.split_whitespace().next());
        let is_packers = |name: &&str| name.starts_with("packer_") && name.len() >= 20;
        let (into, name) = if let Some(id) = named("Instance ID: ").filter(|id| is_id(id, "i-")) {
            (&mut self.instances, id)
        } else if let Some(id) = named(": AMI: ").filter(|id| is_id(id, "ami-")) {
            (&mut self.images, id)
        } else if let Some(name) = named("temporary keypair: ").filter(is_packers) {
            (&mut self.key_pairs, name)
        } else if let Some(name) = named("temporary security group for this instance: ").filter(is_packers) {
            (&mut self.security_groups, name)
        } else {
            return false;
        };
        let new = !into.iter().any(|known| known == name);
        if new {
            into.push(name.to_owned());
        }
        new
    }

    /// Is there nothing?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn is_id(word: &str, prefix: &str) -> bool {
    word.strip_prefix(prefix).is_some_and(|digits| {
        (8..=17).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn image(builder: &str, region: &str, id: &str) -> Image {
        Image { builder: builder.to_owned(), region: region.to_owned(), id: id.to_owned() }
    }

    #[test]
    fn k6_the_lines_of_a_build() {
        for (line, expected) in [
            (
                "1700000000,,ui,say,==> amazon-ebs: Launching%!(PACKER_COMMA) now",
                say("==> amazon-ebs: Launching, now"),
            ),
            ("1700000000,,ui,message,    amazon-ebs: one\\ntwo", say("    amazon-ebs: one\ntwo")),
            (
                "1700000000,,ui,error,\u{1b}[1;31mBuild 'x' errored\u{1b}[0m",
                Line::Say { error: true, text: "Build 'x' errored".to_owned() },
            ),
            ("1700000000,amazon-ebs,artifact-count,1", Line::Other),
            ("1700000000,amazon-ebs,artifact,0,builder-id,mitchellh.amazonebs", Line::Other),
            (
                "1700000000,amazon-ebs,artifact,0,id,us-east-1:ami-0a%!(PACKER_COMMA)eu-west-1:ami-0b",
                Line::Images(vec![
                    image("amazon-ebs", "us-east-1", "ami-0a"),
                    image("amazon-ebs", "eu-west-1", "ami-0b"),
                ]),
            ),
            (
                "1700000000,null,artifact,0,id,Did not export anything. This is the null builder",
                Line::Images(vec![]),
            ),
            ("1700000000,,version,1.6.6", Line::Version("1.6.6".to_owned())),
            ("1700000000,,error-count,2", Line::Errors(2)),
            ("panic: runtime error", say("panic: runtime error")),
            ("a,b,artifact,0,id,us-east-1:ami-0a", say("a,b,artifact,0,id,us-east-1:ami-0a")),
            ("", say("")),
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
    }

    fn say(text: &str) -> Line {
        Line::Say { error: false, text: text.to_owned() }
    }

    #[test]
    fn what_packer_makes_for_a_build_is_noted_once() {
        let mut left = Temporary::default();
        let key = "packer_65a1b2c3-d4e5-f0a1-b2c3-d4e5f0a1b2c3";
        for (text, new) in [
            (format!("==> a: Creating temporary keypair: {key}"), true),
            (format!("==> a: Creating temporary security group for this instance: {key}"), true),
            ("    a: Found Image ID: ami-0123456789abcdef0".to_owned(), false),
            ("    a: Instance ID: i-0123456789abcdef0".to_owned(), true),
            ("    a: Instance ID: i-0123456789abcdef0".to_owned(), false),
            ("    a: AMI: ami-0123456789abcdef1".to_owned(), true),
            // Words of a provisioner, which may name what is in use.
            ("    a: registered i-0aaaaaaaaaaaaaaaa".to_owned(), false),
            ("    a: ami-0aaaaaaaaaaaaaaaa".to_owned(), false),
            ("    a: Instance ID: i-am-none".to_owned(), false),
            ("    a: temporary keypair: packer_x".to_owned(), false),
        ] {
            assert_eq!(left.note(&text), new, "{text}");
        }
        assert_eq!(left.instances, ["i-0123456789abcdef0"]);
        assert_eq!(left.images, ["ami-0123456789abcdef1"]);
        assert_eq!(
            (left.key_pairs.as_slice(), left.security_groups.as_slice()),
            (&[key.to_owned()][..], &[key.to_owned()][..])
        );
    }

    proptest! {
        #[test]
        fn no_line_is_too_strange(line in "\\PC{0,60}|[0-9]{1,10},[a-z]{0,3},(ui|artifact|version)(,[^\n]{0,40})?") {
            match read(&line) {
                Line::Images(images) => prop_assert!(images.iter().all(|image| image.id.starts_with("ami-"))),
                Line::Say { text, .. } => prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t')),
                Line::Version(_) | Line::Errors(_) | Line::Other => {}
            }
        }
    }
}
