//! What opening and salvaging an encrypted bundle cost in memory. Alone in its process: nothing else may grow.
#![cfg(target_os = "linux")]

mod common;

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
};

use common::{
    Item,
    certificates::{Reads, recipient, secret},
    encrypted::write_to,
    item, options,
};
use scelle_bundle::{
    Bundle, Ciphertext, Compression, Encrypted, Output, SessionKey, Verdict, VerifyOptions,
    salvage, verify_encrypted,
};
use scelle_formats::{ReadAt, ReadAtExt as _, ReadError};

/// What a bundle of any size may take.
const LIMIT_BYTES: usize = 256 << 20;
/// The evidence of the smaller and the larger bundle, and of each stream, behind which a
/// checkpoint comes. The larger has as many checkpoints, and with that as many pieces of unusual
/// lengths, as 100 GB have at the usual distance of 64 MiB.
const SMALL: u64 = 32 << 20;
const LARGE: u64 = 384 << 20;
const STREAM: u64 = 256 << 10;
/// What twelve times the evidence may add: its checkpoints' pieces, 24 bytes each, its files'
/// lines, and what allocators leave lying.
const GROWTH_BYTES: usize = 24 << 20;

struct OnDisk(File);

impl Write for OnDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The page cache keeps what is written: this measures memory and no device.
impl Output for OnDisk {}

impl ReadAt for OnDisk {
    fn len(&self) -> u64 {
        self.0.metadata().map_or(0, |metadata| metadata.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let read = self.0.read_at(buf, offset);
        read.map_err(|error| ReadError::io(offset, error))
    }
}

/// The first half of a file: what a cut leaves.
struct Half(OnDisk);

impl ReadAt for Half {
    fn len(&self) -> u64 {
        self.0.len() / 2
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let count = self.len().saturating_sub(offset).min(buf.len() as u64);
        self.0.read_at(offset, &mut buf[..count as usize])
    }
}

/// Takes all, keeps nothing, and looks at the memory at each checkpoint.
#[derive(Default)]
struct Sink {
    most: usize,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Sink {
    fn sync(&mut self) -> io::Result<()> {
        self.most = self.most.max(anonymous_bytes());
        Ok(())
    }
}

/// Salvages the first half, encrypted again; the memory that it took.
fn save(path: &Path, key: &SessionKey, reads: Reads) -> usize {
    let half = Half(OnDisk(File::open(path).expect("made")));
    let ciphertext = Ciphertext::open(Arc::new(half)).expect("own");
    let archive = ciphertext.salvage(key).expect("own");
    let recipients = [recipient(&secret("reader", reads, None))];
    let own = common::key();
    let out = Encrypted::create(Sink::default(), &recipients, own.clone()).expect("sound");
    let packets = out.session_packets_sha256().to_owned();
    let saved = salvage(&archive, out, own, "test", Some(packets));
    let (saved, out) = saved.expect("half of it is there");
    assert!(saved.vouched_files > 0 && !saved.is_complete);
    out.finish().expect("it takes all").most
}

fn anonymous_bytes() -> usize {
    scelle_testkit::anonymous_bytes().expect("Linux tells") as usize
}

/// Zeros without end: a stream that takes no memory of its own.
fn zeros(length: u64) -> Item {
    let mut item = item(b"zeros", Vec::new());
    item.content = common::Content::Zeros(length);
    item
}

fn make(path: &Path, length: u64, reads: Reads) -> SessionKey {
    let mut plan = options("memory");
    plan.compression = Compression::Store;
    plan.checkpoint_bytes = STREAM;
    let pieces = length / STREAM;
    let items: Vec<Item> = (0..pieces)
        .map(|number| {
            let mut item = zeros(STREAM);
            item.entry = common::entry(format!("zeros {number}").as_bytes(), number);
            item
        })
        .collect();
    let out = OnDisk(File::create(path).expect("made"));
    let recipients = [recipient(&secret("reader", reads, None))];
    write_to(out, plan, &items, &recipients).2
}

/// Opens, verifies, and reads here and there; the memory that it took.
fn read(path: &Path, key: &SessionKey) -> usize {
    let open = || {
        let file = OnDisk(File::open(path).expect("made"));
        Ciphertext::open(Arc::new(file)).expect("own")
    };
    let answer = verify_encrypted(&open(), key, &VerifyOptions::default()).expect("checked");
    assert_eq!(
        answer.verdict,
        Verdict::SignerUnknown,
        "{:?}",
        answer.problems
    );
    let mut most = anonymous_bytes();
    let archive = open().decrypt(key).expect("unaltered");
    let bundle = Bundle::open(Arc::new(archive)).expect("a bundle");
    let members: Vec<String> = bundle.files().map(|(name, _)| name.to_owned()).collect();
    for member in members {
        let stream = bundle.open_stored(&member).expect("there");
        let read = stream.read_range(100_000..STREAM, 1 << 20).expect("there");
        assert!(read.iter().all(|byte| *byte == 0));
        most = most.max(anonymous_bytes());
    }
    most
}

#[test]
fn memory_does_not_grow_with_an_encrypted_bundle() {
    let folder = tempfile::tempdir().expect("a folder");
    for reads in [Reads::VersionOne, Reads::VersionTwo] {
        let (small, large) = (folder.path().join("small"), folder.path().join("large"));
        let key = make(&small, SMALL, reads);
        let before = read(&small, &key).max(save(&small, &key, reads));
        let key = make(&large, LARGE, reads);
        let after = read(&large, &key).max(save(&large, &key, reads));
        eprintln!("{reads:?}: {SMALL} bytes take {before}, {LARGE} take {after}");
        assert!(after < LIMIT_BYTES, "{reads:?}: {after} bytes");
        assert!(
            after < before + GROWTH_BYTES,
            "{reads:?}: {before}, then {after}"
        );
    }
}
