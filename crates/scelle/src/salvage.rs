//! Saving what a bundle that was cut off still holds.

use std::{
    fs,
    path::{Path, PathBuf},
};

use scelle_bundle::{
    Decrypted, Encrypted, Error, Output, PartialFile, Recipient, Salvage, SealKey,
};
use scelle_engine::Progress;
use scelle_evidence::FileSource;
use scelle_formats::{Hasher, ReadAt, ReadAtExt as _, ReadError};

use crate::{
    CollectError, ReadKey,
    collection::hex,
    key::{ciphertext, needed},
    order::RUN_KEY_CREATED,
};

/// Whose key seals salvages; it is made for each.
const SALVAGE_KEY_USER: &str = "Scelle salvage key";
const AGENT: &str = concat!("scelle ", env!("CARGO_PKG_VERSION"));
/// Bytes of ciphertext that are hashed at once.
const STEP_BYTES: usize = 1 << 20;
const IN_CLEAR: &str = "it is encrypted, and its salvage would be in clear: name who may read it \
                        with --recipient and --fingerprint, or say --in-clear";

/// How a salvage is written.
#[derive(Default)]
pub struct SalvageOrder<'a> {
    /// What opens the cut bundle, where it is encrypted.
    pub key: Option<&'a ReadKey>,
    /// Whom the salvage is encrypted for; with nobody here it is in clear.
    pub recipients: Vec<Recipient>,
    /// Whether what was encrypted may become a salvage in clear.
    pub in_clear: bool,
    /// Whether the salvage may replace what is there.
    pub force: bool,
}

/// Makes a bundle of what the cut bundle `cut` still holds, as `out`.
///
/// Of an encrypted one nothing is written in clear, unless the order says so: it is decrypted in
/// memory, as much of it as is being copied.
///
/// # Errors
/// Where `cut` does not begin as a bundle does, was not cut, is encrypted and the key does not
/// open it or nobody is named to encrypt for, or `out` can't be written.
pub fn salvage(
    cut: &Path,
    out: &Path,
    order: SalvageOrder<'_>,
    progress: &Progress,
) -> Result<Salvage, CollectError> {
    progress.begin("reading what is there", 0, 0);
    let (source, agent) = open(cut, &order)?;
    if is_written_over(cut, out) {
        return Err(CollectError::Resume {
            path: out.to_owned(),
            why: "while it is written it would bear the name of the cut bundle: choose another"
                .into(),
        });
    }
    let file = PartialFile::create(out, order.force)?;
    let partial = file.partial_path().to_owned();
    let saved = write(&source, file, &order.recipients, &agent).and_then(|(salvage, file)| {
        file.commit()?;
        Ok(salvage)
    });
    // A half salvage helps nobody, and the cut bundle is still there.
    saved.map_err(|error| match fs::remove_file(&partial) {
        Ok(()) => error.into(),
        Err(_) => CollectError::Writing {
            path: out.to_owned(),
            partial,
            source: error,
        },
    })
}

/// A cut archive.
enum Archive {
    Clear(FileSource),
    Decrypted(Box<Decrypted>),
}

impl Archive {
    fn save<W: Output>(
        &self,
        out: W,
        key: SealKey,
        agent: &str,
        packets: Option<String>,
    ) -> Result<(Salvage, W), Error> {
        match self {
            Self::Clear(file) => scelle_bundle::salvage(file, out, key, agent, packets),
            Self::Decrypted(archive) => {
                scelle_bundle::salvage_message(archive, out, key, agent, packets)
            }
        }
    }
}

/// The cut archive, and what the audit log is to say of who saved it and from what.
fn open(cut: &Path, order: &SalvageOrder<'_>) -> Result<(Archive, String), CollectError> {
    let failed = |why: String| CollectError::Resume {
        path: cut.to_owned(),
        why,
    };
    let file = FileSource::open(cut).map_err(|error| failed(error.to_string()))?;
    let Some(ciphertext) = ciphertext(cut).map_err(|error| failed(error.to_string()))? else {
        return Ok((Archive::Clear(file), AGENT.to_owned()));
    };
    if order.recipients.is_empty() && !order.in_clear {
        return Err(failed(IN_CLEAR.into()));
    }
    let archive = needed(order.key)
        .and_then(|key| key.session_key(&ciphertext))
        .and_then(|key| ciphertext.salvage(&key))
        .map_err(|error| failed(error.to_string()))?;
    let blake3 = hash(&file).map_err(|error| failed(error.to_string()))?;
    let agent = format!(
        "{AGENT}, from a ciphertext of {} bytes (BLAKE3 {blake3})",
        file.len()
    );
    Ok((Archive::Decrypted(Box::new(archive)), agent))
}

/// Writes the salvage to `file`, encrypted where there are recipients.
fn write(
    source: &Archive,
    file: PartialFile,
    recipients: &[Recipient],
    agent: &str,
) -> Result<(Salvage, PartialFile), Error> {
    let key = SealKey::generate(SALVAGE_KEY_USER, RUN_KEY_CREATED)?;
    if recipients.is_empty() {
        return source.save(file, key, agent, None);
    }
    let message = Encrypted::create(file, recipients, key.clone())?;
    let packets = message.session_packets_sha256().to_owned();
    let (salvage, message) = source.save(message, key, agent, Some(packets))?;
    Ok((salvage, message.finish()?))
}

/// Whether `out`, while it is written, would bear the name of `cut`.
fn is_written_over(cut: &Path, out: &Path) -> bool {
    let mut meanwhile = out.as_os_str().to_owned();
    meanwhile.push(".partial");
    let (one, other) = (cut.canonicalize(), PathBuf::from(meanwhile).canonicalize());
    matches!((one, other), (Ok(one), Ok(other)) if one == other)
}

/// BLAKE3 of all that is there, in hex.
fn hash(file: &dyn ReadAt) -> Result<String, ReadError> {
    let mut hasher = Hasher::new();
    let mut block = vec![0; STEP_BYTES];
    let mut at = 0;
    loop {
        let have = file.read_full_at(at, &mut block)?;
        if have == 0 {
            return Ok(hex(&hasher.finish().blake3));
        }
        hasher.update(&block[..have]);
        at += have as u64;
    }
}
