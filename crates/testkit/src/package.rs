//! Samples that come inside of packages that tests depend on.

use std::{env, path::PathBuf, process::Command};

/// The folder of a package that this workspace depends on, as cargo has it on this machine.
///
/// # Panics
/// Where cargo can't say: a test can't go on without its sample.
pub fn package_folder(name: &str) -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline"])
        // Without it, packages for other systems would have to be here as well.
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let manifest = packages
        .iter()
        .find(|package| package["name"] == name)
        .and_then(|package| package["manifest_path"].as_str())
        .unwrap_or_else(|| panic!("no package {name}"));
    let mut folder = PathBuf::from(manifest);
    folder.pop();
    folder
}
