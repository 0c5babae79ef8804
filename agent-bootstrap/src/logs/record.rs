//! One line of an instance's logs, and which of the stack's groups it belongs to.

/// What a line is about; each kind has a log group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The agents' own lines.
    Agent,
    /// `agent-bootstrap boot`.
    Boot,
    /// What cloud-init and its scripts print.
    CloudInit,
    /// `agent-bootstrap watch` and `logs`.
    Watch,
    /// The Docker engine.
    Docker,
    /// Logins and sudo.
    Auth,
    /// All else.
    System,
}

/// One line as its source has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Milliseconds since 1970.
    pub at: i64,
    /// What it is about.
    pub kind: Kind,
    /// Who of several said it, for the line's beginning.
    pub label: Option<String>,
    /// Any bytes.
    pub message: Vec<u8>,
    /// Bytes of it that were left out, since it was too long to hold.
    pub cut: u64,
}

/// Group names: Tidemark's own (`/tidemark/<stack>/<kind>`), or the older names below a given prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// `/tidemark/<stack>/…`, made by the template.
    OfStack(String),
    /// `<prefix>/…`, shared by the account's stacks and made when first used.
    Below(String),
}

impl Groups {
    /// The group of a kind.
    #[must_use]
    pub fn name(&self, kind: Kind) -> String {
        match self {
            Self::OfStack(stack) => {
                let name = match kind {
                    Kind::Agent => "agent",
                    Kind::Boot | Kind::CloudInit => "boot",
                    Kind::Watch => "watch",
                    Kind::Docker => "docker",
                    Kind::Auth | Kind::System => "system",
                };
                format!("/tidemark/{stack}/{name}")
            }
            Self::Below(prefix) => {
                let name = match kind {
                    Kind::Agent => "buildkite-agent",
                    Kind::Boot => "elastic-stack",
                    Kind::CloudInit => "cloud-init/output",
                    Kind::Watch => "lifecycled",
                    Kind::Docker => "docker-daemon",
                    Kind::Auth => "auth",
                    Kind::System => "system",
                };
                format!("{prefix}/{name}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Kind; 7] =
        [Kind::Agent, Kind::Boot, Kind::CloudInit, Kind::Watch, Kind::Docker, Kind::Auth, Kind::System];

    #[test]
    fn groups_have_the_stacks_names_or_the_older_ones() {
        let own = Groups::OfStack("ci".into());
        let older = Groups::Below("/buildkite".into());
        let names = ALL.map(|kind| format!("{kind:?}: {} {}", own.name(kind), older.name(kind)));
        insta::assert_snapshot!(names.join("\n"), @r"
        Agent: /tidemark/ci/agent /buildkite/buildkite-agent
        Boot: /tidemark/ci/boot /buildkite/elastic-stack
        CloudInit: /tidemark/ci/boot /buildkite/cloud-init/output
        Watch: /tidemark/ci/watch /buildkite/lifecycled
        Docker: /tidemark/ci/docker /buildkite/docker-daemon
        Auth: /tidemark/ci/system /buildkite/auth
        System: /tidemark/ci/system /buildkite/system
        ");
    }
}
