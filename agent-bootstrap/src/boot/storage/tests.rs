//! On loop devices, where this machine lets us have them.

use super::*;

/// A loop device over a file, and a folder it is mounted on; both are given back at the end.
struct Loop {
    device: String,
    folder: tempfile::TempDir,
}

impl Loop {
    /// None where nobody gives us one: said aloud, so that nobody takes the tests for run.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let mut losetup = std::process::Command::new("losetup");
        let output = losetup.args(["--find", "--show"]).arg(&image).output();
        let device = output.ok().filter(|o| o.status.success()).map(|o| String::from_utf8(o.stdout).unwrap());
        if device.is_none() {
            eprintln!("SKIPPED: no loop devices here");
        }
        Some(Self { device: device?.trim().to_owned(), folder })
    }

    fn mount_point(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    async fn boot(&self, filesystem: Filesystem) -> Result<bool, Failure> {
        mount_volume(vec![devices::look(&self.device).await.unwrap()], &self.mount_point(), filesystem).await
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = std::process::Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn umount(&self) {
        self.run("umount", &[&text(&self.mount_point())]);
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.mount_point()).output();
        let _ = std::process::Command::new("losetup").args(["--detach", &self.device]).output();
    }
}

#[tokio::test]
async fn a_blank_disk_is_formatted_once_and_keeps_what_is_on_it() {
    let Some(disk) = Loop::new() else { return };
    assert_eq!(disk.boot(Filesystem::Ext4).await, Ok(true));
    let file = disk.mount_point().join("kept");
    std::fs::write(&file, "of the first boot").unwrap();
    assert_eq!(disk.boot(Filesystem::Ext4).await, Ok(false), "a second boot changes nothing");
    disk.umount();
    assert!(!file.exists());
    // A reboot, even with another wish.
    assert_eq!(disk.boot(Filesystem::Xfs).await, Ok(true));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "of the first boot");
}

#[tokio::test]
async fn what_is_no_filesystem_is_left_alone() {
    let Some(disk) = Loop::new() else { return };
    disk.run("mkswap", &[&disk.device]);
    let before = std::fs::read(disk.folder.path().join("image")).unwrap();
    let failure = disk.boot(Filesystem::Ext4).await.unwrap_err();
    assert_eq!(failure.code, 78);
    assert!(failure.message.contains("holds swap, and nothing that exists is ever formatted"), "{failure}");
    // Even an order to format it is not carried out.
    let order = Step::Format(disk.device.clone(), Filesystem::Ext4);
    assert!(carry_out(&order, &disk.mount_point()).await.is_err());
    assert!(std::fs::read(disk.folder.path().join("image")).unwrap() == before, "the disk was written to");
}
