//! A consumer that has every record show all that it can, and keeps nothing.

use std::{fmt, hint::black_box, io, sync::Arc};

use scelle_event::{Consumer, Context, Observation, Sink, Warning, json};

pub struct Discard;

#[derive(Default)]
pub struct Shown(Vec<u8>);

/// Formats, and throws away.
struct Nowhere;

impl fmt::Write for Nowhere {
    fn write_str(&mut self, _: &str) -> fmt::Result {
        Ok(())
    }
}

impl Sink for Shown {
    fn observe(&mut self, observation: &Observation<'_>) {
        let record = observation.record;
        self.0.clear();
        json::write_observation(&mut self.0, observation);
        record.message(&mut Nowhere).expect("nothing refuses");
        record.subject();
        record.user();
        record.host();
        record.body(&mut |line| {
            black_box(line);
        });
        for stamp in observation.times {
            self.0.clear();
            stamp.moment.write_iso(stamp.precision, &mut self.0);
        }
        let range = &observation.provenance.primary.range;
        assert!(
            range.start <= range.end,
            "a record ends where it began or later"
        );
    }

    fn warn(&mut self, warning: Warning) {
        self.0.clear();
        json::write_warning(&mut self.0, &warning);
        let range = &warning.provenance.primary.range;
        assert!(
            range.start <= range.end,
            "a loss ends where it began or later"
        );
    }
}

impl Consumer for Discard {
    type Unit = Shown;

    fn unit(&self, _: &Arc<Context>) -> Shown {
        Shown::default()
    }

    fn join(&self, _: Shown) -> io::Result<()> {
        Ok(())
    }
}
