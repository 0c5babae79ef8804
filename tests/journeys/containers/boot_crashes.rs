//! SIGKILL of boot in the middle of each of its phases: the next run goes on, and what is to be done once is done once.

use lab::endpoint::faults::{Effect, Fault};

use super::{
    first_machine, launched, nobody_was_denied, put_parameter, returns_to_zero, scene, unit, until_inside,
};
use crate::scene::Scene;

/// What a phase waits for inside, as long as the test wants: Docker's start, visudo, and the agent's start. The last two
/// are no services: boot itself waits for them.
const HOLDS: &str = r##"
set -e
wait='until [ -e /run/go-%s ]; do sleep 0.1; done'
for unit in docker tidemark-agent@; do
  mkdir -p /run/systemd/system/$unit.service.d
  printf "[Service]\nExecStartPre=+/bin/sh -c '$wait'\n" ${unit%@} > /run/systemd/system/$unit.service.d/hold.conf
done
printf "#!/bin/sh\n$wait\nexec /usr/sbin/visudo \"\$@\"\n" visudo > /usr/local/sbin/visudo
chmod +x /usr/local/sbin/visudo
systemctl daemon-reload
"##;

const SCRIPT: &str =
    "#!/bin/sh\nuntil [ -e /run/go-script ]; do sleep 0.1; done\necho ran >> /var/lib/script-runs\n";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZpcnN0 ada@example.com";

/// What holds a phase.
enum Hold {
    /// A call without an answer.
    Call { action: &'static str, resource: &'static str },
    /// A file that is not there yet.
    File(&'static str),
}

use Hold::{Call, File};

/// Phase, what holds it, and the phase whose end tells that it has begun.
const PHASES: [(&str, Hold, Option<&str>); 11] = [
    ("identity", Call { action: "imds:Get", resource: "meta-data/instance-id" }, None),
    ("settings", Call { action: "ssm:GetParameter", resource: "*/settings" }, Some("session")),
    ("agent token", Call { action: "secretsmanager:GetSecretValue", resource: "*" }, Some("settings")),
    (
        "agent environment",
        Call { action: "ssm:GetParameter", resource: "*/environment" },
        Some("agent token"),
    ),
    ("script fetch", Call { action: "s3:GetObject", resource: "*/script" }, Some("agent environment")),
    ("authorized keys", Call { action: "ssm:GetParameter", resource: "*/keys" }, Some("script fetch")),
    ("docker", File("docker"), Some("authorized keys")),
    ("files", File("visudo"), Some("docker")),
    ("bootstrap script", File("script"), Some("files")),
    (
        "launch action",
        Call { action: "autoscaling:CompleteLifecycleAction", resource: "*" },
        Some("bootstrap script"),
    ),
    ("agents", File("tidemark-agent"), Some("launch action")),
];

/// Sets a phase's hold; files hold from the beginning.
fn hold(scene: &Scene, hold: &Hold) -> Option<u64> {
    let Call { action, resource } = hold else { return None };
    let fault = Fault { resource: (*resource).into(), ..Fault::on(action, Effect::Hang) };
    Some(scene.lab.endpoint().faults().add(fault.of("*i-*")))
}

async fn settings(scene: &Scene) {
    let bucket = scene.stack.output("SecretsBucket").unwrap();
    let text = format!(
        "{}agent-environment: ssm:/tidemark/ci/environment\nbootstrap-script: s3://{bucket}/boot/script\n\
         authorized-keys-url: ssm:/tidemark/ci/keys\nauthorized-keys-user: root\ndocker-experimental: true\n\
         sudo-rule: 'ALL=(root) NOPASSWD: /usr/bin/true'\n",
        super::SETTINGS
    );
    put_parameter(scene, "/tidemark/ci/settings", &text).await;
    put_parameter(scene, "/tidemark/ci/environment", "TEAM=blue\n").await;
    put_parameter(scene, "/tidemark/ci/keys", KEY).await;
    scene.upload("boot/script", SCRIPT).await;
}

#[tokio::test]
async fn boot_killed_in_each_of_its_phases_comes_to_its_end() {
    let Some(scene) = scene(&[("MaxSize", "1"), ("Settings", "ssm:/tidemark/ci/settings")]).await else {
        return;
    };
    settings(&scene).await;
    let mut held = hold(&scene, &PHASES[0].1);
    let job = scene.queue("app", "echo \"of $TEAM on $HOSTNAME\"; sudo -n true && echo with sudo").await;
    scene.tick().await.unwrap();
    let (id, inside) = first_machine(&scene).await;
    until_inside(&inside, "[ \"$(systemctl show --value -p ActiveState tidemark-boot)\" = activating ]")
        .await;
    inside.succeed(&["bash", "-c", HOLDS]).await.unwrap();

    for (number, (phase, waits_for, after)) in PHASES.iter().enumerate() {
        // Of this run, not of one before.
        let run = "_SYSTEMD_INVOCATION_ID=$(systemctl show --value -p InvocationID tidemark-boot)";
        let begun =
            after.map_or("Starting tidemark-boot.service".to_owned(), |after| format!("boot: {after} [0-9]"));
        let restarts = format!("[ $(systemctl show --value -p NRestarts tidemark-boot) = {number} ]");
        let running = "[ \"$(systemctl show --value -p ActiveState tidemark-boot)\" = activating ]";
        let in_phase = match after {
            Some(_) => format!("{restarts} && {running} && journalctl {run} | grep -q '{begun}'"),
            None => format!("{restarts} && {running}"),
        };
        until_inside(&inside, &in_phase).await;
        let kill = ["systemctl", "kill", "--kill-whom=main", "--signal=SIGKILL", "tidemark-boot"];
        inside.succeed(&kill).await.unwrap_or_else(|error| panic!("{phase}: {error:#}"));
        let next = PHASES.get(number + 1).and_then(|(_, waits_for, _)| hold(&scene, waits_for));
        if let Some(fault) = std::mem::replace(&mut held, next) {
            scene.lab.endpoint().faults().remove(fault);
        }
        if let File(name) = waits_for {
            inside.succeed(&["touch", &format!("/run/go-{name}")]).await.unwrap();
        }
    }

    let (status, log) = scene.ended(&job).await;
    assert_eq!(status, 0, "{log}");
    assert!(log.contains(&format!("of blue on {id}")) && log.contains("with sudo"), "{log}");
    // The job may be over before systemd starts the boot once more that was cut off last.
    let last = format!(
        "[ $(systemctl show --value -p NRestarts tidemark-boot) = {} ] && agent-bootstrap boot --report | grep -q ': ready in'",
        PHASES.len()
    );
    until_inside(&inside, &last).await;
    assert_eq!(unit(&inside, "tidemark-agent@1", "NRestarts").await, "0");
    assert_eq!(inside.succeed(&["cat", "/var/lib/script-runs"]).await.unwrap(), "ran\n", "once, to its end");
    let keys = inside.succeed(&["cat", "/root/.ssh/authorized_keys"]).await.unwrap();
    assert_eq!(keys.matches(KEY).count(), 1, "{keys}");
    let docker =
        inside.succeed(&["docker", "version", "--format", "{{.Server.Experimental}}"]).await.unwrap();
    assert_eq!(docker, "true\n", "what was cut off in the middle of Docker's restart is made up for");
    assert_eq!(launched(&scene), 1, "none was given up");
    returns_to_zero(&scene).await;
    nobody_was_denied(&scene);
    scene.lab.stop().await.unwrap();
}
