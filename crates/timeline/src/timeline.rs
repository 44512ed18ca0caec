//! The timeline as a consumer of observations.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use scelle_event::{ArtefactId, Consumer, Context, UtcNanos};

use crate::{
    Error, Format, Metadata, Options, Output, Summary, Unit,
    blob::nanos_of,
    merge::Merge,
    names::Names,
    parquet_out,
    run::{Raw, Run},
    spill::Spill,
    text_out,
    unit::{Counts, Part, Shared},
};

/// Takes observations, keeps one row for each distinct moment, and writes them in order.
///
/// Rows are sorted by their exact moment, rows without one in UTC last; then by source, stream,
/// layer, offset, length, artefact, record number and ordinal. The order is total and the files
/// depend on nothing but the observations: not on threads, memory or the clock.
pub struct Timeline {
    shared: Arc<Shared>,
    metadata: Metadata,
    /// Past this many bytes the rows that came in are packed.
    row_bytes: usize,
    /// Past this many bytes the warnings that came in are packed.
    warning_bytes: usize,
    state: Mutex<State>,
    /// Buffers of units that were joined, to be filled again: fresh memory costs page faults.
    spare: Mutex<Vec<Raw>>,
}

/// Larger buffers are rare, and are given back.
const SPARE_BYTES: usize = 4 << 20;

#[derive(Default)]
struct State {
    rows: Table,
    warnings: Table,
    counts: Counts,
    artefacts: BTreeMap<ArtefactId, u64>,
}

/// Rows of one table: what was packed, and what came since.
#[derive(Default)]
struct Table {
    packed: Vec<Run>,
    open: Raw,
}

impl Timeline {
    /// An empty timeline.
    pub fn new(options: Options) -> Self {
        // Half for rows and warnings as they come in, half for what is packed.
        let half = options.memory_bytes / 2;
        let warning_bytes = half / 4;
        Self {
            shared: Arc::new(Shared {
                names: Names::default(),
                from: options.from,
                to: options.to,
                zone: options.zone,
                spill: Spill::new(half, options.spill),
            }),
            metadata: options.metadata,
            row_bytes: half - warning_bytes,
            warning_bytes,
            state: Mutex::default(),
            spare: Mutex::default(),
        }
    }

    /// Sorts all rows and writes them, and the warnings, to every output, one after the other.
    ///
    /// It works on the caller's rayon pool.
    ///
    /// # Errors
    /// What the writers answer, and where the rows exceed the memory that was granted.
    pub fn finish(self, outputs: Vec<Output<'_>>) -> Result<Summary, Error> {
        let state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        drop(self.spare);
        let names = &self.shared.names;
        let rows = state.rows.sorted(names);
        let warnings = state.warnings.sorted(names);
        for output in outputs {
            let merge = |runs, piece_rows| Merge::new(runs, names, &self.shared.spill, piece_rows);
            match output.format {
                Format::Parquet => {
                    parquet_out::write_rows(
                        &merge(&rows, parquet_out::GROUP_ROWS)?,
                        output.rows,
                        &self.metadata,
                    )?;
                    parquet_out::write_warnings(
                        &merge(&warnings, parquet_out::GROUP_ROWS)?,
                        output.warnings,
                        &self.metadata,
                    )?;
                }
                text => {
                    text_out::write_rows(&merge(&rows, text_out::PIECE_ROWS)?, text, output.rows)?;
                    text_out::write_warnings(
                        &merge(&warnings, text_out::PIECE_ROWS)?,
                        text,
                        output.warnings,
                    )?;
                }
            }
        }
        Ok(state.counts.summary(state.artefacts))
    }
}

impl Counts {
    fn summary(self, artefacts: BTreeMap<ArtefactId, u64>) -> Summary {
        let moment = |rank| UtcNanos::from_nanos(nanos_of(rank));
        Summary {
            rows: self.rows,
            warnings: self.warnings,
            undated: self.undated,
            outside: self.outside,
            undated_left_out: self.undated_left_out,
            artefacts,
            first: self.span.map(|(first, _)| moment(first)),
            last: self.span.map(|(_, last)| moment(last)),
        }
    }
}

impl Table {
    fn join(&mut self, part: &mut Part, bytes: usize, shared: &Shared) -> Result<(), Error> {
        if let Some(error) = part.error.take() {
            return Err(error);
        }
        // Runs stay in the order of the input: it decides between rows that nothing tells apart.
        if !part.packed.is_empty() {
            self.seal(shared)?;
            self.packed.extend(part.packed.drain(..).map(Run::Packed));
        }
        let is_full = self.open.bytes() + part.raw.bytes() > bytes;
        if is_full || !self.open.has_room_for(&part.raw) {
            self.seal(shared)?;
        }
        self.open.append(&part.raw);
        Ok(())
    }

    fn seal(&mut self, shared: &Shared) -> Result<(), Error> {
        if !self.open.entries.is_empty() {
            self.open.sort(&shared.names);
            self.packed
                .push(Run::Packed(self.open.pack(&shared.spill)?));
            self.open.clear();
        }
        Ok(())
    }

    fn sorted(mut self, names: &Names) -> Vec<Run> {
        if !self.open.entries.is_empty() {
            self.open.sort(names);
            self.packed.push(Run::Raw(self.open));
        }
        self.packed
    }
}

impl Consumer for Timeline {
    type Unit = Unit;

    fn unit(&self, context: &Arc<Context>) -> Unit {
        let spare = self
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        Unit::new(
            self.shared.clone(),
            context.clone(),
            spare.unwrap_or_default(),
        )
    }

    fn join(&self, mut unit: Unit) -> io::Result<()> {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        let shared = &*self.shared;
        state.rows.join(&mut unit.rows, self.row_bytes, shared)?;
        state
            .warnings
            .join(&mut unit.warnings, self.warning_bytes, shared)?;
        state.counts.add(&unit.counts);
        if unit.counts.rows > 0 {
            *state.artefacts.entry(unit.artefact()).or_default() += unit.counts.rows;
        }
        drop(guard);
        let mut rows = std::mem::take(&mut unit.rows.raw);
        rows.clear();
        if rows.arena.capacity() <= SPARE_BYTES {
            self.spare
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(rows);
        }
        Ok(())
    }
}
