//! What there still is of deleted files: on a volume made here, and beside the Sleuth Kit.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    path::Path,
    process::Command,
    sync::Arc,
};

use scelle_evidence::{Entry, Evidence, OpenOptions, Remains, Volume, open, open_source};
use scelle_formats::{Bytes, ReadAtExt as _};
use scelle_testkit::{Corpus, MftRecord, NtfsImage, Part, has_tool, image, run_tool};

const DATA: u32 = 0x80;
const CLUSTER: usize = 4096;
const CLUSTERS: usize = 40;
const MFT_LCN: u64 = 4;
const RECORDS: u64 = 40;
const TIMES: [u64; 4] = [130_000_000_000_000_000; 4];
const ROOT: u64 = MftRecord::reference(5, 5);

fn file(entry: u32, name: &str) -> MftRecord {
    let name: Vec<u16> = name.encode_utf16().collect();
    MftRecord::new(entry, 2)
        .standard(TIMES, 0x20)
        .name(ROOT, 3, &name, TIMES)
}

fn gone(entry: u32, real_bytes: u64, runs: &[(Option<u32>, u32)]) -> MftRecord {
    let part = Part {
        real_bytes,
        valid_bytes: real_bytes,
        runs,
        ..Part::default()
    };
    file(entry, &format!("gone-{entry}.bin"))
        .deleted()
        .part(DATA, "", &part)
}

fn made(bitmap: Option<&[u8]>) -> Evidence {
    let mft_bytes = RECORDS * 1024;
    let mft = file(0, "$MFT").part(
        DATA,
        "",
        &Part {
            real_bytes: mft_bytes,
            valid_bytes: mft_bytes,
            runs: &[(Some(MFT_LCN as u32), (mft_bytes / CLUSTER as u64) as u32)],
            ..Part::default()
        },
    );
    let cluster = CLUSTER as u64;
    let mut made = NtfsImage::new(CLUSTER, 1024, CLUSTERS, MFT_LCN, 1)
        .record_at(1, 0, &mft)
        .record(0, &mft)
        .record(5, &file(5, ".").directory())
        .record(
            30,
            &file(30, "small.txt")
                .deleted()
                .resident(DATA, "", b"small")
                .resident(DATA, "stream", b"more"),
        )
        .record(31, &gone(31, 2 * cluster, &[(Some(20), 2)]))
        .record(
            32,
            &gone(32, 4 * cluster, &[(Some(22), 2), (None, 1), (Some(30), 1)]),
        )
        .record(33, &gone(33, 5000, &[(Some(30), 2)]))
        .record(34, &gone(34, 5 * cluster, &[(Some(38), 5)]))
        .record(35, &gone(35, 9 * cluster, &[(Some(20), 2)]))
        .record(36, &file(36, "live.txt").resident(DATA, "", b"live"))
        .put(20, &[b'a'; CLUSTER])
        .put(21, &[b'b'; CLUSTER]);
    if let Some(bits) = bitmap {
        made = made.record(6, &file(6, "$Bitmap").resident(DATA, "", bits));
    }
    open_source("made".into(), Arc::new(Bytes(made.into_bytes())))
}

/// The entries of a volume, and how many losses a walk met.
fn walk(volume: &dyn Volume) -> (BTreeMap<u64, Entry>, usize) {
    let (mut entries, mut losses) = (BTreeMap::new(), 0);
    volume.walk(&mut |found| {
        match found {
            Ok(entry) => {
                let number = entry.id.expect("NTFS numbers its entries").entry;
                entries.insert(number, entry);
            }
            Err(_) => losses += 1,
        }
        ControlFlow::Continue(())
    });
    (entries, losses)
}

#[test]
fn free_and_taken_clusters_are_told_apart() {
    // All up to the end of `$MFT`, and 30 and 31.
    let mut bits = [0u8; CLUSTERS / 8];
    for lcn in (0..14).chain(30..32) {
        bits[lcn / 8] |= 1 << (lcn % 8);
    }
    let evidence = made(Some(&bits));
    let volume = &*evidence.volumes[0];
    let (entries, losses) = walk(volume);
    assert_eq!(losses, 0);
    let remains: Vec<_> = (30..37)
        .map(|entry| entries[&entry].streams[0].remains)
        .collect();
    let taken = |taken, clusters| Some(Remains::Taken { taken, clusters });
    assert_eq!(
        remains,
        [
            Some(Remains::Resident),
            Some(Remains::Free { clusters: 2 }),
            taken(1, 3),
            taken(2, 2),
            // Past the last cluster; and of more bytes than its clusters have.
            Some(Remains::Unknown),
            Some(Remains::Unknown),
            None,
        ]
    );
    assert_eq!(entries[&30].streams[1].remains, Some(Remains::Resident));
    let opened = volume.open_entry(&entries[&31], None).expect("a stream");
    let bytes = opened.read_range(0..u64::MAX, 1 << 20).expect("all of it");
    assert!(bytes == [[b'a'; CLUSTER], [b'b'; CLUSTER]].concat());
}

#[test]
fn without_a_list_of_free_clusters_nothing_is_claimed_and_the_loss_is_said_once() {
    let evidence = made(None);
    let (entries, losses) = walk(&*evidence.volumes[0]);
    assert_eq!(losses, 1);
    assert_eq!(entries[&30].streams[0].remains, Some(Remains::Resident));
    for entry in 31..36 {
        let remains = entries[&entry].streams[0].remains;
        assert_eq!(remains, Some(Remains::Unknown), "{entry}");
    }
}

#[test]
fn the_sleuth_kit_has_the_same_bytes_and_the_same_free_clusters() {
    let Some(corpus) = Corpus::find("deleted files of NTFS volumes") else {
        return;
    };
    let tools = ["icat", "istat", "blkls"];
    if !tools.iter().all(|tool| has_tool(tool, "deleted files")) {
        return;
    }
    let summary = corpus.expected_json("ntfs/summary.json");
    let mut met = BTreeMap::<&str, usize>::new();
    for sample in summary.as_array().expect("a list of images") {
        let path = sample["path"].as_str().expect("a path");
        // The Sleuth Kit opens no clusters of 2 MiB.
        if path.ends_with("ntfs-2m.raw.gz") {
            continue;
        }
        let unpacked = image(&corpus, sample);
        let offset = sample["volume_byte_offset"].as_u64().expect("an offset");
        let evidence = open(unpacked.path(), &OpenOptions::default()).expect("an image");
        let volume = evidence.volumes.iter().find(|v| v.info().offset == offset);
        let volume = &**volume.expect("the volume");
        let kit = Kit::new(unpacked.path(), offset);
        for (number, entry) in walk(volume).0 {
            let unnamed = entry.streams.iter().find(|stream| stream.name.is_none());
            let Some((stream, remains)) = unnamed.and_then(|it| Some((it, it.remains?))) else {
                continue;
            };
            *met.entry(remains.name()).or_default() += 1;
            let clusters = kit.clusters_of(number);
            let taken = clusters
                .iter()
                .filter(|lcn| !kit.free.contains(lcn))
                .count() as u64;
            match remains {
                Remains::Resident => assert!(clusters.is_empty(), "{path} {number}"),
                _ => assert_eq!(
                    remains.clusters(),
                    (clusters.len() as u64, taken),
                    "{path} {number}"
                ),
            }
            if stream.size_bytes < 64 << 20 {
                let opened = volume.open_entry(&entry, None).expect("a stream");
                let ours = opened.read_range(0..u64::MAX, 64 << 20).expect("all of it");
                assert!(ours == kit.read(number), "{path} {number}");
            }
        }
    }
    assert!(met["free"] > 5 && met["resident"] > 0, "{met:?}");
}

/// What the Sleuth Kit says of a volume.
struct Kit<'a> {
    image: &'a Path,
    sector: String,
    free: BTreeSet<u64>,
}

impl<'a> Kit<'a> {
    fn new(image: &'a Path, offset: u64) -> Self {
        let mut kit = Self {
            image,
            sector: (offset / 512).to_string(),
            free: BTreeSet::new(),
        };
        let listed = kit.run("blkls", &["-l"], &[]);
        let lines = listed.lines().filter_map(|line| line.split_once('|'));
        let free = lines.filter(|(_, state)| *state == "f");
        kit.free = free.filter_map(|(lcn, _)| lcn.parse().ok()).collect();
        kit
    }

    fn run(&self, tool: &str, options: &[&str], entry: &[&str]) -> String {
        let image = self.image.to_str().expect("our own path");
        let arguments = [options, &["-o", &self.sector, image], entry].concat();
        run_tool(Path::new("/"), tool, &arguments)
    }

    /// The clusters of the unnamed stream, those of holes left out.
    fn clusters_of(&self, entry: u64) -> Vec<u64> {
        let said = self.run("istat", &[], &[&entry.to_string()]);
        let mut lines = said.lines();
        let begins = |line: &str| {
            line.starts_with("Type: $DATA") && line.contains("Name: N/A") && line.contains("Non-")
        };
        if !lines.any(begins) {
            return Vec::new();
        }
        let numbers = lines.map_while(|line| {
            let numbers = line.split_whitespace().map(str::parse);
            numbers.collect::<Result<Vec<u64>, _>>().ok()
        });
        numbers.flatten().filter(|lcn| *lcn != 0).collect()
    }

    fn read(&self, entry: u64) -> Vec<u8> {
        let output = Command::new("icat")
            .args(["-r", "-o", &self.sector])
            .arg(self.image)
            .arg(entry.to_string())
            .output()
            .expect("icat");
        output.stdout
    }
}
