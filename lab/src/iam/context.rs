//! What is known about a request besides action and resource: condition keys and their values.

use std::collections::BTreeMap;

/// Condition keys with their values. Names are compared without case, as IAM does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context(BTreeMap<String, Vec<String>>);

impl Context {
    /// Sets a key with one value.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.0.insert(key.to_lowercase(), vec![value.into()]);
    }

    /// Sets a key with several values (`aws:TagKeys`).
    pub fn set_all(&mut self, key: &str, values: Vec<String>) {
        self.0.insert(key.to_lowercase(), values);
    }

    /// Sets a key if there is a value.
    pub fn set_some(&mut self, key: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    /// The values of a key; none when the request does not have it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[String]> {
        self.0.get(&key.to_lowercase()).map(Vec::as_slice)
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Context {
    fn from(pairs: [(&str, &str); N]) -> Self {
        let mut context = Self::default();
        for (key, value) in pairs {
            context.set(key, value);
        }
        context
    }
}
