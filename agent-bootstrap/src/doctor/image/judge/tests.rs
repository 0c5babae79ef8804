use super::super::access::Guarded;
use super::super::contents::UNITS;
use super::super::observe::AgentUser;
use super::*;
use crate::doctor::report::{Report, Verdict};
use crate::hooks::scripts::HOOK_SCRIPTS;

/// An image with everything.
fn whole() -> Image {
    let at = |name: &str| Some(PathBuf::from(format!("/usr/bin/{name}")));
    Image {
        programs: PROGRAMS.iter().map(|program| at(program.name)).collect(),
        plugins: PLUGINS.iter().map(|(name, _)| at(name)).collect(),
        units: UNITS
            .iter()
            .map(|(name, _)| Unit { name, text: Text::Same, not_started_by: Vec::new() })
            .collect(),
        hooks: HOOK_SCRIPTS
            .iter()
            .map(|(name, _)| Hook { name, text: Text::Same, executable: true })
            .collect(),
        settings: vec![true; SETTINGS.len()],
        guarded: vec![Guarded {
            path: "/etc/systemd/system/tidemark-boot.service".into(),
            mode: 0o644,
            owner: 0,
        }],
        system: Some(System {
            user: Some(AgentUser {
                home: "/var/lib/buildkite-agent".into(),
                shell: "/bin/bash".into(),
                docker: true,
            }),
            docker_starts: true,
            identity: Vec::new(),
        }),
    }
}

/// Names of the checks that are not well.
fn faults(image: &Image) -> Vec<&'static str> {
    checks(image).into_iter().filter(|c| c.verdict != Verdict::Ok).map(|c| c.name).collect()
}

#[test]
fn a_whole_image_passes() {
    assert_eq!(faults(&whole()), Vec::<&str>::new());
}

#[test]
fn everything_missing_is_said_at_once_with_its_fix() {
    let mut image = whole();
    image.programs.fill(None);
    image.plugins.fill(None);
    image.settings.fill(false);
    image.units.truncate(1);
    image.units[0].text = Text::Missing;
    for hook in &mut image.hooks {
        (hook.text, hook.executable) = (Text::Missing, false);
    }
    let identity = vec!["/etc/machine-id".into(), "/etc/ssh/ssh_host_rsa_key".into()];
    image.system = Some(System { user: None, docker_starts: false, identity });
    insta::assert_snapshot!(Report { checks: checks(&image) }.text());
}

#[test]
fn each_lack_alone_fails_the_image_but_an_agent_that_can_be_done_without() {
    for (index, program) in PROGRAMS.iter().enumerate() {
        let mut image = whole();
        image.programs[index] = None;
        let checks = checks(&image);
        let worst = if program.optional { Verdict::Warn } else { Verdict::Fail };
        assert_eq!(Report { checks }.verdict(), worst, "{}", program.name);
        assert_eq!(faults(&image), [program.name]);
    }
    for (index, (name, _)) in PLUGINS.iter().enumerate() {
        let mut image = whole();
        image.plugins[index] = None;
        assert_eq!(faults(&image), [*name]);
    }
    for (index, path) in SETTINGS.iter().enumerate() {
        let mut image = whole();
        image.settings[index] = false;
        assert_eq!(faults(&image), [*path]);
    }
    for (index, (name, _)) in UNITS.iter().enumerate() {
        let mut image = whole();
        image.units[index].text = Text::Other;
        assert_eq!(faults(&image), [*name]);
        image.units[index].text = Text::Same;
        image.units[index].not_started_by = vec!["multi-user.target".into()];
        assert_eq!(faults(&image), [*name]);
    }
    for (index, (name, _)) in HOOK_SCRIPTS.iter().enumerate() {
        for (text, executable) in [(Text::Other, true), (Text::Same, false), (Text::Missing, false)] {
            let mut image = whole();
            (image.hooks[index].text, image.hooks[index].executable) = (text, executable);
            assert_eq!(faults(&image), [*name]);
        }
    }
}

#[test]
fn what_others_may_change_fails_the_image() {
    let mut image = whole();
    image.guarded[0].mode = 0o664;
    assert_eq!(faults(&image), ["access"]);
    image.guarded[0] = Guarded { mode: 0o644, owner: 997, ..image.guarded[0].clone() };
    assert_eq!(faults(&image), ["access"]);
    image.system = None;
    assert!(!faults(&image).contains(&"access"), "a folder is someone's own");
}

#[test]
fn the_system_needs_its_user_its_engine_and_no_identity() {
    let with = |change: &dyn Fn(&mut System)| {
        let mut image = whole();
        change(image.system.as_mut().unwrap());
        faults(&image)
    };
    assert_eq!(with(&|system| system.user = None), ["user"]);
    assert_eq!(with(&|system| system.user.as_mut().unwrap().docker = false), ["user"]);
    assert_eq!(with(&|system| system.docker_starts = false), ["engine"]);
    assert_eq!(with(&|system| system.identity = vec!["/etc/machine-id".into()]), ["identity"]);
}

#[test]
fn of_a_folder_only_our_own_files_are_asked() {
    let mut image = whole();
    image.system = None;
    image.plugins.fill(None);
    for (program, found) in PROGRAMS.iter().zip(&mut image.programs) {
        *found = found.take().filter(|_| program.ours);
    }
    assert_eq!(faults(&image), Vec::<&str>::new());
    image.programs[0] = None;
    image.units[0].text = Text::Missing;
    assert_eq!(faults(&image), ["agent-bootstrap", UNITS[0].0]);
}
