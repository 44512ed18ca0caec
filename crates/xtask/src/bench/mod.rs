//! `cargo xtask bench`: the project beside other people's tools, in one run on one machine.
//!
//! It makes its data once (seeded, about 10 GiB), installs the peers, runs both sides in turn and
//! prints a Markdown table for `BENCHMARKS.md`: medians of wall and CPU time, the most anonymous
//! memory that was seen, and whether both sides gave the same number of lines.

mod depth;
mod journal;
mod log;
mod measure;
mod mft;
mod mix;
mod proofs;
mod seeded;
mod shadows;
mod tree;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use measure::{Cost, Side, compare, output, run};
use scelle_testkit::Corpus;

const FILES: usize = 200_000;
const VOLUME_BYTES: u64 = 8 << 30;
const MFT_BYTES: u64 = 1 << 30;
const JOURNAL_BYTES: u64 = 1 << 30;
const LOG_BYTES: u64 = 512 << 20;
const HASH_BYTES: u64 = 4 << 30;
const MIX_BYTES: u64 = 2 << 30;
const DEFAULT_ROUNDS: usize = 5;
const PEERS: &[(&str, &str, &str)] = &[
    ("mft_dump", "mft", "0.9.1"),
    ("evtx_dump", "evtx", "0.15.1"),
];
/// Complete with losses, and sealed by a key that nobody vouches for, are results like others.
const WITH_LOSSES: &[i32] = &[0, 1];
const VERIFIED: &[i32] = &[0, 3];

/// One line of the table.
struct Row {
    id: &'static str,
    work: &'static str,
    peer: &'static str,
    /// Wall and CPU time as parts of the peer's.
    goal: (f64, Option<f64>),
    ours: Side,
    theirs: Side,
    /// Commands that count what each side gave; they have to print the same.
    counts: Option<(String, String)>,
}

/// `cargo xtask bench [--data DIR] [--rounds N] [ROW…]`; `data [PIECE…]` in place of the rows only
/// makes what is measured, or those pieces of it.
pub(crate) fn bench(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let mut data = env::temp_dir().join("scelle-bench");
    let mut rounds = DEFAULT_ROUNDS;
    let mut chosen = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--data" => data = rest.next().context("--data needs a folder")?.into(),
            "--rounds" => rounds = rest.next().context("--rounds needs a number")?.parse()?,
            row => chosen.push(row),
        }
    }
    ensure!(rounds > 0, "at least one round");
    install_packages()?;
    if let ["data", wanted @ ..] = &chosen[..] {
        return make_data(&data, wanted);
    }
    let peers = install_peers()?;
    make_data(&data, &[])?;
    let (scelle, xtask) = build(root)?;
    // Results go to memory on both sides.
    let out = PathBuf::from("/dev/shm/scelle-bench");
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let mut rows = rows(&scelle, &peers, &data, &out);
    rows.extend(depth::rows(&scelle, &xtask, &data, &out));
    let rates = depth::rates(&scelle, &xtask, &data, &out)?;
    let known: Vec<&str> = rows
        .iter()
        .map(|row| row.id)
        .chain(rates.iter().map(|rate| rate.id))
        .chain(["proofs"])
        .collect();
    for id in &chosen {
        ensure!(
            known.contains(id),
            "no row is called {id}; there are: {}",
            known.join(", ")
        );
    }
    print_head(rounds)?;
    for row in &rows {
        if chosen.is_empty() || chosen.contains(&row.id) {
            print_row(row, rounds)?;
        }
    }
    let mut rates = rates
        .iter()
        .filter(|rate| chosen.is_empty() || chosen.contains(&rate.id))
        .peekable();
    if rates.peek().is_some() {
        print_rates_head();
    }
    rates.try_for_each(|rate| print_rate(rate, rounds))?;
    if chosen.is_empty() || chosen.contains(&"collect-zstd") {
        print_sizes(&data, &out)?;
    }
    if chosen.is_empty() || chosen.contains(&"proofs") {
        proofs::print(&scelle, &data, &out)?;
    }
    Ok(())
}

/// The workstation, and this program as fast as it.
fn build(root: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let manifest = root.join("Cargo.toml").display().to_string();
    for package in ["scelle-workstation", "xtask"] {
        eprintln!("building {package}");
        let build = [
            "build",
            "--release",
            "--quiet",
            "--manifest-path",
            &manifest,
        ];
        run("cargo", &[&build[..], &["--package", package]].concat())?;
    }
    let built = target(root).join("release");
    Ok((built.join("scelle"), built.join("xtask")))
}

fn target(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |target| root.join(target))
}

fn install_peers() -> anyhow::Result<PathBuf> {
    let tools = env::var_os("SCELLE_CI_CACHE").map_or_else(
        || env::home_dir().unwrap_or_default().join(".cache/scelle-ci"),
        PathBuf::from,
    );
    let tools = tools.join("tools");
    let place = tools.display().to_string();
    for (binary, package, version) in PEERS {
        if !tools.join("bin").join(binary).is_file() {
            eprintln!("installing {package} {version}");
            let arguments = ["install", "--quiet", "--locked", "--root", &place, package];
            run("cargo", &[&arguments[..], &["--version", version]].concat())?;
        }
    }
    Ok(tools.join("bin"))
}

fn install_packages() -> anyhow::Result<()> {
    let packages = [
        "ewf-tools",
        "ntfs-3g",
        "sleuthkit",
        "b3sum",
        "openssl",
        "pigz",
        "zstd",
        "unzip",
        "zip",
        "gnupg",
        "gcc",
        "libwim15",
        "libvshadow-utils",
    ];
    let missing = packages
        .iter()
        .filter(|package| run("dpkg", &["-s", package]).is_err());
    let missing: Vec<&str> = missing.copied().collect();
    if !missing.is_empty() {
        eprintln!("installing {}", missing.join(" "));
        run("apt-get", &["update", "-q"])?;
        let install = ["install", "-q", "-y", "--no-install-recommends"];
        run("apt-get", &[&install[..], &missing].concat())?;
    }
    Ok(())
}

/// What is measured, in an order in which later pieces may be made of earlier ones.
const PIECES: &[&str] = &[
    "volume.raw",
    "volume.E01",
    "mft.bin",
    "big.evtx",
    "hash",
    "reader",
    "mix",
    "packed",
    "journal",
    "shadows.raw",
    "proofs",
];

/// Makes what is not there yet, all of it or the `wanted` pieces; each gets its name when it is
/// whole.
fn make_data(data: &Path, wanted: &[&str]) -> anyhow::Result<()> {
    for name in wanted {
        ensure!(
            PIECES.contains(name),
            "no piece is called {name}; there are: {}",
            PIECES.join(", ")
        );
    }
    fs::create_dir_all(data).with_context(|| data.display().to_string())?;
    let piece = |name: &str, make: &dyn Fn(&Path) -> anyhow::Result<()>| {
        let (place, part) = (data.join(name), data.join(format!("{name}.part")));
        if place.exists() || !(wanted.is_empty() || wanted.contains(&name)) {
            return Ok(());
        }
        eprintln!("making {}", place.display());
        make(&part)?;
        fs::rename(&part, &place).context("naming it")
    };
    piece("volume.raw", &|part| {
        tree::ntfs_volume(part, VOLUME_BYTES, &data.join("mount"), FILES)
    })?;
    piece("volume.E01", &|part| {
        let (volume, target) = (data.join("volume.raw"), part.display().to_string());
        let volume = volume.display().to_string();
        // One segment, as fast as it packs.
        let how = [
            "-q", "-u", "-c", "fast", "-S", "64GiB", "-t", &target, &volume,
        ];
        run("ewfacquire", &how)?;
        fs::rename(format!("{target}.E01"), part).context("naming it")
    })?;
    piece("mft.bin", &|part| {
        let small = data.join("mft.small");
        icat(&data.join("volume.raw"), &small)?;
        mft::grow(&small, part, MFT_BYTES)?;
        Ok(fs::remove_file(&small)?)
    })?;
    piece("big.evtx", &|part| {
        let corpus = Corpus::find("benchmarks").context("event logs come from the corpus")?;
        log::concatenate(&corpus, part, LOG_BYTES)
    })?;
    piece("hash", &|part| tree::mixed_sizes(part, HASH_BYTES))?;
    piece("reader", &reader)?;
    piece("mix", &|part| {
        mix::evidence(
            part,
            &data.join("big.evtx"),
            &data.join("mft.bin"),
            MIX_BYTES,
        )
    })?;
    piece("packed", &|part| depth::packed(part, &data.join("mix/exe")))?;
    piece("journal", &|part| {
        let (volume, mft) = (part.join("volume"), part.join("mft"));
        fs::create_dir_all(&volume)?;
        icat(&data.join("volume.raw"), &mft)?;
        let records = journal::journal(&volume, &mft, JOURNAL_BYTES)?;
        Ok(fs::write(part.join("records"), records.to_string())?)
    })?;
    piece("shadows.raw", &|part| {
        shadows::volume(part, &data.join("mount"), &data.join("big.evtx"))
    })?;
    piece("proofs", &|part| {
        proofs::folder(part, &data.join("big.evtx"))
    })
}

/// Writes a volume's `$MFT` to a file.
fn icat(volume: &Path, mft: &Path) -> anyhow::Result<()> {
    let (volume, mft) = (volume.display(), mft.display());
    run("sh", &["-c", &format!("icat '{volume}' 0 > '{mft}'")])
}

/// Someone whom bundles are encrypted for: GnuPG's folder, certificate and fingerprint.
fn reader(folder: &Path) -> anyhow::Result<()> {
    let gpg = "gpg --batch --passphrase ''";
    let script = format!(
        "mkdir -m 700 '{0}' && cd '{0}' && export GNUPGHOME=\"$PWD\" && \
         {gpg} --quick-gen-key bench@example.org future-default default never && \
         gpg --armor --export > cert.asc && \
         gpg --with-colons --fingerprint | grep -m1 ^fpr: | cut -d: -f10 > fingerprint && \
         gpgconf --kill all",
        folder.display()
    );
    run("sh", &["-c", &script])
}

/// A command that runs a side once more and counts what it wrote.
fn lines_of(body: &Side, out: &Path) -> String {
    let (clean, command) = (&body.clean, &body.command);
    format!(
        "{clean}; {command}; wc -l < {}/timeline.body",
        out.display()
    )
}

fn rows(scelle: &Path, peers: &Path, data: &Path, out: &Path) -> Vec<Row> {
    let (s, p) = (scelle.display(), peers.display());
    let (d, o) = (data.display(), out.display());
    let timeline = |source: &str, format: &str| {
        let out = format!("{o}/timeline.{format}");
        Side::new(format!(
            "{s} timeline {d}/{source} --format {format} --out {out}"
        ))
        .cleaned_by(format!("rm -f {o}/timeline.*"))
        .may_end_with(WITH_LOSSES)
    };
    let body = |source: &str| {
        let out = format!("{o}/timeline.body");
        Side::new(format!(
            "{s} timeline {d}/{source} --format bodyfile --artefact ntfs.mft --out {out}"
        ))
        .cleaned_by(format!("rm -f {o}/timeline.*"))
        .may_end_with(WITH_LOSSES)
    };
    let mft_dump = Side::new(format!(
        "{p}/mft_dump -o bodyfile {d}/mft.bin > {o}/peer.body"
    ));
    let evtx_dump = Side::new(format!(
        "{p}/evtx_dump -t 2 -o jsonl {d}/big.evtx > {o}/peer.jsonl"
    ));
    let find = format!("find {d}/hash -type f -print0");
    let collect = |compression: &str| {
        let out = format!("{o}/{compression}.scelle.zip");
        Side::new(format!(
            "{s} collect --source {d}/mix --profile everything --tlp clear --compression {compression} --out {out}"
        ))
        .cleaned_by(format!("rm -f {out}"))
        .may_end_with(WITH_LOSSES)
    };
    let encrypted = {
        let out = format!("{o}/deflate.scelle.zip.pgp");
        let for_reader =
            format!("--recipient {d}/reader/cert.asc --fingerprint $(cat {d}/reader/fingerprint)");
        Side::new(format!(
            "{s} collect --source {d}/mix --profile everything --tlp clear {for_reader} --out {out}"
        ))
        .cleaned_by(format!("rm -f {out}"))
        .may_end_with(WITH_LOSSES)
    };
    let archive =
        |packer: &str| Side::new(format!("tar -C {d} -cf - mix | {packer} > {o}/peer.packed"));
    vec![
        Row {
            id: "mft-bodyfile",
            work: "1 GiB `$MFT` to bodyfile with full paths",
            peer: "`mft_dump -o bodyfile`",
            goal: (0.35, Some(0.6)),
            ours: body("mft.bin"),
            theirs: mft_dump.clone(),
            counts: Some((
                format!("wc -l < {o}/timeline.body"),
                format!("wc -l < {o}/peer.body"),
            )),
        },
        Row {
            id: "mft-parquet",
            work: "the same to sorted Parquet, all columns",
            peer: "`mft_dump -o bodyfile`",
            goal: (4.0, None),
            ours: timeline("mft.bin", "parquet"),
            theirs: mft_dump,
            counts: None,
        },
        Row {
            id: "walk",
            work: "NTFS volume of 200,000 files to bodyfile",
            peer: "`fls -r -m /`",
            goal: (0.08, None),
            ours: body("volume.raw"),
            theirs: Side::new(format!("fls -r -m / {d}/volume.raw > {o}/peer.body")),
            counts: None,
        },
        Row {
            id: "walk-e01",
            work: "the same volume inside E01 to bodyfile",
            peer: "`fls -r -m /` on the E01",
            goal: (1.0, None),
            ours: body("volume.E01"),
            theirs: Side::new(format!("fls -r -m / {d}/volume.E01 > {o}/peer.body")),
            counts: None,
        },
        Row {
            id: "walk-e01-raw",
            work: "the same volume inside E01 to bodyfile",
            peer: "our own walk of the raw volume",
            goal: (3.0, Some(3.0)),
            ours: body("volume.E01"),
            theirs: body("volume.raw"),
            counts: Some((
                lines_of(&body("volume.E01"), out),
                lines_of(&body("volume.raw"), out),
            )),
        },
        Row {
            id: "evtx-jsonl",
            work: "512 MiB event log to JSONL in file order",
            peer: "`evtx_dump -t 2 -o jsonl`",
            goal: (1.2, None),
            ours: Side::new(format!(
                "{s} parse windows.evtx {d}/big.evtx > {o}/ours.jsonl"
            ))
            .may_end_with(WITH_LOSSES),
            theirs: evtx_dump.clone(),
            counts: Some((
                format!("wc -l < {o}/ours.jsonl"),
                format!("wc -l < {o}/peer.jsonl"),
            )),
        },
        Row {
            id: "evtx-parquet",
            work: "the same to sorted Parquet",
            peer: "`evtx_dump -t 2 -o jsonl`",
            goal: (4.0, None),
            ours: timeline("big.evtx", "parquet"),
            theirs: evtx_dump,
            counts: None,
        },
        Row {
            id: "blake3",
            work: "BLAKE3 of 4 GiB in mixed sizes, warm",
            peer: "`b3sum`",
            goal: (1.05, None),
            ours: Side::new(format!("{s} hash --only blake3 {d}/hash > {o}/ours.sums")),
            theirs: Side::new(format!("{find} | xargs -0 b3sum > {o}/peer.sums")),
            counts: Some((
                format!("wc -l < {o}/ours.sums"),
                format!("wc -l < {o}/peer.sums"),
            )),
        },
        Row {
            id: "both-hashes",
            work: "BLAKE3 and SHA-256 of the same",
            peer: "`openssl dgst -sha256`, two processes",
            goal: (1.35, None),
            ours: Side::new(format!("{s} hash {d}/hash > {o}/ours.sums")),
            theirs: Side::new(format!(
                "{find} | xargs -0 -P 2 -n 64 openssl dgst -sha256 > {o}/peer.sums"
            )),
            counts: None,
        },
        Row {
            id: "collect",
            work: "collect 2 GiB of mixed evidence, deflate",
            peer: "`tar \\| pigz -6 -p 2`",
            goal: (0.5, None),
            ours: collect("deflate"),
            theirs: archive("pigz -6 -p 2"),
            counts: None,
        },
        Row {
            id: "verify",
            work: "verify that bundle",
            peer: "`unzip -t`",
            goal: (0.6, None),
            ours: Side::new(format!("{s} verify {o}/deflate.scelle.zip")).may_end_with(VERIFIED),
            theirs: Side::new(format!("unzip -tqq {o}/deflate.scelle.zip")),
            counts: None,
        },
        Row {
            id: "collect-zstd",
            work: "collect the same, zstd",
            peer: "`tar \\| zstd -3 -T2`",
            goal: (1.4, None),
            ours: collect("zstd"),
            theirs: archive("zstd -q -3 -T2"),
            counts: None,
        },
        Row {
            id: "encrypt",
            work: "collect the same, encrypted for one recipient",
            peer: "`collect` in clear",
            goal: (1.25, None),
            ours: encrypted.clone(),
            theirs: collect("deflate"),
            counts: None,
        },
        Row {
            id: "encrypt-gpg",
            work: "the same",
            peer: "`zip \\| gpg --encrypt`",
            goal: (0.667, None),
            ours: encrypted,
            theirs: Side::new(format!(
                "sh -c 'cd {d} && zip -q -r - mix | gpg --homedir {d}/reader --batch \
                 --trust-model always -r bench@example.org --encrypt > {o}/peer.packed'"
            )),
            counts: None,
        },
    ]
}

fn print_head(rounds: usize) -> anyhow::Result<()> {
    let cpu = output("grep -m1 'model name' /proc/cpuinfo | cut -d: -f2")?;
    let cores = output("nproc")?;
    let commit = output("git rev-parse --short HEAD")?;
    let date = output("date -u +%F")?;
    println!(
        "{date}, commit {commit}, {cores} cores ({cpu}), medians of {rounds} rounds in turn.\n"
    );
    println!(
        "| work | peer | wall, s | peer's | ratio (goal) | CPU, s | peer's | ratio (goal) | peak anonymous | results |"
    );
    println!("|---|---|--:|--:|--:|--:|--:|--:|--:|---|");
    Ok(())
}

fn print_row(row: &Row, rounds: usize) -> anyhow::Result<()> {
    eprintln!("{}: {}", row.id, row.ours.command);
    let (ours, theirs) = compare(&row.ours, &row.theirs, rounds)?;
    let counts = match &row.counts {
        None => String::new(),
        Some((ours, theirs)) => {
            let (ours, theirs) = (output(ours)?, output(theirs)?);
            if ours == theirs {
                format!("{ours} lines each")
            } else {
                format!("{ours} lines, theirs {theirs}")
            }
        }
    };
    let (wall, cpu) = row.goal;
    println!(
        "| {} | {} | {:.2} | {:.2} | {} | {:.2} | {:.2} | {} | {} MiB | {counts} |",
        row.work,
        row.peer,
        ours.wall,
        theirs.wall,
        ratio(ours, theirs, |cost| cost.wall, Some(wall)),
        ours.cpu,
        theirs.cpu,
        ratio(ours, theirs, |cost| cost.cpu, cpu),
        ours.anon_kib.div_ceil(1024)
    );
    Ok(())
}

fn print_rates_head() {
    println!();
    println!("| work | wall, s | CPU, s | a second and core (goal) | peak anonymous |");
    println!("|---|--:|--:|--:|--:|");
}

fn print_rate(rate: &depth::Rate, rounds: usize) -> anyhow::Result<()> {
    eprintln!("{}: {}", rate.id, rate.side.command);
    let cost = rate.side.median(rounds)?;
    let speed = rate.amount / cost.cpu;
    let mark = if speed >= rate.goal { "" } else { "**" };
    println!(
        "| {} | {:.2} | {:.2} | {mark}{speed:.0}{mark} {} (≥ {}) | {} MiB |",
        rate.work,
        cost.wall,
        cost.cpu,
        rate.unit,
        rate.goal,
        cost.anon_kib.div_ceil(1024)
    );
    Ok(())
}

fn ratio(ours: Cost, theirs: Cost, of: fn(Cost) -> f64, goal: Option<f64>) -> String {
    let ratio = of(ours) / of(theirs);
    match goal {
        None => format!("{ratio:.2}"),
        Some(goal) if ratio <= goal => format!("{ratio:.2} (≤ {goal})"),
        Some(goal) => format!("**{ratio:.2}** (≤ {goal})"),
    }
}

fn print_sizes(data: &Path, out: &Path) -> anyhow::Result<()> {
    let (d, o) = (data.display(), out.display());
    println!();
    for (what, command) in [
        (
            "deflate bundle",
            format!("stat -c %s {o}/deflate.scelle.zip"),
        ),
        (
            "`tar | pigz -6`",
            format!("tar -C {d} -cf - mix | pigz -6 -p 2 | wc -c"),
        ),
        ("zstd bundle", format!("stat -c %s {o}/zstd.scelle.zip")),
        (
            "`tar | zstd -3`",
            format!("tar -C {d} -cf - mix | zstd -q -3 -T2 | wc -c"),
        ),
    ] {
        println!("- {what}: {} bytes", output(&command)?);
    }
    Ok(())
}
