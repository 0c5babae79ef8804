//! Forms of keys; that real keys load is tested with ssh-agent itself in `tests/hooks`.

use super::*;

const BODY: &str = "MC4CAQAwBQYDK2VwBCIEIA==";

fn pem(kind: &str, head: &str) -> String {
    format!("-----BEGIN {kind}-----\n{head}{BODY}\n-----END {kind}-----\n")
}

#[test]
fn line_ends_and_edges_are_repaired() {
    let whole = pem("PRIVATE KEY", "");
    for text in [
        whole.clone(),
        whole.trim_end().to_owned(),
        whole.replace('\n', "\r\n"),
        format!("\u{feff}\n{whole}\n\n"),
        whole.replace('\n', "  \n"),
    ] {
        assert_eq!(*read(text.as_bytes()).unwrap(), whole, "{text:?}");
    }
}

#[test]
fn each_kind_of_wrong_object_is_told() {
    // "openssh-key-v1", cipher "aes256-ctr"
    let encrypted = base64::engine::general_purpose::STANDARD
        .encode([b"openssh-key-v1\0".as_slice(), &[0, 0, 0, 10], b"aes256-ctr", &[0; 40]].concat());
    let openssh = pem("OPENSSH PRIVATE KEY", "").replace(BODY, &encrypted);
    let legacy = pem("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: x\n\n");
    let cases = [
        (String::new(), "empty"),
        ("  \n".to_owned(), "empty"),
        ("ssh-ed25519 AAAA me".to_owned(), "public"),
        ("PuTTY-User-Key-File-3: x".to_owned(), "PuTTY"),
        ("hello".to_owned(), "no private key"),
        (pem("CERTIFICATE", ""), "no private key"),
        (pem("PRIVATE KEY", "").replace("-----END", "-----FIN"), "no private key"),
        (pem("ENCRYPTED PRIVATE KEY", ""), "passphrase"),
        (legacy, "passphrase"),
        (openssh, "passphrase"),
    ];
    for (text, words) in cases {
        let fault = read(text.as_bytes()).unwrap_err();
        assert!(fault.contains(words), "{text:?}: {fault}");
    }
    assert!(read(b"\xff\xfe").unwrap_err().contains("binary"));
}
