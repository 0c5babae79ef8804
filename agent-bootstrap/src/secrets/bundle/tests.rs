//! Loading from a folder: the same code as from the bucket, without a network.

use crate::config::{Environment, SecretsConfig};
use crate::secrets::folder::FolderSecretStore;
use crate::secrets::{Loaded, load};

async fn loaded(files: &[(&str, &str)]) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    for (key, text) in files {
        let path = folder.path().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let lookup = |name: &str| (name == "BUILDKITE_PLUGIN_S3_SECRETS_BUCKET").then(|| "folder".to_owned());
    let config = SecretsConfig::of_pipeline(&lookup, None, "app").unwrap();
    let store = FolderSecretStore::new(folder.path());
    load(&store, &store, &config, &Environment::default()).await
}

#[tokio::test]
async fn a_later_file_sees_the_variables_of_an_earlier_one() {
    let loaded =
        loaded(&[("env", "A=1"), ("app/env", "B=$A$A"), ("app/secret-files/x/C_TOKEN", "c\n")]).await;
    assert!(loaded.faults.is_empty());
    let names: Vec<_> = loaded.bundle.contents.iter().map(|c| (c.kind, c.variables.join(" "))).collect();
    assert_eq!(
        names,
        [("env", "A".to_owned()), ("env", "B".to_owned()), ("secret-file", "C_TOKEN".to_owned())]
    );
}

#[tokio::test]
async fn every_fault_of_every_object_is_told() {
    let loaded = loaded(&[
        ("env", "A=`x`\nB=;\n"),
        ("app/private_ssh_key", "x"),
        ("secret-files/9_TOKEN", "x"),
        ("app/environment", "FINE=1"),
    ])
    .await;
    let lines: Vec<&str> = loaded.faults.iter().map(|f| f.message.as_str()).collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(loaded.faults.iter().all(|f| f.code == 78));
    assert_eq!(loaded.bundle.contents.len(), 1);
}

#[tokio::test]
async fn a_variable_longer_than_linux_takes_is_refused_to_the_byte() {
    let limit = 128 * 1024 - "A=".len() - 1;
    let fits = loaded(&[("env", &format!("A={}", "x".repeat(limit)))]).await;
    assert!(fits.faults.is_empty());
    let value = "x".repeat(limit);
    assert!(std::process::Command::new("true").env("A", &value).status().is_ok(), "Linux takes this one");
    assert!(
        std::process::Command::new("true").env("A", format!("{value}x")).status().is_err(),
        "and not this one"
    );
    let too_long = loaded(&[("env", &format!("A={}", "x".repeat(limit + 1)))]).await;
    assert_eq!(too_long.faults.len(), 1);
}
