//! Whom a boot tells how it ended. Read twice: with all other settings, and leniently beforehand, since a boot that
//! fails over its settings has to tell somebody too.

use serde_json::{Map, Value};

use super::reader::Reader;

/// Whom to tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndSettings {
    /// The stack's name, for CloudFormation and metrics.
    pub stack: Option<String>,
    /// The group's launching lifecycle hook, if it has one.
    pub launching_hook: Option<String>,
    /// The group's terminating lifecycle hook, if it has one.
    pub terminating_hook: Option<String>,
    /// The template's logical id of the group, if CloudFormation counts its instances.
    pub signal_resource: Option<String>,
}

impl EndSettings {
    pub(super) fn read(reader: &mut Reader, stack: &str, terminating_hook: Option<String>) -> Self {
        Self {
            stack: Some(stack.to_owned()),
            launching_hook: reader.text("launching-hook"),
            terminating_hook,
            signal_resource: reader.text("signal-resource"),
        }
    }

    /// What can be read of them, whatever else is wrong.
    pub(super) fn lenient(merged: &Map<String, Value>) -> Self {
        let text = |name: &str| {
            let value = merged.get(name).and_then(Value::as_str).filter(|v| !v.is_empty());
            value.map(str::to_owned)
        };
        Self {
            stack: text("stack"),
            launching_hook: text("launching-hook"),
            terminating_hook: text("terminating-hook"),
            signal_resource: text("signal-resource"),
        }
    }
}
