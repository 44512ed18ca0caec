//! Every volume of the corpus against what three other tools made of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::Arc,
};

use scelle_event::EvidencePath;
use scelle_evidence::{Entry, EvidenceLoss, StreamState, Times, Volume};
use scelle_formats::{
    ReadAt, ReadAtExt as _,
    ntfs::{Record, Scratch},
};
use scelle_testkit::Corpus;
use sha2::{Digest as _, Sha256};

/// The reference hashes longer streams over this much.
const HASHED_BYTES: u64 = 64 << 20;

#[test]
fn every_volume_is_as_expected() {
    let Some(corpus) = Corpus::find("NTFS volumes") else {
        return;
    };
    let summary = corpus.expected_json("ntfs/summary.json");
    let images = summary.as_array().expect("a list of images");
    assert!(images.len() >= 14, "the corpus has its images");
    let mut compressed = 0;
    for image in images {
        let path = image["path"].as_str().expect("a path");
        let unpacked = scelle_testkit::image(&corpus, image);
        for map in [false, true] {
            let options = scelle_evidence::OpenOptions {
                map,
                ..Default::default()
            };
            let evidence = scelle_evidence::open(unpacked.path(), &options).expect("an image");
            let offset = image["volume_byte_offset"].as_u64().expect("an offset");
            let volume = evidence.volumes.iter().find(|v| v.info().offset == offset);
            let volume = volume.unwrap_or_else(|| panic!("{path}: no volume at {offset}"));
            let seen = Seen::walk(path, volume);
            check_info(image, volume);
            check_counts(image, &seen);
            check_times(&corpus, &seen);
            // Once is enough for what takes long.
            if !map {
                compressed += check_streams(&corpus, &seen);
            }
        }
    }
    assert!(compressed > 0, "no stream is compressed");
}

struct Seen<'v> {
    image: &'v str,
    volume: &'v Arc<dyn Volume>,
    entries: BTreeMap<u64, Entry>,
}

impl<'v> Seen<'v> {
    fn walk(image: &'v str, volume: &'v Arc<dyn Volume>) -> Self {
        let mut entries = BTreeMap::new();
        let mut losses: Vec<EvidenceLoss> = Vec::new();
        let mut last = None;
        volume.walk(&mut |found| {
            match found {
                Ok(entry) => {
                    let number = entry.id.expect("NTFS numbers its entries").entry;
                    assert!(last < Some(number), "{image}: the order of entries");
                    last = Some(number);
                    entries.insert(number, entry);
                }
                Err(loss) => losses.push(loss),
            }
            ControlFlow::Continue(())
        });
        assert!(losses.is_empty(), "{image}: {losses:?}");
        Self {
            image,
            volume,
            entries,
        }
    }

    fn tables(&self, ending: &str) -> String {
        let name = self.image.rsplit('/').next().expect("a name");
        format!("ntfs/{name}.{ending}")
    }
}

fn check_info(image: &serde_json::Value, volume: &Arc<dyn Volume>) {
    let info = volume.info();
    let serial = image["serial"].as_str().expect("a serial number");
    assert_eq!(&*info.id, format!("ntfs-{}", serial.to_uppercase()));
    assert_eq!(info.label.as_deref(), image["volume_name"].as_str());
    assert_eq!(
        info.cluster_bytes.map(u64::from),
        image["cluster_block_size"].as_u64()
    );
}

/// `mft_dump` counts records with a signature. libfsntfs counts the same ones under other names,
/// and is compared where the other could not open the volume; see `tests/differences/ntfs.md`.
fn check_counts(image: &serde_json::Value, seen: &Seen<'_>) {
    let mft = seen
        .volume
        .open_entry(&seen.entries[&0], None)
        .expect("$MFT");
    let record_bytes = image["mft_entry_size"].as_u64().expect("a size");
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut shown = BTreeSet::new();
    let mut scratch = Scratch::new();
    for number in 0..mft.len() / record_bytes {
        let mut bytes = vec![0; record_bytes as usize];
        mft.read_exact_at("a record", number * record_bytes, &mut bytes)
            .expect("all of $MFT");
        let Ok(record) = Record::decode(&bytes, &mut scratch) else {
            continue;
        };
        let header = record.header;
        let key = match (
            header.is_extension(),
            header.in_use(),
            header.is_directory(),
        ) {
            (false, true, true) => "inuse_dir",
            (false, true, false) => "inuse_file",
            (false, false, true) => "deleted_dir",
            (false, false, false) => "deleted_file",
            (true, true, _) => "ext_inuse_file",
            (true, false, _) => "ext_deleted_file",
        };
        *counts.entry(key).or_default() += 1;
        if !header.is_extension() {
            shown.insert((number, !header.in_use()));
        }
    }
    let walked: BTreeSet<_> = seen.entries.iter().map(|(n, e)| (*n, e.deleted)).collect();
    assert_eq!(
        walked, shown,
        "{}: the walk shows each base record",
        seen.image
    );
    let expected = match image["mft_dump_counts"].as_object() {
        Some(expected) => expected.clone(),
        None => image["fsntfs_counts"]
            .as_object()
            .expect("counts of one tool or the other")
            .iter()
            .map(|(key, count)| {
                let key = key.replace("unalloc", "deleted").replace("alloc", "inuse");
                (key, count.clone())
            })
            .collect(),
    };
    let found: serde_json::Map<_, _> = counts
        .into_iter()
        .map(|(key, count)| (key.to_owned(), count.into()))
        .collect();
    assert_eq!(
        serde_json::Value::Object(found),
        serde_json::Value::Object(expected),
        "{}",
        seen.image
    );
}

fn check_times(corpus: &Corpus, seen: &Seen<'_>) {
    let table = corpus.expected(&seen.tables("times.tsv.gz"));
    for line in table.lines().skip(1) {
        let cells: Vec<_> = line.split('\t').collect();
        let number: u64 = cells[0].parse().expect("an entry");
        let entry = &seen.entries[&number];
        let at = format!("{}: {line}", seen.image);
        let times = |times: &Times| {
            [times.created, times.modified, times.changed, times.accessed]
                .map(|time| time.map_or(Some(0), |time| time.to_filetime()))
        };
        let stated = [6, 7, 8, 9].map(|cell| cells[cell].parse::<u64>().ok());
        assert_eq!(entry.deleted, cells[1] == "0", "{at}");
        if cells[4] == "SI" {
            assert_eq!(times(&entry.times), stated, "{at}");
        } else {
            // The root's own name is a dot, and no component of a path.
            let name = if cells[5] == "." { "" } else { cells[5] };
            let mut names = entry.names.iter();
            let found = names
                .any(|known| known.path.name() == name.as_bytes() && times(&known.times) == stated);
            assert!(found, "{at}: {:?}", entry.names);
        }
    }
}

/// Compares each stream, and says how many of them are compressed.
fn check_streams(corpus: &Corpus, seen: &Seen<'_>) -> usize {
    let table = corpus.expected(&seen.tables("streams.tsv"));
    let mut compressed = 0;
    let mut expected = BTreeSet::new();
    for line in table.lines().skip(1) {
        let cells: Vec<_> = line.split('\t').collect();
        let number: u64 = cells[0].parse().expect("an entry");
        let entry = &seen.entries[&number];
        let at = format!("{}: {line}", seen.image);
        let path = cells[1].replace('\\', "/");
        let has_path = entry
            .names
            .iter()
            .any(|name| name.path.as_bytes() == path.as_bytes());
        assert!(has_path || path.is_empty(), "{at}: {:?}", entry.path);
        let name = (!cells[2].is_empty()).then(|| EvidencePath::from_bytes(cells[2].as_bytes()));
        expected.insert((number, name.clone()));
        let info = entry.streams.iter().find(|stream| stream.name == name);
        let info = info.unwrap_or_else(|| panic!("{at}: no such stream"));
        assert_eq!(info.size_bytes.to_string(), cells[3], "{at}");
        let opened = seen.volume.open_entry(entry, name.as_ref());
        assert_eq!(info.state, StreamState::Plain, "{at}");
        compressed += usize::from(cells[4] == "compressed");
        // The Sleuth Kit prints nothing of `$BadClus:$Bad`, and can't open 2 MiB clusters.
        let column = match (cells[1], cells[5]) {
            ("$BadClus", _) | (_, "-") => 6,
            _ => 5,
        };
        let reference = if cells[column] == "=" {
            cells[5]
        } else {
            cells[column]
        };
        let opened = opened.unwrap_or_else(|error| panic!("{at}: {error}"));
        assert_eq!(hash(&*opened), reference, "{at}");
    }
    let ours: BTreeSet<_> = seen
        .entries
        .values()
        .filter(|entry| !entry.deleted)
        .flat_map(|entry| {
            let number = entry.id.expect("a number").entry;
            // The other tools list `$DATA` only, and not the indexes of directories.
            let is_data = |name: &Option<EvidencePath>| {
                name.as_ref().is_none_or(|name| name.as_bytes() != b"$I30")
            };
            let names = entry.streams.iter().map(|stream| stream.name.clone());
            names.filter(is_data).map(move |name| (number, name))
        })
        .collect();
    assert_eq!(
        ours, expected,
        "{}: the streams of allocated entries",
        seen.image
    );
    compressed
}

fn hash(stream: &dyn ReadAt) -> String {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    let end = stream.len().min(HASHED_BYTES);
    while at < end {
        let want = buffer.len().min((end - at) as usize);
        stream
            .read_exact_at("a stream", at, &mut buffer[..want])
            .expect("all of it");
        hasher.update(&buffer[..want]);
        at += want as u64;
    }
    hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
