//! Development only: what CI runs, samples, benchmarks.

mod samples;

use std::{env, path::Path, process::ExitCode};

use anyhow::bail;

const USAGE: &str = "\
cargo xtask samples    write the samples of testdata/ that have a recipe";

fn main() -> ExitCode {
    match task() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn task() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("samples") => samples::write(&root),
        _ => bail!("which task?\n{USAGE}"),
    }
}
