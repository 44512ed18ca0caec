//! Volumes that were cut and volumes with bits turned: whatever is asked of them ends, and
//! nothing panics.

use std::{
    fs,
    ops::ControlFlow,
    sync::{Arc, OnceLock},
};

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use scelle_evidence::open_source;
use scelle_formats::{Bytes, ReadAt as _, ReadAtExt as _};
use scelle_testkit::testdata;

/// Where the volume lies in the sample, and where its `$MFT` and the records in use end.
const VOLUME_AT: usize = 64 << 10;
/// How much of each stream is read.
const READ_BYTES: usize = 64 << 10;

fn sample() -> &'static [u8] {
    static SAMPLE: OnceLock<Vec<u8>> = OnceLock::new();
    SAMPLE.get_or_init(|| fs::read(testdata().join("demo/workstation.raw")).expect("our sample"))
}

/// The place of `$MFT` in the sample.
fn mft_at() -> usize {
    let boot = &sample()[VOLUME_AT..];
    let sectors = usize::from(boot[0x0D]);
    let lcn = u64::from_le_bytes(boot[0x30..0x38].try_into().expect("eight bytes"));
    VOLUME_AT + lcn as usize * sectors * 512
}

/// Asks everything that can be asked; gives how many entries and losses there were.
fn exhaust(image: Vec<u8>) -> (usize, usize) {
    let evidence = open_source("hostile".into(), Arc::new(Bytes(image)));
    let (mut entries, mut losses) = (Vec::new(), evidence.losses.len());
    let mut buffer = vec![0; READ_BYTES];
    let mut count = 0;
    for volume in &evidence.volumes {
        volume.walk(&mut |found| {
            match found {
                Ok(entry) => entries.push(entry),
                Err(_) => losses += 1,
            }
            ControlFlow::Continue(())
        });
        count += entries.len();
        for entry in entries.drain(..) {
            for stream in &entry.streams {
                let Ok(opened) = volume.open_entry(&entry, stream.name.as_ref()) else {
                    losses += 1;
                    continue;
                };
                let mut end = 0;
                for (range, _) in opened.ranges() {
                    assert!(range.start == end && range.end > end, "ranges without gaps");
                    end = range.end;
                }
                assert_eq!(end, opened.len(), "ranges up to the end");
                losses += usize::from(opened.read_full_at(0, &mut buffer).is_err());
            }
        }
    }
    (count, losses)
}

#[test]
fn cut_anywhere() {
    let sample = sample();
    let (entries, losses) = exhaust(sample.to_vec());
    assert!(
        entries > 40 && losses == 0,
        "{entries} entries, {losses} losses"
    );
    let dense = (0..2048).step_by(97);
    let boundaries = [VOLUME_AT - 1, VOLUME_AT, VOLUME_AT + 511, mft_at() + 1023];
    let spread = (0..sample.len()).step_by(sample.len() / 60);
    for length in dense.chain(boundaries).chain(spread) {
        let (_, losses) = exhaust(sample[..length].to_vec());
        let has_table = length >= 512;
        assert!(losses > 0 || !has_table, "cut at {length} is said");
    }
}

#[test]
fn bits_turned_anywhere_in_the_records() {
    let config = Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let mft = mft_at();
    // Records, and now and then the boot sector.
    let place = prop_oneof![
        9 => mft..mft + (96 << 10),
        1 => VOLUME_AT..VOLUME_AT + 512,
    ];
    let changes = prop::collection::vec((place, any::<u8>()), 1..40);
    runner
        .run(&changes, |changes| {
            let mut image = sample().to_vec();
            for (at, byte) in changes {
                image[at] = byte;
            }
            exhaust(image);
            Ok(())
        })
        .expect("no panic");
}

#[test]
fn fields_at_their_extremes() {
    let mft = mft_at();
    let sound = sample();
    // Every aligned field of the first 30 records, one at a time, at values that break sums.
    let fields = (mft..mft + (30 << 10)).step_by(64);
    for at in fields {
        for value in [0, 1, u32::MAX, u32::MAX >> 1, 1 << 31] {
            let mut image = sound.to_vec();
            let shift = (at / 64 * 4) % 64;
            image[at + shift..at + shift + 4].copy_from_slice(&value.to_le_bytes());
            exhaust(image);
        }
    }
}
