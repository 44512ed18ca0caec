//! How large the proofs of single rows are: of a large log among very many files.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
};

use anyhow::{Context, ensure};

use super::measure::{output, run};

const FILES: usize = 100_000;
const ROWS: usize = 60;
/// The goals, in KiB: half of the proofs are under the first, all under the second.
const GOALS: (u64, u64) = (48, 128);

/// A folder with the log and so many other files.
pub(crate) fn folder(folder: &Path, log: &Path) -> anyhow::Result<()> {
    let logs = folder.join("Windows/System32/winevt/Logs");
    fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
    fs::copy(log, logs.join("Security.evtx")).with_context(|| log.display().to_string())?;
    for number in 1..FILES {
        let within = folder.join(format!("Users/ana/Documents/{}", number / 1000));
        fs::create_dir_all(&within)?;
        fs::write(
            within.join(format!("file {number}.txt")),
            format!("file {number}"),
        )?;
    }
    Ok(())
}

/// Proves rows from all over the log, checks each proof, and prints how large they are.
pub(crate) fn print(scelle: &Path, data: &Path, out: &Path) -> anyhow::Result<()> {
    let scelle = scelle.display().to_string();
    let at = |name: &str| out.join(name).display().to_string();
    let (bundle, rows, proof) = (at("proofs.scelle.zip"), at("proofs.jsonl"), at("row.proof"));
    let source = data.join("proofs").display().to_string();
    let collect = format!(
        "{scelle} collect --source {source} --profile everything --tlp amber --out {bundle} --force"
    );
    let collected = output(&collect)?;
    ensure!(
        collected.contains(&format!("{FILES} files")),
        "the bundle has other files: {collected}"
    );
    // The log has places that are no records; they are told, and end it with 1.
    let timeline = format!(
        "{scelle} timeline {bundle} --artefact windows.evtx --format jsonl --out {rows} --force; test $? -le 1"
    );
    run("sh", &["-c", &timeline])?;
    let open = || fs::File::open(&rows).map(BufReader::new);
    let count = open()?.lines().count();
    let step = count / ROWS;
    ensure!(step > 0, "there are {count} rows");
    let mut sizes = Vec::new();
    for line in open()?.lines().skip(step / 2).step_by(step).take(ROWS) {
        fs::write(at("row.jsonl"), line?)?;
        let row = at("row.jsonl");
        run(
            &scelle,
            &[
                "prove", &bundle, "--row", &row, "--out", &proof, "--force", "--quiet",
            ],
        )?;
        // 3 says: proven, but nobody vouches for the run's own key.
        let check = format!("{scelle} prove --check {proof} > /dev/null; test $? -eq 3");
        run("sh", &["-c", &check])?;
        sizes.push(fs::metadata(&proof)?.len().div_ceil(1024));
    }
    sizes.sort_unstable();
    let (median, most) = (sizes[ROWS / 2], sizes[ROWS - 1]);
    let mark = |size: u64, goal: u64| if size < goal { "" } else { "**" };
    let (one, other) = (mark(median, GOALS.0), mark(most, GOALS.1));
    println!(
        "\n- proofs of {ROWS} of {count} rows of a log of 512 MiB among {FILES} files, each checked: median {one}{median}{one} KiB \
         (< {}), at most {other}{most}{other} KiB (< {})",
        GOALS.0, GOALS.1
    );
    Ok(())
}
