//! Collectors that are prepared for a case.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Ran, collector, run, scelle, text, windows_folder};

/// The profile of the team that prepares them.
pub(crate) fn team() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/team/example.toml")
}

/// The key of that team.
pub(crate) fn team_key() -> String {
    text(&team().with_file_name("example.key.asc"))
}

/// A collector for a case, and what `forge` said of it.
pub(crate) struct Forged {
    pub(crate) folder: TempDir,
    pub(crate) said: Value,
    /// What it said beside its result.
    pub(crate) err: String,
}

impl Forged {
    /// A path in its folder.
    pub(crate) fn at(&self, name: &str) -> String {
        text(&self.folder.path().join(name))
    }

    /// The program.
    pub(crate) fn command(&self) -> Command {
        Command::new(self.at("forged"))
    }

    /// Runs it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run(self.command(), arguments)
    }
}

/// One for `case-42`, in a folder of its own that a source names as `FOLDER`; there is evidence in `FOLDER/evidence`.
pub(crate) fn forge(source: &str, more: &[&str]) -> Forged {
    forge_of(Some(source), more)
}

/// One that collects `source`, else what it does where none is named.
pub(crate) fn forge_of(source: Option<&str>, more: &[&str]) -> Forged {
    let folder = tempfile::tempdir().expect("a folder");
    forge_in(folder, scelle(), source, more, 0)
}

/// The same, by a command that has an environment of its own, in a folder that is there, ending as stated.
pub(crate) fn forge_in(
    folder: TempDir,
    mut command: Command,
    source: Option<&str>,
    more: &[&str],
    status: i32,
) -> Forged {
    let at = |name: &str| text(&folder.path().join(name));
    windows_folder(&folder.path().join("evidence"));
    let key = ["key", "new", &at("case-42"), "--user", "case 42"];
    run(scelle(), key).ended(0);
    let released = collector();
    command
        .arg("forge")
        .args(["--case", "case-42", "--for", "linux-x64", "--json"])
        .arg("--team")
        .arg(team())
        .args(["--case-key", &at("case-42.key.asc")])
        .arg("--collector")
        .arg(released.get_program())
        .args(["--out", &at("forged")]);
    if let Some(source) = source {
        command.args(["--source", &source.replace("FOLDER", &text(folder.path()))]);
    }
    let ran = run(command, more).ended(status);
    Forged {
        said: match status {
            0 => ran.json(),
            _ => Value::Null,
        },
        err: ran.err,
        folder,
    }
}
