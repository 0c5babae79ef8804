//! What a job's environment says about registries, read once into types. Pure.

use secrecy::SecretString;

use super::server::{Account, DOCKER_HUB, Ecr, Server, is_region};

/// Looks a variable up in the job's environment.
pub type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// ECR settings of a job or, without one, of the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcrSettings {
    /// `AWS_ECR_LOGIN`; unset means on, since the token is only asked for when an ECR image is.
    pub login: bool,
    /// `AWS_ECR_LOGIN_REGISTRY_IDS`: further accounts whose registries clients can be told about beforehand.
    pub accounts: Vec<Account>,
    /// `TIDEMARK_ECR_HOSTS`: loopback hosts that stand for an ECR registry.
    pub hosts: Vec<(Server, Ecr)>,
    /// `TIDEMARK_ECR_EAGER`: fetch tokens in the environment hook.
    pub eager: bool,
}

impl EcrSettings {
    /// Reads them; all faults at once, each naming its variable.
    ///
    /// # Errors
    /// One line per malformed variable.
    pub fn read(lookup: &Lookup<'_>) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let mut keep = |result: Result<bool, String>| {
            result.unwrap_or_else(|fault| {
                faults.push(fault);
                false
            })
        };
        let login = keep(switch(lookup, "AWS_ECR_LOGIN", true));
        let eager = keep(switch(lookup, "TIDEMARK_ECR_EAGER", false));
        let accounts = accounts(lookup, &mut faults);
        let hosts = hosts(lookup, &mut faults);
        if faults.is_empty() { Ok(Self { login, accounts, hosts, eager }) } else { Err(faults) }
    }

    /// Which ECR registry `server` is, by its name or by `TIDEMARK_ECR_HOSTS`; `None` when ECR is switched off.
    #[must_use]
    pub fn registry(&self, server: &Server) -> Option<Ecr> {
        if !self.login {
            return None;
        }
        let mapped = self.hosts.iter().find(|(host, _)| host == server);
        mapped.map(|(_, ecr)| ecr.clone()).or_else(|| Ecr::at(server))
    }

    /// The ECR hosts that are known beforehand: mapped ones, and the accounts' hosts in the instance's region.
    #[must_use]
    pub fn known(&self, own: Option<&Account>, region: Option<&str>) -> Vec<Server> {
        if !self.login {
            return Vec::new();
        }
        let mut known: Vec<Server> = self.hosts.iter().map(|(host, _)| host.clone()).collect();
        if let Some(region) = region.filter(|r| is_region(r)) {
            let names = own.into_iter().chain(&self.accounts).map(|account| Ecr::host(account, region));
            known.extend(names.filter_map(|name| Server::parse(&name).ok()));
        }
        known.sort();
        known.dedup();
        known
    }
}

fn switch(lookup: &Lookup<'_>, name: &str, unset: bool) -> Result<bool, String> {
    let Some(value) = lookup(name) else { return Ok(unset) };
    match value.trim().to_ascii_lowercase().as_str() {
        "" => Ok(unset),
        "true" | "1" | "on" | "yes" => Ok(true),
        "false" | "0" | "off" | "no" => Ok(false),
        _ => Err(format!("{name}: `{}` is neither true nor false", shown(&value))),
    }
}

fn list(lookup: &Lookup<'_>, name: &str) -> Vec<String> {
    let value = lookup(name).unwrap_or_default();
    value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn accounts(lookup: &Lookup<'_>, faults: &mut Vec<String>) -> Vec<Account> {
    let name = "AWS_ECR_LOGIN_REGISTRY_IDS";
    let (good, bad): (Vec<_>, Vec<_>) =
        list(lookup, name).into_iter().map(|item| Account::parse(&item).ok_or(item)).partition(Result::is_ok);
    for item in bad.into_iter().filter_map(Result::err) {
        faults.push(format!(
            "{name}: `{}` is no AWS account id: give account ids of twelve digits, separated by commas",
            shown(&item)
        ));
    }
    good.into_iter().filter_map(Result::ok).collect()
}

fn hosts(lookup: &Lookup<'_>, faults: &mut Vec<String>) -> Vec<(Server, Ecr)> {
    let name = "TIDEMARK_ECR_HOSTS";
    let mut hosts = Vec::new();
    for item in list(lookup, name) {
        match mapped_host(&item) {
            Some(host) => hosts.push(host),
            None => faults.push(format!(
                "{name}: `{}` is not of the form 127.0.0.1:5000=123456789012.us-east-1 (loopback hosts only)",
                shown(&item)
            )),
        }
    }
    hosts
}

/// Only loopback hosts can be mapped: else a variable could send a token to any host.
fn mapped_host(item: &str) -> Option<(Server, Ecr)> {
    let (host, registry) = item.split_once('=')?;
    let (account, region) = registry.split_once('.')?;
    let server = Server::parse(host).ok().filter(Server::is_loopback)?;
    let account = Account::parse(account)?;
    is_region(region).then(|| (server, Ecr::Private { account, region: region.to_owned() }))
}

/// A malformed value for a message: short, one line.
fn shown(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).take(40).collect()
}

/// A registry login from `DOCKER_LOGIN_USER`, `DOCKER_LOGIN_PASSWORD` and `DOCKER_LOGIN_SERVER`.
#[derive(Debug, Clone)]
pub struct DockerLogin {
    /// Which registry.
    pub server: Server,
    /// The server's name said `http://`.
    pub plain: bool,
    /// The user.
    pub user: String,
    /// The password or access token.
    pub password: SecretString,
}

impl DockerLogin {
    /// `None` when no user is named, as the stack's hook always took it.
    ///
    /// # Errors
    /// One line when the password is missing or the server is none.
    pub fn read(lookup: &Lookup<'_>) -> Result<Option<Self>, String> {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let Some(user) = set("DOCKER_LOGIN_USER") else { return Ok(None) };
        let Some(password) = set("DOCKER_LOGIN_PASSWORD") else {
            return Err("DOCKER_LOGIN_USER is set, but DOCKER_LOGIN_PASSWORD is not: \
                        put both into the pipeline's env file"
                .to_owned());
        };
        let name = set("DOCKER_LOGIN_SERVER").unwrap_or_else(|| DOCKER_HUB.to_owned());
        let server = Server::parse(&name).map_err(|fault| format!("DOCKER_LOGIN_SERVER: {fault}"))?;
        if user.contains([':', '\n', '\r', '\0']) {
            return Err(
                "DOCKER_LOGIN_USER: a colon or a line break cannot be part of a user's name".to_owned()
            );
        }
        let plain = name.trim().starts_with("http://");
        Ok(Some(Self { server, plain, user, password: password.into() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn lookup<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    }

    #[test]
    fn unset_means_ecr_on_first_use() {
        let settings = EcrSettings::read(&lookup(&[])).unwrap();
        assert!(settings.login && !settings.eager && settings.accounts.is_empty());
    }

    #[test]
    fn all_faults_are_said_at_once_and_name_their_variable() {
        let faults = EcrSettings::read(&lookup(&[
            ("AWS_ECR_LOGIN", "maybe"),
            ("AWS_ECR_LOGIN_REGISTRY_IDS", "123456789012, 12, $(id)"),
            ("TIDEMARK_ECR_HOSTS", "evil.com=123456789012.us-east-1"),
        ]))
        .unwrap_err();
        insta::assert_snapshot!(faults.join("\n"), @r"
        AWS_ECR_LOGIN: `maybe` is neither true nor false
        AWS_ECR_LOGIN_REGISTRY_IDS: `12` is no AWS account id: give account ids of twelve digits, separated by commas
        AWS_ECR_LOGIN_REGISTRY_IDS: `$(id)` is no AWS account id: give account ids of twelve digits, separated by commas
        TIDEMARK_ECR_HOSTS: `evil.com=123456789012.us-east-1` is not of the form 127.0.0.1:5000=123456789012.us-east-1 (loopback hosts only)
        ");
    }

    #[test]
    fn every_ecr_host_is_answered_unless_switched_off() {
        let host = Server::parse("999999999999.dkr.ecr.eu-north-1.amazonaws.com").unwrap();
        let on = EcrSettings::read(&lookup(&[("AWS_ECR_LOGIN_REGISTRY_IDS", "123456789012")])).unwrap();
        assert!(on.registry(&host).is_some());
        for off in ["false", "0", "off", "NO"] {
            let off = EcrSettings::read(&lookup(&[("AWS_ECR_LOGIN", off)])).unwrap();
            assert_eq!(off.registry(&host), None);
            assert!(off.known(Account::parse("123456789012").as_ref(), Some("us-east-1")).is_empty());
        }
    }

    #[test]
    fn known_hosts_are_the_own_the_listed_and_the_mapped() {
        let settings = EcrSettings::read(&lookup(&[
            ("AWS_ECR_LOGIN_REGISTRY_IDS", "210987654321"),
            ("TIDEMARK_ECR_HOSTS", "127.0.0.1:5000=123456789012.us-east-1"),
        ]))
        .unwrap();
        let known = settings.known(Account::parse("123456789012").as_ref(), Some("eu-west-1"));
        let names: Vec<&str> = known.iter().map(Server::as_str).collect();
        assert_eq!(
            names,
            [
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
                "127.0.0.1:5000",
                "210987654321.dkr.ecr.eu-west-1.amazonaws.com"
            ]
        );
    }

    #[test]
    fn a_docker_login_needs_its_password_and_defaults_to_docker_hub() {
        assert!(DockerLogin::read(&lookup(&[])).unwrap().is_none());
        let fault = DockerLogin::read(&lookup(&[("DOCKER_LOGIN_USER", "me")])).unwrap_err();
        assert!(fault.contains("DOCKER_LOGIN_PASSWORD"), "{fault}");
        let login = [("DOCKER_LOGIN_USER", "me"), ("DOCKER_LOGIN_PASSWORD", "pä ss$`")];
        let login = DockerLogin::read(&lookup(&login)).unwrap().unwrap();
        assert!(login.server.is_docker_hub());
        assert_eq!(login.password.expose_secret(), "pä ss$`");
        assert!(!format!("{login:?}").contains("pä"));
    }
}
