//! A line of an env file: nothing, a comment, or assignments with or without `export`.

use zeroize::Zeroizing;

use super::cursor::Cursor;
use super::word::{self, Scope};
use super::{Assignment, Fault};
use crate::config::Lookup;
use crate::hooks::exports::name_fault;

const NO_ASSIGNMENT: &str = "write NAME='value', or make it a comment with #";
const QUOTE_ALL: &str = "put quotes around the whole value";

/// Reads one statement up to and with the end of its line.
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    assignments: &mut Vec<Assignment>,
    known: Lookup<'_>,
) -> Result<(), Fault> {
    cursor.blanks();
    let start = cursor.mark();
    if cursor.is_at_line_end(true) {
        cursor.skip_line();
        return Ok(());
    }
    let exported = cursor.eat("export") && !cursor.blanks().is_empty();
    if !exported {
        cursor.reset(start);
    }
    if exported && is_export_of_earlier(cursor, assignments) {
        cursor.skip_line();
        return Ok(());
    }
    let result = assignments_of_line(cursor, exported, assignments, known);
    if result.is_err() {
        // Recovery goes on with the line after this one, whatever a quote swallowed.
        cursor.reset(start);
    }
    result
}

fn assignments_of_line(
    cursor: &mut Cursor<'_>,
    exported: bool,
    assignments: &mut Vec<Assignment>,
    known: Lookup<'_>,
) -> Result<(), Fault> {
    let first = assignments.len();
    loop {
        let line = cursor.line();
        let name = name(cursor)?.to_owned();
        // Bash expands a whole export before it assigns; plain assignments see each other.
        let seen = if exported { first } else { assignments.len() };
        let scope = Scope { earlier: &assignments[..seen], known, exported };
        let value = value(cursor, &scope)?;
        assignments.push(Assignment { name, value, line });
        if cursor.is_at_line_end(true) {
            cursor.skip_line();
            return Ok(());
        }
    }
}

/// `export NAME` after `NAME=value`: everything here is exported already.
fn is_export_of_earlier(cursor: &Cursor<'_>, assignments: &[Assignment]) -> bool {
    let line = cursor.rest().lines().next().unwrap_or_default();
    let names = line.split_once(" #").map_or(line, |(before, _)| before);
    let mut names = names.split_ascii_whitespace().peekable();
    names.peek().is_some() && names.all(|name| assignments.iter().any(|a| a.name == name))
}

fn name<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, Fault> {
    let name = cursor.identifier();
    if cursor.eat("=") {
        return match name_fault(name) {
            None => Ok(name),
            Some(fault) if name.is_empty() => Err(cursor.slip("no name before =", fault)),
            Some(fault) => Err(cursor.slip(format!("the name {name}"), fault)),
        };
    }
    if cursor.eat("+=") {
        return Err(cursor.program("+= appends", "write NAME=\"${NAME}…\""));
    }
    let mark = cursor.mark();
    if !name.is_empty() && !cursor.blanks().is_empty() && cursor.eat("=") {
        return Err(cursor.slip("a space before =", "write NAME='value' without spaces around ="));
    }
    cursor.reset(mark);
    Err(cursor.program("this is no assignment", NO_ASSIGNMENT))
}

/// A value: one word, or plain words with blanks between them up to the end of the line.
fn value(cursor: &mut Cursor<'_>, scope: &Scope<'_>) -> Result<Zeroizing<String>, Fault> {
    let first = word::read(cursor, scope, true)?;
    let mut value = first.text;
    let blanks = cursor.blanks();
    if cursor.is_at_line_end(!blanks.is_empty()) || cursor.is_at_assignment() {
        return Ok(value);
    }
    if !first.is_plain {
        return Err(cursor.slip("more text after the closing quote", QUOTE_ALL));
    }
    if value.is_empty() {
        return Err(cursor.slip("a space after =", "write NAME='value' without spaces around ="));
    }
    value.push_str(blanks);
    loop {
        let next = word::read(cursor, scope, false)?;
        if !next.is_plain {
            return Err(cursor.slip("a quote or $ within a value of several words", QUOTE_ALL));
        }
        value.push_str(&next.text);
        let blanks = cursor.blanks();
        if cursor.is_at_line_end(!blanks.is_empty()) {
            return Ok(value);
        }
        if cursor.is_at_assignment() {
            return Err(cursor.slip("an assignment after a value of several words", QUOTE_ALL));
        }
        value.push_str(blanks);
    }
}
