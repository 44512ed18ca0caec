//! Development only: what CI runs, samples, benchmarks.

mod bench;
mod demo;
mod fuzz;
mod ran;
mod read;
mod samples;

use std::{
    env,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, bail, ensure};

const USAGE: &str = "\
cargo xtask ci [STEP…]             run what CI runs: all of it, or the steps named
cargo xtask ran LOG                make sure, from the output of cargo test, that all tests ran
cargo xtask samples                write the samples of testdata/ that have a recipe
cargo xtask demo                   make the disk image that the README's first command reads
cargo xtask fuzz SECONDS [ID…]     fuzz every decoder, or those named, for so long each
cargo xtask bench [--data DIR] [--rounds N] [ROW…]   measure, beside other people's tools
cargo xtask bench [--data DIR] data [PIECE…]         only make what is measured, or those pieces of it
cargo xtask read SOURCE PATH [THREADS]               read a stream of a source to its end, to measure that alone";

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
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()?;
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (task, arguments) = match arguments.split_first() {
        Some((task, arguments)) => (task.as_str(), arguments),
        None => ("", &[][..]),
    };
    match task {
        "ci" => ci(&root, arguments),
        "bench" => bench::bench(&root, arguments),
        "demo" => demo::make(&root),
        "read" => read::read(arguments),
        "samples" => samples::write(&root),
        "ran" => ran::check(&root, Path::new(arguments.first().context("which log?")?)),
        "fuzz" => fuzz::run(&root, arguments),
        _ => bail!("which task?\n{USAGE}"),
    }
}

fn ci(root: &Path, steps: &[String]) -> anyhow::Result<()> {
    let status = Command::new("bash")
        .arg(root.join(".ci/run"))
        .args(steps)
        .status()?;
    ensure!(status.success(), "CI failed");
    Ok(())
}
