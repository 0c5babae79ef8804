//! Processes that somebody forgot.

use std::path::Path;
use std::time::{Duration, Instant};

/// Process ids and command lines of all that work in `folder`, or name it in an argument or a variable.
pub fn leftovers(folder: &Path) -> Vec<String> {
    let name = folder.display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let command = std::fs::read(entry.path().join("cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            let there = std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
            // Daemons leave the folder, but their variables name it. Empty for those of other users.
            let variables = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let named = command.contains(&name) || String::from_utf8_lossy(&variables).contains(&name);
            // A zombie has no command line.
            ((there || named) && !command.is_empty()).then(|| format!("{pid} {command}"))
        })
        .collect()
}

/// Waits until nothing is left: what a SIGKILL orphaned ends by itself, but not in the same instant.
pub fn until_none(folder: &Path, patience: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if leftovers(folder).is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(leftovers(folder), Vec::<String>::new(), "left after {} s", patience.as_secs());
}
