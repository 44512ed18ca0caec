//! `executable.*` on bytes that somebody meant to hurt: mutated samples, and streams that are
//! large, not in memory, or unreadable in the middle.

use std::sync::Arc;

use scelle_artefacts::{Input, by_id};
use scelle_engine::run;
use scelle_event::Context;
use scelle_formats::{Bytes, ReadAt, ReadError};
use scelle_testkit::{Rendered, Sample};

const IDS: [&str; 3] = ["executable.pe", "executable.elf", "executable.macho"];
const MUTATIONS: usize = 300;

fn parse(id: &'static str, stream: &dyn ReadAt) -> String {
    let context = Arc::new(Context {
        artefact: id,
        source: "hostile".into(),
        host: None,
        host_id: None,
        streams: vec!["hostile".into()],
    });
    let rendered = Rendered::default();
    let artefact = by_id(id).expect("a known artefact");
    run(artefact, Input::alone(stream), &context, &rendered).expect("text takes all");
    let text = rendered.into_text();
    assert!(!text.is_empty(), "{id} says nothing");
    // The engine catches a parser's panic; here it is a failure.
    assert!(!text.contains("a defect of this program"), "{id}: {text}");
    // Nor may a decoder that is not ours panic, contained or not.
    assert!(!text.contains("its decoder failed"), "{id}: {text}");
    text
}

/// SplitMix64: the same mutations in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides.max(1) as u64) as usize
    }
}

/// Changes a few bytes or words, to values that headers choke on.
fn mutate(bytes: &mut [u8], dice: &mut Dice) {
    const WORDS: [u32; 7] = [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX, 0x1000, 0xffff];
    for _ in 0..1 + dice.roll(6) {
        let at = dice.roll(bytes.len());
        match dice.roll(5) {
            0 => bytes[at] ^= 1 << dice.roll(8),
            1 => bytes[at] = dice.roll(256) as u8,
            2 | 3 => {
                let word = WORDS[dice.roll(WORDS.len())].to_le_bytes();
                let count = word.len().min(bytes.len() - at);
                bytes[at..at + count].copy_from_slice(&word[..count]);
            }
            _ => {
                let from = dice.roll(bytes.len());
                let count = (1 + dice.roll(64)).min(bytes.len() - at.max(from));
                bytes.copy_within(from..from + count, at);
            }
        }
    }
}

#[test]
fn mutated_samples_give_something_and_never_panic() {
    for id in IDS {
        for sample in Sample::of(id) {
            let sound = sample.bytes();
            let mut dice = Dice(sound.len() as u64);
            for _ in 0..MUTATIONS {
                let mut bytes = sound.clone();
                mutate(&mut bytes, &mut dice);
                parse(id, &Bytes(bytes));
            }
        }
    }
}

/// A file on a disk: not in memory, longer than what is read whole, zeros after its head, and
/// perhaps with bad sectors.
struct Disk {
    head: Vec<u8>,
    len: u64,
    bad: std::ops::Range<u64>,
}

impl ReadAt for Disk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let end = self.len.min(offset.saturating_add(buf.len() as u64));
        if offset < self.bad.end && self.bad.start < end {
            let source = std::io::Error::other("bad sector");
            return Err(ReadError::io(offset, source));
        }
        // Short reads are allowed, and must be stood.
        let count = (end.saturating_sub(offset) as usize).min(10_000);
        for (at, byte) in (offset..).zip(&mut buf[..count]) {
            *byte = self.head.get(at as usize).copied().unwrap_or_default();
        }
        Ok(count)
    }
}

/// Past the size up to which a file is read whole.
const LARGE: u64 = 9 << 20;

#[test]
fn large_files_read_as_if_they_were_in_memory() {
    for id in IDS {
        for sample in Sample::of(id) {
            let mut whole = sample.bytes();
            let disk = Disk {
                head: whole.clone(),
                len: LARGE,
                bad: 0..0,
            };
            whole.resize(LARGE as usize, 0);
            assert_eq!(
                parse(id, &disk),
                parse(id, &Bytes(whole)),
                "{}",
                sample.name
            );
        }
    }
}

#[test]
fn bad_sectors_are_losses_and_the_rest_stands() {
    let sample = Sample::of("executable.pe");
    let sample = sample
        .iter()
        .find(|sample| sample.name == "plain.exe")
        .expect("a sample");
    let disk = Disk {
        head: sample.bytes(),
        len: LARGE,
        bad: LARGE - 4096..LARGE - 512,
    };
    let text = parse("executable.pe", &disk);
    assert!(text.contains("LOSS of field content"), "{text}");
    assert!(text.contains("KERNEL32.dll"), "{text}");
    assert!(!text.contains("computed_checksum"), "{text}");

    let disk = Disk {
        bad: 0..512,
        ..disk
    };
    let text = parse("executable.pe", &disk);
    assert!(
        text.contains("LOSS of rest") && text.contains("bad sector"),
        "{text}"
    );
}
