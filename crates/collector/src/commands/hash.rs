//! `hash`: the hashes of files, as `b3sum` and `sha256sum` print them.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use scelle::{
    engine::{
        Progress,
        hash::{Algorithm, Hashed, hash_all},
    },
    event::Label,
    formats::{Bytes, ReadAt},
};

use crate::{Exit, Inputs, StateArgs, Terminal};

/// Hash files with BLAKE3 and SHA-256 in one pass
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  hash *.evtx                          both hashes; `sha256sum --check` reads the SHA256 lines
  hash --only sha256 disk.raw          as sha256sum prints it
  hash --only blake3 folder            as b3sum prints it, every file below the folder
  hash --with md5,sha1 malware.exe     for lists of known files
  hash disk.raw --json                 one object a line: path, size, label, and the hashes

Exit status: 0 complete; 1 some files could not be read; 2 not done.")]
pub struct Args {
    /// Files and folders; `-` is standard input
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Only these hashes: blake3, sha256, sha1, md5
    #[arg(long, value_delimiter = ',', value_name = "HASH,…")]
    only: Vec<Algorithm>,
    /// These hashes besides
    #[arg(
        long = "with",
        value_delimiter = ',',
        value_name = "HASH,…",
        conflicts_with = "only"
    )]
    besides: Vec<Algorithm>,
    #[command(flatten)]
    label: StateArgs,
}

/// Runs the command.
///
/// # Errors
/// Where standard output can't be written, or no path leads to a file.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    let wanted = |algorithm: &Algorithm| {
        if args.only.is_empty() {
            [Algorithm::Blake3, Algorithm::Sha256].contains(algorithm)
                || args.besides.contains(algorithm)
        } else {
            args.only.contains(algorithm)
        }
    };
    let algorithms: Vec<_> = Algorithm::ALL.into_iter().filter(wanted).collect();
    let mut files = Files::default();
    for path in &args.paths {
        files.add(path, terminal);
    }
    let mut lost = files.lost;
    if files.paths.is_empty() {
        if lost > 0 {
            bail!("none of the paths leads to a file that can be read");
        }
        return Ok(Exit::COMPLETE);
    }
    let mut inputs = Inputs::default();
    for path in &args.paths {
        inputs.add_file(path);
    }
    let folders: BTreeSet<_> = files
        .paths
        .iter()
        .filter_map(|path| path.parent())
        .collect();
    for folder in folders {
        inputs.add_file(folder);
    }
    let label = args.label.carry(&inputs)?;
    if !terminal.json {
        terminal.label(&label);
    }
    let mut out = BufWriter::new(io::stdout());
    let mut written = Ok(());
    let progress = Progress::default();
    terminal.watch(&progress, || {
        hash_all(
            &files.sizes,
            &algorithms,
            &progress,
            |number| open(&files.paths[number]),
            |number, hashed| {
                let path = &files.paths[number];
                match hashed {
                    Ok(hashed) if written.is_ok() => {
                        written = show(&mut out, path, &hashed, &label, terminal);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        lost += 1;
                        terminal.warn(format!("{}: {error}", path.display()));
                    }
                }
            },
        );
    });
    written
        .and_then(|()| out.flush())
        .context("writing the hashes")?;
    Ok(Exit::with_losses(lost > 0))
}

fn open(path: &Path) -> io::Result<Box<dyn ReadAt>> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes)?;
        return Ok(Box::new(Bytes(bytes)));
    }
    scelle::open_file(path)
}

/// The files that paths lead to, sorted below each folder.
#[derive(Default)]
struct Files {
    paths: Vec<PathBuf>,
    sizes: Vec<u64>,
    lost: u64,
}

impl Files {
    fn add(&mut self, path: &Path, terminal: &Terminal) {
        if path == Path::new("-") {
            self.paths.push(path.to_owned());
            self.sizes.push(0);
            return;
        }
        if let Err(error) = self.try_add(path, terminal) {
            self.lost += 1;
            terminal.warn(format!("{}: {error}", path.display()));
        }
    }

    fn try_add(&mut self, path: &Path, terminal: &Terminal) -> io::Result<()> {
        let metadata = fs::metadata(path)?;
        if !metadata.is_dir() {
            self.paths.push(path.to_owned());
            self.sizes.push(metadata.len());
            return Ok(());
        }
        let mut inside = fs::read_dir(path)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()?;
        inside.sort();
        for path in inside {
            // A link inside a folder may lead in circles; one that is named is followed.
            if !path.is_symlink() {
                self.add(&path, terminal);
            }
        }
        Ok(())
    }
}

/// One hash is printed as `b3sum` and `sha256sum` do; several as their `--tag` does.
fn show(
    out: &mut impl Write,
    path: &Path,
    hashed: &Hashed,
    label: &Label,
    terminal: &Terminal,
) -> io::Result<()> {
    let shown = path.to_string_lossy();
    if terminal.json {
        let mut object = serde_json::Map::new();
        object.insert("tlp".into(), label.tlp.name().into());
        object.insert("path".into(), shown.as_ref().into());
        object.insert("size".into(), hashed.bytes.into());
        for (algorithm, hex) in &hashed.hashes {
            object.insert(algorithm.name().into(), hex.as_str().into());
        }
        serde_json::to_writer(&mut *out, &object)?;
        return out.write_all(b"\n");
    }
    // The escape that both tools use for names that would break a line.
    let is_odd = shown.contains(['\n', '\r', '\\']);
    let escape = if is_odd { "\\" } else { "" };
    let shown = if is_odd {
        shown
            .replace('\\', "\\\\")
            .replace('\n', "\\n")
            .replace('\r', "\\r")
            .into()
    } else {
        shown
    };
    match &hashed.hashes[..] {
        [(_, hex)] => writeln!(out, "{escape}{hex}  {shown}"),
        several => several.iter().try_for_each(|(algorithm, hex)| {
            let tag = algorithm.name().to_ascii_uppercase();
            writeln!(out, "{escape}{tag} ({shown}) = {hex}")
        }),
    }
}
