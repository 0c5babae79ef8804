//! The typed reading of env files: assignments as users write them for a shell, and nothing that would run.
//!
//! Whatever this parser accepts, bash reads the same way, with one exception: `NAME=some words` is one value here
//! (old documentation showed it), where bash would run `words`. Everything else that bash would do more with than
//! assign is a fault, told with its line and the fix. Values never appear in a fault.

mod cursor;
mod statement;
mod word;

use zeroize::Zeroizing;

use crate::config::Lookup;
use cursor::Cursor;

/// One assignment.
#[derive(Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The variable's name: an identifier that bash lets one assign to.
    pub name: String,
    /// Its value, byte for byte; never holds NUL.
    pub value: Zeroizing<String>,
    /// Line of the file on which it begins, from 1.
    pub line: usize,
}

/// Name and line only.
impl std::fmt::Debug for Assignment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.line)
    }
}

/// What cannot be read, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}: {fix}")]
pub struct Fault {
    /// Line of the file, from 1.
    pub line: usize,
    /// What is there.
    pub problem: String,
    /// What to write instead.
    pub fix: &'static str,
    /// Does this look like a shell program rather than like a slip?
    pub is_program: bool,
}

/// Reads a file. `known` gives the variables of earlier files and of the job, for `$NAME`.
///
/// # Errors
/// Every fault of the file; then none of its assignments count.
pub fn parse(bytes: &[u8], known: Lookup<'_>) -> Result<Vec<Assignment>, Vec<Fault>> {
    let text = decode(bytes).map_err(|fault| vec![fault])?;
    let mut cursor = Cursor::new(&text);
    let (mut assignments, mut faults) = (Vec::new(), Vec::new());
    while !cursor.is_at_end() {
        if let Err(fault) = statement::read(&mut cursor, &mut assignments, known) {
            faults.push(fault);
            // A quote that never ends takes the rest of the file with it: go on after the line that opened it.
            cursor.skip_line();
        }
    }
    if faults.is_empty() { Ok(assignments) } else { Err(faults) }
}

/// Text without byte order mark; a file whose every line ends in CR LF was saved by a Windows editor, which did not
/// mean those CRs.
fn decode(bytes: &[u8]) -> Result<Zeroizing<String>, Fault> {
    let line_at = |at: usize| 1 + bytes[..at].iter().filter(|b| **b == b'\n').count();
    let fault = |at: usize, problem: &str, fix: &'static str| Fault {
        line: line_at(at),
        problem: problem.to_owned(),
        fix,
        is_program: false,
    };
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(fault(0, "the file is UTF-16", "save it as UTF-8"));
    }
    if let Some(at) = bytes.iter().position(|b| *b == 0) {
        return Err(fault(
            at,
            "a NUL byte",
            "no variable can hold one: encode the value, for example as base64",
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        fault(
            error.valid_up_to(),
            "bytes that are not UTF-8",
            "save the file as UTF-8, or encode the value as base64",
        )
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let from_windows = text.contains("\r\n")
        && text.lines().count() == text.matches("\r\n").count() + usize::from(!text.ends_with('\n'));
    Ok(Zeroizing::new(if from_windows { text.replace("\r\n", "\n") } else { text.to_owned() }))
}

#[cfg(test)]
mod tests;
