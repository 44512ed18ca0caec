//! From sources to a timeline.

use scelle_artefacts::Artefact;
use scelle_engine::{ParseSummary, Progress, RunError, parse};
use scelle_event::{Consumer, Label};
use scelle_timeline::{Metadata, Options, Output, Summary, Timeline};

use crate::Source;

/// Why a timeline can't be made. Damaged evidence is no reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TimelineError {
    /// Sorting or writing failed.
    #[error(transparent)]
    Timeline(#[from] scelle_timeline::Error),
    /// Taking the rows failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Writing failed.
    #[error("writing the timeline: {0}")]
    Io(#[from] std::io::Error),
}

/// Parses `sources` as each of `artefacts` and writes one sorted timeline of them,
/// in as many forms as there are `outputs`.
///
/// A label in `options` stands in the files instead of the strictest of the sources', where it is
/// stricter, or says that and why it is lowered. It works on the caller's rayon pool. The answer says what each source held, in order.
///
/// # Errors
/// Where the output can't be written, or the rows don't fit into what `options` grants.
pub fn timeline(
    sources: &[Source],
    artefacts: &[&'static dyn Artefact],
    mut options: Options,
    outputs: Vec<Output<'_>>,
    progress: &Progress,
) -> Result<(Summary, Vec<ParseSummary>), TimelineError> {
    let stated = options.metadata.label.take();
    options.metadata = metadata(sources);
    options.metadata.label = match (stated, options.metadata.label) {
        // Nobody said that it is lowered, so it is not.
        (Some(stated), Some(carried)) if stated.lowered.is_none() && stated.tlp < carried.tlp => {
            Some(carried)
        }
        (stated, carried) => stated.or(carried),
    };
    // A root names the moment of collection as well; a timeline depends on the evidence alone,
    // and the payload id, which does so too, stands for it.
    for source in &mut options.metadata.sources {
        source.root = None;
    }
    let rows = Timeline::new(options);
    let parsed = parse_all(sources, artefacts, &rows, progress)?;
    progress.begin("sorting", 0, 0);
    Ok((rows.finish(outputs)?, parsed))
}

/// Parses `sources` as each of `artefacts` and hands what is found to `consumer`.
///
/// # Errors
/// Only where `consumer` fails.
pub fn parse_all<C: Consumer>(
    sources: &[Source],
    artefacts: &[&'static dyn Artefact],
    consumer: &C,
    progress: &Progress,
) -> Result<Vec<ParseSummary>, RunError> {
    sources
        .iter()
        .map(|source| parse(source.evidence(), artefacts, consumer, progress))
        .collect()
}

/// What stands beside a timeline of `sources`: labels, payload ids, and roots.
pub fn metadata(sources: &[Source]) -> Metadata {
    Metadata {
        label: sources
            .iter()
            .filter_map(|one| Some(one.bundle()?.tlp))
            .max()
            .map(Label::from),
        sources: sources
            .iter()
            .map(|source| scelle_timeline::Source {
                name: source.evidence().name.to_string(),
                payload: source.bundle().map(|facts| facts.payload.clone()),
                root: source.bundle().map(|facts| facts.root.clone()),
            })
            .collect(),
    }
}
