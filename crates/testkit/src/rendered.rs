//! Everything that a parser says, as text that a person can review.

use std::{
    fmt::Write as _,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use scelle_event::{
    Consumer, Context, Layer, Observation, Provenance, Sink, Span, StreamRef, Warning, json,
};

/// A consumer that shows each observation and warning in full: where it was read, its times, its
/// message, all of its fields.
#[derive(Default)]
pub struct Rendered {
    text: Mutex<String>,
}

impl Rendered {
    /// All that was said, in the order of the input.
    pub fn into_text(self) -> String {
        self.text
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Consumer for Rendered {
    type Unit = RenderedUnit;

    fn unit(&self, _context: &Arc<Context>) -> RenderedUnit {
        RenderedUnit::default()
    }

    fn join(&self, unit: RenderedUnit) -> io::Result<()> {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.push_str(&unit.text);
        Ok(())
    }
}

/// What was said of one unit.
#[derive(Default)]
pub struct RenderedUnit {
    text: String,
}

impl RenderedUnit {
    fn line(&mut self, label: &str, value: &str) {
        // Messages hold what the evidence holds: control characters are shown, not sent.
        let value: String = value
            .chars()
            .flat_map(|character| {
                let control = character.is_control();
                let plain = (!control).then_some(character);
                plain.into_iter().chain(
                    control
                        .then(|| character.escape_default())
                        .into_iter()
                        .flatten(),
                )
            })
            .collect();
        writeln!(self.text, "  {label}: {value}").expect("a String takes all");
    }

    fn places(&mut self, provenance: &Provenance) {
        for (role, span) in &provenance.also {
            let place = show(span);
            self.line(role.name(), &place);
        }
    }
}

impl Sink for RenderedUnit {
    fn observe(&mut self, observation: &Observation<'_>) {
        let record = observation.record;
        let primary = show(&observation.provenance.primary);
        writeln!(self.text, "{} {primary}", record.schema().name).expect("a String takes all");
        self.places(&observation.provenance);
        for stamp in observation.times {
            let mut shown = stamp.moment.to_iso(stamp.precision);
            if let Some(attribute) = stamp.attribute {
                shown = format!("{shown} ({attribute})");
            }
            self.line(stamp.meaning.name(), &shown);
        }
        let mut message = String::new();
        record.message(&mut message).expect("a String takes all");
        self.line("message", &message);
        for (label, value) in [
            ("subject", record.subject()),
            ("user", record.user()),
            ("host", record.host()),
        ] {
            if let Some(value) = value {
                self.line(label, &value);
            }
        }
        let mut fields = Vec::new();
        json::write_record(&mut fields, record);
        let fields = String::from_utf8(fields).expect("JSON is UTF-8");
        self.line("fields", &fields);
    }

    fn warn(&mut self, warning: Warning) {
        let primary = show(&warning.provenance.primary);
        writeln!(self.text, "LOSS of {} {primary}", warning.loss.name())
            .expect("a String takes all");
        self.places(&warning.provenance);
        self.line("cause", &warning.cause);
    }
}

fn show(span: &Span) -> String {
    let mut shown = format!("{}..{}", span.range.start, span.range.end);
    if span.stream != StreamRef::PRIMARY {
        write!(shown, " of companion {}", span.stream.0 - 1).expect("a String takes all");
    }
    if let Layer::Decoded(codec) = span.layer {
        write!(shown, " decoded by {codec}").expect("a String takes all");
    }
    if let Some(record) = span.record {
        write!(shown, " record {record}").expect("a String takes all");
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use scelle_event::{
        Column, ColumnKind, Fields, Loss, Meaning, Record, Role, Schema, Stamp, Value,
    };

    use super::*;

    static SCHEMA: Schema = Schema {
        name: "test.thing",
        doc: "A thing.",
        columns: &[Column::new("size_bytes", ColumnKind::Uint, "Its size.")],
    };

    struct Thing;

    impl Record for Thing {
        fn schema(&self) -> &'static Schema {
            &SCHEMA
        }

        fn fields(&self, out: &mut dyn Fields) {
            out.value(Value::Uint(7));
        }

        fn message(&self, out: &mut dyn fmt::Write) -> fmt::Result {
            out.write_str("a thing\u{1b}[31m")
        }
    }

    #[test]
    fn all_that_is_said_is_shown_and_control_characters_are_not_sent() {
        let mut unit = RenderedUnit::default();
        let basis = Span::new(3..5).of(StreamRef::companion(0)).decoded("codec");
        let stamp = Stamp::unix_seconds(1, Meaning::Created).expect("a time");
        unit.observe(&Observation {
            times: &[stamp.in_attribute("si")],
            provenance: Provenance::from(Span::new(0..8).numbered(2)).with(Role::Basis, basis),
            record: &Thing,
        });
        unit.warn(Warning {
            artefact: "test",
            provenance: Span::new(8..9).into(),
            loss: Loss::Field("name"),
            cause: "torn".to_owned(),
        });
        let lines: Vec<&str> = unit.text.lines().collect();
        assert_eq!(
            lines,
            [
                "test.thing 0..8 record 2",
                "  basis: 3..5 of companion 0 decoded by codec",
                "  created: 1970-01-01T00:00:01Z (si)",
                "  message: a thing\\u{1b}[31m",
                "  fields: {\"size_bytes\":7}",
                "LOSS of field name 8..9",
                "  cause: torn",
            ]
        );
    }
}
