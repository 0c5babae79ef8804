//! What this instance says about registries: boot's files. The instance file is read leniently, since ECR also works
//! without it.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::server::Account;
use crate::config::settings;
use crate::failure::Failure;
use crate::layout::Layout;

/// Defaults from the hooks' settings file; none when it is absent.
///
/// # Errors
/// When it is there and cannot be understood (78).
pub fn defaults(layout: &Layout) -> Result<BTreeMap<String, String>, Failure> {
    Ok(settings::read_file(&layout.hook_settings())?.unwrap_or_default())
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
        assert!(defaults(&layout).unwrap().is_empty());
        assert_eq!(account_and_region(&layout), (None, None));
        fs::create_dir_all(layout.instance_file().parent().unwrap()).unwrap();
        fs::write(layout.hook_settings(), "# defaults\nAWS_ECR_LOGIN=false\n\nX=a=b\n").unwrap();
        fs::write(layout.instance_file(), r#"{"account-id":"123456789012","region":"eu-west-1"}"#).unwrap();
        assert_eq!(defaults(&layout).unwrap()["X"], "a=b");
        let (account, region) = account_and_region(&layout);
        assert_eq!((account.unwrap().as_str(), region.as_deref()), ("123456789012", Some("eu-west-1")));
        fs::write(layout.hook_settings(), "no assignment\n").unwrap();
        assert_eq!(defaults(&layout).unwrap_err().code, 78);
    }
}
