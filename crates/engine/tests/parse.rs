//! What a source gives, found by content, in the order of the walk.

mod support;

use std::{io, sync::Arc, sync::Mutex};

use scelle_artefacts::ALL;
use scelle_engine::{Progress, parse};
use scelle_event::{Consumer, Context, Observation, Sink, Warning};
use support::{evidence, file, memory};

/// Lines of text: the stream and what was found in it.
#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

struct Unit {
    stream: Arc<str>,
    lines: Vec<String>,
}

impl Sink for Unit {
    fn observe(&mut self, observation: &Observation<'_>) {
        let subject = observation.record.subject().unwrap_or_default();
        self.lines.push(format!("{} {subject}", self.stream));
    }
    fn warn(&mut self, warning: Warning) {
        self.lines
            .push(format!("{} lost {}", self.stream, warning.loss.name()));
    }
}

impl Consumer for Lines {
    type Unit = Unit;
    fn unit(&self, context: &Arc<Context>) -> Unit {
        Unit {
            stream: context.streams[0].clone(),
            lines: Vec::new(),
        }
    }
    fn join(&self, unit: Unit) -> io::Result<()> {
        self.0.lock().expect("no panic").extend(unit.lines);
        Ok(())
    }
}

fn index_file(path: &str) -> Vec<u8> {
    let units: Vec<u16> = path.encode_utf16().chain([0]).collect();
    let mut bytes = 2u64.to_le_bytes().to_vec();
    bytes.extend(99u64.to_le_bytes());
    bytes.extend(132_000_000_000_000_000u64.to_le_bytes());
    bytes.extend((units.len() as u32).to_le_bytes());
    bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    bytes
}

#[test]
fn the_order_is_that_of_the_walk_on_any_number_of_threads() {
    let mut files: Vec<_> = (0..5000)
        .map(|number| {
            let bytes = if number % 3 == 0 {
                index_file(&format!("C:\\file {number}"))
            } else {
                b"nothing that anyone knows".to_vec()
            };
            file(number, &format!("$Recycle.Bin/S-1/$I{number:05}"), &bytes)
        })
        .collect();
    files[3].1.truncate(40);
    let evidence = evidence(memory(files));
    let mut seen = Vec::new();
    for threads in [1, 2, 8] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool");
        let lines = Lines::default();
        let summary = pool
            .install(|| parse(&evidence, ALL, &lines, &Progress::default()))
            .expect("memory takes all");
        assert_eq!(summary.artefacts.len(), 1);
        assert_eq!(summary.artefacts[0].streams, 1667);
        assert_eq!(summary.artefacts[0].tally.records, 1667);
        assert_eq!(summary.artefacts[0].tally.warnings, 1);
        seen.push(lines.0.into_inner().expect("no panic"));
    }
    assert!(seen[0][0].ends_with("$I00000 C:\\file 0"));
    assert!(seen[0][1].contains("$I00003"));
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}
