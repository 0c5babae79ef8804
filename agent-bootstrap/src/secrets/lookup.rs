//! Which objects a pipeline's secrets are, and in which order they count.

/// What an object is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A private SSH key.
    SshKey,
    /// A file of environment variables.
    EnvFile,
    /// Lines of git credentials.
    GitCredentials,
    /// A variable whose value is the whole object.
    SecretFile,
}

/// Objects that are asked for by name, a pipeline's and the root's, each kind in the order in which it counts:
/// SSH keys and git credentials pipeline first (tried first), env files root first (later ones win).
#[must_use]
pub fn objects(pipeline: &str) -> Vec<(Kind, String)> {
    let own = |name: &str| format!("{pipeline}/{name}");
    let root = str::to_owned;
    vec![
        (Kind::SshKey, own("private_ssh_key")),
        (Kind::SshKey, own("id_rsa_github")),
        (Kind::SshKey, root("private_ssh_key")),
        (Kind::SshKey, root("id_rsa_github")),
        (Kind::EnvFile, root("env")),
        (Kind::EnvFile, root("environment")),
        (Kind::EnvFile, own("env")),
        (Kind::EnvFile, own("environment")),
        (Kind::GitCredentials, own("git-credentials")),
        (Kind::GitCredentials, root("git-credentials")),
    ]
}

/// Prefixes under which secret files lie: the root's, then the pipeline's, which win.
#[must_use]
pub fn secret_file_prefixes(pipeline: &str) -> [String; 2] {
    ["secret-files/".to_owned(), format!("{pipeline}/secret-files/")]
}

const SUFFIXES: [&str; 5] = ["_SECRET", "_SECRET_KEY", "_PASSWORD", "_TOKEN", "_ACCESS_KEY"];

/// The variable that a secret file becomes: the last part of its key, if that ends as a secret's name does.
#[must_use]
pub fn variable_of(key: &str) -> Option<&str> {
    let name = key.rsplit('/').next()?;
    SUFFIXES.iter().any(|suffix| name.ends_with(suffix)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_within_each_kind_is_the_documented_one() {
        let of = |kind| -> Vec<String> {
            objects("app").into_iter().filter(|(k, _)| *k == kind).map(|(_, key)| key).collect()
        };
        assert_eq!(
            of(Kind::SshKey),
            ["app/private_ssh_key", "app/id_rsa_github", "private_ssh_key", "id_rsa_github"]
        );
        assert_eq!(of(Kind::EnvFile), ["env", "environment", "app/env", "app/environment"]);
        assert_eq!(of(Kind::GitCredentials), ["app/git-credentials", "git-credentials"]);
        assert_eq!(secret_file_prefixes("app"), ["secret-files/", "app/secret-files/"]);
    }

    #[test]
    fn secret_files_are_known_by_the_end_of_their_name() {
        let cases = [
            ("secret-files/DB_PASSWORD", Some("DB_PASSWORD")),
            ("app/secret-files/deep/down/API_TOKEN", Some("API_TOKEN")),
            ("secret-files/AWS_SECRET_ACCESS_KEY", Some("AWS_SECRET_ACCESS_KEY")),
            ("secret-files/X_SECRET_KEY", Some("X_SECRET_KEY")),
            ("secret-files/X_SECRET", Some("X_SECRET")),
            ("secret-files/SECRETS", None),
            ("secret-files/x_token", None),
            ("secret-files/TOKEN_FILE", None),
            ("secret-files/", None),
        ];
        for (key, expected) in cases {
            assert_eq!(variable_of(key), expected, "{key}");
        }
    }
}
