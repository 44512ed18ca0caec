//! `cargo xtask read SOURCE PATH [THREADS]`: reads a stream to its end and lets it go, so that reading can be measured alone.

use std::{io, path::Path};

use anyhow::{Context, bail, ensure};
use scelle_evidence::{OpenOptions, open};
use scelle_formats::{ReadAt, ReadAtExt};

/// What one read asks for: whole units of every compression.
const BLOCK_BYTES: u64 = 1 << 20;

pub(crate) fn read(arguments: &[String]) -> anyhow::Result<()> {
    let (source, path, threads) = match arguments {
        [source, path] => (source, path, 1),
        [source, path, threads] => (source, path, threads.parse().context("how many threads?")?),
        _ => bail!("which source, and which path in it?"),
    };
    let evidence = open(Path::new(source), &OpenOptions::default())?;
    let [volume] = &evidence.volumes[..] else {
        bail!("{source} has {} volumes, not one", evidence.volumes.len());
    };
    let stream = volume.open(&format!("{}/{path}", volume.info().id).parse()?)?;
    let (stream, len): (&dyn ReadAt, u64) = (stream.as_ref(), stream.len());
    ensure!(len > 0, "{path} is empty");
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..threads)
            .map(|first| scope.spawn(move || read_every(stream, len, first, threads)))
            .collect();
        readers
            .into_iter()
            .try_for_each(|reader| reader.join().expect("a reader does not panic"))
    })
    .with_context(|| format!("reading {path}"))
}

/// Reads the blocks `first`, `first + step`, …
fn read_every(stream: &dyn ReadAt, len: u64, first: u64, step: u64) -> io::Result<()> {
    let mut block = vec![0; BLOCK_BYTES as usize];
    let mut at = first * BLOCK_BYTES;
    while at < len {
        let want = BLOCK_BYTES.min(len - at) as usize;
        let have = stream.read_full_at(at, &mut block[..want])?;
        if have < want {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at += step * BLOCK_BYTES;
    }
    Ok(())
}
