//! image-builder on the lab: SQS, S3, DynamoDB, Logs, SSM and EC2 under a role of its own, real git, real Packer.

mod kiln;

use lab::endpoint::faults::{Effect, Fault};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::scene::until;
use kiln::{Desk, Kiln, template, text_in};

const UNKNOWN: &str = "0123456789abcdef0123456789abcdef01234567";

fn body(template: &str, sha: &str) -> String {
    json!({"templateName": template, "sha": sha}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_becomes_an_image_with_audit_log_and_parameter() {
    let kiln = Kiln::start().await;
    let sha = kiln.templates(&[("web/base.json", &template("web"))]);
    let desk = kiln.desk("story", "publish:\n  parameters: /tidemark/ami\n").await;

    // K17: no work is no failure.
    let (code, _, said) = desk.run(&["worker", "--once"]).await;
    assert!(code == 0 && said.contains("[INFO] No work found"), "{code}: {said}");

    // K1: the message as kiln's README has it, with the keys in its spelling.
    let sent =
        ["sqs", "send-message", "--queue-url", &desk.queue, "--message-body", &body("/web/base.json", &sha)];
    let id = kiln.aws(&sent)["MessageId"].as_str().unwrap().to_owned();
    let (code, _, said) = desk.run(&["worker", "--once"]).await;
    assert_eq!(code, 0, "{said}");

    // K6: the image, and where it came from.
    let images = kiln.images();
    assert_eq!(images.len(), 1, "{images:?}");
    let ami = images[0]["ImageId"].as_str().unwrap();
    let tags: std::collections::BTreeMap<_, _> = images[0]["Tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| (tag["Key"].as_str().unwrap(), tag["Value"].as_str().unwrap()))
        .collect();
    assert_eq!((tags["tidemark:template"], tags["tidemark:commit"]), ("web/base.json", sha.as_str()));
    assert!(!tags["tidemark:repository"].contains("lab:lab"), "{tags:?}");
    let parameter = kiln.aws(&["ssm", "get-parameter", "--name", "/tidemark/ami/web/base"]);
    assert_eq!(parameter["Parameter"]["Value"], ami);

    // K10, K11: the audit and its details, at kiln's key.
    let audits = kiln.audits("builds/").await;
    assert_eq!(audits.len(), 2, "{audits:?}");
    let (details, audit) = (&audits[0], &audits[1]);
    let key = audit.strip_prefix("builds/web/base.json/").unwrap();
    assert_eq!(key.len(), "2026-01-02T03-04-05/0123456.yml".len(), "{audit}");
    assert!(key.ends_with(&format!("/{}.yml", &sha[..7])), "{audit}");
    assert_eq!(details, &audit.replace(".yml", ".details.json"));
    let yaml = kiln.object(audit).await;
    let keys: Vec<_> =
        yaml.lines().filter(|line| !line.starts_with(' ')).map(|l| l.split(':').next().unwrap()).collect();
    let expected = [
        "executionUuid",
        "startTimestamp",
        "startDateTime",
        "amiBuildQueueUrl",
        "jobMessage",
        "jobBuildTemplate",
        "jobBuildTemplateSha",
        "createdAmiId",
        "createdAmiRegion",
        "endedInError",
        "endTimestamp",
        "endDateTime",
        "processingDuration",
    ];
    assert_eq!(keys, expected);
    for line in [
        format!("createdAmiId: {ami}"),
        "createdAmiRegion: us-east-1".to_owned(),
        "endedInError: false".to_owned(),
        format!("  MessageId: {id}"),
        "jobBuildTemplate: web/base.json".to_owned(),
        format!("jobBuildTemplateSha: {sha}"),
    ] {
        assert!(yaml.lines().any(|have| have == line), "{line} in\n{yaml}");
    }
    let details: Value = serde_json::from_str(&kiln.object(details).await).unwrap();
    assert_eq!(
        (details["outcome"].as_str(), details["packerVersion"].as_str()),
        (Some("built"), Some("1.6.6"))
    );
    assert_eq!(details["images"], json!([{"builder": "amazon-ebs", "region": "us-east-1", "id": ami}]));

    // K13: the lines of kiln's log, in its group.
    let log = kiln.log("i-story").await.join("\n");
    for phrase in [
        format!("[INFO] Found Work, request for template 'web/base.json' @ SHA '{sha}'"),
        "[INFO] Running Command: packer build ".to_owned(),
        format!("[INFO] Packer build succeeded: Region 'us-east-1', AMI id '{ami}'"),
        format!("[INFO] Writing results to S3: '{audit}'"),
        format!("[INFO] deleting message on queue '{}'", desk.queue),
    ] {
        assert!(log.contains(&phrase), "{phrase} in\n{log}");
    }

    // K7: the message is gone; nothing of Packer stays.
    assert_eq!(kiln.depth(&desk.queue).await, 0);
    nothing_is_left(&kiln);
    assert_eq!(std::fs::read_dir(kiln.path("story-state/builds")).unwrap().count(), 0);
    kiln.lab.stop().await.unwrap();
}

fn nothing_is_left(kiln: &Kiln) {
    let alive = "Name=instance-state-name,Values=pending,running,stopping,stopped";
    let instances = kiln.aws(&["ec2", "describe-instances", "--filters", alive]);
    assert_eq!(instances["Reservations"].as_array().unwrap().len(), 0, "{instances}");
    let groups = kiln.aws(&["ec2", "describe-security-groups"]).to_string();
    assert!(!groups.contains("packer_"), "{groups}");
    let pairs = kiln.aws(&["ec2", "describe-key-pairs"]);
    assert_eq!(pairs["KeyPairs"].as_array().unwrap().len(), 0, "{pairs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_built_ends_in_the_dead_letter_queue_with_an_audit() {
    let kiln = Kiln::start().await;
    let broken = template("x").replace("amazon-ebs", "no-such-builder");
    let imageless = json!({"builders": [{"type": "null", "communicator": "none"}]}).to_string();
    let sha =
        kiln.templates(&[("ok.json", &template("ok")), ("broken.json", &broken), ("none.json", &imageless)]);
    let desk = kiln.desk("poison", "").await;
    let config = std::fs::read_to_string(&desk.config).unwrap();
    std::fs::write(&desk.config, config.replace("  heartbeat: 1s\n", "  heartbeat: 1s\n  attempts: 1\n"))
        .unwrap();

    let cases = [
        ("not json".to_owned(), "bad-message", "message", "the body is not JSON"),
        ("{}".to_owned(), "bad-message", "message", "templateName is missing; sha is missing"),
        (body("../../etc/passwd", &sha), "bad-message", "message", "no plain path below the repository"),
        (body("ok.json", "-f"), "bad-message", "message", "is no commit id"),
        (body("ok.json", "main"), "bad-message", "message", "is no commit id"),
        (body("ok.json", UNKNOWN), "failed", "fetch", "has no commit"),
        (body("absent.json", &sha), "failed", "fetch", "no such file"),
        (body("broken.json", &sha), "failed", "validate", "packer validate"),
        (body("none.json", &sha), "failed", "build", "told of no image"),
    ];
    for (sent, ..) in &cases {
        kiln.send(&desk.queue, sent).await;
    }
    for _ in &cases {
        let (code, _, said) = desk.run(&["worker", "--once"]).await;
        assert_eq!(code, 1, "{said}");
    }
    assert_eq!(desk.run(&["worker", "--once"]).await.0, 0, "nothing is left on the queue");
    let mut reasons = std::collections::BTreeMap::new();
    for _ in &cases {
        let call = kiln.session.sqs().receive_message().queue_url(&desk.dead).message_attribute_names("All");
        let answer = call.send().await.unwrap();
        let message = &answer.messages()[0];
        let attribute = |name: &str| {
            let all = message.message_attributes().unwrap();
            all[name].string_value().unwrap().to_owned()
        };
        reasons.insert(message.body().unwrap().to_owned(), (attribute("reason"), attribute("audit")));
    }
    for (sent, outcome, step, reason) in &cases {
        let (told, audit) = &reasons[sent];
        assert!(told.contains(reason), "{sent}: {told}");
        let key = audit.strip_prefix(&format!("s3://{}/", kiln::BUCKET)).unwrap();
        let yaml = kiln.object(key).await;
        assert!(yaml.contains("endedInError: true\nendTimestamp: \"\"\n"), "{yaml}");
        let details: Value =
            serde_json::from_str(&kiln.object(&key.replace(".yml", ".details.json")).await).unwrap();
        assert_eq!(
            (details["outcome"].as_str(), details["failure"]["step"].as_str()),
            (Some(*outcome), Some(*step))
        );
    }
    assert_eq!(kiln.images().len(), 0);
    nothing_is_left(&kiln);
    kiln.lab.stop().await.unwrap();
}

/// K7: wherever a worker is when it dies, the next one goes on: one image, one audit, no message.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_at_any_step_leaves_nothing_undone_or_done_twice() {
    let kiln = Kiln::start().await;
    let sha = kiln.templates(&[("web.json", &template("web"))]);
    // The call that hangs when the worker is killed: all before it is done, it and all after it is not.
    let steps = [
        "sqs:GetQueueAttributes",
        "dynamodb:PutItem",
        "ec2:RunInstances",
        "ec2:CreateImage",
        "ec2:TerminateInstances",
        "ec2:CreateTags",
        "ssm:PutParameter",
        "s3:PutObject",
        "sqs:DeleteMessage",
    ];
    let kiln = &kiln;
    let sha = sha.as_str();
    futures::future::join_all(steps.iter().enumerate().map(|(number, step)| async move {
        let desk = kiln.desk(&format!("step-{number}"), "publish:\n  parameters: /tidemark/ami\n").await;
        let id = kiln.send(&desk.queue, &body("web.json", sha)).await;
        let caller = format!("*/{}", desk.name);
        let faults = kiln.lab.endpoint().faults();
        let fault = faults.add(Fault::on(step, Effect::Hang).of(&caller).times(1));
        let mut first = desk.serve();
        let pid = Pid::from_raw(i32::try_from(first.id().unwrap()).unwrap());
        until(step, || faults.list().iter().all(|(number, _)| *number != fault)).await;
        kill(pid, Signal::SIGKILL).unwrap();
        first.wait().await.unwrap();
        finish(kiln, &desk, &id, step).await;
    }))
    .await;
    assert_eq!(kiln.images().len(), steps.len(), "an image each");
    let audits = kiln.audits("builds/").await;
    assert_eq!(audits.iter().filter(|key| key.ends_with(".yml")).count(), steps.len(), "{audits:?}");
    nothing_is_left(kiln);
}

async fn finish(kiln: &Kiln, desk: &Desk, id: &str, step: &str) {
    let mut second = desk.serve();
    // The last line before the message goes, whoever built it.
    let done =
        |said: &str| said.contains("deleting message on queue") || said.contains("It is done already by");
    let begun = std::time::Instant::now();
    loop {
        let said = std::fs::read_to_string(desk.said()).unwrap();
        if done(&said) && kiln.depth(&desk.queue).await == 0 {
            break;
        }
        assert!(begun.elapsed() < crate::scene::PATIENCE, "{step}: {id} is not done\n{said}");
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    let pid = Pid::from_raw(i32::try_from(second.id().unwrap()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    let ended = second.wait().await.unwrap();
    assert!(ended.success(), "{step}: {ended}\n{}", std::fs::read_to_string(desk.said()).unwrap());
    assert_eq!(kiln.depth(&desk.dead).await, 0, "{step}");
}

/// K8: a build may take longer than the message is hidden, and another worker does not get it.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_build_keeps_its_message_and_a_stop_hands_it_back() {
    let kiln = Kiln::start().await;
    let sha = kiln.templates(&[("web.json", &template("web"))]);
    let slow = kiln.path("slow-packer");
    let gate = kiln.path("gate");
    std::fs::write(
        &slow,
        format!(
            "#!/bin/bash\nif [ \"$1\" = build ]; then\n  trap 'exit 1' INT\n  while [ ! -e '{}' ]; do sleep 0.1; done\nfi\nexec packer \"$@\"\n",
            gate.display()
        ),
    )
    .unwrap();
    std::fs::set_permissions(&slow, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let settings = format!("packer:\n  executablePath: {}\n", slow.display());
    let desk = kiln.desk("long", &settings).await;
    kiln.send(&desk.queue, &body("web.json", &sha)).await;

    let mut first = desk.serve();
    text_in(&desk.said(), "Running Command").await;
    // Handed back at once: the next one need not wait until the message is seen again by itself.
    kill(Pid::from_raw(i32::try_from(first.id().unwrap()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(first.wait().await.unwrap().success());
    let mut second = desk.serve();
    text_in(&desk.said(), "Running Command").await;

    // Twelve heartbeats of a second hide a message; it stays hidden for longer.
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_secs(15) {
        let (code, _, said) = desk.run(&["worker", "--once"]).await;
        assert!(code == 0 && said.contains("No work found"), "{said}");
    }
    std::fs::write(&gate, "").unwrap();
    text_in(&desk.said(), "deleting message on queue").await;
    kill(Pid::from_raw(i32::try_from(second.id().unwrap()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(second.wait().await.unwrap().success());
    assert_eq!((kiln.images().len(), kiln.depth(&desk.queue).await), (1, 0));
    kiln.lab.stop().await.unwrap();
}

/// K14: every object that a build needs is looked at, and what is refused is told.
#[tokio::test(flavor = "multi_thread")]
async fn check_tells_what_can_be_reached() {
    let kiln = Kiln::start().await;
    kiln.templates(&[("web.json", &template("web"))]);
    let desk = kiln.desk("check", "").await;
    let (code, told, said) = desk.run(&["check"]).await;
    assert_eq!(code, 0, "{told}{said}");
    assert!(told.lines().count() == 5 && told.lines().all(|line| line.starts_with("ok ")), "{told}");
    let probes = kiln.audits("connectivityTest/").await;
    assert!(probes.len() == 1 && probes[0].ends_with(".txt"), "{probes:?}");
    for (action, line) in [
        ("sqs:ReceiveMessage", "FAIL  queue "),
        ("s3:PutObject", "FAIL  audit bucket "),
        ("dynamodb:GetItem", "FAIL  table of builds "),
    ] {
        let fault = kiln.lab.endpoint().faults().add(Fault::on(action, Effect::Deny));
        let (code, told, _) = desk.run(&["check"]).await;
        assert!(code == 77 && told.lines().any(|have| have.starts_with(line)), "{action}: {code} {told}");
        kiln.lab.endpoint().faults().remove(fault);
    }
    kiln.lab.stop().await.unwrap();
}

/// K3, K4: settings from a bucket, and what the command line says wins over them.
#[tokio::test(flavor = "multi_thread")]
async fn settings_may_lie_in_a_bucket_and_repositories_may_be_private() {
    let kiln = Kiln::start().await;
    kiln.templates(&[("web.json", &template("web"))]);
    let mut desk = kiln.desk("private", "").await;
    let text = std::fs::read_to_string(&desk.config).unwrap();
    let body = aws::s3::primitives::ByteStream::from(text.clone().into_bytes());
    kiln.session.s3().put_object().bucket(kiln::BUCKET).key("a/config.yml").body(body).send().await.unwrap();
    let file = std::mem::replace(&mut desk.config, format!("s3://{}/a/config.yml", kiln::BUCKET).into());
    let (code, shown, said) = desk.run(&["config", "show"]).await;
    assert!(code == 0 && shown.contains("  region: us-east-1\n"), "{shown}{said}");
    assert!(!shown.contains("lab:lab"), "{shown}");
    let (code, shown, said) = desk.run(&["config", "show", "--awsRegion", "eu-west-1"]).await;
    assert!(code == 0 && shown.contains("  region: eu-west-1\n"), "{shown}{said}");
    desk.config = format!("s3://{}/absent.yml", kiln::BUCKET).into();
    let (code, _, said) = desk.run(&["config", "show"]).await;
    // Who may not list a bucket is not told what is not in it.
    assert!(
        code == 77 && said.contains("configuration: s3:GetObject on s3://kiln-audit/absent.yml"),
        "{code} {said}"
    );
    desk.config = file;

    // A deploy key and a token from Secrets Manager; neither is in an argument or stays on disk.
    let key = kiln.path("deploy-key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    kiln.git.authorize_key(&std::fs::read_to_string(key.with_extension("pub")).unwrap()).unwrap();
    kiln.git.set_password("x-access-token", "t0ken");
    let key = std::fs::read_to_string(&key).unwrap();
    for (name, secret) in [("deploy-key", key.as_str()), ("token", "t0ken"), ("old-token", "void")] {
        kiln.aws(&["secretsmanager", "create-secret", "--name", name, "--secret-string", secret]);
    }
    let repository = kiln.git.http_url("templates").unwrap();
    let given = repository.replace("http://", "http://lab:lab@");
    let ssh = kiln.git.ssh_url("templates").unwrap();
    for (url, secret, code, line) in [
        (ssh.as_str(), "deployKeySecret: deploy-key", 0, "ok    templates "),
        (&repository, "tokenSecret: token", 0, "ok    templates "),
        (&repository, "tokenSecret: old-token", 77, "FAIL  templates "),
    ] {
        let private = text.replace(&given, &format!("{url}\n  {secret}"));
        // The mirror of the one before would hide what this one may not fetch.
        let private = private.replace("private-state", &format!("private-{}", secret.replace(": ", "-")));
        std::fs::write(&desk.config, private).unwrap();
        let (ended, told, said) = desk.run(&["check"]).await;
        assert!(
            ended == code && told.lines().any(|have| have.starts_with(line)),
            "{url} {secret}: {told}{said}"
        );
        assert!(!told.contains("t0ken") && !said.contains("t0ken"));
    }
    kiln.lab.stop().await.unwrap();
}
