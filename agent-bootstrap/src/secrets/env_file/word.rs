//! A shell word: plain characters, escapes, quotes and variables, as bash reads them in an assignment.

use zeroize::Zeroizing;

use super::cursor::Cursor;
use super::{Assignment, Fault};
use crate::config::Lookup;

const QUOTE: &str = "put the value in single quotes: NAME='value'";
const LITERAL_DOLLAR: &str = "put the value in single quotes, or write \\$ for a dollar sign";

/// What a word may refer to.
pub(super) struct Scope<'a> {
    pub(super) earlier: &'a [Assignment],
    pub(super) known: Lookup<'a>,
    /// After `export`, bash expands braces too.
    pub(super) exported: bool,
}

impl Scope<'_> {
    fn get(&self, name: &str) -> Option<Zeroizing<String>> {
        let earlier = self.earlier.iter().rev().find(|a| a.name == name);
        earlier.map(|a| a.value.clone()).or_else(|| (self.known)(name).map(Zeroizing::new))
    }
}

/// A word, and whether it is no more than plain characters: no quotes, escapes, or in a later word of a value a variable,
/// which bash would take for a command.
pub(super) struct Word {
    pub(super) text: Zeroizing<String>,
    pub(super) is_plain: bool,
}

/// Reads up to an unquoted blank or line end. `is_first`: right after `=`, where bash knows `~`.
pub(super) fn read(cursor: &mut Cursor<'_>, scope: &Scope<'_>, is_first: bool) -> Result<Word, Fault> {
    let mut word = Word { text: Zeroizing::new(String::new()), is_plain: true };
    let mut may_be_home = is_first;
    let mut open_brace = false;
    while let Some(character) = cursor.peek() {
        // A continued line end vanishes: what follows it stands where it stood.
        if cursor.eat("\\\n") {
            continue;
        }
        let mut home_follows = false;
        match character {
            ' ' | '\t' | '\n' => break,
            '\'' => {
                single_quoted(cursor, &mut word.text)?;
                word.is_plain = false;
            }
            '"' => {
                double_quoted(cursor, scope, &mut word.text)?;
                word.is_plain = false;
            }
            '\\' => {
                cursor.next();
                word.text.push(cursor.next().unwrap_or('\\'));
                word.is_plain = false;
            }
            '$' => {
                dollar(cursor, scope, &mut word.text, false)?;
                word.is_plain &= is_first;
            }
            ';' | '&' | '|' | '<' | '>' | '(' | ')' | '`' => {
                return Err(cursor.program(format!("an unquoted {character}"), QUOTE));
            }
            '\r' => return Err(cursor.slip("a carriage return", "save the file with LF line ends only")),
            '~' if may_be_home => home(cursor, scope, &mut word.text)?,
            _ => {
                let list = character == ',' || (character == '.' && word.text.ends_with('.'));
                if scope.exported && open_brace && list {
                    return Err(cursor.slip("braces that bash would expand", QUOTE));
                }
                open_brace |= character == '{';
                home_follows = is_first && character == ':';
                word.text.push(character);
                cursor.next();
            }
        }
        may_be_home = home_follows;
    }
    Ok(word)
}

fn single_quoted(cursor: &mut Cursor<'_>, text: &mut String) -> Result<(), Fault> {
    let unclosed =
        cursor.slip("a single quote that is never closed", "close it, or put the value in double quotes");
    cursor.next();
    loop {
        match cursor.next() {
            None => return Err(unclosed),
            Some('\'') => return Ok(()),
            Some(character) => text.push(character),
        }
    }
}

fn double_quoted(cursor: &mut Cursor<'_>, scope: &Scope<'_>, text: &mut String) -> Result<(), Fault> {
    let unclosed =
        cursor.slip("a double quote that is never closed", "close it, or put the value in single quotes");
    cursor.next();
    loop {
        match cursor.peek() {
            None => return Err(unclosed),
            Some('"') => {
                cursor.next();
                return Ok(());
            }
            Some('$') => dollar(cursor, scope, text, true)?,
            Some('`') => {
                return Err(cursor
                    .program("a backtick in double quotes", "put the value in single quotes, or write \\`"));
            }
            Some('\\') => {
                cursor.next();
                match cursor.peek() {
                    Some('\n') => {
                        cursor.next();
                    }
                    Some(special @ ('$' | '`' | '"' | '\\')) => {
                        text.push(special);
                        cursor.next();
                    }
                    _ => text.push('\\'),
                }
            }
            Some(character) => {
                text.push(character);
                cursor.next();
            }
        }
    }
}

/// `$NAME` and `${NAME}`; a dollar sign that begins nothing stays one.
fn dollar(
    cursor: &mut Cursor<'_>,
    scope: &Scope<'_>,
    text: &mut String,
    in_quotes: bool,
) -> Result<(), Fault> {
    cursor.next();
    let fault = match cursor.peek() {
        Some('(') => cursor.program("$( ) runs a command", LITERAL_DOLLAR),
        Some('[') => cursor.program("$[ ] calculates", LITERAL_DOLLAR),
        Some('{') => {
            cursor.next();
            let name = cursor.identifier();
            if !name.is_empty() && cursor.eat("}") {
                return expand(cursor, scope, name, text);
            }
            cursor.program("${ } with more than a name in it", LITERAL_DOLLAR)
        }
        Some(quote @ ('\'' | '"')) if !in_quotes => {
            cursor.slip(format!("${quote} is a quote of bash's own"), "use plain single or double quotes")
        }
        Some('0'..='9' | '@' | '*' | '#' | '?' | '$' | '!' | '-') => {
            cursor.program("a variable that only a running shell has", LITERAL_DOLLAR)
        }
        _ => {
            let name = cursor.identifier();
            // Bash joins the lines first, and the name may go on in the next one.
            if cursor.rest().starts_with("\\\n") {
                return Err(cursor.slip("a $ right before a continued line end", "write ${NAME}"));
            }
            if !name.is_empty() {
                return expand(cursor, scope, name, text);
            }
            text.push('$');
            return Ok(());
        }
    };
    Err(fault)
}

fn expand(cursor: &Cursor<'_>, scope: &Scope<'_>, name: &str, text: &mut String) -> Result<(), Fault> {
    // A shell would take an unset variable as empty: of a password with a dollar sign, half would be left.
    let value = scope.get(name).filter(|_| name != "_").ok_or_else(|| {
        // What follows a dollar sign may be half of a secret, so it is not repeated.
        cursor.slip(
            "a $ with a name that is not set before this line",
            "put the value in single quotes if the dollar sign is meant, or set the variable (to '') before",
        )
    })?;
    text.push_str(&value);
    Ok(())
}

/// `~` alone or before `/` or `:` is the home folder.
fn home(cursor: &mut Cursor<'_>, scope: &Scope<'_>, text: &mut String) -> Result<(), Fault> {
    cursor.next();
    if !matches!(cursor.peek(), None | Some('/' | ':' | ' ' | '\t' | '\n')) {
        return Err(cursor.slip("an unquoted ~", QUOTE));
    }
    let home = scope.get("HOME");
    text.push_str(&home.ok_or_else(|| cursor.slip("~ without HOME being set", QUOTE))?);
    Ok(())
}
