//! A volume that ntfs-3g and libwim wrote: every byte is what was put in.

use std::{collections::BTreeMap, ops::ControlFlow};

use scelle_evidence::{Entry, OpenOptions, Remains, StreamState, Volume, open};
use scelle_formats::{RangeKind, ReadAt};
use scelle_testkit::{Expected, MadeVolume};
use sha2::{Digest as _, Sha256};

const FILES: usize = 20_000;

#[test]
fn every_byte_equals_what_was_put_in() {
    let Some(made) = MadeVolume::ntfs(FILES, "a volume of every kind of stream") else {
        return;
    };
    let evidence = open(&made.image(), &OpenOptions::default()).expect("an image");
    assert!(evidence.losses.is_empty(), "{:?}", evidence.losses);
    let volume = &*evidence.volumes[0];
    let seen = Seen::walk(volume);
    let mut met = BTreeMap::<&str, usize>::new();
    for expected in &made.expected {
        match expected {
            Expected::Stream {
                path,
                stream,
                size,
                sha256,
            } => {
                let entry = seen.live(path);
                let info = entry
                    .streams
                    .iter()
                    .find(|info| info.name.as_ref().map(|name| name.to_string()) == *stream);
                let info = info.unwrap_or_else(|| panic!("{path}: no stream {stream:?}"));
                assert_eq!(info.state, StreamState::Plain, "{path}");
                assert_eq!(info.size_bytes, *size, "{path}:{stream:?}");
                let opened = volume.open_entry(entry, info.name.as_ref());
                let opened = opened.unwrap_or_else(|error| panic!("{path}: {error}"));
                assert_eq!(hash(&*opened), *sha256, "{path}:{stream:?}");
                if *size < 300_000 {
                    assert_eq!(hash_in_steps(&*opened, 1000), *sha256, "{path}:{stream:?}");
                }
                check_ranges(path, &*opened);
                *met.entry("stream").or_default() += 1;
            }
            Expected::Link { path, to } => {
                assert_eq!(seen.live(path).id, seen.live(to).id, "{path}");
                *met.entry("link").or_default() += 1;
            }
            // The test of stories has these.
            Expected::Action { .. } | Expected::Finding { .. } => {}
            Expected::Deleted { path, size, sha256 } => {
                assert!(!seen.live.contains_key(path), "{path}");
                let entries = seen.deleted.get(path);
                for entry in entries.unwrap_or_else(|| panic!("{path} left no trace")) {
                    let info = &entry.streams[0];
                    let remains = info.remains.expect("it is deleted");
                    *met.entry(remains.name()).or_default() += 1;
                    let opened = volume.open_entry(entry, None).expect("a stream");
                    let is_as_it_was = (opened.len(), hash(&*opened)) == (*size, sha256.clone());
                    // What is free or in the record is what was put in; what was taken is not.
                    let is_whole = matches!(remains, Remains::Resident | Remains::Free { .. });
                    assert_eq!(is_as_it_was, is_whole, "{path}: {remains}");
                }
                *met.entry("deleted").or_default() += 1;
            }
        }
    }
    assert!(met["stream"] > FILES + 1000 && met["link"] == 30, "{met:?}");
    assert!(met["deleted"] > 20, "{met:?}");
    assert!(
        met["resident"] > 5 && met["free"] > 5 && met["taken"] > 0,
        "{met:?}"
    );
    let sparse = &seen.live("sparse.bin").streams[0];
    assert!(sparse.sparse && sparse.allocated_bytes < sparse.size_bytes);
}

struct Seen {
    live: BTreeMap<String, Entry>,
    deleted: BTreeMap<String, Vec<Entry>>,
}

impl Seen {
    fn walk(volume: &dyn Volume) -> Self {
        let mut live = BTreeMap::new();
        let mut deleted = BTreeMap::<String, Vec<Entry>>::new();
        volume.walk(&mut |found| {
            let entry = found.expect("a sound volume");
            for name in &entry.names {
                if entry.deleted {
                    let of_path = deleted.entry(name.path.to_string());
                    of_path.or_default().push(entry.clone());
                } else {
                    live.insert(name.path.to_string(), entry.clone());
                }
            }
            ControlFlow::Continue(())
        });
        Self { live, deleted }
    }

    fn live(&self, path: &str) -> &Entry {
        let entry = self.live.get(path);
        entry.unwrap_or_else(|| panic!("{path} is not there"))
    }
}

fn hash(stream: &dyn ReadAt) -> String {
    hash_in_steps(stream, 1 << 20)
}

fn hash_in_steps(stream: &dyn ReadAt, step: usize) -> String {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; step];
    let mut at = 0;
    loop {
        let count = stream.read_at(at, &mut buffer).expect("sound");
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        at += count as u64;
    }
    let hash = hasher.finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_ranges(path: &str, stream: &dyn ReadAt) {
    let mut at = 0;
    for (range, kind) in stream.ranges() {
        assert_eq!(range.start, at, "{path}");
        assert_ne!(kind, RangeKind::Unreadable, "{path}");
        at = range.end;
    }
    assert_eq!(at, stream.len(), "{path}");
}
