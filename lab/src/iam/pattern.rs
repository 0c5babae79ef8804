//! Texts with wildcards and policy variables, as in `Resource` and condition values.

use super::context::Context;

/// Which of `* ? ${…}` mean something in a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Syntax {
    /// `*` and `?` match other characters.
    pub wildcards: bool,
    /// `${key}` stands for the request's value; only in policies of version 2012-10-17.
    pub variables: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    One(char),
    AnyOne,
    AnyMany,
}

/// Whether `text` matches `pattern`. A variable that the request has no value for matches nothing.
#[must_use]
pub fn matches(pattern: &str, text: &str, syntax: Syntax, context: &Context) -> bool {
    tokens(pattern, syntax, context).is_some_and(|tokens| run(&tokens, &text.chars().collect::<Vec<_>>()))
}

/// Whether an action matches a pattern such as `s3:Get*`, without case.
#[must_use]
pub fn matches_action(pattern: &str, action: &str) -> bool {
    let syntax = Syntax { wildcards: true, variables: false };
    let (pattern, action) = (pattern.to_lowercase(), action.to_lowercase());
    matches(&pattern, &action, syntax, &Context::default())
}

/// Whether an ARN matches a pattern part by part, so that no wildcard reaches over a colon of the first five parts.
/// Missing parts of the pattern are wildcards.
#[must_use]
pub fn matches_arn(pattern: &str, arn: &str, syntax: Syntax, context: &Context) -> bool {
    if pattern == "*" {
        return true;
    }
    let wanted = split(pattern);
    let given: Vec<&str> = arn.splitn(6, ':').collect();
    given.len() == 6
        && given
            .iter()
            .enumerate()
            .all(|(at, part)| wanted.get(at).is_none_or(|pattern| matches(pattern, part, syntax, context)))
}

/// The six parts of an ARN's pattern; colons inside `${…}` do not count.
fn split(pattern: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut begin, mut depth) = (0, 0_usize);
    for (at, character) in pattern.char_indices() {
        match character {
            '{' if pattern[..at].ends_with('$') => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 && parts.len() < 5 => {
                parts.push(&pattern[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&pattern[begin..]);
    parts
}

/// The pattern with its variables filled in; values are literal even where they hold wildcards.
fn tokens(pattern: &str, syntax: Syntax, context: &Context) -> Option<Vec<Token>> {
    let mut out = Vec::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(character) = rest.chars().next() {
        if syntax.variables
            && let Some(after) = rest.strip_prefix("${")
            && let Some((name, behind)) = after.split_once('}')
        {
            out.extend(value(name, context)?.chars().map(Token::One));
            rest = behind;
            continue;
        }
        out.push(match character {
            '*' if syntax.wildcards => Token::AnyMany,
            '?' if syntax.wildcards => Token::AnyOne,
            other => Token::One(other),
        });
        rest = &rest[character.len_utf8()..];
    }
    Some(out)
}

/// A variable's value: `${*}`, `${?}` and `${$}` are these characters, `${key, 'default'}` has a default. A key with
/// several values cannot stand in a text.
fn value(variable: &str, context: &Context) -> Option<String> {
    if matches!(variable, "*" | "?" | "$") {
        return Some(variable.to_owned());
    }
    let (key, default) = match variable.split_once(',') {
        Some((key, default)) => (key, Some(default.trim().trim_matches('\''))),
        None => (variable, None),
    };
    match context.get(key.trim()) {
        Some([one]) => Some(one.clone()),
        _ => default.map(str::to_owned),
    }
}

/// Matching with one step back per star: linear but for the last star's part.
fn run(tokens: &[Token], text: &[char]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        match tokens.get(token) {
            Some(Token::AnyMany) => {
                star = Some((token + 1, at));
                token += 1;
            }
            Some(Token::AnyOne) => {
                token += 1;
                at += 1;
            }
            Some(Token::One(one)) if *one == text[at] => {
                token += 1;
                at += 1;
            }
            _ => {
                let Some((after, from)) = star else {
                    return false;
                };
                star = Some((after, from + 1));
                token = after;
                at = from + 1;
            }
        }
    }
    tokens[token..].iter().all(|token| *token == Token::AnyMany)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOTH: Syntax = Syntax { wildcards: true, variables: true };

    #[test]
    fn wildcards_and_variables() {
        let context = Context::from([("aws:username", "a*b"), ("aws:PrincipalTag/team", "tide")]);
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("a?c", "ac", false),
            ("a/*/env", "a/b/c/env", true),
            ("**x", "x", true),
            ("${aws:username}", "a*b", true),
            ("${aws:username}", "axb", false),
            ("${AWS:UserName}/*", "a*b/env", true),
            ("${aws:PrincipalTag/team}", "tide", true),
            ("${unknown}*", "anything", false),
            ("${unknown, 'none'}", "none", true),
            ("${*}", "*", true),
            ("${*}", "x", false),
            ("${open", "${open", true),
        ] {
            assert_eq!(matches(pattern, text, BOTH, &context), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn arns_match_part_by_part() {
        let context = Context::from([("aws:username", "ann")]);
        let object = "arn:aws:s3:::secrets/pipe/env";
        let group = "arn:aws:autoscaling:eu-west-1:1:autoScalingGroup:uuid:autoScalingGroupName/ci";
        for (pattern, arn, expected) in [
            ("*", object, true),
            ("arn:aws:s3:::secrets/*", object, true),
            ("arn:aws:s3:::secrets", object, false),
            ("arn:*:s3:::secrets/*", object, true),
            ("arn:aws:s3", object, true),
            ("arn:aws:*:::secrets/pipe/env", object, true),
            ("arn:aws:s3:*", object, true),
            ("arn:aws*secrets/pipe/env", object, false),
            ("arn:aws:autoscaling:*:1:autoScalingGroup:*:autoScalingGroupName/ci", group, true),
            ("arn:aws:autoscaling:*:1:autoScalingGroup:*:autoScalingGroupName/cj", group, false),
            ("arn:aws:iam::1:user/${aws:username}", "arn:aws:iam::1:user/ann", true),
        ] {
            assert_eq!(matches_arn(pattern, arn, BOTH, &context), expected, "{pattern} {arn}");
        }
    }

    #[test]
    fn actions_have_no_case() {
        assert!(matches_action("S3:get*", "s3:GetObject"));
        assert!(matches_action("*", "s3:GetObject"));
        assert!(!matches_action("s3:GetObject", "s3:GetObjectAcl"));
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_and_its_starred_prefixes(text in "[a-z/:]{0,12}", cut in 0_usize..12) {
            let literal = Syntax { wildcards: false, variables: false };
            let none = Context::default();
            prop_assert!(matches(&text, &text, literal, &none));
            let cut = cut.min(text.len());
            let starred = format!("{}*", &text[..cut]);
            prop_assert!(matches(&starred, &text, BOTH, &none));
        }

        #[test]
        fn nothing_panics(pattern in ".{0,40}", text in ".{0,40}") {
            let _ = matches_arn(&pattern, &text, BOTH, &Context::default());
        }
    }
}
