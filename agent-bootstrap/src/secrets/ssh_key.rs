//! SSH keys as users upload them: checked before ssh-add sees them, so that it can never ask for a passphrase.

use base64::Engine as _;
use zeroize::Zeroizing;

/// Why a key cannot be used, and what to do. Never holds any of the key.
pub type Fault = &'static str;

/// A key as ssh-add wants it: LF line ends, a final newline, nothing around it.
///
/// # Errors
/// For what is no private key, or one with a passphrase.
pub fn read(bytes: &[u8]) -> Result<Zeroizing<String>, Fault> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| "it is binary; upload the key in OpenSSH or PEM form")?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err("the object is empty; upload the private key again");
    }
    if text.starts_with("PuTTY-User-Key-File") {
        return Err("it is a PuTTY key; export it in OpenSSH form (puttygen -O private-openssh)");
    }
    if text.starts_with("ssh-") || text.starts_with("ecdsa-") {
        return Err("it is a public key; upload the private one");
    }
    let mut key = Zeroizing::new(String::with_capacity(text.len() + 1));
    for line in text.lines() {
        key.push_str(line.trim_end());
        key.push('\n');
    }
    let kind = kind_of(&key).ok_or("it is no private key in OpenSSH or PEM form; upload the whole file")?;
    if is_encrypted(kind, &key) {
        return Err("it has a passphrase, which nobody can type here; \
                    upload a key without one (ssh-keygen -p -N '' -f FILE)");
    }
    Ok(key)
}

/// The words between BEGIN and the dashes, where a matching END closes the key.
fn kind_of(key: &str) -> Option<&str> {
    let kind = key.strip_prefix("-----BEGIN ")?.split_once("-----\n")?.0;
    let closed = key.ends_with(&format!("\n-----END {kind}-----\n"));
    (closed && kind.ends_with("PRIVATE KEY")).then_some(kind)
}

/// PKCS#8 says it in the first line, old PEM in a header, OpenSSH in the name of its cipher.
fn is_encrypted(kind: &str, key: &str) -> bool {
    if kind == "ENCRYPTED PRIVATE KEY"
        || key.lines().any(|l| l.starts_with("Proc-Type:") && l.contains("ENCRYPTED"))
    {
        return true;
    }
    kind == "OPENSSH PRIVATE KEY" && openssh_cipher(key).is_some_and(|cipher| cipher != b"none")
}

/// "openssh-key-v1" NUL, then the cipher's name after its length in four bytes.
fn openssh_cipher(key: &str) -> Option<Vec<u8>> {
    const MAGIC: &[u8] = b"openssh-key-v1\0";
    let head: String =
        key.lines().filter(|l| !l.starts_with("-----")).flat_map(str::chars).take(64).collect();
    let head = base64::engine::general_purpose::STANDARD.decode(head).ok()?;
    let rest = head.strip_prefix(MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests;
