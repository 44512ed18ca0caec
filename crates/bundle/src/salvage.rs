//! What a cut bundle still holds, as a bundle that says that it is a salvage.
//!
//! Members are copied as they are compressed. The checkpoints and certificates of the cut bundle
//! travel in `records/salvaged/`, so that what they vouch for stays vouched for by the keys that
//! did so, whoever made the salvage.

use std::io::{self, Read};

use flate2::read::DeflateDecoder;
use scelle_event::{Coverage, Outcome};
use scelle_formats::{Digests, Hasher, ReadAt};

use crate::{
    Act, BundleWriter, CollectionLoss, Compression, Cut, Decrypted, Ending, Error, Options, Output,
    SealKey, Sealed,
    archive::Kind,
    codec::{Method, SEGMENT_BYTES},
    cut::{Piece, signer_name},
    file_line,
    limits::{ARMOUR_LIMIT, TEXT_LIMIT},
    names,
    reader::{ArchiveReader, Found},
    records::Salvaged,
    writer::{FILES, push_line},
};

/// Where the records of the cut bundle lie.
pub(crate) const FOLDER: &str = "records/salvaged/";
/// The target under which the ledger tells of the cut.
const TARGET: &str = "salvage";

/// What was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvage {
    /// The new bundle.
    pub sealed: Sealed,
    /// The last checkpoint that vouches, and how many payload files and bytes are vouched for.
    pub checkpoint: Option<u64>,
    /// Payload files that checkpoints vouch for.
    pub vouched_files: u64,
    /// Payload files that were whole behind the last checkpoint.
    pub unvouched_files: u64,
    /// Whether only the end was missing: all evidence is there and vouched for.
    pub is_complete: bool,
    /// Of ciphertext that was not just cut but altered: what is wrong with it. Nothing behind that was
    /// read.
    pub altered: Option<String>,
}

/// Makes a bundle of what a cut one still holds: every member that a checkpoint vouches for, and
/// later whole members, marked. `agent` names the program, for the audit log. Where `out` is a
/// message of its own, `session_packets_sha256` is what the salvage says of it.
///
/// # Errors
/// [`Error::Format`] where it does not begin as a bundle does, was not cut, or is a salvage
/// itself; what the output and the key say.
pub fn salvage<W: Output>(
    source: &dyn ReadAt,
    out: W,
    key: SealKey,
    agent: &str,
    session_packets_sha256: Option<String>,
) -> Result<(Salvage, W), Error> {
    let cut = Cut::survey(source)?;
    if cut.is_complete() && ArchiveReader::open(source).is_ok() {
        return Err(Error::format(
            "it has its end, so nothing was cut off; verify says what it is worth",
        ));
    }
    save(&cut, None, out, key, agent, session_packets_sha256)
}

/// Makes a bundle of what a cut ciphertext still holds, as [`salvage`] does; `archive` is what
/// [`Ciphertext::salvage`](crate::Ciphertext::salvage) gives. Where only the message's end is
/// missing, all of the archive may be there.
///
/// # Errors
/// As [`salvage`].
pub fn salvage_message<W: Output>(
    archive: &Decrypted,
    out: W,
    key: SealKey,
    agent: &str,
    session_packets_sha256: Option<String>,
) -> Result<(Salvage, W), Error> {
    let altered = match archive.ending() {
        Ending::Whole => return salvage(archive, out, key, agent, session_packets_sha256),
        Ending::Cut => None,
        Ending::Altered(what) => Some(format!("the ciphertext was altered: {what}")),
    };
    let cut = Cut::survey(archive)?;
    save(&cut, altered, out, key, agent, session_packets_sha256)
}

fn save<W: Output>(
    cut: &Cut<'_>,
    altered: Option<String>,
    out: W,
    key: SealKey,
    agent: &str,
    session_packets_sha256: Option<String>,
) -> Result<(Salvage, W), Error> {
    if cut.collection.salvage.is_some() {
        return Err(Error::format(
            "it is a salvage itself: go back to the bundle that it was made from",
        ));
    }
    let is_complete = cut.is_complete();
    let mut collection = cut.collection.clone();
    collection.salvage = Some(Salvaged {
        archive_blake3: cut.blake3.to_hex().to_string(),
        archive_bytes: cut.source.len(),
        checkpoint: cut.checkpoint().map(|(number, _)| number),
    });
    collection.session_packets_sha256 = session_packets_sha256;
    let mut options = Options::new(collection.name.clone(), collection, key);
    options.compression = Compression::from_name(&options.collection.compression)
        .ok_or_else(|| Error::format("its compression is unknown"))?;
    let mut salvager = Salvager {
        writer: BundleWriter::begin(out, options)?,
        cut,
        altered,
        failed: None,
        unvouched: 0,
    };
    salvager.take_records()?;
    salvager.take_vouched()?;
    let (vouched_files, _) = cut.vouched();
    let name = cut.collection.name.clone();
    let why = salvager.altered.as_ref().map(|why| format!("; {why}"));
    let detail = format!("by {agent}{}", why.unwrap_or_default());
    salvager.writer.act(&Act {
        action: "salvage",
        subject: &name,
        way: None,
        detail: Some(&detail),
    });
    if !is_complete {
        salvager.take_rest()?;
    } else if let Some(why) = &salvager.altered {
        salvager.writer.warn(&CollectionLoss {
            path: None,
            range: None,
            cause: format!("{why}; all that was collected is vouched for all the same"),
        })?;
    }
    let (unvouched_files, altered) = (salvager.unvouched, salvager.altered);
    let (sealed, out) = salvager.writer.finish()?;
    Ok((
        Salvage {
            sealed,
            checkpoint: cut.checkpoint().map(|(number, _)| number),
            vouched_files,
            unvouched_files,
            is_complete,
            altered,
        },
        out,
    ))
}

struct Salvager<'a, W> {
    writer: BundleWriter<W>,
    cut: &'a Cut<'a>,
    /// What is wrong with the ciphertext, where it was not just cut.
    altered: Option<String>,
    /// What went wrong inside a visit.
    failed: Option<Error>,
    unvouched: u64,
}

impl<W: Output> Salvager<'_, W> {
    /// Keeps the records that vouch.
    fn take_records(&mut self) -> Result<(), Error> {
        let cut = self.cut;
        let mut put = |name: &str, text: &[u8]| {
            self.writer
                .put_tag(&format!("{FOLDER}{name}"), Method::Deflate, text)
        };
        let own = |name: &str| name.trim_start_matches("records/").to_owned();
        put("collection.json", &cut.collection_text)?;
        let mut signers = cut.signers.iter().zip(1..);
        for ((_, text, _), number) in signers.by_ref().take(1) {
            put(&own(&signer_name(number)), text)?;
        }
        let mut in_force = 0;
        for mark in &cut.marks {
            while in_force < mark.signer {
                let Some(((_, text, _), number)) = signers.next() else {
                    break;
                };
                put(&own(&signer_name(number)), text)?;
                in_force += 1;
            }
            let read = |found: &Found, cap| found.read(cut.source, cap).map_err(Error::Format);
            let name = format!("checkpoints/{:06}", mark.head.checkpoint);
            put(&format!("{name}.json"), &read(&mark.text, TEXT_LIMIT)?)?;
            put(
                &format!("{name}.asc"),
                &read(&mark.signature, ARMOUR_LIMIT)?,
            )?;
        }
        Ok(())
    }

    /// Copies what checkpoints vouch for, and their lines.
    fn take_vouched(&mut self) -> Result<(), Error> {
        let cut = self.cut;
        for number in 0..cut.marks.len() {
            let result = cut.visit(number, &mut |piece| {
                let writer = &mut self.writer;
                let result = match piece {
                    Piece::Payload(found, line, segments) => {
                        writer.take_file(line)?;
                        writer
                            .archive
                            .copy(&line.member, found, cut.source, segments)
                    }
                    Piece::Tag(_) | Piece::Line(0, _) => Ok(()),
                    Piece::Line(list, line) => {
                        push_line(&mut writer.since[list], line);
                        writer.take_line(list, line)?;
                        writer.checkpoint_if_due()
                    }
                };
                result.map_err(|error| self.failed.insert(error).to_string())
            });
            self.settle(result)?;
        }
        Ok(())
    }

    /// Takes the whole members behind the last checkpoint, and says what is cut off.
    fn take_rest(&mut self) -> Result<(), Error> {
        let cut = self.cut;
        let from = cut.vouched_end();
        let result = cut.visit_rest(&mut |found| {
            let name = &found.name[cut.folder.len()..];
            if !name.starts_with("data/") {
                return Ok(());
            }
            self.take_unvouched(name, found)
                .map_err(|error| self.failed.insert(error).to_string())
        });
        let (at, name, why) = self.settle(result)?;
        let left = cut.source.len() - at;
        if let Some(name) = name.filter(|name| name.starts_with("data/")) {
            self.cut_off(Some(&name), format!("{why}: its {left} bytes are not kept"))?;
        }
        let behind = match cut.checkpoint() {
            Some((number, _)) => format!("checkpoint {number}, at {from} bytes"),
            None => "the beginning: there is no checkpoint".to_owned(),
        };
        let why = match &self.altered {
            Some(altered) => altered.as_str(),
            None => "the collection was cut off",
        };
        self.cut_off(
            None,
            format!(
                "{why}: of what the plan asked for behind {behind}, there is \
                 nothing but the members that are marked"
            ),
        )
    }

    fn take_unvouched(&mut self, name: &str, found: &Found) -> Result<(), Error> {
        let source = self.cut.source;
        if let Some(what) = names::complaint(name) {
            return self.cut_off(Some(name), format!("it is not kept: its name {what}"));
        }
        let mut hasher = Hasher::new();
        if let Err(what) = found.decode(source, &mut |bytes| hasher.update(bytes)) {
            return self.cut_off(Some(name), format!("it is not kept: {what}"));
        }
        let digests = hasher.finish();
        if !self.writer.kept.admit(name) {
            return self.cut_off(Some(name), "it is not kept: its name is taken".into());
        }
        if found.facts.size <= SEGMENT_BYTES as u64 {
            self.writer.archive.copy(name, found, source, &[])?;
        } else {
            self.compress_again(name, found, &digests)?;
        }
        let mut line = Vec::new();
        file_line::write_unvouched(&mut line, name, &digests);
        self.writer.files.push(&line);
        push_line(&mut self.writer.since[FILES], &line);
        self.writer.count_file(name, digests.size);
        self.unvouched += 1;
        self.cut_off(
            Some(name),
            "it is whole, but no checkpoint vouches for it; its exact name, its times and its \
             holes are not known"
                .into(),
        )
    }

    /// Where the segments of a large member end, nobody has said.
    fn compress_again(
        &mut self,
        name: &str,
        found: &Found,
        digests: &Digests,
    ) -> Result<(), Error> {
        let mut reader = Raw::decoder(self.cut.source, found).map_err(Error::Write)?;
        let mut failed = None;
        let mut hasher = Hasher::new();
        self.writer.archive.put_stream(
            Kind::Payload,
            name,
            found.facts.method,
            found.facts.size,
            |out| {
                if let Err(error) = reader.read_exact(out) {
                    failed.get_or_insert(error);
                }
            },
            |bytes| hasher.update(bytes),
        )?;
        match failed {
            Some(error) => Err(Error::format(format!("reading {name} again: {error}"))),
            None if hasher.finish() != *digests => Err(Error::format(format!(
                "reading {name} again gave other bytes"
            ))),
            None => Ok(()),
        }
    }

    fn cut_off(&mut self, path: Option<&str>, why: String) -> Result<(), Error> {
        self.writer.warn(&CollectionLoss {
            path: path.map(str::to_owned),
            range: None,
            cause: why.clone(),
        })?;
        self.writer.cover(&Coverage {
            target: TARGET.to_owned(),
            path: path.map(str::to_owned),
            outcome: Outcome::CutOff,
            detail: Some(why),
        })
    }

    /// The error that a visit ended with: ours, where it was ours.
    fn settle<T>(&mut self, result: Result<T, String>) -> Result<T, Error> {
        result.map_err(|what| self.failed.take().unwrap_or(Error::Format(what)))
    }
}

/// The compressed bytes of a member, as a reader.
struct Raw<'a> {
    source: &'a dyn ReadAt,
    at: u64,
    end: u64,
}

impl<'a> Raw<'a> {
    fn decoder(source: &'a dyn ReadAt, found: &Found) -> io::Result<Box<dyn Read + Send + 'a>> {
        let raw = Self {
            source,
            at: found.data_at,
            end: found.data_at + found.facts.compressed,
        };
        Ok(match found.facts.method {
            Method::Store => Box::new(raw),
            Method::Deflate => Box::new(DeflateDecoder::new(raw)),
            Method::Zstd => Box::new(zstd::stream::read::Decoder::new(raw)?),
        })
    }
}

impl Read for Raw<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = (self.end - self.at).min(out.len() as u64) as usize;
        let count = self.source.read_at(self.at, &mut out[..count])?;
        self.at += count as u64;
        Ok(count)
    }
}
