//! What holds for every artefact of the registry.

use std::{collections::BTreeMap, mem, sync::Arc};

use scelle_artefacts::{ALL, Artefact, Candidate, Input};
use scelle_engine::run;
use scelle_event::{Context, EvidencePath};
use scelle_formats::{Bytes, ReadAt};
use scelle_testkit::{Rendered, Sample, compare_golden};

/// Samples are cut at every length up to this one; past it at so many odd steps, which fall on
/// every place within a sector or a record in turn.
const EVERY_LENGTH_TO: usize = 4096;
const STEPS_PAST_IT: usize = 512;

fn all() -> impl Iterator<Item = &'static dyn Artefact> {
    ALL.iter().copied()
}

fn parse(artefact: &dyn Artefact, bytes: &[u8]) -> String {
    let context = Arc::new(Context {
        artefact: artefact.descriptor().id,
        source: "sample".into(),
        host: None,
        host_id: None,
        streams: vec!["sample".into()],
    });
    let stream = Bytes(bytes);
    let rendered = Rendered::default();
    run(artefact, Input::alone(&stream), &context, &rendered).expect("text takes all");
    rendered.into_text()
}

fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("a pool")
        .install(work)
}

fn is_kebab(text: &str) -> bool {
    text.split(['.', '-']).all(|part| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

fn is_sentence(text: &str) -> bool {
    text.ends_with('.') && text.starts_with(|first: char| !first.is_lowercase())
}

#[test]
fn ids_are_unique_and_kebab() {
    let mut seen = BTreeMap::new();
    for (index, artefact) in all().enumerate() {
        let id = artefact.descriptor().id;
        assert!(is_kebab(id) && id.matches('.').count() == 1, "{id}");
        assert_eq!(seen.insert(id, index), None, "{id} is there twice");
    }
}

#[test]
fn descriptors_say_what_users_need() {
    for artefact in all() {
        let descriptor = artefact.descriptor();
        let id = descriptor.id;
        let summary = descriptor.summary;
        assert!(is_sentence(summary), "{id}: {summary}");
        assert!(!descriptor.specifications.is_empty(), "{id}");
        assert!(!descriptor.schemas.is_empty(), "{id}");
        for pattern in descriptor.locations {
            let sound = !pattern.is_empty() && !pattern.contains('\\');
            assert!(sound, "{id}: {pattern}");
        }
        for companion in descriptor.companions {
            assert!(!companion.name.is_empty(), "{id}");
            assert!(!companion.location.is_empty(), "{id}: {}", companion.name);
        }
    }
}

#[test]
fn columns_are_documented_and_of_one_type() {
    let mut schemas = BTreeMap::new();
    let mut kinds = BTreeMap::new();
    for artefact in all() {
        let id = artefact.descriptor().id;
        for schema in artefact.descriptor().schemas {
            let name = schema.name;
            assert!(name.starts_with(id), "{name} of {id}");
            assert!(is_sentence(schema.doc), "{name}: {}", schema.doc);
            assert_eq!(schemas.insert(name, id), None, "{name} is there twice");
            assert!(!schema.columns.is_empty(), "{name}");
            let mut names = Vec::new();
            for column in schema.columns {
                let place = format!("{name}.{}", column.name);
                let snake = column
                    .name
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
                assert!(snake && !column.name.is_empty(), "{place}");
                assert!(!names.contains(&column.name), "{place} is there twice");
                names.push(column.name);
                assert!(is_sentence(column.doc), "{place}: {}", column.doc);
                // A precision belongs to a source's clock, not to the type of the column.
                let kind = mem::discriminant(&column.kind);
                let (first, known) = kinds
                    .entry(column.name)
                    .or_insert_with(|| (place.clone(), kind));
                assert_eq!(*known, kind, "{place} is of another type than {first}");
            }
        }
    }
}

#[test]
fn every_artefact_has_samples_that_read_as_agreed() {
    let mut differences = Vec::new();
    for artefact in all() {
        let id = artefact.descriptor().id;
        let samples = Sample::of(id);
        assert!(
            samples.len() >= 3,
            "testdata/{id} needs a plain, a damaged and an odd sample, it has {}",
            samples.len()
        );
        let mut damaged = 0;
        for sample in &samples {
            let text = parse(artefact, &sample.bytes());
            damaged += usize::from(text.contains("LOSS of"));
            if let Err(difference) = compare_golden(&sample.golden(), &text) {
                differences.push(difference);
            }
        }
        assert!(damaged > 0, "no sample of {id} is damaged");
        assert!(damaged < samples.len(), "no sample of {id} is sound");
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn samples_are_recognised_by_their_own_artefact_alone() {
    for owner in all() {
        let id = owner.descriptor().id;
        let mut recognised = 0;
        for sample in Sample::of(id) {
            let bytes = sample.bytes();
            let path = EvidencePath::from_bytes(sample.name.as_bytes());
            for artefact in all() {
                let other = artefact.descriptor().id;
                let candidate = Candidate::new(&path, None, bytes.len() as u64, || {
                    Some(Box::new(Bytes(bytes.as_slice())) as Box<dyn ReadAt>)
                });
                let yes = artefact.recognises(&candidate);
                if id == other {
                    recognised += usize::from(yes);
                } else {
                    assert!(!yes, "{other} takes {} of {id}", sample.name);
                }
            }
        }
        assert!(recognised > 0, "{id} recognises none of its samples");
    }
}

#[test]
fn cut_samples_say_something_and_never_panic() {
    for artefact in all() {
        let id = artefact.descriptor().id;
        for sample in Sample::of(id) {
            let bytes = sample.bytes();
            let past = bytes.len().saturating_sub(EVERY_LENGTH_TO);
            let step = (past / STEPS_PAST_IT) | 1;
            let lengths = (0..bytes.len().min(EVERY_LENGTH_TO))
                .chain((EVERY_LENGTH_TO..bytes.len()).step_by(step));
            for length in lengths {
                let text = parse(artefact, &bytes[..length]);
                assert!(
                    !text.is_empty(),
                    "{id} says nothing of {} cut at {length}",
                    sample.name
                );
            }
        }
    }
}

#[test]
fn threads_do_not_show() {
    for artefact in all() {
        for sample in Sample::of(artefact.descriptor().id) {
            let bytes = sample.bytes();
            let [one, two, eight] =
                [1, 2, 8].map(|threads| with_threads(threads, || parse(artefact, &bytes)));
            assert_eq!(one, two, "{}", sample.path.display());
            assert_eq!(one, eight, "{}", sample.path.display());
        }
    }
}
