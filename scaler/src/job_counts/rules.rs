//! Which jobs the stack's agents can run at all. Pure.

/// Tags that instances give their agents by themselves (docs/settings.md, `agent-tags`). What is their value nobody knows
/// before they boot, so rules on them are taken to hold.
const OWN: [&str; 8] = ["stack", "instance-id", "instance-type", "az", "region", "arch", "image", "docker"];

/// Can agents of this queue, with these further tags, hold all rules of a job (`key=value` each, `*` for any value)?
/// Without tags only the queue is judged: what else the agents offer is not known.
#[must_use]
pub fn can_run(queue: &str, tags: Option<&[String]>, rules: &[String]) -> bool {
    rules.iter().all(|rule| {
        let (key, value) = pair(rule);
        match (key, tags) {
            ("queue", _) => value == "*" || value == queue,
            (key, _) if OWN.contains(&key) => true,
            (_, None) => true,
            (_, Some(tags)) => {
                let holds =
                    |(other, offered): (&str, &str)| other == key && (value == "*" || offered == value);
                tags.iter().any(|tag| holds(pair(tag)))
            }
        }
    })
}

/// A tag or a rule without a value has the value `true`.
fn pair(text: &str) -> (&str, &str) {
    let (key, value) = text.split_once('=').unwrap_or((text, "true"));
    (key.trim(), value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_held_against_the_queue_and_the_tags_that_are_known() {
        for (rules, unknown, none, some) in [
            (&[][..], true, true, true),
            (&["queue=linux"], true, true, true),
            (&["queue=*"], true, true, true),
            (&["queue=windows"], false, false, false),
            (&["queue=linux", "gpu=true"], true, false, true),
            (&["gpu"], true, false, true),
            (&["gpu=*"], true, false, true),
            (&["gpu=false"], true, false, false),
            (&["os=mac"], true, false, false),
            (&["os = debian"], true, false, true),
            (&["arch=arm64", "instance-type=t3.large"], true, true, true),
            (&["gpu=true", "os=mac"], true, false, false),
        ] {
            let rules: Vec<String> = rules.iter().map(|rule| (*rule).to_owned()).collect();
            let tags = ["gpu=true", "os=debian"].map(str::to_owned);
            let judged = [None, Some(&[][..]), Some(&tags[..])].map(|tags| can_run("linux", tags, &rules));
            assert_eq!(judged, [unknown, none, some], "{rules:?}");
        }
    }
}
