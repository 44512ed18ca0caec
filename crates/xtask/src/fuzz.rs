//! Runs the fuzz target, one decoder after another, and says what came of it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};

/// Past so much memory, or so many seconds on one input, a decoder has failed.
const RSS_LIMIT_MIB: u32 = 512;
const TIMEOUT_SECONDS: u32 = 10;
/// Freed memory that the sanitizer holds back, to catch who uses it still. Its own default is 256 MiB,
/// which would count as the decoder's.
const QUARANTINE_MIB: u32 = 32;

/// What one decoder's run came to.
struct Outcome {
    executions: String,
    peak_rss_mib: String,
    seconds: u64,
    sound: bool,
}

/// `cargo xtask fuzz SECONDS [ID…]`: every decoder, or those named, each for so many seconds.
///
/// New inputs are kept in `fuzz/corpus/ID` beside the checkout's samples; a row for `fuzz/LOG.md`
/// goes to standard output.
pub(crate) fn run(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let (seconds, only) = arguments
        .split_first()
        .context("how many seconds for each decoder?")?;
    let seconds: u64 = seconds.parse().context("seconds are a number")?;
    let binary = build(root)?;
    let decoders = list(&binary)?;
    for id in only {
        ensure!(decoders.contains(id), "no decoder is called {id}");
    }
    let mut failed = Vec::new();
    for id in &decoders {
        if !only.is_empty() && !only.contains(id) {
            continue;
        }
        let outcome = fuzz(root, &binary, id, seconds)?;
        println!(
            "| {} | `{id}` | {} | {} | {} | {} |",
            today(),
            outcome.seconds,
            outcome.executions,
            outcome.peak_rss_mib,
            if outcome.sound {
                "nothing"
            } else {
                "a failure: see fuzz/artifacts"
            },
        );
        if !outcome.sound {
            failed.push(id.as_str());
        }
    }
    ensure!(
        failed.is_empty(),
        "these decoders failed: {}",
        failed.join(", ")
    );
    Ok(())
}

fn build(root: &Path) -> anyhow::Result<PathBuf> {
    // Sanitizers are an unstable flag; the stable compiler takes it when told so.
    let status = Command::new("cargo")
        .args(["fuzz", "build", "--fuzz-dir", "fuzz", "decode"])
        .current_dir(root)
        .env("RUSTC_BOOTSTRAP", "1")
        .stdout(Stdio::null())
        .status()
        .context("cargo fuzz (install it with `cargo install --locked cargo-fuzz`)")?;
    ensure!(status.success(), "the fuzz target does not build");
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("fuzz/target"), |target| root.join(target));
    let mut found = Vec::new();
    for folder in fs::read_dir(&target).with_context(|| target.display().to_string())? {
        let binary = folder?.path().join("release/decode");
        if binary.is_file() {
            found.push(binary);
        }
    }
    let [binary] = &found[..] else {
        bail!("one fuzz target was built, {} are there", found.len());
    };
    Ok(binary.clone())
}

fn list(binary: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new(binary).env("FUZZ_ONLY", "list").output()?;
    ensure!(
        output.status.success(),
        "the fuzz target can't list its decoders"
    );
    let ids: Vec<String> = String::from_utf8(output.stdout)?
        .lines()
        .map(str::to_owned)
        .collect();
    ensure!(!ids.is_empty(), "the fuzz target has no decoders");
    Ok(ids)
}

fn fuzz(root: &Path, binary: &Path, id: &str, seconds: u64) -> anyhow::Result<Outcome> {
    let corpus = root.join("fuzz/corpus").join(id);
    let artifacts = root.join("fuzz/artifacts").join(id);
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let mut command = Command::new(binary);
    command
        .env("FUZZ_ONLY", id)
        .env(
            "ASAN_OPTIONS",
            format!("quarantine_size_mb={QUARANTINE_MIB}"),
        )
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={RSS_LIMIT_MIB}"))
        .arg(format!("-timeout={TIMEOUT_SECONDS}"))
        .arg(format!("-artifact_prefix={}/crash-", artifacts.display()))
        .args(["-print_final_stats=1", "-verbosity=1"])
        .arg(&corpus);
    for seeds in ["testdata", "fuzz/seeds"] {
        let seeds = root.join(seeds).join(id);
        if seeds.is_dir() {
            command.arg(seeds);
        }
    }
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let stat = |name: &str| {
        said.lines()
            .rev()
            .find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name))
            .map_or_else(
                || "?".to_owned(),
                |value| value.trim_start_matches(':').trim().to_owned(),
            )
    };
    let sound = output.status.success();
    if !sound {
        let told = |line: &&str| !line.starts_with('#') && !line.starts_with('\t');
        said.lines()
            .filter(told)
            .for_each(|line| eprintln!("{line}"));
    }
    Ok(Outcome {
        executions: stat("number_of_executed_units"),
        peak_rss_mib: stat("peak_rss_mb"),
        seconds,
        sound,
    })
}

/// Today as `YYYY-MM-DD`, in UTC.
fn today() -> String {
    let output = Command::new("date").args(["-u", "+%F"]).output();
    output.map_or_else(
        |_| "today".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
