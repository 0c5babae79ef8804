//! What a hook prints: shell-quoted exports and unsets, evaluated by the calling bash.

use zeroize::Zeroizing;

/// A change of the job's environment.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// Set and exported.
    Set(String, Zeroizing<String>),
    /// Removed.
    Unset(String),
}

impl Change {
    /// Sets a variable whose value is no secret.
    pub fn set(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Set(name.into(), Zeroizing::new(value.into()))
    }
}

/// The name only: the value may be a secret.
impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Set(name, _) => write!(f, "Set({name})"),
            Self::Unset(name) => write!(f, "Unset({name})"),
        }
    }
}

/// One statement a line. Names must have been checked: they are printed as they are.
#[must_use]
pub fn render(changes: &[Change]) -> Zeroizing<String> {
    let size: usize =
        changes.iter().map(|c| if let Change::Set(_, v) = c { v.len() * 4 + 64 } else { 64 }).sum();
    // Growing would leave copies of secrets behind in freed memory.
    let mut text = Zeroizing::new(String::with_capacity(size.min(16 * 1024 * 1024)));
    for change in changes {
        match change {
            Change::Set(name, value) => {
                text.push_str("export ");
                text.push_str(name);
                text.push('=');
                push_quoted(&mut text, value);
            }
            Change::Unset(name) => {
                text.push_str("unset ");
                text.push_str(name);
            }
        }
        text.push('\n');
    }
    text
}

/// A word that bash and every POSIX shell read back as exactly these characters.
#[must_use]
pub fn quote(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    push_quoted(&mut text, value);
    text
}

/// Within single quotes nothing is special but the single quote itself.
fn push_quoted(text: &mut String, value: &str) {
    text.push('\'');
    for character in value.chars() {
        if character == '\'' {
            text.push_str(r"'\''");
        } else {
            text.push(character);
        }
    }
    text.push('\'');
}

/// Can `name` be exported by bash so that exactly the value arrives? Otherwise why not.
#[must_use]
pub fn name_fault(name: &str) -> Option<&'static str> {
    if !is_identifier(name) {
        return Some("is no variable name: use letters, digits and _, not beginning with a digit");
    }
    if READ_ONLY.contains(&name) {
        return Some("is bash's own and cannot be set: use another name");
    }
    None
}

/// Letters, digits and underscores, not beginning with a digit.
#[must_use]
pub fn is_identifier(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Bash refuses to assign to these, drops the assignment, or gives back something else.
const READ_ONLY: [&str; 25] = [
    "BASHOPTS",
    "BASHPID",
    "BASH_ALIASES",
    "BASH_ARGC",
    "BASH_ARGV",
    "BASH_CMDS",
    "BASH_COMMAND",
    "BASH_LINENO",
    "BASH_SOURCE",
    "BASH_SUBSHELL",
    "BASH_VERSINFO",
    "DIRSTACK",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "EUID",
    "FUNCNAME",
    "GROUPS",
    "LINENO",
    "PPID",
    "RANDOM",
    "SECONDS",
    "SHELLOPTS",
    "SRANDOM",
    "UID",
    "_",
];

#[cfg(test)]
mod tests;
