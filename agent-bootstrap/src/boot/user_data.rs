//! User data to its settings parts: a MIME multipart with parts of our own type, or plain YAML.

use base64::Engine as _;

/// The content type of our parts.
pub const SETTINGS_TYPE: &str = "application/x-tidemark+yaml";

/// The user data cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserDataError {
    /// A multipart without a boundary.
    #[error("the multipart header of the user data has no boundary")]
    NoBoundary,
    /// A part's transfer encoding is none that we read.
    #[error(
        "settings part {0} of the user data: its Content-Transfer-Encoding `{1}` is neither plain nor base64"
    )]
    Encoding(usize, String),
    /// A part says base64 and is not.
    #[error("settings part {0} of the user data is not the base64 text it says to be")]
    Base64(usize),
}

/// The texts of all settings parts, in order. Parts of other types (cloud-init's) are left alone, and so is user
/// data that is a script or cloud-config as a whole.
///
/// # Errors
/// When the multipart is broken where our parts are concerned.
pub fn settings_parts(user_data: &str) -> Result<Vec<String>, UserDataError> {
    let text = user_data.replace("\r\n", "\n");
    let Some((headers, body)) = multipart(&text) else {
        let foreign = text.starts_with("#!") || text.starts_with("#cloud-") || text.trim().is_empty();
        return Ok(if foreign { Vec::new() } else { vec![text] });
    };
    let boundary = parameter(&headers, "boundary").ok_or(UserDataError::NoBoundary)?;
    let mut parts = Vec::new();
    for part in split(body, &boundary) {
        let (headers, content) = part.split_once("\n\n").unwrap_or((part, ""));
        let headers = unfold(headers);
        if media_type(&headers).is_some_and(|t| t.eq_ignore_ascii_case(SETTINGS_TYPE)) {
            parts.push(decode(&headers, content, parts.len() + 1)?);
        }
    }
    Ok(parts)
}

/// Headers and body, if the text starts as a MIME multipart does.
fn multipart(text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let (headers, body) = text.trim_start().split_once("\n\n")?;
    let headers = unfold(headers);
    let is_multipart = media_type(&headers)?.to_ascii_lowercase().starts_with("multipart/");
    is_multipart.then_some((headers, body))
}

/// Header lines as name and value; a line that starts with a blank continues the one before.
fn unfold(headers: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in headers.lines() {
        match (line.starts_with([' ', '\t']), fields.last_mut(), line.split_once(':')) {
            (true, Some((_, value)), _) => {
                value.push(' ');
                value.push_str(line.trim());
            }
            (false, _, Some((name, value))) => {
                fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
            _ => {}
        }
    }
    fields
}

fn field<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

fn media_type(headers: &[(String, String)]) -> Option<&str> {
    field(headers, "content-type")?.split(';').next().map(str::trim)
}

fn parameter(headers: &[(String, String)], name: &str) -> Option<String> {
    field(headers, "content-type")?.split(';').skip(1).find_map(|p| {
        let (key, value) = p.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (key.trim().eq_ignore_ascii_case(name) && !value.is_empty()).then(|| value.to_owned())
    })
}

/// What lies between the boundary's lines, the preamble and what follows the closing line left out.
fn split<'a>(body: &'a str, boundary: &str) -> Vec<&'a str> {
    let (open, close) = (format!("--{boundary}"), format!("--{boundary}--"));
    let mut parts = Vec::new();
    let mut start = None;
    let mut at = 0;
    for line in body.split_inclusive('\n') {
        let bare = line.trim_end();
        if bare == open || bare == close {
            if let Some(start) = start {
                parts.push(&body[start..at]);
            }
            start = (bare == open).then_some(at + line.len());
        }
        at += line.len();
    }
    // A multipart cut short at its end still holds its last part.
    parts.extend(start.map(|start| &body[start..]));
    parts
}

fn decode(headers: &[(String, String)], content: &str, number: usize) -> Result<String, UserDataError> {
    match field(headers, "content-transfer-encoding").unwrap_or("8bit").to_ascii_lowercase().as_str() {
        "7bit" | "8bit" | "binary" => Ok(content.to_owned()),
        "base64" => {
            let compact: String = content.split_whitespace().collect();
            let bytes = base64::engine::general_purpose::STANDARD.decode(compact);
            bytes.ok().and_then(|b| String::from_utf8(b).ok()).ok_or(UserDataError::Base64(number))
        }
        other => Err(UserDataError::Encoding(number, other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACKS: &str = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"tidemark-part\"\n\n\
        --tidemark-part\nContent-Type: application/x-tidemark+yaml; charset=\"utf-8\"\n\nqueue: \"a\"\n\n\
        --tidemark-part\nContent-Type: text/x-shellscript\n\n#!/bin/sh\nqueue: no\n\
        --tidemark-part\nContent-Type: application/x-tidemark+yaml\n\nidle-period: 5m\n\n--tidemark-part--\n";

    #[test]
    fn our_parts_come_out_in_order_and_others_stay() {
        let parts = settings_parts(STACKS).unwrap();
        assert_eq!(parts, ["queue: \"a\"\n\n", "idle-period: 5m\n\n"]);
        assert_eq!(settings_parts(&STACKS.replace('\n', "\r\n")).unwrap(), parts);
    }

    #[test]
    fn folded_headers_base64_and_a_missing_end_are_read() {
        let text = "Content-Type: multipart/mixed;\n boundary=b\n\n--b\nContent-Type: application/x-tidemark+yaml\n\
            Content-Transfer-Encoding: base64\n\ncXVldWU6\nIHgK\n";
        assert_eq!(settings_parts(text).unwrap(), ["queue: x\n"]);
    }

    #[test]
    fn plain_yaml_is_one_part_and_scripts_are_none() {
        assert_eq!(settings_parts("queue: x\nstack: y\n").unwrap(), ["queue: x\nstack: y\n"]);
        for foreign in ["#!/bin/bash\nqueue: x", "#cloud-config\nqueue: x", " \n"] {
            assert!(settings_parts(foreign).unwrap().is_empty(), "{foreign}");
        }
    }

    #[test]
    fn a_broken_multipart_is_told() {
        let broken = |text: &str| settings_parts(text).unwrap_err();
        assert_eq!(broken("Content-Type: multipart/mixed\n\n--b\n"), UserDataError::NoBoundary);
        let part = "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: application/x-tidemark+yaml\n\
            Content-Transfer-Encoding: ENC\n\n%%%\n--b--\n";
        assert_eq!(broken(&part.replace("ENC", "base64")), UserDataError::Base64(1));
        assert_eq!(broken(&part.replace("ENC", "uuencode")), UserDataError::Encoding(1, "uuencode".into()));
    }
}
