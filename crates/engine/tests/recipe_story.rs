//! Everything that was done on a volume by a recipe is in the stories of its files.

use std::collections::BTreeMap;

use scelle_engine::story::{Layer, Story, Target, story};
use scelle_event::{EvidencePath, UtcNanos};
use scelle_evidence::{OpenOptions, open};
use scelle_testkit::{Expected, MadeVolume};

/// What the other test of the recipe has besides is no matter here.
const FILES: usize = 2_000;

#[test]
fn every_action_is_in_the_story() {
    let Some(made) = MadeVolume::ntfs(FILES, "the stories of a made volume") else {
        return;
    };
    let evidence = open(
        &made.image(),
        &OpenOptions {
            map: true,
            ..OpenOptions::default()
        },
    )
    .expect("an image");
    let layers = [Layer {
        name: None,
        volume: &*evidence.volumes[0],
    }];
    let mut told: BTreeMap<&str, Story> = BTreeMap::new();
    let (mut actions, mut findings) = (0, Vec::new());
    for expected in &made.expected {
        match expected {
            Expected::Action {
                path,
                reason,
                ticks,
            } => {
                let story = told.entry(path).or_insert_with(|| {
                    let target = Target::Path(EvidencePath::from_bytes(path.as_bytes()));
                    story(&evidence.name, &layers, &target).expect("the image gives all")
                });
                let at = UtcNanos::from_filetime(*ticks);
                let mut events = story.events.iter();
                let is_told = events.any(|event| {
                    let (what, of) = event.message.split_once(": ").unwrap_or(("", ""));
                    event.artefact == "ntfs.usnjrnl"
                        && event.at == Some(at)
                        && what == reason
                        && of.trim_start_matches('/').starts_with(path.as_str())
                });
                assert!(is_told, "{reason} of {path}: {:#?}", story.events);
                actions += 1;
            }
            Expected::Finding { path, kind } => findings.push((path.as_str(), kind.as_str())),
            _ => {}
        }
    }
    assert!(actions > 15, "{actions}");
    // No other of these files has any.
    let mut found: Vec<(&str, &str)> = told
        .iter()
        .flat_map(|(path, story)| story.findings().map(|(_, finding)| (*path, finding.kind)))
        .collect();
    found.sort_unstable();
    found.dedup();
    findings.sort_unstable();
    assert_eq!(found, findings);
}
