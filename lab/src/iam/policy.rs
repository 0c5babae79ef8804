//! Policy documents: read from JSON, and which of their statements speak about a request.

use serde_json::{Map, Value};

use super::conditions::Condition;
use super::context::Context;
use super::pattern::{self, Syntax};

/// A policy document with the name it is reported under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The policy's name, such as `agent/secrets` or `AmazonEC2ContainerRegistryReadOnly`.
    pub name: String,
    /// Its statements in order.
    pub statements: Vec<Statement>,
    /// Version 2012-10-17: variables have values.
    variables: bool,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The statement's id, or its number in the document.
    pub sid: String,
    /// Allows (true) or denies.
    pub allows: bool,
    /// `Action`, or `NotAction` with the flag.
    pub actions: Listed,
    /// `Resource` or `NotResource`; none in a trust policy.
    pub resources: Option<Listed>,
    principals: Option<Principals>,
    conditions: Vec<Condition>,
}

/// A list of patterns, or everything but them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The list names what is meant *not*.
    pub negated: bool,
    /// The patterns.
    pub patterns: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Principals {
    negated: bool,
    /// (`AWS` or `Service`, name); `*` alone is (`AWS`, `*`).
    names: Vec<(String, String)>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The account.
    pub account: String,
    /// The user's or the session's ARN.
    pub arn: String,
    /// The role's ARN, for a session.
    pub role_arn: Option<String>,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `service:Action`.
    pub action: &'a str,
    /// The resource's ARN, or `*` for actions on none.
    pub resource: &'a str,
    /// Who asks.
    pub principal: &'a Principal,
    /// The condition keys.
    pub context: &'a Context,
}

/// How a resource policy names the principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    /// By its account: the account's own policies decide.
    Account,
    /// By its role: granted, within the role's permissions boundary.
    Role,
    /// By itself or by `*`: granted.
    Itself,
}

impl Policy {
    /// Reads a document.
    ///
    /// # Errors
    /// What is malformed, as a phrase.
    pub fn read(name: &str, document: &Value) -> Result<Self, String> {
        let statements = one_or_more(document.get("Statement").ok_or("no Statement")?);
        let statements = statements
            .iter()
            .enumerate()
            .map(|(at, statement)| {
                let fields = statement.as_object().ok_or("a statement is no object")?;
                Statement::read(fields, at).map_err(|fault| format!("statement {at}: {fault}"))
            })
            .collect::<Result<_, String>>()?;
        Ok(Self {
            name: name.to_owned(),
            statements,
            variables: document.get("Version").and_then(Value::as_str) == Some("2012-10-17"),
        })
    }

    /// A policy that allows everything: an administrator's.
    #[must_use]
    pub fn everything() -> Self {
        let all = || Listed { negated: false, patterns: vec!["*".into()] };
        Self {
            name: "AdministratorAccess".into(),
            statements: vec![Statement {
                sid: "0".into(),
                allows: true,
                actions: all(),
                resources: Some(all()),
                principals: None,
                conditions: Vec::new(),
            }],
            variables: false,
        }
    }

    /// The statements that speak about the request, in an identity policy.
    pub fn matching<'a>(&'a self, request: &'a Request<'_>) -> impl Iterator<Item = &'a Statement> {
        self.statements.iter().filter(|statement| statement.matches(request, self.variables))
    }

    /// The statements of a resource policy that speak about the request, and how they name its principal.
    pub fn naming<'a>(&'a self, request: &'a Request<'_>) -> impl Iterator<Item = (&'a Statement, Named)> {
        self.matching(request).filter_map(|statement| Some((statement, statement.names(request.principal)?)))
    }
}

impl Statement {
    fn read(fields: &Map<String, Value>, at: usize) -> Result<Self, String> {
        let allows = match fields.get("Effect").and_then(Value::as_str) {
            Some("Allow") => true,
            Some("Deny") => false,
            other => return Err(format!("Effect is {other:?}")),
        };
        Ok(Self {
            sid: fields.get("Sid").and_then(Value::as_str).map_or_else(|| at.to_string(), str::to_owned),
            allows,
            actions: listed(fields, "Action", "NotAction")?.ok_or("no Action")?,
            resources: listed(fields, "Resource", "NotResource")?,
            principals: principals(fields)?,
            conditions: conditions(fields)?,
        })
    }

    fn matches(&self, request: &Request<'_>, variables: bool) -> bool {
        let syntax = Syntax { wildcards: true, variables };
        let is_action = |pattern: &str| pattern::matches_action(pattern, request.action);
        let is_resource =
            |pattern: &str| pattern::matches_arn(pattern, request.resource, syntax, request.context);
        self.actions.names(is_action)
            && self.resources.as_ref().is_none_or(|listed| listed.names(is_resource))
            && self.conditions.iter().all(|condition| condition.holds(request.context, variables))
    }

    fn names(&self, principal: &Principal) -> Option<Named> {
        let principals = self.principals.as_ref()?;
        let best = principals.names.iter().filter_map(|(kind, name)| principal.named(kind, name)).max();
        if principals.negated {
            return best.is_none().then_some(Named::Itself);
        }
        best
    }
}

impl Principal {
    fn named(&self, kind: &str, name: &str) -> Option<Named> {
        if kind != "AWS" {
            return None;
        }
        let root = format!("arn:aws:iam::{}:root", self.account);
        if name == "*" || name == self.arn {
            Some(Named::Itself)
        } else if self.role_arn.as_deref() == Some(name) {
            Some(Named::Role)
        } else {
            (name == self.account || name == root).then_some(Named::Account)
        }
    }
}

impl Listed {
    fn names(&self, matches: impl Fn(&str) -> bool) -> bool {
        self.patterns.iter().any(|pattern| matches(pattern)) != self.negated
    }
}

fn one_or_more(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        one => std::slice::from_ref(one),
    }
}

fn texts(value: &Value) -> Result<Vec<String>, String> {
    one_or_more(value)
        .iter()
        .map(|item| match item {
            Value::String(text) => Ok(text.clone()),
            Value::Bool(truth) => Ok(truth.to_string()),
            Value::Number(number) => Ok(number.to_string()),
            other => Err(format!("{other} is no text")),
        })
        .collect()
}

fn listed(fields: &Map<String, Value>, name: &str, not: &str) -> Result<Option<Listed>, String> {
    let (value, negated) = match (fields.get(name), fields.get(not)) {
        (Some(_), Some(_)) => return Err(format!("both {name} and {not}")),
        (Some(value), None) => (value, false),
        (None, Some(value)) => (value, true),
        (None, None) => return Ok(None),
    };
    let patterns = texts(value)?;
    Ok(Some(Listed { negated, patterns }))
}

fn principals(fields: &Map<String, Value>) -> Result<Option<Principals>, String> {
    let (value, negated) = match (fields.get("Principal"), fields.get("NotPrincipal")) {
        (Some(value), _) => (value, false),
        (None, Some(value)) => (value, true),
        (None, None) => return Ok(None),
    };
    let names = match value {
        Value::String(text) if text == "*" => vec![("AWS".to_owned(), text.clone())],
        Value::Object(kinds) => {
            let mut names = Vec::new();
            for (kind, value) in kinds {
                names.extend(texts(value)?.into_iter().map(|name| (kind.clone(), name)));
            }
            names
        }
        other => return Err(format!("Principal {other}")),
    };
    Ok(Some(Principals { negated, names }))
}

fn conditions(fields: &Map<String, Value>) -> Result<Vec<Condition>, String> {
    let mut found = Vec::new();
    for (operator, keys) in fields.get("Condition").and_then(Value::as_object).into_iter().flatten() {
        let keys = keys.as_object().ok_or_else(|| format!("{operator} holds no keys"))?;
        for (key, values) in keys {
            let condition = Condition::read(operator, key, texts(values)?);
            found.push(condition.ok_or_else(|| format!("no operator {operator}"))?);
        }
    }
    Ok(found)
}
