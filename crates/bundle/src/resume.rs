//! Going on with a bundle that was cut off, with a new key, behind its last checkpoint: in the same
//! archive, or in a further part.

use std::time::Instant;

use scelle_formats::Hasher;

use crate::{
    Act, BundleWriter, Cut, Error, Options, Output, Stream,
    archive::{Archive, Kind},
    codec::Method,
    cut::{Piece, signer_name},
    file_line::FileLine,
    reader::Found,
    records::CoverageLine,
    text::hex,
    writer::{AUDIT, COVERAGE, FILES, WARNINGS},
};

impl<W: Output> BundleWriter<W> {
    /// Goes on with a bundle that was cut off. `out` takes what comes behind the first
    /// [`kept_bytes`](Cut::kept_bytes) bytes; whatever followed them is to be gone.
    ///
    /// Name and `records/collection.json` stay as they are; of `options` the key, the incident
    /// record and the distances count. The certificate of the key becomes a further tag file.
    ///
    /// # Errors
    /// [`Error::Format`] where `options` compress otherwise, or a checkpoint can't be read again;
    /// what the output and the key say.
    pub fn resume(cut: &Cut<'_>, out: W, mut options: Options) -> Result<Self, Error> {
        let collection = cut.collection();
        if options.compression.name() != collection.compression {
            return Err(Error::format(format!(
                "it was begun with {}, and can't go on with {}",
                collection.compression,
                options.compression.name()
            )));
        }
        options.name.clone_from(&collection.name);
        options.collection.clone_from(collection);
        let kept = cut.kept_bytes();
        let archive = Archive::resume(out, &options.name, cut.hasher.clone(), kept);
        let mut writer = Self::around(archive, options);
        writer.replay(cut).map_err(Error::Format)?;
        writer.last_checkpoint = (kept, Instant::now());
        let certificate = writer.options.key.certificate()?;
        let name = signer_name(cut.signers.len() as u64 + 1);
        if cut.is_complete() {
            // Nothing vouches for bytes behind the last checkpoint: only what has one form.
            writer.put_tag(&name, Method::Store, certificate.as_bytes())?;
            return Ok(writer);
        }
        writer.put_tag(&name, Method::Deflate, certificate.as_bytes())?;
        let subject = writer.options.name.clone();
        let detail = match cut.checkpoint() {
            Some((number, _)) => format!("after checkpoint {number}, at {kept} bytes"),
            None => format!("before any checkpoint, at {kept} bytes"),
        };
        writer.act(&Act {
            action: "resume",
            subject: &subject,
            way: None,
            detail: Some(&detail),
        });
        Ok(writer)
    }

    /// Counts on from where the part before ends.
    pub(crate) fn continue_from_part(&mut self) -> Result<(), Error> {
        let Some(before) = &self.options.continues else {
            return Ok(());
        };
        let hash = blake3::Hash::from_hex(&before.blake3)
            .map_err(|error| Error::format(format!("the last checkpoint's hash: {error}")))?;
        self.previous = Some(hash);
        (self.cursor, self.warned) = (before.cursor, before.warnings);
        self.losses = before.losses;
        Ok(())
    }

    /// Goes past a stream that there is, or was lost, before the cut: its name is taken.
    pub fn pass_over(&mut self, stream: &Stream<'_>) {
        self.names
            .assign(&stream.volume, &stream.entry, stream.stream.as_deref());
    }

    /// The member name of the next stream. It depends on the streams before it alone, unless what is
    /// kept of a cut bundle is no longer what the source begins with.
    pub(crate) fn name_of(&mut self, stream: &Stream<'_>) -> String {
        let (entry, named) = (&stream.entry, stream.stream.as_deref());
        let name = self.names.assign(&stream.volume, entry, named);
        if self.kept.is_empty() || self.kept.admit(&name) {
            return name;
        }
        self.kept.assign(&stream.volume, entry, named)
    }

    /// Whether all of the collection is there, and [`finish`](BundleWriter::finish) is all that is
    /// left to do: nothing can be added any more.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Takes in what is kept.
    fn replay(&mut self, cut: &Cut<'_>) -> Result<(), String> {
        for found in &cut.head {
            self.know_tag(cut, found)?;
        }
        for (number, mark) in cut.marks.iter().enumerate() {
            cut.visit(number, &mut |piece| match piece {
                Piece::Payload(found, line, _) => {
                    self.archive
                        .known(Kind::Payload, &line.member, &found.facts);
                    self.take_file(line)
                }
                Piece::Tag(found) => self.know_tag(cut, found),
                Piece::Line(list, line) => self.take_line(list, line),
            })?;
            self.know_tag(cut, &mark.text)?;
            self.know_tag(cut, &mark.signature)?;
            self.checkpoints = mark.head.checkpoint;
            let hash = blake3::Hash::from_hex(&mark.hash).map_err(|error| error.to_string())?;
            self.previous = Some(hash);
            self.is_closed = mark.head.last;
        }
        Ok(())
    }

    fn know_tag(&mut self, cut: &Cut<'_>, found: &Found) -> Result<(), String> {
        let name = &found.name[cut.folder.len()..];
        let mut hasher = Hasher::new();
        found.decode(cut.source, &mut |bytes| hasher.update(bytes))?;
        let digests = hasher.finish();
        self.archive.known(Kind::Tag, name, &found.facts);
        self.tags.push((name.to_owned(), digests.sha256));
        if name == "manifest-blake3.txt" {
            self.payload = hex(&digests.blake3);
        }
        Ok(())
    }

    /// Counts a payload file that was written before.
    pub(crate) fn take_file(&mut self, line: &FileLine) -> Result<(), String> {
        if !self.kept.admit(&line.member) {
            return Err(format!("{:?} is there twice", line.member));
        }
        self.count_file(&line.member, line.member_size());
        Ok(())
    }

    /// Takes over a line of the list of that number.
    pub(crate) fn take_line(&mut self, list: usize, line: &[u8]) -> Result<(), String> {
        match list {
            FILES => self.files.push(line),
            COVERAGE => {
                let parsed = CoverageLine::parse(line)?;
                self.cursor.pass(&parsed.target, parsed.path.as_deref());
                self.losses += u64::from(parsed.is_loss()?);
                self.coverage.push(line);
            }
            WARNINGS => {
                self.warned += 1;
                self.warnings.push(line);
            }
            AUDIT => {
                self.chain.check(line)?;
                self.audit.push(line);
            }
            _ => {}
        }
        Ok(())
    }
}
