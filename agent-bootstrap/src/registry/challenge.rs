//! The `WWW-Authenticate` header of a registry (RFC 9110 §11.6.1, distribution specification). Pure.

/// How a registry wants to be convinced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// User and password with the request itself.
    Basic,
    /// A token from another server, which takes user and password.
    Bearer {
        /// The token server's URL.
        realm: String,
        /// What the token is for, as the token server wants to hear it.
        service: Option<String>,
    },
}

/// The first challenge that this program can answer.
#[must_use]
pub fn parse(header: &str) -> Option<Challenge> {
    let (scheme, parameters) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    match scheme.to_ascii_lowercase().as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => {
            let parameters = parameters_of(parameters);
            let value = |name: &str| parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
            Some(Challenge::Bearer { realm: value("realm")?, service: value("service") })
        }
        _ => None,
    }
}

/// `name=value` and `name="quoted \" value"`, separated by commas. Ends at the first thing that is neither.
fn parameters_of(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',']);
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => match unquoted(quoted) {
                Some(parts) => parts,
                None => break,
            },
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        found.push((name.trim().to_ascii_lowercase(), value));
        rest = after.trim_start_matches([' ', ',']);
    }
    found
}

fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn registries_say_it_in_many_ways() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.into(), service: service.map(Into::into) })
        };
        for (header, expected) in [
            (r#"Basic realm="basic-realm""#, Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io""#,
                bearer("https://auth.docker.io/token", Some("registry.docker.io")),
            ),
            (r#"bearer  Service=a b, realm="https://a/?x=\"1\"""#, bearer("https://a/?x=\"1\"", Some("a b"))),
            (r#"Bearer realm="https://a/t", scope="repository:a,b:pull""#, bearer("https://a/t", None)),
            (r#"Bearer service="x""#, None),
            (r#"Bearer realm="open"#, None),
            ("Negotiate", None),
            ("", None),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(header in ".{0,80}") {
            let _ = parse(&header);
            let _ = parse(&format!("Bearer {header}"));
        }
    }
}
