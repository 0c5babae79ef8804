//! Log files as a source, where there is no journal (the lab's process instances): `console.log` and
//! `var/log/tidemark/*.log`. Files only grow, or are replaced by new ones.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::time::Duration;

use super::record::{Kind, Record};
use super::source::{Position, Reached, Source};
use crate::failure::Failure;
use crate::layout::Layout;

/// Time from one look to the next.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Bytes read of a file at once; a line that is longer is given out in pieces.
const CHUNK: usize = 32 * 1024;

/// The files of one instance.
pub struct Files {
    layout: Layout,
    given: BTreeMap<String, Reached>,
    tails: BTreeMap<String, Tail>,
    ready: VecDeque<Line>,
    draining: bool,
}

/// A file that is open, and how far it was read (what was given out may lag).
struct Tail {
    file: File,
    reached: Reached,
}

struct Line {
    name: String,
    bytes: Vec<u8>,
    after: Reached,
}

impl Files {
    /// The files below `layout`, each from where it was read to.
    #[must_use]
    pub fn after(layout: &Layout, given: BTreeMap<String, Reached>) -> Self {
        Self {
            layout: layout.clone(),
            given,
            tails: BTreeMap::new(),
            ready: VecDeque::new(),
            draining: false,
        }
    }

    /// The files there are now.
    fn names(&self) -> Vec<String> {
        let root = self.layout.root();
        let logs = std::fs::read_dir(self.layout.logs()).into_iter().flatten().flatten();
        let logs = logs.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "log"));
        let all = std::iter::once(root.join("console.log")).chain(logs);
        let below = |path: PathBuf| Some(path.strip_prefix(root).ok()?.to_str()?.to_owned());
        let mut names: Vec<String> = all.filter_map(below).collect();
        names.sort();
        names
    }

    /// Reads a piece of each file.
    fn look(&mut self) {
        for name in self.names() {
            match self.read(&name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => eprintln!("logs: {name}: {error}"),
                _ => {}
            }
        }
    }

    fn read(&mut self, name: &str) -> io::Result<()> {
        let path = self.layout.root().join(name);
        let now = path.metadata()?;
        let tail = match self.tails.remove(name) {
            Some(tail) => tail,
            None => {
                let file = File::open(&path)?;
                let found = file.metadata()?;
                let known =
                    self.given.get(name).filter(|r| r.inode == found.ino() && r.offset <= found.len());
                let reached = known.copied().unwrap_or(Reached { inode: found.ino(), offset: 0 });
                Tail { file, reached }
            }
        };
        let replaced = tail.reached.inode != now.ino() || tail.file.metadata()?.len() < tail.reached.offset;
        let (tail, more) = self.lines(name, tail, replaced)?;
        if replaced && !more {
            // Read to its end: now the one that lies there instead.
            return self.read(name);
        }
        self.tails.insert(name.to_owned(), tail);
        Ok(())
    }

    /// Takes the lines of one piece. A last line without its end waits, unless nothing more is to come.
    fn lines(&mut self, name: &str, mut tail: Tail, closed: bool) -> io::Result<(Tail, bool)> {
        let mut chunk = vec![0; CHUNK];
        let count = tail.file.read_at(&mut chunk, tail.reached.offset)?;
        let mut rest = &chunk[..count];
        while !rest.is_empty() {
            let (bytes, used) = match rest.iter().position(|b| *b == b'\n') {
                Some(end) => (&rest[..end], end + 1),
                None if rest.len() == CHUNK => {
                    let end = whole_characters(rest);
                    (&rest[..end], end)
                }
                None if (self.draining || closed) && count < CHUNK => (rest, rest.len()),
                None => break,
            };
            tail.reached.offset += used as u64;
            let line = Line { name: name.to_owned(), bytes: bytes.to_vec(), after: tail.reached };
            self.ready.push_back(line);
            rest = &rest[used..];
        }
        Ok((tail, count > 0))
    }
}

/// The longest beginning that does not end within a character of UTF-8.
fn whole_characters(bytes: &[u8]) -> usize {
    let is_begin = |at: &usize| bytes[*at] & 0xC0 != 0x80;
    (bytes.len().saturating_sub(3)..bytes.len())
        .rev()
        .find(is_begin)
        .filter(|at| *at > 0 && bytes[*at] >= 0xC0)
        .unwrap_or(bytes.len())
}

impl Source for Files {
    async fn next(&mut self) -> Result<Option<Record>, Failure> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                let (kind, label) = classify(&line.name);
                self.given.insert(line.name, line.after);
                let at = jiff::Timestamp::now().as_millisecond();
                return Ok(Some(Record { at, kind, label, message: line.bytes, cut: 0 }));
            }
            self.look();
            if self.ready.is_empty() {
                if self.draining {
                    return Ok(None);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    async fn drain(&mut self) -> Result<(), Failure> {
        self.draining = true;
        Ok(())
    }

    fn position(&self) -> Position {
        Position::Files(self.given.clone())
    }
}

fn classify(name: &str) -> (Kind, Option<String>) {
    let file = name.rsplit('/').next().unwrap_or(name).trim_end_matches(".log");
    match file {
        "console" => (Kind::Boot, None),
        "watch" | "logs" => (Kind::Watch, None),
        agent if agent.starts_with("agent-") => (Kind::Agent, Some(agent.to_owned())),
        other => (Kind::System, Some(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    struct Stage {
        folder: tempfile::TempDir,
        files: Files,
    }

    impl Stage {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let layout = Layout::below(folder.path());
            std::fs::create_dir_all(layout.logs()).unwrap();
            Self { files: Files::after(&layout, BTreeMap::new()), folder }
        }

        fn append(&self, name: &str, text: &[u8]) {
            let path = self.folder.path().join(name);
            let mut file = File::options().create(true).append(true).open(path).unwrap();
            file.write_all(text).unwrap();
        }

        /// What is there, without waiting.
        fn read(&mut self) -> Vec<String> {
            let mut found = Vec::new();
            loop {
                self.files.look();
                if self.files.ready.is_empty() {
                    return found;
                }
                while let Some(line) = self.files.ready.pop_front() {
                    self.files.given.insert(line.name.clone(), line.after);
                    let file = line.name.rsplit('/').next().unwrap();
                    found.push(format!("{file}: {}", String::from_utf8(line.bytes).unwrap()));
                }
            }
        }

        /// Another reader, from what this one gave out.
        fn again(&mut self) {
            let given = self.files.given.clone();
            self.files = Files::after(&Layout::below(self.folder.path()), given);
        }
    }

    const AGENT: &str = "var/log/tidemark/agent-1.log";

    #[test]
    fn lines_are_read_once_whole_and_across_a_restart() {
        let mut stage = Stage::new();
        assert_eq!(stage.read(), Vec::<String>::new());
        stage.append("console.log", b"boot\nhalf");
        stage.append(AGENT, b"one\n");
        stage.append("var/log/tidemark/notes.txt", b"not ours\n");
        assert_eq!(stage.read(), ["console.log: boot", "agent-1.log: one"]);
        stage.again();
        stage.append("console.log", b" way\nnext");
        assert_eq!(stage.read(), ["console.log: half way"]);
        stage.files.draining = true;
        assert_eq!(stage.read(), ["console.log: next"]);
    }

    #[test]
    fn a_file_that_is_replaced_or_emptied_begins_again() {
        let mut stage = Stage::new();
        stage.append(AGENT, b"one\n");
        stage.read();
        stage.append(AGENT, b"late\nend");
        let path = stage.folder.path().join(AGENT);
        std::fs::rename(&path, path.with_extension("old")).unwrap();
        stage.append(AGENT, b"new\n");
        assert_eq!(stage.read(), ["agent-1.log: late", "agent-1.log: end", "agent-1.log: new"]);
        File::create(&path).unwrap();
        assert_eq!(stage.read(), Vec::<String>::new());
        stage.append(AGENT, b"again\n");
        assert_eq!(stage.read(), ["agent-1.log: again"]);
    }

    #[test]
    fn a_line_without_end_is_given_out_in_pieces_of_whole_characters() {
        let mut stage = Stage::new();
        let long = format!("x{}", "ü".repeat(CHUNK));
        stage.append(AGENT, format!("{long}\n").as_bytes());
        let pieces = stage.read();
        assert!(pieces.len() > 2, "{}", pieces.len());
        let together: String = pieces.iter().map(|p| p.trim_start_matches("agent-1.log: ")).collect();
        assert_eq!(together, long);
    }

    #[test]
    fn names_decide_the_kind() {
        for (name, expected) in [
            ("console.log", (Kind::Boot, None)),
            ("var/log/tidemark/watch.log", (Kind::Watch, None)),
            (AGENT, (Kind::Agent, Some("agent-1".to_owned()))),
            ("var/log/tidemark/sshd.log", (Kind::System, Some("sshd".to_owned()))),
        ] {
            assert_eq!(classify(name), expected, "{name}");
        }
    }
}
