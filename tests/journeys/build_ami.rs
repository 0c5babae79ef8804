//! `make build-ami` on the lab: the real Packer, over real SSH, into a folder of a machine that stands for an instance.

use std::path::{Path, PathBuf};
use std::process::Command;

use lab::lab::{Lab, LabOptions};
use lab::sshd::{Sshd, Visitors};
use lab::stack::IMAGE_PARAMETER;
use serde_json::Value;
use tempfile::TempDir;

use crate::lone_cloud::Said;

/// A lab, and a machine that Packer may log in to.
struct Workshop {
    lab: Lab,
    sshd: Sshd,
    folder: TempDir,
}

impl Workshop {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lab = Lab::start(LabOptions::default()).await.unwrap();
        let sshd = Sshd::start(&folder.path().join("ssh"), Visitors::Shell).await.unwrap();
        let key = folder.path().join("key");
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
        assert!(made.unwrap().success());
        sshd.authorize(&std::fs::read_to_string(key.with_extension("pub")).unwrap()).unwrap();
        let workshop = Self { lab, sshd, folder };
        std::fs::create_dir(workshop.path("root")).unwrap();
        workshop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The environment of a user who builds on the lab.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .envs(self.lab.admin_environment())
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL")
            .env_remove("MFLAGS")
            .env("IMAGE_SSH", format!("{}@127.0.0.1:{}", self.sshd.user(), self.sshd.port()))
            .env("IMAGE_SSH_KEY", self.path("key"))
            .env("IMAGE_ROOT", self.path("root"))
            .env("PROGRAMS", self.lab.programs());
        command
    }

    fn make(&self, environment: &[(&str, &str)]) -> Said {
        let mut command = self.command("make");
        command.args(["-s", "build-ami"]).envs(environment.iter().copied());
        command.output().unwrap().into()
    }

    fn aws(&self, arguments: &[&str]) -> Value {
        let mut command = Command::new(lab::moto::venv().unwrap().join("bin/aws"));
        command.args(["--output", "json"]).args(arguments).envs(self.lab.admin_environment());
        let said: Said = command.output().unwrap().into();
        assert!(said.success, "{arguments:?}: {}", said.stderr);
        serde_json::from_str(&said.stdout).unwrap_or(Value::Null)
    }

    /// The images that were made here, by id.
    fn images(&self) -> Vec<Value> {
        let images = self.aws(&["ec2", "describe-images", "--owners", "self"]);
        images["Images"].as_array().unwrap().clone()
    }

    fn recorded(&self) -> String {
        let found = self.aws(&["ssm", "get-parameter", "--name", IMAGE_PARAMETER]);
        found["Parameter"]["Value"].as_str().unwrap().to_owned()
    }
}

fn tag<'a>(image: &'a Value, name: &str) -> &'a str {
    let tags = image["Tags"].as_array().unwrap();
    tags.iter().find(|tag| tag["Key"] == name).unwrap()["Value"].as_str().unwrap()
}

/// What Packer put into the folder, without the folders.
fn files(root: &Path) -> Vec<String> {
    let output = Command::new("find").args([".", "!", "-type", "d"]).current_dir(root).output().unwrap();
    let mut files: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn packer_builds_an_image_and_new_stacks_take_it() {
    let mut workshop = Workshop::start().await;

    let built = workshop.make(&[]);
    assert!(built.success, "{}", built.stderr);
    let image = built.stdout.trim_end();
    assert_eq!(built.stdout, format!("{image}\n"), "stdout is the id and nothing else");
    assert!(image.starts_with("ami-"), "{image}");
    assert_eq!(workshop.recorded(), image);
    let images = workshop.images();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0]["ImageId"], image);
    let debian = workshop.aws(&["ec2", "describe-images", "--owners", "136693071363"]);
    let source = debian["Images"][0]["ImageId"].as_str().unwrap();
    for (name, value) in
        [("version", env!("CARGO_PKG_VERSION")), ("os", "debian13"), ("arch", "amd64"), ("source", source)]
    {
        assert_eq!(tag(&images[0], &format!("tidemark:{name}")), value);
    }
    assert!(tag(&images[0], "Name").starts_with("tidemark-"), "{images:?}");

    // Programs, units with the links that start them, and all of packer/rootfs.
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let units = "./etc/systemd/system";
    let mut expected = files(&project.join("packer/rootfs"));
    expected.extend(
        ["bin/docker-credential-tidemark", "local/bin/docker-credential-tidemark"]
            .map(|name| format!("./usr/{name}")),
    );
    expected.extend(["agent-bootstrap", "build-agent"].map(|name| format!("./usr/local/bin/{name}")));
    for unit in files(&project.join("agent-bootstrap/units")).iter().map(|file| file.trim_start_matches("./"))
    {
        let text = std::fs::read_to_string(project.join("agent-bootstrap/units").join(unit)).unwrap();
        let targets = text.lines().filter_map(|line| line.strip_prefix("WantedBy="));
        expected.extend(targets.map(|target| format!("{units}/{target}.wants/{unit}")));
        expected.push(format!("{units}/{unit}"));
    }
    expected.sort();
    assert_eq!(files(&workshop.path("root")), expected);
    assert!(expected.contains(&format!("{units}/multi-user.target.wants/tidemark-boot.service")));
    assert!(expected.contains(&"./etc/buildkite-agent/hooks/environment".to_owned()));

    // Another system's image is recorded in its own place.
    let other = workshop.make(&[("IMAGE_OS", "amazonlinux2023")]);
    assert!(other.success, "{}", other.stderr);
    let amazon = workshop.aws(&["ssm", "get-parameter", "--name", "/tidemark/ami/amazonlinux2023/amd64"]);
    assert_eq!(amazon["Parameter"]["Value"], other.stdout.trim_end());
    assert_eq!(workshop.recorded(), image);

    // Nothing of the builds stays: instance, security group.
    let instances =
        workshop.aws(&["ec2", "describe-instances", "--filters", "Name=instance-state-name,Values=running"]);
    assert_eq!(instances["Reservations"].as_array().unwrap().len(), 0, "{instances}");
    let groups = workshop.aws(&["ec2", "describe-security-groups"]);
    let names = groups["SecurityGroups"].as_array().unwrap().iter().filter_map(|g| g["GroupName"].as_str());
    assert_eq!(names.filter(|name| name.starts_with("packer")).count(), 0, "{groups}");

    workshop.lab.deploy_stack("ci", &[]).await.unwrap();
    let templates = workshop.aws(&["ec2", "describe-launch-templates"]);
    let id = templates["LaunchTemplates"][0]["LaunchTemplateId"].as_str().unwrap();
    let versions = workshop.aws(&[
        "ec2",
        "describe-launch-template-versions",
        "--launch-template-id",
        id,
        "--versions",
        "$Latest",
    ]);
    assert_eq!(versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]["ImageId"], image);
    workshop.lab.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_builds_at_once_are_two_images() {
    let workshop = Workshop::start().await;
    std::fs::create_dir(workshop.path("other")).unwrap();
    let other = workshop.path("other");
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| workshop.make(&[]));
        let two = scope.spawn(|| workshop.make(&[("IMAGE_ROOT", other.to_str().unwrap())]));
        (one.join().unwrap(), two.join().unwrap())
    });
    assert!(one.success && two.success, "{}\n{}", one.stderr, two.stderr);
    assert_ne!(one.stdout, two.stdout);
    assert_eq!(workshop.images().len(), 2);
    assert!([one.stdout.trim_end(), two.stdout.trim_end()].contains(&workshop.recorded().as_str()));
    assert_eq!(files(&workshop.path("root")), files(&other));
    workshop.lab.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_one_line_and_nothing_is_recorded() {
    let workshop = Workshop::start().await;
    let before = workshop.recorded();
    let last = |said: &Said| {
        said.stderr.lines().rfind(|line| line.starts_with("build-ami: ")).unwrap_or_default().to_owned()
    };

    // No packer: only Python is found.
    let mut bare = workshop.command(lab::moto::venv().unwrap().join("bin/python").to_str().unwrap());
    let bare = bare.arg("scripts/build-ami").env("PATH", workshop.path("root")).output().unwrap();
    assert_eq!(bare.status.code(), Some(69));
    let said: Said = bare.into();
    assert_eq!(
        said.stderr,
        "build-ami: no packer on PATH: run `make setup`, or install it (https://packer.io)\n"
    );

    let empty = workshop.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let foreign = workshop.path("foreign");
    std::fs::create_dir(&foreign).unwrap();
    for name in ["agent-bootstrap", "build-agent"] {
        std::fs::write(foreign.join(name), "#!/bin/sh\n").unwrap();
    }
    // A file where the folder should be made: the first provisioner fails.
    let file = workshop.path("file");
    std::fs::write(&file, "").unwrap();
    let (empty, foreign, file) = (empty.to_str().unwrap(), foreign.to_str().unwrap(), file.to_str().unwrap());
    for (variable, value, expected) in [
        ("PROGRAMS", empty, "agent-bootstrap, "),
        ("PROGRAMS", foreign, "is no program for x86_64"),
        ("IMAGE_ARCH", "arm64", "is no program for aarch64"),
        ("IMAGE_ARCH", "riscv", "IMAGE_ARCH is 'riscv': one of amd64, arm64"),
        ("IMAGE_OS", "debian8", "IMAGE_OS is 'debian8': one of debian13, amazonlinux2023"),
        ("IMAGE_SSH", "somewhere", "IMAGE_SSH is user@host:port"),
        ("IMAGE_SCRIPT", "/absent/script", "IMAGE_SCRIPT: no file /absent/script"),
        ("IMAGE_ROOT", file, "packer failed: its last lines above say why"),
    ] {
        let failed = workshop.make(&[(variable, value)]);
        assert!(!failed.success && failed.stdout.is_empty(), "{variable}={value}: {failed:?}");
        assert!(last(&failed).contains(expected), "{variable}={value}: {}", failed.stderr);
        assert!(!failed.stderr.contains("Traceback"), "{}", failed.stderr);
    }
    // The lab knows no Debian for arm64; whose programs these are is told by 20 bytes.
    let header = [b"\x7fELF".as_slice(), &[2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 183, 0]].concat();
    for name in ["agent-bootstrap", "build-agent"] {
        std::fs::write(Path::new(foreign).join(name), &header).unwrap();
    }
    let failed = workshop.make(&[("IMAGE_ARCH", "arm64"), ("PROGRAMS", foreign)]);
    assert!(!failed.success, "{failed:?}");
    let expected =
        "build-ami: no image debian-13-arm64-* of 136693071363 in us-east-1: name another with SOURCE_AMI";
    assert_eq!(last(&failed), expected);

    assert_eq!(workshop.recorded(), before);
    assert_eq!(workshop.images().len(), 0);
    workshop.lab.stop().await.unwrap();
}
