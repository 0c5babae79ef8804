//! The job's own registry logins: `DOCKER_LOGIN_*` and what `docker login` stores. One file in the job's Docker
//! folder, mode 0600, gone with the job.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::private;
use super::server::Server;

/// The logins of one job.
#[derive(Debug, Clone)]
pub struct Logins {
    file: PathBuf,
}

/// A user and a secret.
#[derive(Debug, Clone)]
pub struct Login {
    /// The user; `<token>` when the secret is an identity token.
    pub user: String,
    /// Password or token.
    pub secret: SecretString,
}

/// By the registry's `host[:port]`.
type Stored = BTreeMap<String, Entry>;

#[derive(Serialize, Deserialize)]
struct Entry {
    user: String,
    secret: Zeroizing<String>,
}

impl Logins {
    /// The logins kept in a job's Docker folder.
    #[must_use]
    pub fn of(docker_folder: &Path) -> Self {
        Self { file: docker_folder.join("logins.json") }
    }

    /// The login for `server`.
    ///
    /// # Errors
    /// When the file is there and cannot be read or understood.
    pub fn get(&self, server: &Server) -> io::Result<Option<Login>> {
        let entry = self.read()?.remove(server.as_str());
        Ok(entry.map(|e| Login { user: e.user, secret: e.secret.as_str().into() }))
    }

    /// Keeps a login, in place of an earlier one for the same registry.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn store(&self, server: &Server, login: &Login) -> io::Result<()> {
        let _lock = private::lock(&self.file.with_extension("lock"))?;
        let mut stored = self.read()?;
        let secret = Zeroizing::new(login.secret.expose_secret().to_owned());
        stored.insert(server.as_str().to_owned(), Entry { user: login.user.clone(), secret });
        self.write(&stored)
    }

    /// Forgets a login; true when there was one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn erase(&self, server: &Server) -> io::Result<bool> {
        let _lock = private::lock(&self.file.with_extension("lock"))?;
        let mut stored = self.read()?;
        let found = stored.remove(server.as_str()).is_some();
        if found {
            self.write(&stored)?;
        }
        Ok(found)
    }

    /// Registries and users, without secrets.
    ///
    /// # Errors
    /// As [`Logins::get`].
    pub fn list(&self) -> io::Result<Vec<(Server, String)>> {
        let stored = self.read()?.into_iter();
        Ok(stored.filter_map(|(name, e)| Some((Server::parse(&name).ok()?, e.user))).collect())
    }

    fn read(&self) -> io::Result<Stored> {
        match fs::read(&self.file) {
            Ok(content) => Ok(serde_json::from_slice(&Zeroizing::new(content))?),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(Stored::new()),
            Err(fault) => Err(fault),
        }
    }

    fn write(&self, stored: &Stored) -> io::Result<()> {
        private::write(&self.file, &Zeroizing::new(serde_json::to_vec(stored)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_replaces_lists_and_erases_byte_exactly() {
        let dir = tempfile::tempdir().unwrap();
        let logins = Logins::of(dir.path());
        let server = Server::parse("reg.example.com:5000").unwrap();
        assert!(logins.get(&server).unwrap().is_none() && !logins.erase(&server).unwrap());
        for secret in ["first", "sp ace\"'$`\\\nü"] {
            logins.store(&server, &Login { user: "me".into(), secret: secret.into() }).unwrap();
            assert_eq!(logins.get(&server).unwrap().unwrap().secret.expose_secret(), secret);
        }
        assert_eq!(logins.list().unwrap(), [(server.clone(), "me".to_owned())]);
        assert!(logins.erase(&server).unwrap() && logins.list().unwrap().is_empty());
    }

    #[test]
    fn a_broken_file_is_an_error_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("logins.json"), b"{").unwrap();
        let logins = Logins::of(dir.path());
        let server = Server::parse("h").unwrap();
        assert!(logins.get(&server).is_err());
        assert!(logins.store(&server, &Login { user: "u".into(), secret: "s".into() }).is_err());
        assert_eq!(fs::read(dir.path().join("logins.json")).unwrap(), b"{");
    }
}
