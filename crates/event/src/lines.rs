//! Records as lines of JSON, in the order of the input.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{Consumer, Context, Observation, Sink, Warning, json};

/// Writes one JSON object a record and a line, and the same for warnings, beside.
///
/// Records keep the order of the input; it holds no more than the units under way.
pub struct JsonLines<R, W> {
    out: Mutex<(R, W)>,
    /// Buffers that were written out, to be filled again: fresh memory costs page faults.
    spare: Mutex<Vec<Lines>>,
}

impl<R: Write + Send, W: Write + Send> JsonLines<R, W> {
    /// Lines of records go to `records`, lines of warnings to `warnings`.
    pub fn new(records: R, warnings: W) -> Self {
        Self {
            out: Mutex::new((records, warnings)),
            spare: Mutex::new(Vec::new()),
        }
    }

    /// Flushes both, and gives them back.
    ///
    /// # Errors
    /// What the writers answer.
    pub fn finish(self) -> io::Result<(R, W)> {
        let (mut records, mut warnings) = self
            .out
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        records.flush()?;
        warnings.flush()?;
        Ok((records, warnings))
    }
}

/// The lines of one unit.
#[derive(Default)]
pub struct Lines {
    records: Vec<u8>,
    warnings: Vec<u8>,
}

impl Sink for Lines {
    fn observe(&mut self, observation: &Observation<'_>) {
        json::write_observation(&mut self.records, observation);
        self.records.push(b'\n');
    }

    fn warn(&mut self, warning: Warning) {
        json::write_warning(&mut self.warnings, &warning);
        self.warnings.push(b'\n');
    }
}

impl<R: Write + Send, W: Write + Send> Consumer for JsonLines<R, W> {
    type Unit = Lines;

    fn unit(&self, _context: &Arc<Context>) -> Lines {
        self.spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or_default()
    }

    fn join(&self, mut unit: Lines) -> io::Result<()> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.0.write_all(&unit.records)?;
        out.1.write_all(&unit.warnings)?;
        unit.records.clear();
        unit.warnings.clear();
        self.spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(unit);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;
    use crate::{Column, ColumnKind, Fields, Loss, Record, Schema, Span, Value};

    static SCHEMA: Schema = Schema {
        name: "test.number",
        doc: "A number.",
        columns: &[
            Column::new("number", ColumnKind::Uint, "The number."),
            Column::new("name", ColumnKind::Text, "Its name."),
        ],
    };

    struct Number(u64);

    impl Record for Number {
        fn schema(&self) -> &'static Schema {
            &SCHEMA
        }

        fn fields(&self, out: &mut dyn Fields) {
            out.value(Value::Uint(self.0));
            out.value(Value::Null);
        }

        fn message(&self, out: &mut dyn fmt::Write) -> fmt::Result {
            write!(out, "{}", self.0)
        }
    }

    #[test]
    fn a_line_a_record_and_warnings_apart() {
        let context = Arc::new(Context {
            artefact: "test",
            source: "s".into(),
            host: None,
            host_id: None,
            streams: vec!["v/f".into()],
        });
        let lines = JsonLines::new(Vec::new(), Vec::new());
        for number in 0..3 {
            let mut unit = lines.unit(&context);
            unit.observe(&Observation {
                times: &[],
                provenance: Span::new(number..number + 1).into(),
                record: &Number(number),
            });
            if number == 1 {
                unit.warn(Warning {
                    artefact: "test",
                    provenance: Span::new(4..6).numbered(7).into(),
                    loss: Loss::Record,
                    cause: "torn".to_owned(),
                });
            }
            lines.join(unit).expect("a Vec takes all");
        }
        let (records, warnings) = lines.finish().expect("a Vec takes all");
        assert_eq!(
            String::from_utf8_lossy(&records),
            "{\"schema\":\"test.number\",\"offset\":0,\"length\":1,\"number\":0}\n\
             {\"schema\":\"test.number\",\"offset\":1,\"length\":1,\"number\":1}\n\
             {\"schema\":\"test.number\",\"offset\":2,\"length\":1,\"number\":2}\n"
        );
        assert_eq!(
            String::from_utf8_lossy(&warnings),
            "{\"warning\":\"test\",\"offset\":4,\"length\":2,\"record\":7,\
             \"loss\":\"record\",\"cause\":\"torn\"}\n"
        );
    }
}
