//! Windows event logs, `*.evtx` (Vista and later).
//!
//! The layout is told by [`scelle_formats::evtx`]: a header of 4096 bytes, then chunks of 64 KiB
//! that stand on their own, so that a log is cut into whole chunks and parsed in parallel.
//!
//! # Damage
//! - A damaged file header costs nothing but its flags: chunks are found by their own magic.
//! - A chunk without its magic is stepped over with a `Loss::Record` warning, unless it holds
//!   nothing but zeros, as the preallocated end of every log does. Records that it still holds
//!   are recovered.
//! - A chunk of zeros among those that the file header counts was wiped: `Loss::Record`.
//! - Wrong checksums of a chunk are warned of; its records are decoded all the same.
//! - A record that lies outside a chunk's declared records, or has an id that a chunk with a
//!   wrong checksum does not declare, is marked as recovered.
//! - A record whose binary XML is damaged still yields its id and the time it was written.
//!
//! # Sources
//! - libyal/libevtx, "Windows XML Event Log (EVTX) format".
//! - [MS-EVEN6], BinXml and the event schema.

use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

use scelle_event::{Loss, Meaning, Span, Stamp};
use scelle_formats::{
    DecodeError, ReadAtExt,
    evtx::{
        CHUNK_BYTES, CHUNK_MAGIC, ChunkHeader, Damage, Decoder, FILE_HEADER_BYTES, FILE_MAGIC,
        FileHeader, Located, records,
    },
};
use smallvec::SmallVec;

use crate::{
    Apart, Artefact, Candidate, Chunked, Cut, Descriptor, Emitter, Input, ParseAlone, Parser, Unit,
};

use super::evtx_record::{EventRecord, SCHEMA};

/// `windows.evtx`.
pub struct Evtx;

static DESCRIPTOR: Descriptor = Descriptor {
    id: "windows.evtx",
    summary: "Windows event logs: every record with its system fields and data, deleted ones too.",
    locations: &["Windows/System32/winevt/Logs/*.evtx"],
    specifications: &[
        "libyal/libevtx: Windows XML Event Log (EVTX) format",
        "[MS-EVEN6]: EventLog Remoting Protocol Version 6.0, BinXml",
    ],
    schemas: &[&SCHEMA],
    companions: &[],
};

/// Chunks in one unit of work.
const UNIT_CHUNKS: usize = 8;

impl Artefact for Evtx {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn recognises(&self, candidate: &Candidate<'_>) -> bool {
        let head = candidate.head();
        if head.starts_with(FILE_MAGIC) || head.starts_with(CHUNK_MAGIC) {
            return true;
        }
        // A damaged file header: the first chunk tells. The name keeps the probe rare.
        candidate.name_ends_with(".evtx")
            && candidate.bytes().is_some_and(|bytes| {
                let first = FILE_HEADER_BYTES..FILE_HEADER_BYTES + CHUNK_MAGIC.len() as u64;
                bytes
                    .read_range(first, CHUNK_MAGIC.len())
                    .is_ok_and(|magic| magic == CHUNK_MAGIC)
            })
    }

    fn parser(&self) -> Parser {
        Parser::Chunks(&Self)
    }

    fn alone(&self) -> Option<&dyn ParseAlone> {
        Some(self)
    }
}

impl Chunked for Evtx {
    type Head = Head;
    type Part = ();
    type Survey = ();

    const SURVEYED: bool = false;

    fn prepare(&self, input: Input<'_>, out: &mut Emitter<'_>) -> Result<(Head, Cut), DecodeError> {
        let len = input.stream.len();
        let mut counted_to = 0;
        let mut head = [0; SUMMED_HEAD_BYTES];
        let have = input.stream.read_full_at(0, &mut head)?;
        let start = match FileHeader::decode(&head[..have]) {
            Ok(header) => {
                if !header.checksum_ok {
                    warn_header(out, "the checksum of the file header is wrong");
                }
                let room = len.saturating_sub(FILE_HEADER_BYTES) / CHUNK_BYTES as u64;
                if u64::from(header.chunks) > room || len < FILE_HEADER_BYTES {
                    let cause = format!(
                        "the header counts {} chunks, the file has room for {room}",
                        header.chunks
                    );
                    out.warn(len..len, Loss::Rest, cause);
                }
                counted_to = FILE_HEADER_BYTES + u64::from(header.chunks) * CHUNK_BYTES as u64;
                if u64::from(header.chunks_at) != FILE_HEADER_BYTES {
                    let at = header.chunks_at;
                    warn_header(
                        out,
                        &format!("the chunks are said to begin at {at}, not 4096"),
                    );
                }
                FILE_HEADER_BYTES
            }
            Err(_) if head.starts_with(CHUNK_MAGIC) => {
                warn_header(out, "the file begins with a chunk, without a header");
                0
            }
            Err(error) => {
                let first = FILE_HEADER_BYTES..FILE_HEADER_BYTES + CHUNK_MAGIC.len() as u64;
                if input.stream.read_range(first, CHUNK_MAGIC.len())? != CHUNK_MAGIC {
                    return Err(error);
                }
                warn_header(out, &error.to_string());
                FILE_HEADER_BYTES
            }
        };
        let cut = Cut {
            range: start.min(len)..len,
            unit_bytes: UNIT_CHUNKS * CHUNK_BYTES,
            apart: Some(Apart {
                record_bytes: CHUNK_BYTES,
                first: 0,
                counted_to,
            }),
        };
        let head = Head {
            counted_to,
            decoders: Decoders::default(),
        };
        Ok((head, cut))
    }

    fn scout(&self, _head: &Head, _unit: Unit<'_>) {}

    fn survey(&self, _head: &Head, _parts: Vec<()>, _input: Input<'_>) {}

    fn parse(
        &self,
        head: &Head,
        _survey: &(),
        unit: Unit<'_>,
        out: &mut Emitter<'_>,
    ) -> Result<(), DecodeError> {
        let mut decoder = head.decoders.take();
        let mut base = unit.base;
        for bytes in unit.bytes.chunks(CHUNK_BYTES) {
            parse_chunk(&mut decoder, bytes, base, base < head.counted_to, out);
            base += bytes.len() as u64;
        }
        head.decoders.give_back(decoder);
        Ok(())
    }
}

/// What all units of a log share.
#[derive(Debug)]
pub struct Head {
    /// Where the chunks end that the file header counts; 0 where there is no such header.
    counted_to: u64,
    decoders: Decoders,
}

/// Decoders that wait for the next unit: one that has seen templates need not compile them again.
/// Which one a unit gets shows in no result.
#[derive(Debug, Default)]
struct Decoders(Mutex<Vec<Decoder>>);

impl Decoders {
    fn take(&self) -> Decoder {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.pop().unwrap_or_default()
    }

    fn give_back(&self, decoder: Decoder) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(decoder);
    }
}

/// The part of the file header that says anything.
const SUMMED_HEAD_BYTES: usize = 128;

fn warn_header(out: &mut Emitter<'_>, cause: &str) {
    out.warn(
        0..SUMMED_HEAD_BYTES as u64,
        Loss::Field("file header"),
        cause,
    );
}

fn parse_chunk(
    decoder: &mut Decoder,
    chunk: &[u8],
    base: u64,
    is_counted: bool,
    out: &mut Emitter<'_>,
) {
    let whole = base..base + chunk.len() as u64;
    let header = match ChunkHeader::decode(chunk, base) {
        Ok(header) => Some(header),
        Err(_) if chunk.iter().all(|byte| *byte == 0) => {
            if is_counted {
                let cause = "the file header counts this chunk, and it holds nothing but zeros";
                out.warn(whole, Loss::Record, cause);
            }
            return;
        }
        Err(error) => {
            out.warn(whole.clone(), Loss::Record, error.to_string());
            None
        }
    };
    if chunk.len() < CHUNK_BYTES {
        let cause = format!("the last chunk has {} of {CHUNK_BYTES} bytes", chunk.len());
        out.warn(whole, Loss::Record, cause);
    }
    if let Some(header) = &header {
        if !header.header_ok {
            let cause = "the checksum of the chunk header is wrong";
            out.warn(base..base + 512, Loss::Field("chunk header"), cause);
        }
        if !header.records_ok {
            let records = base + 512..base + header.declared_end(chunk.len()) as u64;
            let cause = "the checksum of the chunk's records is wrong";
            out.warn(records, Loss::Field("records checksum"), cause);
        }
    }
    decoder.start_chunk();
    records(chunk, header.as_ref(), |found| match found {
        Ok(located) => observe(decoder, chunk, base, &located, out),
        Err(Damage { range, why }) => out.warn(in_stream(&range, base), Loss::Record, why),
    });
}

pub(super) fn observe(
    decoder: &mut Decoder,
    chunk: &[u8],
    base: u64,
    located: &Located,
    out: &mut Emitter<'_>,
) {
    let range = in_stream(&located.range, base);
    let span = Span::new(range).numbered(located.id);
    if !located.closed {
        let cause = "the size at the record's end is not the one at its start";
        out.warn_at(span.clone().into(), Loss::Field("size"), cause);
    }
    let event = match decoder.decode(chunk, base, located.body()) {
        Ok(event) => Some(event),
        Err(error) => {
            out.warn_at(span.clone().into(), Loss::Field("event"), error.to_string());
            None
        }
    };
    let record = EventRecord::new(located, event);
    let mut times: SmallVec<[Stamp; 2]> = SmallVec::new();
    times.extend(record.time_created());
    let written = Stamp::filetime(located.written, Meaning::Recorded);
    times.extend(
        written.filter(|written| times.iter().all(|created| created.moment != written.moment)),
    );
    out.observe_at(span.into(), &times, &record);
}

fn in_stream(range: &Range<usize>, base: u64) -> Range<u64> {
    base + range.start as u64..base + range.end as u64
}
