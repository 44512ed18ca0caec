//! Body files: what `fls -m /` of the Sleuth Kit 3.x writes.
//!
//! # Layout
//! `MD5|name|inode|mode|UID|GID|size|atime|mtime|ctime|crtime`, one line a name and an entry, not
//! a time, in the order of the records. The hash is `0`: nobody computed one. Mode shows the type
//! letters and every permission, user and group are 0: NTFS has no such thing, and what `fls`
//! prints there is its own guess. Times are whole seconds, cut and not rounded; 0 where the record
//! has none.
//!
//! Records that name no file-system entry have no line; their times are in the other formats.
//! # Sources
//! - wiki.sleuthkit.org, "Body file" (version 3.x).

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use scelle_event::{Consumer, Context, FileLine, Observation, Sink, UtcNanos, Warning, json};

/// Writes the body-file lines of records, in their order, and warnings as JSON lines beside.
pub struct BodyFile<R, W> {
    state: Mutex<State<R, W>>,
    /// Buffers that were written out, to be filled again: fresh memory costs page faults.
    spare: Mutex<Vec<BodyUnit>>,
}

struct State<R, W> {
    lines: R,
    warnings: W,
    counts: BodyCounts,
}

/// How much a body file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyCounts {
    /// Lines written.
    pub lines: u64,
    /// Records without a line.
    pub other_records: u64,
    /// Warnings written.
    pub warnings: u64,
}

/// The lines of one unit.
#[derive(Default)]
pub struct BodyUnit {
    lines: Vec<u8>,
    warnings: Vec<u8>,
    counts: BodyCounts,
}

impl<R: Write + Send, W: Write + Send> BodyFile<R, W> {
    /// Lines go to `lines`, warnings to `warnings`.
    pub fn new(lines: R, warnings: W) -> Self {
        Self {
            state: Mutex::new(State {
                lines,
                warnings,
                counts: BodyCounts::default(),
            }),
            spare: Mutex::new(Vec::new()),
        }
    }

    /// Flushes both writers, and says what was written.
    ///
    /// # Errors
    /// What the writers answer.
    pub fn finish(self) -> io::Result<BodyCounts> {
        let mut state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        state.lines.flush()?;
        state.warnings.flush()?;
        Ok(state.counts)
    }
}

impl Sink for BodyUnit {
    fn observe(&mut self, observation: &Observation<'_>) {
        let before = self.counts.lines;
        observation.record.body(&mut |line| {
            push_line(&mut self.lines, line);
            self.counts.lines += 1;
        });
        self.counts.other_records += u64::from(self.counts.lines == before);
    }

    fn warn(&mut self, warning: Warning) {
        json::write_warning(&mut self.warnings, &warning);
        self.warnings.push(b'\n');
        self.counts.warnings += 1;
    }
}

impl<R: Write + Send, W: Write + Send> Consumer for BodyFile<R, W> {
    type Unit = BodyUnit;

    fn unit(&self, _context: &Arc<Context>) -> BodyUnit {
        self.spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or_default()
    }

    fn join(&self, mut unit: BodyUnit) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.lines.write_all(&unit.lines)?;
        state.warnings.write_all(&unit.warnings)?;
        state.counts.lines += unit.counts.lines;
        state.counts.other_records += unit.counts.other_records;
        state.counts.warnings += unit.counts.warnings;
        drop(state);
        unit.lines.clear();
        unit.warnings.clear();
        unit.counts = BodyCounts::default();
        self.spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(unit);
        Ok(())
    }
}

fn push_line(out: &mut Vec<u8>, line: &FileLine<'_>) {
    out.extend_from_slice(b"0|");
    push_name(out, line.path);
    if let Some(stream) = line.stream {
        out.push(b':');
        push_name(out, stream);
    }
    if line.name_times {
        out.extend_from_slice(b" ($FILE_NAME)");
    }
    if line.deleted {
        out.extend_from_slice(b" (deleted)");
    }
    out.push(b'|');
    json::write_uint(out, line.entry);
    if let Some((kind, id)) = line.attribute {
        out.push(b'-');
        json::write_uint(out, kind.into());
        out.push(b'-');
        json::write_uint(out, id.into());
    }
    out.push(b'|');
    push_letter(out, line.kind.0);
    out.push(b'/');
    push_letter(out, line.kind.1);
    out.extend_from_slice(b"rwxrwxrwx|0|0|");
    json::write_uint(out, line.size_bytes);
    for time in line.times {
        out.push(b'|');
        push_seconds(out, time);
    }
    out.push(b'\n');
}

/// A name as `fls` prints it: a control character, which would tear the line, is a `^`.
fn push_name(out: &mut Vec<u8>, name: &str) {
    let start = out.len();
    out.extend_from_slice(name.as_bytes());
    for byte in &mut out[start..] {
        if byte.is_ascii_control() {
            *byte = b'^';
        }
    }
}

fn push_letter(out: &mut Vec<u8>, letter: char) {
    out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
}

fn push_seconds(out: &mut Vec<u8>, time: Option<UtcNanos>) {
    // 64 bits of seconds hold every FILETIME; the division by a constant stays in 64 bits too.
    let seconds = match time.map(|at| (at, at.to_i64_nanos())) {
        None => 0,
        Some((_, Some(nanos))) => nanos.div_euclid(1_000_000_000),
        Some((at, None)) => {
            i64::try_from(at.seconds()).unwrap_or(if at.nanos() < 0 { i64::MIN } else { i64::MAX })
        }
    };
    if seconds < 0 {
        out.push(b'-');
    }
    json::write_uint(out, seconds.unsigned_abs());
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use scelle_event::{Fields, Record, Schema, Span};

    use super::*;

    static SCHEMA: Schema = Schema {
        name: "test.file",
        doc: "A file.",
        columns: &[],
    };

    /// An entry with an unnamed stream, a named one, and a name; or, without lines, none.
    struct Entry(Vec<(Option<&'static str>, bool, bool)>);

    impl Record for Entry {
        fn schema(&self) -> &'static Schema {
            &SCHEMA
        }

        fn fields(&self, _out: &mut dyn Fields) {}

        fn message(&self, _out: &mut dyn fmt::Write) -> fmt::Result {
            Ok(())
        }

        fn body(&self, line: &mut dyn FnMut(&FileLine<'_>)) {
            for (stream, name_times, deleted) in &self.0 {
                let half = |seconds: i128| {
                    Some(UtcNanos::from_nanos(seconds * 1_000_000_000 + 999_999_999))
                };
                line(&FileLine {
                    path: "/dir/a|b\nc",
                    stream: *stream,
                    name_times: *name_times,
                    deleted: *deleted,
                    entry: 64,
                    attribute: Some(if *name_times { (48, 2) } else { (128, 4) }),
                    kind: (if *deleted { '-' } else { 'r' }, 'r'),
                    size_bytes: 2_560,
                    times: [half(1_078_084_677), None, half(-1), half(253_402_300_800)],
                });
            }
        }
    }

    #[test]
    fn lines_are_those_of_fls() {
        let context = Arc::new(Context {
            artefact: "test",
            source: "s".into(),
            host: None,
            host_id: None,
            streams: vec!["v/$MFT".into()],
        });
        let mut out = Vec::new();
        let body = BodyFile::new(&mut out, io::sink());
        for lines in [
            vec![(None, false, false), (Some("ads"), false, true)],
            vec![],
            vec![(None, true, true)],
        ] {
            let mut unit = body.unit(&context);
            unit.observe(&Observation {
                times: &[],
                provenance: Span::new(0..1024).into(),
                record: &Entry(lines),
            });
            body.join(unit).expect("a Vec takes all");
        }
        let counts = body.finish().expect("a Vec takes all");
        assert_eq!(
            counts,
            BodyCounts {
                lines: 3,
                other_records: 1,
                warnings: 0
            }
        );
        assert_eq!(
            String::from_utf8_lossy(&out),
            "0|/dir/a|b^c|64-128-4|r/rrwxrwxrwx|0|0|2560|1078084677|0|-1|253402300800\n\
             0|/dir/a|b^c:ads (deleted)|64-128-4|-/rrwxrwxrwx|0|0|2560|1078084677|0|-1|253402300800\n\
             0|/dir/a|b^c ($FILE_NAME) (deleted)|64-48-2|-/rrwxrwxrwx|0|0|2560|1078084677|0|-1|253402300800\n"
        );
    }
}
