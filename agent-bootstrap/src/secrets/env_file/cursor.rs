//! A place in the text of an env file.

use super::Fault;

/// Reads characters and counts lines.
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: 1 }
    }

    pub(super) fn line(&self) -> usize {
        self.line
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        self.line += usize::from(character == '\n');
        Some(character)
    }

    /// Passes `expected` if it stands here.
    pub(super) fn eat(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        if found {
            self.at += expected.len();
            self.line += expected.matches('\n').count();
        }
        found
    }

    /// Passes spaces, tabs and continued line ends; returns what was passed.
    pub(super) fn blanks(&mut self) -> &'a str {
        let from = self.at;
        while self.eat(" ") || self.eat("\t") || self.eat("\\\n") {}
        &self.text[from..self.at]
    }

    /// Passes an identifier, or nothing.
    pub(super) fn identifier(&mut self) -> &'a str {
        let rest = self.rest();
        if rest.starts_with(|c: char| c.is_ascii_digit()) {
            return "";
        }
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Does a `NAME=` begin here?
    pub(super) fn is_at_assignment(&self) -> bool {
        let rest = self.rest();
        rest.split_once('=').is_some_and(|(name, _)| crate::hooks::exports::is_identifier(name))
    }

    /// Is there nothing more on this line but perhaps a comment? `after_blank`: only then does `#` begin one.
    pub(super) fn is_at_line_end(&self, after_blank: bool) -> bool {
        match self.peek() {
            None | Some('\n') => true,
            Some('#') => after_blank,
            Some(_) => false,
        }
    }

    /// Passes the rest of the line and its end.
    pub(super) fn skip_line(&mut self) {
        while let Some(character) = self.next() {
            if character == '\n' {
                break;
            }
        }
    }

    /// The same place again, to come back to.
    pub(super) fn mark(&self) -> (usize, usize) {
        (self.at, self.line)
    }

    /// Goes back to a mark.
    pub(super) fn reset(&mut self, mark: (usize, usize)) {
        (self.at, self.line) = mark;
    }

    /// A slip on the current line.
    pub(super) fn slip(&self, problem: impl Into<String>, fix: &'static str) -> Fault {
        Fault { line: self.line, problem: problem.into(), fix, is_program: false }
    }

    /// Something on the current line that only a shell program does.
    pub(super) fn program(&self, problem: impl Into<String>, fix: &'static str) -> Fault {
        Fault { line: self.line, problem: problem.into(), fix, is_program: true }
    }
}
