//! Volumes made here, each with what real ones seldom have.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

use scelle_event::{EvidencePath, StreamId};
use scelle_evidence::{Entry, EntryKind, Evidence, EvidenceLoss, StreamState, Volume, open_source};
use scelle_formats::{Bytes, RangeKind, ReadAt, ReadAtExt as _, ReadError};
use scelle_testkit::{MftRecord, NtfsImage, Part};

const DATA: u32 = 0x80;
const LIST: u32 = 0x20;
const REPARSE: u32 = 0xC0;
const TIMES: [u64; 4] = [130_000_000_000_000_000, 2, 3, 0];

fn root() -> u64 {
    MftRecord::reference(5, 5)
}

fn utf16(name: &str) -> Vec<u16> {
    name.encode_utf16().collect()
}

fn file(entry: u32, name: &str) -> MftRecord {
    MftRecord::new(entry, 1)
        .standard(TIMES, 0x20)
        .name(root(), 3, &utf16(name), TIMES)
}

fn folder(entry: u32, parent: u64, name: &str) -> MftRecord {
    MftRecord::new(entry, 1)
        .directory()
        .standard(TIMES, 0)
        .name(parent, 3, &utf16(name), TIMES)
}

/// A volume whose `$MFT` has so many records, with `$MFT`, its mirror and the root.
fn volume(cluster_bytes: usize, record_bytes: usize, records: u32, clusters: usize) -> NtfsImage {
    let mft_bytes = u64::from(records) * record_bytes as u64;
    let mft_clusters = mft_bytes.div_ceil(cluster_bytes as u64) as u32;
    let mft = mft_record(&[(Some(4), mft_clusters)], mft_bytes);
    // The mirror stands before `$MFT` where there is room for a record, else after all.
    let record_clusters = record_bytes.div_ceil(cluster_bytes);
    let (mirror, clusters) = match record_clusters {
        0..=3 => (1, clusters),
        _ => (clusters as u64, clusters + record_clusters),
    };
    NtfsImage::new(cluster_bytes, record_bytes, clusters, 4, mirror)
        .record_at(mirror, 0, &mft)
        .record(0, &mft)
        .record(5, &root_record())
}

fn mft_record(runs: &[(Option<u32>, u32)], real_bytes: u64) -> MftRecord {
    file(0, "$MFT").part(DATA, "", &part(runs, real_bytes))
}

fn root_record() -> MftRecord {
    MftRecord::new(5, 5)
        .directory()
        .standard(TIMES, 6)
        .name(root(), 3, &utf16("."), TIMES)
}

fn part<'a>(runs: &'a [(Option<u32>, u32)], real_bytes: u64) -> Part<'a> {
    Part {
        real_bytes,
        valid_bytes: real_bytes,
        runs,
        ..Part::default()
    }
}

struct Seen {
    evidence: Evidence,
    entries: BTreeMap<u64, Entry>,
    losses: Vec<EvidenceLoss>,
}

fn see(image: Vec<u8>) -> Seen {
    let evidence = open_source("made".into(), Arc::new(Bytes(image)));
    let (mut entries, mut losses) = (BTreeMap::new(), Vec::new());
    for volume in &evidence.volumes {
        volume.walk(&mut |found| {
            match found {
                Ok(entry) => {
                    entries.insert(entry.id.map_or(0, |id| id.entry), entry);
                }
                Err(loss) => losses.push(loss),
            }
            ControlFlow::Continue(())
        });
    }
    Seen {
        evidence,
        entries,
        losses,
    }
}

impl Seen {
    fn volume(&self) -> &dyn Volume {
        &*self.evidence.volumes[0]
    }

    fn open(&self, entry: u64, stream: Option<&str>) -> Result<Box<dyn ReadAt>, ReadError> {
        let stream = stream.map(|name| EvidencePath::from_bytes(name.as_bytes()));
        self.volume()
            .open_entry(&self.entries[&entry], stream.as_ref())
    }

    fn read(&self, entry: u64, stream: Option<&str>) -> Vec<u8> {
        let opened = self.open(entry, stream).expect("a stream");
        opened.read_range(0..u64::MAX, 1 << 24).expect("all of it")
    }

    fn by_path(&self, path: &[u8], stream: Option<&str>) -> Result<Box<dyn ReadAt>, ReadError> {
        self.volume().open(&StreamId {
            volume: self.volume().info().id.clone(),
            path: EvidencePath::from_bytes(path),
            stream: stream.map(|name| EvidencePath::from_bytes(name.as_bytes())),
        })
    }

    fn sound(self) -> Self {
        assert!(self.losses.is_empty(), "{:?}", self.losses);
        assert!(
            self.evidence.losses.is_empty(),
            "{:?}",
            self.evidence.losses
        );
        self
    }

    fn path(&self, entry: u64) -> &[u8] {
        self.entries[&entry].path.as_bytes()
    }
}

#[test]
fn every_size_of_clusters_and_records() {
    for cluster_bytes in [512, 1024, 4096, 64 << 10, 128 << 10, 2 << 20] {
        for record_bytes in [1024usize, 4096] {
            let after_mft = 4 + (40 * record_bytes).div_ceil(cluster_bytes) as u32;
            let pieces = [(Some(after_mft + 1), 1), (None, 1), (Some(after_mft), 1)];
            let cluster = cluster_bytes as u64;
            let fragmented = file(30, "fragmented.bin").part(
                DATA,
                "",
                &Part {
                    real_bytes: 3 * cluster - 7,
                    valid_bytes: 2 * cluster + 9,
                    flags: 0x8000,
                    exponent: 0,
                    runs: &pieces,
                    first_vcn: 0,
                },
            );
            let small = file(31, "small.txt").resident(DATA, "", b"small").resident(
                DATA,
                "Zone.Identifier",
                b"[ZoneTransfer]",
            );
            let image = volume(cluster_bytes, record_bytes, 40, after_mft as usize + 2)
                .record(30, &fragmented)
                .record(31, &small)
                .put(after_mft.into(), &vec![1; cluster_bytes])
                .put(u64::from(after_mft) + 1, &vec![2; cluster_bytes]);
            let seen = see(image.into_bytes()).sound();
            let expected: Vec<u8> = [
                vec![2; cluster_bytes],
                vec![0; cluster_bytes],
                vec![1; 9],
                vec![0; cluster_bytes - 16],
            ]
            .concat();
            assert!(
                seen.read(30, None) == expected,
                "{cluster_bytes} {record_bytes}"
            );
            assert_eq!(
                seen.open(30, None)
                    .expect("a stream")
                    .ranges()
                    .collect::<Vec<_>>(),
                [
                    (0..cluster, RangeKind::Data),
                    (cluster..2 * cluster, RangeKind::Hole),
                    (2 * cluster..2 * cluster + 9, RangeKind::Data),
                    (2 * cluster + 9..3 * cluster - 7, RangeKind::PastValid),
                ]
            );
            let stream = &seen.entries[&30].streams[0];
            assert_eq!((stream.sparse, stream.allocated_bytes), (true, 2 * cluster));
            assert_eq!(seen.read(31, None), b"small");
            assert_eq!(seen.read(31, Some("Zone.Identifier")), b"[ZoneTransfer]");
            let info = seen.volume().info();
            assert_eq!(&*info.id, "ntfs-0123456789ABCDEF");
            assert_eq!(info.cluster_bytes, Some(cluster_bytes as u32));
        }
    }
}

#[test]
fn names_paths_and_what_is_deleted() {
    let dir = MftRecord::reference(30, 1);
    let long = utf16("a long name.txt");
    let lone = [0x61, 0xD800, 0x2F, 0x62];
    let image = volume(1024, 1024, 50, 60)
        .record(30, &folder(30, root(), "dir"))
        .record(
            31,
            &MftRecord::new(31, 1)
                .standard(TIMES, 0)
                .name(dir, 2, &utf16("ALONGN~1.TXT"), TIMES)
                .name(dir, 1, &long, TIMES)
                .name(root(), 0, &utf16("hard link"), TIMES)
                .resident(DATA, "", b"three names"),
        )
        .record(32, &MftRecord::new(32, 1).name(dir, 0, &lone, TIMES))
        // Deleted in its folder, and deleted with its folder gone to another use.
        .record(
            33,
            &MftRecord::new(33, 2)
                .deleted()
                .name(dir, 3, &utf16("gone"), TIMES)
                .resident(DATA, "", b"still there"),
        )
        .record(
            34,
            &MftRecord::new(34, 2).deleted().name(
                MftRecord::reference(30, 9),
                3,
                &utf16("orphan"),
                TIMES,
            ),
        )
        // A loop of folders, and a file in it.
        .record(35, &folder(35, MftRecord::reference(36, 1), "one"))
        .record(36, &folder(36, MftRecord::reference(35, 1), "two"))
        .record(
            37,
            &MftRecord::new(37, 1).name(MftRecord::reference(36, 1), 3, &utf16("lost"), TIMES),
        )
        .record(38, &MftRecord::new(38, 1).standard(TIMES, 0))
        // A live file where a deleted one was.
        .record(
            39,
            &MftRecord::new(39, 3)
                .name(dir, 3, &utf16("gone"), TIMES)
                .resident(DATA, "", b"the new one"),
        );
    let seen = see(image.into_bytes()).sound();
    assert_eq!(seen.path(5), b"");
    assert_eq!(seen.path(0), b"$MFT");
    assert_eq!(seen.path(31), b"dir/a long name.txt");
    let names: Vec<_> = seen.entries[&31]
        .names
        .iter()
        .map(|n| n.path.to_string())
        .collect();
    assert_eq!(
        names,
        ["dir/ALONGN~1.TXT", "dir/a long name.txt", "hard link"]
    );
    assert_eq!(seen.path(32), b"dir/a\xED\xA0\x80\xE2\x88\x95b");
    assert_eq!(seen.path(33), b"dir/gone");
    assert!(seen.entries[&33].deleted && !seen.entries[&33].orphan);
    assert_eq!(seen.path(34), b"$OrphanFiles/orphan");
    assert!(seen.entries[&34].orphan);
    assert_eq!(seen.path(37), b"$OrphanFiles/two/lost");
    assert!(seen.entries[&37].orphan);
    assert_eq!(seen.path(38), b"$OrphanFiles/OrphanFile-38");
    // By number every use is reached; by path the live one.
    assert_eq!(seen.read(33, None), b"still there");
    assert_eq!(seen.read(39, None), b"the new one");
    let open = |path| seen.by_path(path, None).map(|stream| stream.len());
    assert_eq!(open(b"dir/gone").expect("the live one"), 11);
    for path in [
        &b"dir/ALONGN~1.TXT"[..],
        b"dir/a long name.txt",
        b"hard link",
    ] {
        assert_eq!(open(path).expect("one of its names"), 11);
    }
    for path in [&b"dir/none"[..], b"none/gone", b"DIR/gone"] {
        assert!(matches!(open(path), Err(ReadError::Absent { .. })));
    }
    assert!(
        matches!(open(b"dir"), Err(ReadError::Absent { .. })),
        "a folder has no stream"
    );
    assert!(matches!(
        seen.by_path(b"dir/gone", Some("none"))
            .map(|stream| stream.len()),
        Err(ReadError::Absent { .. })
    ));
    assert_eq!(
        seen.by_path(b"$MFT", None).expect("a system file").len(),
        50 * 1024
    );
    // Times: zero is none.
    let times = seen.entries[&31].times;
    assert_eq!(
        times.created.and_then(|at| at.to_filetime()),
        Some(TIMES[0])
    );
    assert_eq!(times.accessed, None);
}

/// An entry of an attribute list.
fn listed(kind: u32, first_vcn: u64, record: u64) -> Vec<u8> {
    let mut entry = vec![0; 0x20];
    entry[..4].copy_from_slice(&kind.to_le_bytes());
    entry[4] = 0x20;
    entry[7] = 0x1A;
    entry[0x08..0x10].copy_from_slice(&first_vcn.to_le_bytes());
    entry[0x10..0x18].copy_from_slice(&record.to_le_bytes());
    entry
}

fn extension(entry: u32, base: u64) -> MftRecord {
    MftRecord::new(entry, 1).extension_of(base)
}

#[test]
fn attribute_lists_resident_and_not() {
    let base = MftRecord::reference(30, 1);
    let list = [
        listed(0x10, 0, base),
        listed(0x30, 0, MftRecord::reference(32, 1)),
        listed(DATA, 2, MftRecord::reference(33, 1)),
        listed(DATA, 0, MftRecord::reference(32, 1)),
    ]
    .concat();
    for resident in [true, false] {
        let file = MftRecord::new(30, 1).standard(TIMES, 0);
        let file = if resident {
            file.resident(LIST, "", &list)
        } else {
            file.part(LIST, "", &part(&[(Some(55), 1)], list.len() as u64))
        };
        let image = volume(1024, 1024, 40, 60)
            .put(55, &list)
            .put(56, &[6; 1024])
            .put(57, &[7; 2048])
            .record(30, &file)
            .record(
                32,
                &extension(32, base)
                    .name(root(), 3, &utf16("far.bin"), TIMES)
                    .part(DATA, "", &part(&[(Some(57), 2)], 3000)),
            )
            .record(
                33,
                &extension(33, base).part(
                    DATA,
                    "",
                    &Part {
                        first_vcn: 2,
                        runs: &[(Some(56), 1)],
                        ..Part::default()
                    },
                ),
            );
        let seen = see(image.into_bytes()).sound();
        assert_eq!(seen.path(30), b"far.bin");
        assert!(!seen.entries.contains_key(&32), "an extension is no entry");
        assert_eq!(seen.read(30, None), [vec![7; 2048], vec![6; 952]].concat());
        assert_eq!(seen.entries[&30].streams[0].allocated_bytes, 3072);
        assert!(seen.by_path(b"far.bin", None).is_ok());
    }
}

#[test]
fn attribute_lists_that_lie() {
    let base = MftRecord::reference(30, 1);
    let lists = [
        // Itself, a record of another file, a record that is no extension, one past the end.
        listed(DATA, 0, base),
        listed(DATA, 0, MftRecord::reference(31, 1)),
        listed(DATA, 0, MftRecord::reference(5, 5)),
        listed(DATA, 0, MftRecord::reference(9999, 1)),
        vec![0xFF; 0x40],
        vec![1; 7],
    ];
    for (at, list) in lists.iter().enumerate() {
        let image = volume(1024, 1024, 40, 60)
            .record(
                30,
                &file(30, "liar")
                    .resident(LIST, "", list)
                    .resident(DATA, "", b"own"),
            )
            .record(31, &extension(31, MftRecord::reference(29, 1)));
        let seen = see(image.into_bytes());
        assert_eq!(seen.path(30), b"liar");
        assert_eq!(seen.read(30, None), b"own");
        assert_eq!(
            seen.losses.is_empty(),
            at == 0,
            "list {at}: {:?}",
            seen.losses
        );
        assert!(seen.losses.iter().all(|loss| loss.entry == Some(30)));
    }
    // A list that claims to be long is not read.
    let long = part(&[(Some(4), 50)], 1 << 60);
    let image = volume(1024, 1024, 40, 60).record(30, &file(30, "liar").part(LIST, "", &long));
    assert_eq!(see(image.into_bytes()).losses.len(), 1);
}

#[test]
fn lists_that_name_each_others_records_end() {
    // Each of 1,000 files has a list of all the others: a million records to read.
    let list: Vec<u8> = (30..1030)
        .flat_map(|entry| listed(DATA, 0, MftRecord::reference(entry, 1)))
        .collect();
    let length = list.len() as u64;
    let mut image = volume(1024, 1024, 1030, 1100).put(1050, &list);
    for entry in 30..1030 {
        let liar = file(entry, "liar").part(LIST, "", &part(&[(Some(1050), 32)], length));
        image = image.record(entry.into(), &liar);
    }
    let seen = see(image.into_bytes());
    assert_eq!(seen.entries.len(), 1002);
    assert!(
        seen.losses.len() < 5_000,
        "the budget ends it: {}",
        seen.losses.len()
    );
}

#[test]
fn an_mft_in_pieces_with_an_attribute_list() {
    let base = MftRecord::reference(0, 1);
    let list = [
        listed(DATA, 0, base),
        listed(DATA, 32, MftRecord::reference(20, 1)),
        listed(DATA, 36, MftRecord::reference(33, 1)),
    ]
    .concat();
    // The third piece is described by a record that lies in the second.
    let mft = file(0, "$MFT").resident(LIST, "", &list).part(
        DATA,
        "",
        &part(&[(Some(4), 32)], 40 * 1024),
    );
    let second = Part {
        first_vcn: 32,
        runs: &[(Some(60), 4)],
        ..Part::default()
    };
    let third = Part {
        first_vcn: 36,
        runs: &[(Some(50), 4)],
        ..Part::default()
    };
    let image = NtfsImage::new(1024, 1024, 70, 4, 1)
        .record_at(1, 0, &mft)
        .record(0, &mft)
        .record(5, &root_record())
        .record(20, &extension(20, base).part(DATA, "", &second))
        .record_at(60, 1, &extension(33, base).part(DATA, "", &third))
        .record_at(60, 2, &file(34, "in the second"))
        .record_at(50, 3, &file(39, "in the third").resident(DATA, "", b"here"));
    let seen = see(image.clone().into_bytes()).sound();
    assert_eq!(seen.path(34), b"in the second");
    assert_eq!(seen.read(39, None), b"here");
    assert_eq!(seen.read(0, None).len(), 40 * 1024);

    // Without the record that describes the second piece, the rest is a loss, said once.
    let seen = see(image.record(20, &file(20, "no extension")).into_bytes());
    assert_eq!(seen.entries.len(), 3);
    // The list names a wrong record, and one that lies in what is lost; and the rest itself.
    assert_eq!(seen.losses.len(), 3, "{:?}", seen.losses);
    assert_eq!(seen.evidence.losses.len(), 2, "{:?}", seen.evidence.losses);
}

#[test]
fn the_mirror_and_the_backup_serve() {
    let sound = volume(1024, 1024, 40, 60)
        .record(30, &file(30, "x").resident(DATA, "", b"y"))
        .into_bytes();
    let mft_at = 4 * 1024;
    for (damage, losses) in [(mft_at, 2), (mft_at + 510, 2), (3, 1), (0x30, 1)] {
        let mut image = sound.clone();
        image[damage] ^= 0x55;
        let seen = see(image);
        assert_eq!(seen.evidence.volumes.len(), 1, "damage at {damage}");
        assert_eq!(seen.read(30, None), b"y", "damage at {damage}");
        let all = seen.evidence.losses.len() + seen.losses.len();
        assert!(all >= losses.min(1), "damage at {damage} is said");
    }
    let mut hopeless = sound;
    hopeless[mft_at] ^= 0x55;
    hopeless[1024] ^= 0x55;
    let seen = see(hopeless);
    assert!(seen.evidence.volumes.is_empty());
    assert!(!seen.evidence.losses.is_empty());
}

#[test]
fn copies_that_differ_are_said() {
    let sound = volume(1024, 1024, 40, 60).into_bytes();
    let backup_at = sound.len() - 512;
    // The OEM's part of the boot code; the serial number of the backup; the mirror's record 0.
    for (at, what) in [
        (0x60, "backup"),
        (backup_at + 0x48, "backup"),
        (1024 + 600, "$MFTMirr"),
    ] {
        let mut image = sound.clone();
        image[at] ^= 0x55;
        let seen = see(image);
        let [loss] = &seen.evidence.losses[..] else {
            panic!("{at}: {:?}", seen.evidence.losses);
        };
        assert!(
            loss.error.to_string().contains(what),
            "{at}: {}",
            loss.error
        );
    }
}

#[test]
fn what_this_version_does_not_read_is_said() {
    let stream = |flags| Part {
        flags,
        ..part(&[(Some(50), 1)], 1000)
    };
    let wim = [0x8000_0017u32, 16, 1, 1, 0, 0].map(u32::to_le_bytes);
    let image = volume(1024, 1024, 40, 60)
        .record(30, &file(30, "odd").part(DATA, "", &stream(2)))
        .record(
            32,
            &file(32, "wim").part(DATA, "", &stream(0x8000)).resident(
                REPARSE,
                "",
                wim.as_flattened(),
            ),
        )
        .record(33, &file(33, "empty").resident(DATA, "", b""));
    let seen = see(image.into_bytes()).sound();
    for (entry, what) in [
        (30, "compression of an unknown kind"),
        (32, "WOF compression from a WIM or of an unknown kind"),
    ] {
        let stream = &seen.entries[&entry].streams[0];
        assert_eq!(stream.state, StreamState::Unsupported(what));
        assert_eq!(stream.size_bytes, 1000);
        match seen.open(entry, None).map(|stream| stream.len()) {
            Err(ReadError::Unsupported { what: said }) => assert_eq!(said, what),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen.read(33, None), b"");
}

#[test]
fn links_are_recorded() {
    let target = utf16("\\??\\C:\\Users");
    let bytes: Vec<u8> = target.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let mut junction = 0xA000_0003u32.to_le_bytes().to_vec();
    junction.extend((bytes.len() as u16 + 8).to_le_bytes());
    junction.extend([0, 0, 0, 0]);
    junction.extend((bytes.len() as u16).to_le_bytes());
    junction.extend([0, 0, 0, 0]);
    junction.extend(&bytes);
    let image = volume(1024, 1024, 40, 60).record(
        30,
        &folder(30, root(), "Documents and Settings").resident(REPARSE, "", &junction),
    );
    let seen = see(image.into_bytes()).sound();
    let link = &seen.entries[&30];
    assert_eq!(link.kind, EntryKind::Link);
    let target = link.link_target.as_ref().expect("a target");
    assert_eq!(target.as_bytes(), b"\\??\\C:\\Users");
}

#[test]
fn streams_that_claim_exabytes() {
    let huge = [(Some(50), u32::MAX), (Some(1), u32::MAX), (None, u32::MAX)];
    let image = volume(1024, 1024, 40, 60)
        .record(30, &file(30, "huge").part(DATA, "", &part(&huge, u64::MAX)))
        .record(
            31,
            &file(31, "away").part(DATA, "", &part(&[(Some(1 << 30), 9)], 9000)),
        );
    let seen = see(image.into_bytes()).sound();
    let stream = seen.open(30, None).expect("its runs are sound");
    assert_eq!(stream.len(), u64::MAX);
    let mut buffer = [0; 4096];
    assert_eq!(
        stream.read_full_at(0, &mut buffer).expect("what is there"),
        4096
    );
    assert!(stream.read_at(1 << 40, &mut buffer).is_err());
    assert!(stream.read_at(u64::MAX - 1, &mut buffer).is_err());
    let kinds: Vec<_> = stream.ranges().map(|(_, kind)| kind).collect();
    assert!(
        kinds.len() < 10 && kinds.contains(&RangeKind::Unreadable),
        "{kinds:?}"
    );
    let away = seen.open(31, None).expect("a stream");
    assert_eq!(
        away.ranges().collect::<Vec<_>>(),
        [(0..9000, RangeKind::Unreadable)]
    );
    assert!(away.read_at(0, &mut buffer).is_err());
    // An `$MFT` that claims more than its volume has.
    let image = NtfsImage::new(1024, 1024, 60, 4, 1)
        .record(
            0,
            &mft_record(&[(Some(4), u32::MAX), (None, u32::MAX)], u64::MAX),
        )
        .record(5, &root_record());
    let seen = see(image.into_bytes());
    assert_eq!(seen.path(5), b"");
}

/// A folder as deep as one may be, with many links in it to one file: of their paths, one MiB is kept, the
/// shortest first, so that no usual name hides behind them.
#[test]
fn names_of_a_deep_folder_have_their_bounds() {
    const DEPTH: u32 = 127;
    const LINKS: usize = 38;
    let mut image = volume(4096, 4096, 200, 4 + 200 + 2);
    let mut parent = root();
    for level in 0..DEPTH {
        let entry = 24 + level;
        image = image.record(entry.into(), &folder(entry, parent, &"d".repeat(255)));
        parent = MftRecord::reference(entry, 1);
    }
    let mut linked = MftRecord::new(190, 1).standard(TIMES, 0x20);
    for link in 0..LINKS {
        linked = linked.name(parent, 3, &utf16(&format!("{link:02}")), TIMES);
    }
    let linked = linked.name(root(), 0, &utf16("usual"), TIMES);
    let seen = see(image.record(190, &linked).into_bytes());
    let entry = &seen.entries[&190];
    assert!(entry.path.as_bytes().ends_with(b"/00"), "the best is shown");
    let paths = || entry.names.iter().map(|name| name.path.as_bytes());
    assert!(paths().any(|path| path == b"usual"));
    assert!(
        (20..=LINKS).contains(&entry.names.len()),
        "{}",
        entry.names.len()
    );
    let bytes: usize = paths().map(<[u8]>::len).sum();
    assert!(bytes <= 1 << 20, "{bytes} bytes");
    let left = LINKS + 1 - entry.names.len();
    let wanted = format!("the longest {left} are left out");
    let told =
        |loss: &EvidenceLoss| loss.entry == Some(190) && loss.error.to_string().contains(&wanted);
    assert!(seen.losses.iter().any(told), "{:?}", seen.losses);
}
