//! What salvaging costs in memory, of bundles in clear and encrypted ones. Alone in its process: nothing else may grow.
#![cfg(target_os = "linux")]

mod common;

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use common::{
    Content, Item, Nowhere,
    certificates::{Reads, recipient, secret},
    encrypted::write_to,
    entry, item, key, options,
};
use scelle_bundle::{
    BundleWriter, Ciphertext, Compression, Encrypted, Output, Salvage, SessionKey, salvage,
};
use scelle_formats::{ReadAt, ReadError};
use scelle_testkit::peak_bytes;

/// What a salvage of any size may take, over what the process had before.
const LIMIT_BYTES: u64 = 256 << 20;
/// The evidence of the smaller and the larger bundle.
const SMALL: u64 = 32 << 20;
const LARGE: u64 = 320 << 20;
/// What ten times the evidence may add: files' lines, places of pieces, what allocators leave lying.
const GROWTH_BYTES: u64 = 24 << 20;

/// Ends of what had to be on the device, one behind each checkpoint.
type Ends = Arc<Mutex<Vec<u64>>>;

struct OnDisk {
    file: File,
    ends: Ends,
}

impl Write for OnDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for OnDisk {
    fn sync(&mut self) -> io::Result<()> {
        let end = self.file.metadata()?.len();
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.push(end);
        Ok(())
    }
}

/// What a cut leaves of a file.
struct Begin {
    file: File,
    length: u64,
}

impl ReadAt for Begin {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let count = self.length.saturating_sub(offset).min(buf.len() as u64);
        let read = self.file.read_at(&mut buf[..count as usize], offset);
        read.map_err(|error| ReadError::io(offset, error))
    }
}

/// What is cut: many streams with a checkpoint behind each few, in their middle; or one large stream, behind it.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Many,
    One,
}

fn zeros(number: u64, length: u64) -> Item {
    let mut item = item(b"", Vec::new());
    item.entry = entry(format!("zeros {number}").as_bytes(), number + 1);
    item.content = Content::Zeros(length);
    item
}

/// Writes a bundle; gives its session key, if it has one, and where it is cut.
fn make(path: &Path, shape: Shape, length: u64, reads: Option<Reads>) -> (Option<SessionKey>, u64) {
    const STREAM: u64 = 256 << 10;
    let mut plan = options("memory");
    let items: Vec<Item> = match shape {
        Shape::Many => {
            plan.checkpoint_bytes = STREAM;
            plan.compression = Compression::Store;
            (0..length / STREAM)
                .map(|number| zeros(number, STREAM))
                .collect()
        }
        Shape::One => vec![zeros(0, 1), zeros(1, length)],
    };
    let ends = Ends::default();
    let out = OnDisk {
        file: File::create(path).expect("room"),
        ends: ends.clone(),
    };
    let key = match reads {
        Some(reads) => {
            let recipients = [recipient(&secret("reader", reads, None))];
            Some(write_to(out, plan, &items, &recipients).2)
        }
        None => {
            let mut writer = BundleWriter::create(out, plan).expect("a name and a key");
            writer
                .add_all(items.len(), |index| &items[index], |_| {})
                .expect("room");
            writer.finish().expect("room");
            None
        }
    };
    let ends = ends.lock().unwrap_or_else(PoisonError::into_inner);
    let cut = match shape {
        Shape::Many => ends[ends.len() / 2],
        // In the signature of the checkpoint behind it: nothing vouches for the stream.
        Shape::One => ends[0] - 300,
    };
    (key, cut)
}

/// Salvages what a cut leaves, in clear or encrypted again.
fn save(path: &Path, cut: u64, session: Option<&SessionKey>) -> Salvage {
    let begin = Begin {
        file: File::open(path).expect("made"),
        length: cut,
    };
    let Some(session) = session else {
        return salvage(&begin, Nowhere, key(), "test", None)
            .expect("it was cut")
            .0;
    };
    let ciphertext = Ciphertext::open(Arc::new(begin)).expect("own");
    let archive = ciphertext.salvage(session).expect("own");
    let recipients = [recipient(&secret("reader", Reads::VersionTwo, None))];
    let out = Encrypted::create(Nowhere, &recipients, key()).expect("sound");
    let packets = out.session_packets_sha256().to_owned();
    let (saved, out) = salvage(&archive, out, key(), "test", Some(packets)).expect("it was cut");
    out.finish().expect("it takes all");
    saved
}

#[test]
fn memory_does_not_grow_with_what_is_salvaged() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cut");
    for reads in [None, Some(Reads::VersionOne), Some(Reads::VersionTwo)] {
        for shape in [Shape::Many, Shape::One] {
            let [before, after] = [SMALL, LARGE].map(|length| {
                let (session, cut) = make(&path, shape, length, reads);
                let (saved, peak) = peak_bytes(|| save(&path, cut, session.as_ref()));
                assert!(!saved.is_complete);
                let of_it = match shape {
                    Shape::Many => saved.vouched_files,
                    Shape::One => saved.unvouched_files,
                };
                assert!(of_it >= 2, "{reads:?}, {shape:?}: {saved:?}");
                peak
            });
            eprintln!("{reads:?}, {shape:?}: {SMALL} bytes take {before}, {LARGE} take {after}");
            assert!(after < LIMIT_BYTES, "{reads:?}, {shape:?}: {after} bytes");
            assert!(
                after < before + GROWTH_BYTES,
                "{reads:?}, {shape:?}: {before}, then {after}"
            );
        }
    }
}
