//! Fetching: everything that is asked for by name and both lists at once, then what the lists name.

use aws::{CallError, Fault};
use futures::future::join_all;
use futures::stream::{self, StreamExt as _};

use super::encryption::{self, KnownKeys, Policy, Verdict};
use super::fault;
use super::lookup::{self, Kind};
use super::store::{KeyDirectory, Object, SecretStore};
use crate::failure::Failure;

/// Secret files that are fetched at the same time.
const TOGETHER: usize = 32;

/// An object that exists.
pub struct Fetched {
    /// What it is for.
    pub kind: Kind,
    /// Its key.
    pub key: String,
    /// Where it lies, for people.
    pub uri: String,
    /// Content and encryption.
    pub object: Object,
}

/// All objects of a pipeline that exist, in the order in which they count. Every failed call is a fault.
pub async fn fetch(
    store: &impl SecretStore,
    pipeline: &str,
    policy: &Policy,
    faults: &mut Vec<Failure>,
) -> Vec<Fetched> {
    let named = lookup::objects(pipeline);
    let prefixes = lookup::secret_file_prefixes(pipeline);
    let (objects, lists) = futures::join!(
        join_all(named.iter().map(|(_, key)| store.get(key))),
        join_all(prefixes.iter().map(|prefix| store.list(prefix))),
    );
    let mut fetched = Vec::new();
    for ((kind, key), answer) in named.into_iter().zip(objects) {
        collect(store, policy, kind, key, answer, &mut fetched, faults);
    }
    let mut secret_files = Vec::new();
    for list in lists {
        match list {
            Ok(keys) => secret_files.extend(keys.into_iter().filter(|k| lookup::variable_of(k).is_some())),
            Err(error) => faults.push(fault::of_call(&error)),
        }
    }
    let answers: Vec<_> =
        stream::iter(secret_files.iter().map(|key| store.get(key))).buffered(TOGETHER).collect().await;
    for (key, answer) in secret_files.into_iter().zip(answers) {
        collect(store, policy, Kind::SecretFile, key, answer, &mut fetched, faults);
    }
    fetched
}

fn collect(
    store: &impl SecretStore,
    policy: &Policy,
    kind: Kind,
    key: String,
    answer: Result<Option<Object>, CallError>,
    fetched: &mut Vec<Fetched>,
    faults: &mut Vec<Failure>,
) {
    match answer {
        Ok(Some(object)) => {
            let uri = store.uri(&key);
            fetched.push(Fetched { kind, key, uri, object });
        }
        // A secret file that vanished between list and get was deleted: absent, like any other.
        Ok(None) => {}
        Err(error) => {
            let mut failure = fault::of_call(&error);
            if error.fault == Fault::DeniedByKey {
                // Mostly an object under somebody else's key: no permission is missing, the key is wrong.
                let repair = encryption::repair(policy, &store.uri(&key));
                failure.message.push_str(&format!("; or give the object the right key: {repair}"));
            }
            faults.push(failure);
        }
    }
}

/// Keeps the objects that are encrypted as the policy asks. Keys are described only where the decision needs it.
pub async fn check_encryption(
    store: &impl SecretStore,
    keys: &impl KeyDirectory,
    policy: &Policy,
    fetched: Vec<Fetched>,
    faults: &mut Vec<Failure>,
) -> Vec<Fetched> {
    let mut known = KnownKeys::new();
    let mut usable = Vec::with_capacity(fetched.len());
    for item in fetched {
        match decide(keys, policy, &item.object, &mut known).await {
            Ok(Ok(())) => usable.push(item),
            Ok(Err(wrong)) => {
                let repair = encryption::repair(policy, &store.uri(&item.key));
                faults.push(Failure::config(format!("secrets: {}: {wrong}; repair: {repair}", item.uri)));
            }
            Err(error) => {
                faults.push(fault::of_key(&error, &item.uri));
                // The same refusal for every further object would tell nothing new.
                return usable;
            }
        }
    }
    usable
}

async fn decide(
    keys: &impl KeyDirectory,
    policy: &Policy,
    object: &Object,
    known: &mut KnownKeys,
) -> Result<Result<(), String>, CallError> {
    loop {
        match encryption::decide(policy, &object.encryption, known) {
            Verdict::Accepted => return Ok(Ok(())),
            Verdict::Wrong(what) => return Ok(Err(what)),
            Verdict::Describe(name) => {
                let arn = keys.arn(&name).await?;
                known.insert(name, arn);
            }
        }
    }
}
