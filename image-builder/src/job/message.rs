//! The queue's message: kiln's JSON object `{"templateName": "web/base.json", "sha": "…"}` with a few more keys. Format:
//! seed-systems.md §1.2.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{CommitId, Job, TemplatePath};

/// SQS holds no larger message.
const MOST_BYTES: usize = 262_144;

/// More variables than any template has.
const MOST_VARIABLES: usize = 100;

/// Why a message asks for nothing that can be done, with what could be read of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .faults.join("; "))]
pub struct BadMessage {
    /// All that is wrong.
    pub faults: Vec<String>,
    /// The template's name as it stands there, if it is text.
    pub template: String,
    /// The commit, as the template's name.
    pub commit: String,
}

/// Reads a message's body. Keys are taken in any case, the last of equal ones wins, unknown ones are ignored.
///
/// # Errors
/// All faults at once.
pub fn parse(body: &str) -> Result<Job, BadMessage> {
    let bare =
        |fault: String| BadMessage { faults: vec![fault], template: String::new(), commit: String::new() };
    if body.len() > MOST_BYTES {
        return Err(bare(format!("the body has {} bytes, at most {MOST_BYTES} are possible", body.len())));
    }
    let value: Value = match serde_json::from_str(body) {
        Ok(value) => value,
        Err(_) if body.trim().is_empty() => return Err(bare("the body is empty".to_owned())),
        Err(error) => return Err(bare(format!("the body is not JSON: {error}"))),
    };
    let Value::Object(object) = value else {
        return Err(bare("the body is no JSON object".to_owned()));
    };
    let keys = object.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), value)).collect();
    read(&keys)
}

fn read(keys: &BTreeMap<String, Value>) -> Result<Job, BadMessage> {
    let mut faults = Vec::new();
    let mut text = |key: &str, name: &str| match keys.get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        None | Some(Value::Null) => {
            faults.push(format!("{name} is missing"));
            None
        }
        Some(_) => {
            faults.push(format!("{name} is no text"));
            None
        }
    };
    let (template, commit) = (text("templatename", "templateName"), text("sha", "sha"));
    let mut noted = |name: &str, fault: String| faults.push(format!("{name} {fault}"));
    let path = template.as_deref().map(TemplatePath::parse);
    let path = path.and_then(|parsed| parsed.map_err(|fault| noted("templateName", fault)).ok());
    let id = commit.as_deref().map(CommitId::parse);
    let id = id.and_then(|parsed| parsed.map_err(|fault| noted("sha", fault)).ok());
    let variables = variables(keys.get("variables"), &mut faults);
    match (path, id) {
        (Some(template), Some(commit)) if faults.is_empty() => Ok(Job { template, commit, variables }),
        _ => Err(BadMessage {
            faults,
            template: template.unwrap_or_default(),
            commit: commit.unwrap_or_default(),
        }),
    }
}

fn variables(value: Option<&Value>, faults: &mut Vec<String>) -> BTreeMap<String, String> {
    let object = match value {
        None | Some(Value::Null) => return BTreeMap::new(),
        Some(Value::Object(object)) => object,
        Some(_) => {
            faults.push("variables is no JSON object".to_owned());
            return BTreeMap::new();
        }
    };
    if object.len() > MOST_VARIABLES {
        faults.push(format!("variables has {} names, at most {MOST_VARIABLES} are possible", object.len()));
        return BTreeMap::new();
    }
    let mut variables = BTreeMap::new();
    for (name, value) in object {
        if !is_variable_name(name) {
            faults
                .push(format!("variables has the name {name:?}: letters, digits, `_` and `-` are possible"));
            continue;
        }
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(switch) => switch.to_string(),
            _ => {
                faults.push(format!("variables.{name} is neither text, number, true nor false"));
                continue;
            }
        };
        variables.insert(name.clone(), text);
    }
    variables
}

/// Is this a name that Packer takes for a variable, and no option?
#[must_use]
pub fn is_variable_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && name.len() <= 200
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

    fn job(body: &Value) -> Job {
        parse(&body.to_string()).unwrap()
    }

    #[test]
    fn k1_the_message_of_kiln_in_every_spelling_it_took() {
        for body in [
            json!({"templateName": "web/base.json", "sha": SHA}),
            json!({"templatename": "web/base.json", "SHA": SHA}),
            json!({"TEMPLATENAME": " /web/base.json", "Sha": SHA, "requestedBy": "me", "n": [1]}),
        ] {
            let job = job(&body);
            assert_eq!(job.template.as_str(), "web/base.json");
            assert_eq!(job.commit.as_str(), SHA);
            assert!(job.variables.is_empty());
        }
    }

    #[test]
    fn a_message_may_bring_variables() {
        let job = job(&json!({
            "templateName": "a.json", "sha": SHA,
            "variables": {"version": "1.2", "size": 8, "encrypt": true}
        }));
        let variables: Vec<_> = job.variables.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(variables, ["encrypt=true", "size=8", "version=1.2"]);
    }

    #[test]
    fn k9_what_cannot_be_built_is_told_with_all_its_faults() {
        let faults = |body: &str| parse(body).unwrap_err().faults;
        assert_eq!(faults(""), ["the body is empty"]);
        assert_eq!(faults("[]"), ["the body is no JSON object"]);
        assert_eq!(faults("{}"), ["templateName is missing", "sha is missing"]);
        assert_eq!(
            faults(r#"{"templateName": 3, "sha": ["x"]}"#),
            ["templateName is no text", "sha is no text"]
        );
        assert!(faults("{\"templateName\":")[0].starts_with("the body is not JSON: "));
        assert!(faults(&" ".repeat(MOST_BYTES + 1))[0].starts_with("the body has 262145 bytes"));
        let all = faults(r#"{"templateName": "../x", "sha": "-f", "variables": {"-var": "x", "a": {}}}"#);
        assert_eq!(all.len(), 4, "{all:?}");
        let bad = parse(r#"{"templateName": "../x", "sha": "main"}"#).unwrap_err();
        assert_eq!((bad.template.as_str(), bad.commit.as_str()), ("../x", "main"));
    }
}
