//! Writing out, in clear, what the parts of a collection hold together: one bag of all payload files.
//!
//! What stands in the bag is what a checkpoint vouches for: each file is compared with its line as it is written. The records
//! and signatures stay in the parts, since they are about those.

use std::{
    io::{self, Write},
    sync::Arc,
};

use scelle_formats::{Digests, Hasher, ReadAt, ReadAtExt as _};

use crate::{
    Error, Part, file_line::FileLine, member::MemberReader, names, open::Shared, parts::Set,
    reader::Member, text::hex,
};

/// Bytes that are written at once.
const STEP_BYTES: usize = 1 << 20;
const BAGIT: &[u8] = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n";

/// Makes the file of that name, which is relative, and of plain components alone.
pub type CreateFile<'a> = dyn FnMut(&str) -> io::Result<Box<dyn Write>> + 'a;

/// Writes what the parts hold together; gives the payload id, in hex. They may be in whatever order.
///
/// # Errors
/// [`Error::Format`] where they are no complete set, or a file is not what its line says; [`Error::Export`] where one can't be
/// written.
pub fn export_parts(parts: &[Part], create: &mut CreateFile<'_>) -> Result<String, Error> {
    let set = Set::arrange(parts);
    set.check().map_err(Error::Format)?;
    let Some(last) = set.parts.last() else {
        return Err(Error::format("there are no parts"));
    };
    let mut bag = Bag {
        folder: &last.cut.folder,
        create,
    };
    let mut manifests = [
        bag.create("manifest-sha256.txt")?,
        bag.create("manifest-blake3.txt")?,
    ];
    let mut payload = blake3::Hasher::new();
    for part in &set.parts {
        let shared = Arc::new(Shared::of_part(part));
        let mut failed = None;
        let visited = part.visit_files(&mut |found, line, _| {
            let lines = manifest_lines(line)?;
            payload.update(lines[1].as_bytes());
            let written = bag.put(&shared, &part.member(found), line).and_then(|()| {
                let both = manifests.iter_mut().zip(&lines);
                both.into_iter()
                    .try_for_each(|(manifest, line)| manifest.write(line.as_bytes()))
            });
            written.map_err(|error| {
                failed = Some(error);
                String::new()
            })
        });
        match (failed, visited) {
            (Some(error), _) => return Err(error),
            (None, visited) => {
                visited.map_err(|what| Error::format(format!("{}: {what}", part.part.name)))?
            }
        }
    }
    for manifest in manifests {
        manifest.finish()?;
    }
    let payload = hex(payload.finalize().as_bytes());
    let info = format!(
        "Scelle-TLP: {}\nScelle-Payload: {payload}\n",
        last.cut.collection.tlp
    );
    bag.write("bag-info.txt", info.as_bytes())?;
    bag.write("bagit.txt", BAGIT)?;
    Ok(payload)
}

/// A file's lines of both manifests: `manifest-sha256.txt` and `manifest-blake3.txt`.
fn manifest_lines(line: &FileLine) -> Result<[String; 2], String> {
    if let Some(what) = names::complaint(&line.member) {
        return Err(format!("{}: its name {what}", line.member));
    }
    let (sha256, _) = line
        .member_hashes()
        .ok_or_else(|| format!("{}: there is no hash of what is stored", line.member))?;
    Ok([format!("{sha256}  {}\n", line.member), line.blake3_line()?])
}

struct Bag<'a, 'b> {
    folder: &'a str,
    create: &'a mut CreateFile<'b>,
}

impl Bag<'_, '_> {
    fn create(&mut self, name: &str) -> Result<File, Error> {
        let name = format!("{}{name}", self.folder);
        match (self.create)(&name) {
            Ok(out) => Ok(File {
                name,
                out: io::BufWriter::with_capacity(STEP_BYTES, out),
            }),
            Err(source) => Err(Error::Export { name, source }),
        }
    }

    fn write(&mut self, name: &str, text: &[u8]) -> Result<(), Error> {
        let mut file = self.create(name)?;
        file.write(text)?;
        file.finish()
    }

    /// Writes what a member holds, and compares it with its line.
    fn put(&mut self, shared: &Arc<Shared>, member: &Member, line: &FileLine) -> Result<(), Error> {
        let stream = MemberReader::new(shared, member);
        let mut file = self.create(&line.member)?;
        let mut hasher = Hasher::new();
        // A byte more than its line says, so that a longer one shows.
        let step = line.member_size().saturating_add(1).min(STEP_BYTES as u64);
        let mut buffer = vec![0; step as usize];
        let mut at = 0;
        loop {
            let have = stream.read_full_at(at, &mut buffer)?;
            if have == 0 {
                break;
            }
            hasher.update(&buffer[..have]);
            file.write(&buffer[..have])?;
            at += have as u64;
        }
        file.finish()?;
        check(line, stream.len(), &hasher.finish())
    }
}

fn check(line: &FileLine, length: u64, digests: &Digests) -> Result<(), Error> {
    let name = &line.member;
    if (length, digests.size) != (line.member_size(), line.member_size()) {
        return Err(Error::format(format!(
            "{name}: it has {} bytes, and its line says {}",
            digests.size,
            line.member_size()
        )));
    }
    let (sha256, blake3) = (hex(&digests.sha256), hex(&digests.blake3));
    if line.member_hashes() != Some((&sha256, &blake3)) {
        return Err(Error::format(format!(
            "{name}: it was altered: its hashes are not those of its line"
        )));
    }
    Ok(())
}

/// A file that is being written.
struct File {
    name: String,
    out: io::BufWriter<Box<dyn Write>>,
}

impl File {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out
            .write_all(bytes)
            .map_err(|source| self.failed(source))
    }

    fn finish(mut self) -> Result<(), Error> {
        self.out.flush().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Export {
            name: self.name.clone(),
            source,
        }
    }
}
