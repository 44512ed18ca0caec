//! The end of a bundle: records, manifests, the last checkpoint, the signature.

use std::fmt::Write as _;

use jiff::Timestamp;
use scelle_formats::{Digests, Hasher};

use crate::{
    Act, BundleWriter, Error, FORMAT, Output, StampRequest, Stamper,
    archive::Kind,
    codec::Method,
    file_line::FileLine,
    ledger::{Compressed, Ledger},
    records::ASK_TIME,
    text::hex,
};

/// A bundle that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// BLAKE3 of the tag manifest, in hex: the bundle's id.
    pub root: String,
    /// SHA-256 of the tag manifest, in hex.
    pub root_sha256: String,
    /// BLAKE3 of `manifest-blake3.txt`, in hex: depends on the evidence alone.
    pub payload: String,
    /// Fingerprint of the key that sealed it.
    pub signer: String,
    /// TLP label.
    pub tlp: String,
    /// Payload files.
    pub files: u64,
    /// Payload bytes, as they are stored before compression.
    pub bytes: u64,
    /// Lines of coverage that say that something is not whole.
    pub losses: u64,
    /// Bytes of the archive.
    pub archive_bytes: u64,
    /// The time-stamp, where one was asked for: its time, or why there is none.
    pub stamp: Option<Result<Timestamp, String>>,
}

impl<W: Output> BundleWriter<W> {
    /// Ends and seals the bundle; gives the output back.
    ///
    /// # Errors
    /// When the output takes no more, or the key can't sign.
    pub fn finish(mut self) -> Result<(Sealed, W), Error> {
        let files = if self.is_closed {
            std::mem::take(&mut self.files).finish().0
        } else {
            self.close()?
        };
        let mut manifest = String::new();
        for (name, sha256) in &self.tags {
            manifest.push_str(&hex(sha256));
            manifest.push_str("  ");
            manifest.push_str(name);
            manifest.push('\n');
        }
        let root =
            self.archive
                .put_bytes("tagmanifest-sha256.txt", Method::Store, manifest.as_bytes())?;
        let signature = self.options.key.sign(manifest.as_bytes())?;
        let signer = self.options.key.fingerprint();
        self.archive.put_bytes(
            &format!("signatures/{signer}.asc"),
            Method::Store,
            signature.as_bytes(),
        )?;
        let stamp = match self.options.stamp.take() {
            Some(stamper) => Some(self.stamp(stamper, &signer, signature.as_bytes())?),
            None => None,
        };
        let (out, archive_bytes) = self
            .archive
            .finish(files.lines(), |line| Ok(parse(line)?.member))?;
        Ok((
            Sealed {
                root: hex(&root.blake3),
                root_sha256: hex(&root.sha256),
                payload: self.payload,
                signer,
                tlp: self.options.collection.tlp,
                files: self.payload_files,
                bytes: self.payload_bytes,
                losses: self.losses,
                archive_bytes,
                stamp,
            },
            out,
        ))
    }

    /// Asks for the time of the signature. A service that gives none keeps nothing from being sealed.
    fn stamp(
        &mut self,
        stamper: Stamper,
        signer: &str,
        signature: &[u8],
    ) -> Result<Result<Timestamp, String>, Error> {
        let request = StampRequest::new(signature)?;
        let answer = (stamper.ask)(&request).and_then(|answer| request.accept(&answer));
        let (text, stamp) = match answer {
            Ok(answer) => answer,
            Err(what) => return Ok(Err(format!("{}: {what}", stamper.service))),
        };
        let name = format!("signatures/{signer}.tsr");
        self.archive.put_bytes(&name, Method::Store, &text)?;
        Ok(Ok(stamp.time))
    }

    /// Writes what stands between the payload and the seal; gives the lines of the files.
    fn close(&mut self) -> Result<Compressed, Error> {
        let name = self.options.name.clone();
        if let Some(service) = self.options.stamp.as_ref().map(|one| one.service.clone()) {
            // The answer comes when nothing can be written any more: that it was asked for is sealed.
            self.act(&Act {
                action: ASK_TIME,
                subject: &service,
                way: Some("rfc3161"),
                detail: None,
            });
        }
        self.act(&Act {
            action: "finish",
            subject: &name,
            way: None,
            detail: None,
        });
        let files = std::mem::take(&mut self.files);
        let (files, facts, digests) = files.finish();
        self.archive
            .put_compressed("records/files.jsonl", &files, &facts)?;
        self.tags
            .push(("records/files.jsonl".to_owned(), digests.sha256));
        for (name, ledger) in [
            ("records/coverage.jsonl", std::mem::take(&mut self.coverage)),
            ("records/warnings.jsonl", std::mem::take(&mut self.warnings)),
            ("records/audit.jsonl", std::mem::take(&mut self.audit)),
        ] {
            self.put_ledger(name, ledger)?;
        }
        if let Some(incident) = self.options.incident.take() {
            self.put_tag("records/incident.json", Method::Deflate, &incident)?;
        }
        self.put_manifest("manifest-sha256.txt", &files, |(sha256, _)| sha256)?;
        let payload = self.put_manifest("manifest-blake3.txt", &files, |(_, blake3)| blake3)?;
        self.payload = hex(&payload.blake3);
        let info = self.bag_info();
        self.put_tag("bag-info.txt", Method::Deflate, info.as_bytes())?;
        self.checkpoint(true)?;
        Ok(files)
    }

    fn put_ledger(&mut self, name: &str, ledger: Ledger) -> Result<(), Error> {
        let (compressed, facts, digests) = ledger.finish();
        self.archive.put_compressed(name, &compressed, &facts)?;
        self.tags.push((name.to_owned(), digests.sha256));
        Ok(())
    }

    /// Writes a payload manifest: a hash, two blanks, a name on each line.
    fn put_manifest(
        &mut self,
        name: &str,
        files: &Compressed,
        hash: for<'a> fn((&'a str, &'a str)) -> &'a str,
    ) -> Result<Digests, Error> {
        let mut lines = files.lines();
        let mut text = Vec::new();
        let mut failed = None;
        let mut hasher = Hasher::new();
        self.archive.put_stream(
            Kind::Tag,
            name,
            Method::Deflate,
            self.manifest_bytes,
            |out| {
                while text.len() < out.len() && failed.is_none() {
                    let Some(line) = lines.next() else { break };
                    match manifest_line(line, hash) {
                        Ok(line) => text.extend_from_slice(line.as_bytes()),
                        Err(error) => failed = Some(error),
                    }
                }
                let count = out.len().min(text.len());
                out[..count].copy_from_slice(&text[..count]);
                text.drain(..count);
            },
            |bytes| hasher.update(bytes),
        )?;
        match failed {
            Some(error) => Err(error),
            None => {
                let digests = hasher.finish();
                self.tags.push((name.to_owned(), digests.sha256));
                Ok(digests)
            }
        }
    }

    pub(crate) fn bag_info(&self) -> String {
        let collection = &self.options.collection;
        let mut info = String::new();
        let mut line = |label: &str, value: &str| {
            // A line's end in a value would begin another label.
            let value: String = value
                .chars()
                .map(|c| {
                    if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
                        ' '
                    } else {
                        c
                    }
                })
                .collect();
            writeln!(info, "{label}: {}", value.trim()).expect("a String takes all");
        };
        line("Bagging-Date", &jiff::Timestamp::now().to_string()[..10]);
        line(
            "Bag-Software-Agent",
            &format!("{} {}", collection.tool.name, collection.tool.version),
        );
        if let Some(case) = &collection.case {
            line("External-Identifier", case);
        }
        line(
            "Payload-Oxum",
            &format!("{}.{}", self.payload_bytes, self.payload_files),
        );
        line("Scelle-Format", &FORMAT.to_string());
        if let Some(host) = &collection.host {
            line("Scelle-Host", host);
        }
        line("Scelle-TLP", &collection.tlp);
        line("Scelle-Payload", &self.payload);
        info
    }
}

fn parse(line: &[u8]) -> Result<FileLine, Error> {
    FileLine::parse(line).map_err(Error::format)
}

fn manifest_line(
    line: &[u8],
    hash: for<'a> fn((&'a str, &'a str)) -> &'a str,
) -> Result<String, Error> {
    let line = parse(line)?;
    let hashes = line
        .member_hashes()
        .ok_or_else(|| Error::format("a stored stream without a hash"))?;
    Ok(format!("{}  {}\n", hash(hashes), line.member))
}
