//! A further part goes on from what was written down, which may be anything.

mod common;

use scelle_bundle::{BundleWriter, CollectionLoss, Cursor, Logged};
use scelle_event::{Coverage, Outcome};

#[test]
fn counts_that_are_full_stay_full() {
    let mut options = common::options("case");
    options.collection.part = 2;
    let hash = "0".repeat(64);
    options.continues = Some(Logged {
        checkpoint: 1,
        cursor: Cursor::read(u64::MAX, &hash).expect("a hash"),
        blake3: hash,
        warnings: u64::MAX,
        losses: u64::MAX,
        is_last: false,
    });
    let mut writer = BundleWriter::create(Vec::new(), options).expect("begun");
    let loss = CollectionLoss {
        path: None,
        range: None,
        cause: "a sector".into(),
    };
    writer.warn(&loss).expect("noted");
    let coverage = Coverage {
        target: "everything".into(),
        path: None,
        outcome: Outcome::Unreadable,
        detail: None,
    };
    writer.cover(&coverage).expect("noted");
    let (sealed, _) = writer.finish().expect("sealed");
    assert_eq!(sealed.losses, u64::MAX);
}
