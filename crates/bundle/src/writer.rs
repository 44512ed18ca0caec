//! Writing a bundle.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use scelle_event::{Coverage, Outcome, StreamId};
use scelle_formats::ReadAt;

use crate::{
    Act, Collection, CollectionLoss, Compression, Error, FORMAT, Output, Resumed, SealKey, Stamper,
    archive::{Archive, Kind, from_io, to_io},
    checkpoint::{self, Head, Since},
    codec::Method,
    file_line::{self, Content},
    ledger::Ledger,
    limits::{BAG_INFO_LIMIT, BAG_INFO_ROOM, COLLECTION_LIMIT, NAMES_LIMIT, TEXT_LIMIT, stretch},
    logged::{Cursor, Listener, Logged},
    names::Names,
    records::{self, AuditChain},
    stored::{Layout, StoredReader, StreamHasher},
    take::{Added, Bytes, Prepared, Source, Stream, Taken, is_encrypted},
    text::hex,
};

/// Lines that wait for a checkpoint, in bytes, before one is written whatever its distance.
const WAITING_BYTES: usize = 4 << 20;
/// Times that many at most, once there are so many checkpoints that they are further apart.
const MOST_WAITING: u32 = 4;
/// Streams under way a thread, each held in memory as it is compressed.
const WINDOW_PER_THREAD: usize = 4;

/// What a bundle is made with.
pub struct Options {
    /// The bundle's name: the folder in the archive.
    pub name: String,
    /// What `records/collection.json` says; the writer sets format, name, compression, and of a
    /// further part what it resumes.
    pub collection: Collection,
    /// How payload files are compressed.
    pub compression: Compression,
    /// The key that seals.
    pub key: SealKey,
    /// The incident record, where there is one.
    pub incident: Option<Vec<u8>>,
    /// Checkpoints are at most this many bytes apart, as far as whole streams allow: twice as many
    /// after each 8,192 of them.
    pub checkpoint_bytes: u64,
    /// And this long.
    pub checkpoint_time: Duration,
    /// Of a further part: the last checkpoint of those before that was logged.
    pub continues: Option<Logged>,
    /// Hears of each checkpoint once it is on the device, with all before it.
    pub logged: Option<Listener>,
    /// Who is asked for the time of the seal.
    pub stamp: Option<Stamper>,
}

impl Options {
    /// The usual distances between checkpoints: 64 MiB and 30 seconds.
    pub fn new(name: impl Into<String>, collection: Collection, key: SealKey) -> Self {
        Self {
            name: name.into(),
            collection,
            compression: Compression::default(),
            key,
            incident: None,
            continues: None,
            checkpoint_bytes: 64 << 20,
            checkpoint_time: Duration::from_secs(30),
            logged: None,
            stamp: None,
        }
    }
}

/// Writes one bundle, from its first byte to its seal.
pub struct BundleWriter<W> {
    pub(crate) archive: Archive<W>,
    pub(crate) options: Options,
    /// Of all streams so far, those that were lost included.
    pub(crate) names: Names,
    /// Of what is kept of a bundle that was cut off.
    pub(crate) kept: Names,
    pub(crate) files: Ledger,
    pub(crate) coverage: Ledger,
    pub(crate) warnings: Ledger,
    pub(crate) audit: Ledger,
    pub(crate) chain: AuditChain,
    pub(crate) since: Since,
    pub(crate) checkpoints: u64,
    pub(crate) previous: Option<blake3::Hash>,
    pub(crate) last_checkpoint: (u64, Instant),
    /// Name and SHA-256 of each tag file.
    pub(crate) tags: Vec<(String, [u8; 32])>,
    /// Bytes of each payload manifest; both have lines of one length.
    pub(crate) manifest_bytes: u64,
    pub(crate) payload_files: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) losses: u64,
    pub(crate) warned: u64,
    pub(crate) cursor: Cursor,
    /// Whether the last checkpoint is written: only the seal is missing.
    pub(crate) is_closed: bool,
    /// The payload id, once it is known.
    pub(crate) payload: String,
    line: Vec<u8>,
}

pub(crate) const FILES: usize = 1;
pub(crate) const COVERAGE: usize = 2;
pub(crate) const WARNINGS: usize = 3;
pub(crate) const AUDIT: usize = 4;

impl<W: Output> BundleWriter<W> {
    /// Begins a bundle.
    ///
    /// # Errors
    /// [`Error::Name`] for a name that is no plain folder, [`Error::Format`] for a label that is none, [`Error::TooLong`] for what
    /// nobody would read; what the output and the key say.
    pub fn create(out: W, options: Options) -> Result<Self, Error> {
        let mut writer = Self::begin(out, options)?;
        let name = writer.options.name.clone();
        let before = writer.options.continues.as_ref();
        let detail = before.map(|logged| {
            let before = writer.options.collection.part.saturating_sub(1);
            format!("after checkpoint {} of part {before}", logged.checkpoint)
        });
        writer.act(&Act {
            action: detail.as_ref().map_or("start", |_| "resume"),
            subject: &name,
            way: None,
            detail: detail.as_deref(),
        });
        Ok(writer)
    }

    /// Writes what stands before the payload.
    pub(crate) fn begin(out: W, mut options: Options) -> Result<Self, Error> {
        if !is_plain(&options.name) {
            return Err(Error::Name(options.name));
        }
        let collection = &mut options.collection;
        collection.format = FORMAT;
        collection.name.clone_from(&options.name);
        collection.compression = options.compression.name().to_owned();
        collection.part = collection.part.max(1);
        collection.label().map_err(Error::Format)?;
        if let Some(before) = &options.continues {
            collection.resumes = Some(Resumed {
                checkpoint_blake3: before.blake3.clone(),
                checkpoint: before.checkpoint,
            });
        }
        let mut text = serde_json::to_vec_pretty(collection)
            .map_err(|error| Error::format(error.to_string()))?;
        text.push(b'\n');
        let hint = "collect fewer volumes at once";
        Error::unless_read(
            "records/collection.json",
            text.len(),
            COLLECTION_LIMIT,
            hint,
        )?;
        let certificate = options.key.certificate()?;
        let archive = Archive::new(out, &options.name);
        let mut writer = Self::around(archive, options);
        writer.continue_from_part()?;
        let info = writer.bag_info().len() + BAG_INFO_ROOM;
        Error::unless_read("bag-info.txt", info, BAG_INFO_LIMIT, "say less of the case")?;
        writer.put_tag("bagit.txt", Method::Deflate, BAGIT.as_bytes())?;
        writer.put_tag("records/collection.json", Method::Deflate, &text)?;
        writer.put_tag(SIGNER, Method::Deflate, certificate.as_bytes())?;
        Ok(writer)
    }

    /// A writer that has written nothing yet.
    pub(crate) fn around(archive: Archive<W>, options: Options) -> Self {
        Self {
            archive,
            options,
            names: Names::default(),
            kept: Names::default(),
            files: Ledger::default(),
            coverage: Ledger::default(),
            warnings: Ledger::default(),
            audit: Ledger::default(),
            chain: AuditChain::default(),
            since: Since::default(),
            checkpoints: 0,
            previous: None,
            last_checkpoint: (0, Instant::now()),
            tags: Vec::new(),
            manifest_bytes: 0,
            payload_files: 0,
            payload_bytes: 0,
            losses: 0,
            warned: 0,
            cursor: Cursor::default(),
            is_closed: false,
            payload: String::new(),
            line: Vec::new(),
        }
    }

    /// Adds streams in order: reads, hashes, compresses on the caller's rayon pool; the bytes
    /// don't depend on its threads. `done` hears of each, in order.
    ///
    /// A stream that can't be read is a line of coverage and a warning, and no error.
    ///
    /// # Errors
    /// When the output takes no more.
    pub fn add_all<S: Source>(
        &mut self,
        count: usize,
        source: impl Fn(usize) -> S + Sync,
        done: impl Fn(&Added) + Sync,
    ) -> Result<(), Error>
    where
        W: Send,
    {
        let method = self.options.compression.method();
        let window = (rayon::current_num_threads() + 1) * WINDOW_PER_THREAD;
        let writer = Mutex::new(self);
        scelle_parallel::ordered(
            count,
            window,
            |index, buffer| Prepared::new(index, source(index), method, buffer),
            |prepared| {
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                writer.add(prepared, method, &done).map_err(to_io)
            },
        )
        .map_err(from_io)
    }

    /// Writes a line of coverage: for what was asked for and is no stream of the plan.
    ///
    /// # Errors
    /// When a checkpoint is due and the output takes no more.
    pub fn cover(&mut self, coverage: &Coverage) -> Result<(), Error> {
        self.note_coverage(coverage);
        self.checkpoint_if_due()
    }

    fn note_coverage(&mut self, coverage: &Coverage) {
        let loss = u64::from(coverage.outcome.is_loss());
        self.losses = self.losses.saturating_add(loss);
        self.cursor.pass(&coverage.target, coverage.path.as_deref());
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        records::write_coverage(&mut line, coverage);
        self.coverage.push(&line);
        push_line(&mut self.since[COVERAGE], &line);
        self.line = line;
    }

    /// Writes a warning.
    ///
    /// # Errors
    /// When a checkpoint is due and the output takes no more.
    pub fn warn(&mut self, loss: &CollectionLoss) -> Result<(), Error> {
        self.note_loss(loss);
        self.checkpoint_if_due()
    }

    fn note_loss(&mut self, loss: &CollectionLoss) {
        // A further part goes on from what a side file says, which may be anything.
        self.warned = self.warned.saturating_add(1);
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        records::write_loss(&mut line, loss);
        self.warnings.push(&line);
        push_line(&mut self.since[WARNINGS], &line);
        self.line = line;
    }

    /// A warning for each range that could not be read, and one for the rest where they would
    /// fill a checkpoint: `records/files.jsonl` lists them all.
    fn note_unread(&mut self, id: &str, unread: &[file_line::Piece], cause: &str) {
        let begin = self.since[WARNINGS].len();
        for (at, (offset, length)) in unread.iter().enumerate() {
            let mut loss = CollectionLoss {
                path: Some(id.to_owned()),
                range: Some(*offset..offset + length),
                cause: cause.to_owned(),
            };
            let rest = &unread[at..];
            if let [_, .., (last, bytes)] = rest
                && self.since[WARNINGS].len() - begin > WAITING_BYTES
            {
                let count = rest.len();
                loss.range = Some(*offset..last + bytes);
                loss.cause = format!(
                    "{cause}; of this range {count} parts, which records/files.jsonl lists"
                );
                self.note_loss(&loss);
                return;
            }
            self.note_loss(&loss);
        }
    }

    /// Writes a line of the audit log, with the host's time.
    pub fn act(&mut self, act: &Act<'_>) {
        self.act_at(Timestamp::now(), act);
    }

    fn act_at(&mut self, at: Timestamp, act: &Act<'_>) {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        self.chain.write(&mut line, &at.to_string(), act);
        self.audit.push(&line);
        push_line(&mut self.since[AUDIT], &line);
        self.line = line;
    }

    fn add<S: Source>(
        &mut self,
        prepared: Prepared<S>,
        method: Method,
        done: &(impl Fn(&Added) + Sync),
    ) -> Result<(), Error> {
        let Prepared {
            index,
            source,
            at,
            bytes,
        } = prepared;
        let stream = source.stream();
        let id = StreamId {
            volume: stream.volume.as_ref().into(),
            path: stream.entry.path.clone(),
            stream: stream.stream.as_deref().cloned(),
        }
        .to_string();
        // What is lost has its name too: else those of others would depend on what could be read.
        let member = self.name_of(&stream);
        let (taken, member) = match bytes {
            Err(lost) => (lost, None),
            Ok(bytes) => {
                let taken = match bytes {
                    Bytes::Whole(taken, blocks) => {
                        self.archive
                            .put_blocks(Kind::Payload, &member, method, &blocks)?;
                        taken
                    }
                    Bytes::Large(reader) => Box::new(self.add_large(&member, method, &*reader)?),
                };
                (taken, Some(member))
            }
        };
        let mut taken = taken;
        if taken.outcome == Outcome::Collected && is_encrypted(&stream) {
            taken.outcome = Outcome::EncryptedRaw;
            let detail = "encrypted by EFS: whole sectors of ciphertext";
            taken.cause.get_or_insert_with(|| detail.to_owned());
        }
        let first = taken.cause.clone();
        let mut left_out = None;
        if let (Some(member), Some(content)) = (&member, &taken.content) {
            left_out = self.note_file(&stream, member, content);
        }
        match &taken.content {
            Some(content) => {
                self.note_unread(&id, &content.unread, first.as_deref().unwrap_or_default());
            }
            None => self.note_loss(&CollectionLoss {
                path: Some(id.clone()),
                range: None,
                cause: first.clone().unwrap_or_default(),
            }),
        }
        if let Some(cause) = &left_out {
            if !taken.outcome.is_loss() {
                taken.outcome = Outcome::Partial;
            }
            self.note_loss(&CollectionLoss {
                path: Some(id.clone()),
                range: None,
                cause: cause.clone(),
            });
        }
        let first = match (first, left_out) {
            (Some(first), Some(second)) => Some(format!("{first}; {second}")),
            (first, second) => first.or(second),
        };
        self.act_at(
            at,
            &Act {
                action: "read",
                subject: &id,
                way: Some(&stream.way),
                detail: first.as_deref(),
            },
        );
        self.note_coverage(&Coverage {
            target: stream.target.clone().into_owned(),
            path: Some(id),
            outcome: taken.outcome,
            detail: first.clone(),
        });
        done(&Added {
            index,
            outcome: taken.outcome,
            size_bytes: taken.content.map_or(0, |content| content.size),
            cause: first,
        });
        self.checkpoint_if_due()
    }

    /// Adds a stream that is too large for one thread.
    fn add_large(
        &mut self,
        member: &str,
        method: Method,
        reader: &dyn ReadAt,
    ) -> Result<Taken, Error> {
        let layout = Layout::of(reader);
        let mut stored = StoredReader::new(reader, &layout);
        let mut hasher = StreamHasher::new(layout.size, &layout.pieces);
        self.archive.put_stream(
            Kind::Payload,
            member,
            method,
            layout.stored_bytes(),
            |out| stored.fill(out),
            |bytes| hasher.update(bytes),
        )?;
        let (unread, cause) = (stored.unread, stored.cause);
        Ok(Taken::new(layout, hasher, unread, cause))
    }

    /// Writes a file's line; says which of its names are not in it.
    fn note_file(
        &mut self,
        stream: &Stream<'_>,
        member: &str,
        content: &Content,
    ) -> Option<String> {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        let left_out = file_line::write(
            &mut line,
            &stream.volume,
            &stream.entry,
            stream.stream.as_deref(),
            member,
            content,
        );
        self.files.push(&line);
        push_line(&mut self.since[FILES], &line);
        self.line = line;
        let bytes = match &content.stored {
            Some((_, digests)) => digests.size,
            None => content.size,
        };
        self.count_file(member, bytes);
        (left_out > 0).then(|| {
            let count = stream.entry.names.len();
            format!(
                "the last {left_out} of its {count} names are not in records/files.jsonl, which \
                 has no room for more than {NAMES_LIMIT} bytes of them"
            )
        })
    }

    /// Counts a payload file for the manifests.
    pub(crate) fn count_file(&mut self, member: &str, bytes: u64) {
        // 64 hex digits, two blanks, the name, the line's end.
        self.manifest_bytes += 64 + 2 + member.len() as u64 + 1;
        self.payload_files += 1;
        self.payload_bytes += bytes;
    }

    pub(crate) fn put_tag(
        &mut self,
        name: &str,
        method: Method,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let digests = self.archive.put_bytes(name, method, bytes)?;
        self.tags.push((name.to_owned(), digests.sha256));
        Ok(())
    }

    pub(crate) fn checkpoint_if_due(&mut self) -> Result<(), Error> {
        let waiting: usize = self.since.iter().map(Vec::len).sum();
        let (length, at) = self.last_checkpoint;
        let (stretch, options) = (stretch(self.checkpoints), &self.options);
        let is_due = waiting >= WAITING_BYTES * stretch.min(MOST_WAITING) as usize
            || self.archive.len() - length
                >= options.checkpoint_bytes.saturating_mul(stretch.into())
            || at.elapsed() >= options.checkpoint_time.saturating_mul(stretch);
        if is_due {
            self.checkpoint(false)
        } else {
            Ok(())
        }
    }

    /// Writes a checkpoint and puts all before it on the device.
    pub(crate) fn checkpoint(&mut self, last: bool) -> Result<(), Error> {
        for segments in self.archive.segments.drain(..) {
            let text =
                serde_json::to_vec(&segments).map_err(|error| Error::format(error.to_string()))?;
            push_line(&mut self.since[0], &text);
        }
        self.checkpoints += 1;
        let head = Head {
            checkpoint: self.checkpoints,
            previous: self.previous.map(|hash| hash.to_hex().to_string()),
            length: self.archive.len(),
            blake3: hex(self.archive.hash()?.as_bytes()),
            last,
        };
        let text = checkpoint::write(&head, &self.since);
        if text.len() as u64 > TEXT_LIMIT {
            return Err(Error::Write(io::Error::other(format!(
                "checkpoint {} would have {} bytes, more than the {TEXT_LIMIT} that are read",
                self.checkpoints,
                text.len()
            ))));
        }
        self.since.iter_mut().for_each(Vec::clear);
        let hash = blake3::hash(&text);
        self.previous = Some(hash);
        let signature = self.options.key.sign(&text)?;
        let method = if last { Method::Store } else { Method::Deflate };
        let name = format!("records/checkpoints/{:06}", self.checkpoints);
        self.put_tag(&format!("{name}.json"), method, &text)?;
        // A text is read as one stream: the one that would list its segments may never come.
        self.archive.segments.clear();
        self.put_tag(&format!("{name}.asc"), method, signature.as_bytes())?;
        self.archive.sync()?;
        if let Some(logged) = &mut self.options.logged {
            logged(&Logged {
                checkpoint: self.checkpoints,
                blake3: hash.to_hex().to_string(),
                cursor: self.cursor,
                warnings: self.warned,
                losses: self.losses,
                is_last: last,
            })
            .map_err(Error::Write)?;
        }
        self.last_checkpoint = (self.archive.len(), Instant::now());
        Ok(())
    }
}

/// `bagit.txt`, RFC 8493 section 2.1.1.
pub(crate) const BAGIT: &str = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n";
/// The certificate of the key that seals.
pub(crate) const SIGNER: &str = "records/signer.cert.asc";

/// Whether a name is one plain folder on every system.
pub(crate) fn is_plain(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && !name.starts_with(['.', '-'])
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && crate::names::complaint(name).is_none()
}

pub(crate) fn push_line(lines: &mut Vec<u8>, line: &[u8]) {
    lines.extend_from_slice(line);
    lines.push(b'\n');
}
