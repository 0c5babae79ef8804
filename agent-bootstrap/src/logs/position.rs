//! The file that remembers how far logs are delivered (`var/lib/tidemark/logs.json`).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::journal::is_cursor;
use super::source::Position;
use crate::boot::files::{self, Owner};
use crate::failure::Failure;
use crate::layout::Layout;

/// The file and whose instance's logs it is about.
#[derive(Debug, Clone)]
pub struct PositionFile {
    path: PathBuf,
    instance: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Content {
    instance: String,
    position: Position,
}

impl PositionFile {
    /// The file of an instance.
    #[must_use]
    pub fn of(layout: &Layout, instance: &str) -> Self {
        Self { path: layout.state().join("logs.json"), instance: instance.to_owned() }
    }

    /// How far logs are delivered; `None` where that is not known: then all there is goes (again). A file of another
    /// instance (an image that was made of it) says nothing.
    #[must_use]
    pub fn read(&self) -> Option<Position> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => return self.unusable(&error.to_string()),
        };
        match serde_json::from_str::<Content>(&text) {
            Ok(content) if content.instance != self.instance => None,
            Ok(Content { position: Position::Journal(Some(cursor)), .. }) if !is_cursor(&cursor) => {
                self.unusable("its cursor is none")
            }
            Ok(content) => Some(content.position),
            Err(error) => self.unusable(&error.to_string()),
        }
    }

    fn unusable(&self, why: &str) -> Option<Position> {
        eprintln!("logs: {}: {why}; all logs of this instance are sent again", self.path.display());
        None
    }

    /// Remembers it, for a power cut too.
    ///
    /// # Errors
    /// Names the file.
    pub fn write(&self, position: &Position) -> Result<(), Failure> {
        let content = Content { instance: self.instance.clone(), position: position.clone() };
        let text = serde_json::to_string(&content).map_err(|e| Failure::failed(e.to_string()))?;
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|e| Failure::failed(format!("folder {}: {e}", folder.display())))?;
        }
        files::file(&self.path, text.as_bytes(), 0o644, Owner::own())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_kept_for_its_instance_and_only_if_it_makes_sense() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::below(folder.path());
        let file = PositionFile::of(&layout, "i-1");
        assert_eq!(file.read(), None);
        let position = Position::Journal(Some("s=9;i=1".into()));
        file.write(&position).unwrap();
        assert_eq!(file.read(), Some(position));
        assert_eq!(PositionFile::of(&layout, "i-2").read(), None);
        let text = std::fs::read_to_string(&file.path).unwrap();
        assert_eq!(text, r#"{"instance":"i-1","position":{"journal":"s=9;i=1"}}"#);
        for broken in ["", "{", r#"{"instance":"i-1","position":{"journal":"; rm -rf"}}"#] {
            std::fs::write(&file.path, broken).unwrap();
            assert_eq!(file.read(), None, "{broken}");
        }
    }
}
