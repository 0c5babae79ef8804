//! What this instance says about registries: boot's files, read leniently, since ECR also works without them.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::server::Account;
use crate::layout::Layout;

/// Defaults from the hooks' settings file, `NAME=value` lines; none when it is absent.
#[must_use]
pub fn defaults(layout: &Layout) -> BTreeMap<String, String> {
    let content = fs::read_to_string(layout.hook_settings()).unwrap_or_default();
    let lines = content.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(n, v)| (n.trim().to_owned(), v.to_owned())).collect()
}

/// Account and region as boot found them.
#[must_use]
pub fn account_and_region(layout: &Layout) -> (Option<Account>, Option<String>) {
    let content = fs::read(layout.instance_file()).unwrap_or_default();
    let identity: Value = serde_json::from_slice(&content).unwrap_or_default();
    let text = |name: &str| identity[name].as_str().map(str::to_owned);
    let account = text("account-id").and_then(|a| Account::parse(&a));
    (account, text("region"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_files_say_nothing_and_present_ones_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::below(dir.path());
        assert!(defaults(&layout).is_empty());
        assert_eq!(account_and_region(&layout), (None, None));
        fs::create_dir_all(layout.instance_file().parent().unwrap()).unwrap();
        fs::write(layout.hook_settings(), "# defaults\nAWS_ECR_LOGIN=false\n\nX=a=b\n").unwrap();
        fs::write(layout.instance_file(), r#"{"account-id":"123456789012","region":"eu-west-1"}"#).unwrap();
        assert_eq!(defaults(&layout)["X"], "a=b");
        let (account, region) = account_and_region(&layout);
        assert_eq!((account.unwrap().as_str(), region.as_deref()), ("123456789012", Some("eu-west-1")));
    }
}
