//! SIGKILL of boot and of watch: systemd brings them back, and no job notices.

use lab::endpoint::faults::{Effect, Fault};

use super::{first_machine, nobody_was_denied, returns_to_zero, scene, unit, until_inside};

const SIGKILL: [&str; 3] = ["systemctl", "kill", "--signal=SIGKILL"];

#[tokio::test]
async fn boot_and_watch_come_back_after_sigkill_and_the_job_goes_on() {
    let Some(scene) = scene(&[("MaxSize", "1")]).await else { return };
    let held = scene
        .lab
        .endpoint()
        .faults()
        .add(Fault::on("secretsmanager:GetSecretValue", Effect::Hang).of("*/i-*"));
    let job = scene.queue("long", "until [ -e /var/tmp/enough ]; do sleep 0.1; done; echo done well").await;
    scene.tick().await.unwrap();
    let (id, inside) = first_machine(&scene).await;
    until_inside(&inside, "journalctl -b -u tidemark-boot | grep -q 'boot: settings'").await;
    inside.succeed(&[&SIGKILL[..], &["tidemark-boot"]].concat()).await.unwrap();
    scene.lab.endpoint().faults().remove(held);
    scene.job_until(&job, &["running"]).await;

    inside.succeed(&[&SIGKILL[..], &["tidemark-watch"]].concat()).await.unwrap();
    until_inside(&inside, "[ \"$(systemctl show --value -p NRestarts tidemark-watch)\" = 1 ] && systemctl is-active tidemark-watch")
        .await;
    // A scaler that sees no need cannot take the instance: it is still protected.
    let member = scene.group().member(&id).unwrap().clone();
    assert!(member.protected, "{member:?}");
    until_inside(&inside, "test -S /run/tidemark/watch.sock").await;
    inside.succeed(&["touch", "/var/tmp/enough"]).await.unwrap();
    let (status, log) = scene.ended(&job).await;
    assert_eq!(status, 0, "{log}");
    assert!(log.contains("done well"), "{log}");
    assert_eq!(unit(&inside, "tidemark-agent@1", "NRestarts").await, "0");
    returns_to_zero(&scene).await;
    nobody_was_denied(&scene);
    scene.lab.stop().await.unwrap();
}
