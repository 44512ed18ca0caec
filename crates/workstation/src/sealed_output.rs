//! Files that are written in clear, or encrypted for recipients: a timeline holds evidence too.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use scelle::{Recipient, SealKey, bundle::Encrypted};
use scelle_collector::{names::ENCRYPTED_ENDING, output::PartialFile};

/// For whom outputs are encrypted, and who signs them.
pub(crate) struct Sealing {
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) key: SealKey,
}

/// A file that bears its final name only when it is whole.
pub(crate) struct SealedFile {
    file: PartialFile,
    message: Option<Shared>,
}

type Shared = Arc<Mutex<Option<Encrypted<File>>>>;

impl SealedFile {
    /// Begins a file; encrypted, `.pgp` is added to its name.
    pub(crate) fn create(path: &Path, force: bool, sealing: Option<&Sealing>) -> Result<Self> {
        let file = PartialFile::create(&name(path, sealing), force)?;
        let message = match sealing {
            Some(Sealing { recipients, key }) => {
                let message = Encrypted::create(file.file()?, recipients, key.clone())?;
                Some(Arc::new(Mutex::new(Some(message))))
            }
            None => None,
        };
        Ok(Self { file, message })
    }

    /// What takes the file's bytes.
    pub(crate) fn writer(&self) -> Result<Box<dyn Write + Send>> {
        Ok(match &self.message {
            Some(message) => Box::new(BufWriter::with_capacity(
                BUFFER_BYTES,
                Handle(message.clone()),
            )),
            None => Box::new(BufWriter::new(self.file.file()?)),
        })
    }

    /// Ends the file and gives it its name.
    pub(crate) fn finish(self) -> Result<PathBuf> {
        let message = self.message.and_then(|message| lock(&message).take());
        if let Some(message) = message {
            message.finish().context("encrypting")?;
        }
        self.file.finish()
    }
}

/// The name that a file of that path has in the end.
pub(crate) fn name(path: &Path, sealing: Option<&Sealing>) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if sealing.is_some() {
        name.push(ENCRYPTED_ENDING);
    }
    name.into()
}

/// Bytes that are handed to encryption at once.
const BUFFER_BYTES: usize = 1 << 18;

fn lock(message: &Shared) -> std::sync::MutexGuard<'_, Option<Encrypted<File>>> {
    message.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Handle(Shared);

impl Handle {
    fn with<T>(&self, run: impl FnOnce(&mut Encrypted<File>) -> io::Result<T>) -> io::Result<T> {
        let mut message = lock(&self.0);
        let message = message
            .as_mut()
            .ok_or_else(|| io::Error::other("the file is finished"))?;
        run(message)
    }
}

impl Write for Handle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|message| message.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with(Write::flush)
    }
}
