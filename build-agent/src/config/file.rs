//! The configuration file of the open-source agent: `key=value` or `key="value"` lines, `#` comments.

/// Keys and values in the order of the file.
///
/// # Errors
/// One text for each bad line.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, Vec<String>> {
    let (mut pairs, mut faults) = (Vec::new(), Vec::new());
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match pair(line) {
            Ok(pair) => pairs.push(pair),
            Err(what) => faults.push(format!("line {}: {what}", index + 1)),
        }
    }
    if faults.is_empty() { Ok(pairs) } else { Err(faults) }
}

fn pair(line: &str) -> Result<(String, String), String> {
    let (key, value) = line.split_once('=').ok_or("no `=`; write key=\"value\"")?;
    let key = key.trim();
    if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        return Err("the name before `=` is no key".into());
    }
    let value = value.trim();
    let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        let bare = value.split(" #").next().unwrap_or_default().trim_end();
        return Ok((key.into(), bare.into()));
    };
    let (inner, rest) = quoted(&value[1..], quote).ok_or(format!("{key}: the closing {quote} is missing"))?;
    if !rest.is_empty() && !rest.starts_with('#') {
        return Err(format!("{key}: text after the closing {quote}"));
    }
    Ok((key.into(), inner))
}

/// The text up to the closing quote, and the trimmed text after it. Double quotes know `\"`, `\\` and `\n`.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut inner = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((inner, text[at + 1..].trim())),
            '\\' if quote == '"' => match chars.next()?.1 {
                'n' => inner.push('\n'),
                c @ ('"' | '\\') => inner.push(c),
                other => inner.extend(['\\', other]),
            },
            c => inner.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_lines() {
        let text =
            "# comment\n\ntoken=\"a#b\\\"c\" # note\nspawn=2 # two\n tags = 'queue=x,os=linux'\r\nempty=\n";
        let expected = [("token", "a#b\"c"), ("spawn", "2"), ("tags", "queue=x,os=linux"), ("empty", "")];
        assert_eq!(parse(text).unwrap(), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn all_bad_lines_are_told() {
        let faults = parse("good=1\nnothing\na b=1\nt=\"x\nu=\"x\" y").unwrap_err();
        insta::assert_debug_snapshot!(faults, @r#"
        [
            "line 2: no `=`; write key=\"value\"",
            "line 3: the name before `=` is no key",
            "line 4: t: the closing \" is missing",
            "line 5: u: text after the closing \"",
        ]
        "#);
    }
}
