//! Shadow copies: those of the corpus against what libvshadow and libfsntfs say, those that are made up against
//! what was put in and against libvshadow's own tools, and lies.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use scelle_evidence::{
    Evidence, EvidenceLoss, OpenOptions, Snapshot, Volume, VolumeInfo, VolumeKind, open_disk,
    open_source, shadow_copies,
};
use scelle_formats::{Bytes, ReadAt, ReadAtExt as _, ReadError, guid_text};
use scelle_testkit::{
    Corpus, has_tool, run_tool,
    shadow::{BLOCK, Laid, Shadow, lay},
};

/// The first entry that no metadata file of NTFS has; the expected lists begin here.
const FIRST_ENTRY: u64 = 24;

#[test]
fn the_corpus_is_read_as_libvshadow_and_libfsntfs_read_it() {
    let Some(corpus) = Corpus::find("shadow copies") else {
        return;
    };
    let expected = corpus.expected_json("vss.json");
    let images = expected.as_array().expect("images");
    assert_eq!(images.len(), 3);
    let mut explained = 0;
    for image in images {
        let packed = corpus.path(image["path"].as_str().expect("a path"));
        let folder = tempfile::tempdir().expect("a folder");
        let path = unpacked(&packed, folder.path());
        let disk = open_disk(&path, &OpenOptions::default())
            .expect("an image")
            .disk;
        // See `tests/differences/shadow-copies.md`.
        if let Some(patched) = with_stores_taken_for_others(image, &disk) {
            check_differences(image, &opened(disk.clone()));
            explained += 1;
            check_image(image, &opened(patched));
        } else {
            check_image(image, &opened(disk));
        }
    }
    assert_eq!(
        explained, 1,
        "one image holds the data of another volume's snapshots"
    );
}

fn opened(disk: Arc<dyn ReadAt>) -> Evidence {
    let evidence = open_source("vss".into(), disk);
    // Two of the disks have a partition without a file system.
    let is_other = |loss: &EvidenceLoss| matches!(loss.error, ReadError::Unsupported { .. });
    assert!(
        evidence.losses.iter().all(is_other),
        "{:?}",
        evidence.losses
    );
    evidence
}

/// Every value of an image.
fn check_image(image: &serde_json::Value, evidence: &Evidence) {
    let at = image["volume_byte_offset"].as_u64().expect("an offset");
    let volume = evidence
        .volumes
        .iter()
        .find(|one| one.info().offset == at)
        .expect("the volume");
    check_entries(
        &**volume,
        &image["current_allocated_entries"],
        &image["current_entries"],
    );
    let stores = image["stores"].as_array().expect("stores");
    assert_eq!(evidence.snapshots.len(), stores.len(), "{}", image["path"]);
    for (index, (store, snapshot)) in stores.iter().zip(&evidence.snapshots).enumerate() {
        assert_eq!(store["index"], index);
        check_catalog(store, snapshot);
        let set = snapshot
            .information
            .as_ref()
            .map(|said| guid_text(said.copy_set));
        assert_eq!(set.as_deref(), store["copy_set"].as_str());
        assert_eq!(snapshot.volume.info().base_id(), &*volume.info().id);
        assert_eq!(snapshot.volume.info().offset, at);
        if snapshot.is_here {
            check_entries(
                &*snapshot.volume,
                &store["allocated_entries"],
                &store["entries"],
            );
        } else {
            // What the other tool could not read either.
            assert!(store["fs_error"].is_string());
            let (entries, losses) = walked(&*snapshot.volume);
            assert!(entries.is_empty());
            let said =
                "a shadow copy whose data lies on another volume can't be read by this version";
            assert_eq!(losses, [said]);
        }
    }
}

/// What is read where a catalog has stores of another volume's snapshots too, each taken by its GUID.
fn check_differences(image: &serde_json::Value, evidence: &Evidence) {
    let stores = image["stores"].as_array().expect("stores");
    assert_eq!(evidence.snapshots.len(), stores.len());
    for (store, snapshot) in stores.iter().zip(&evidence.snapshots) {
        check_catalog(store, snapshot);
        let set = snapshot
            .information
            .as_ref()
            .map(|said| guid_text(said.copy_set));
        assert_ne!(
            set.as_deref(),
            store["copy_set"].as_str(),
            "no difference any more"
        );
        let (entries, losses) = walked(&*snapshot.volume);
        assert!(losses.is_empty() && !entries.is_empty(), "{losses:?}");
    }
}

/// The disk with a catalog in which the last store is that of the first snapshot, whatever its GUID says, where the
/// catalog has stores without a snapshot.
fn with_stores_taken_for_others(
    image: &serde_json::Value,
    disk: &Arc<dyn ReadAt>,
) -> Option<Arc<dyn ReadAt>> {
    use scelle_formats::vss::{BLOCK_BYTES, CatalogEntry, VolumeHeader, catalog_entries};
    let base = image["volume_byte_offset"].as_u64().expect("an offset");
    let mut header = [0; 512];
    disk.read_exact_at("a header", base + 0x1E00, &mut header)
        .expect("whole");
    let header = VolumeHeader::parse(&header)
        .expect("sound")
        .expect("shadow copies");
    let mut block = vec![0; BLOCK_BYTES];
    let at = base + header.catalog_at;
    disk.read_exact_at("a catalog", at, &mut block)
        .expect("whole");
    let (mut snapshots, mut stores) = (Vec::new(), Vec::new());
    for entry in catalog_entries(&block, 0) {
        match entry.expect("sound") {
            CatalogEntry::Snapshot { store, .. } => snapshots.push(store),
            CatalogEntry::Store { store, .. } => stores.push(store),
        }
    }
    if stores.iter().all(|store| snapshots.contains(store)) {
        return None;
    }
    let mut own = None;
    for entry in block
        .chunks_exact_mut(128)
        .skip(1)
        .filter(|entry| entry[0] == 3)
    {
        if entry[16..32] == snapshots[0] {
            own = Some(entry[16..32].to_vec());
            entry[16..32].fill(0xEE);
        } else if entry[16..32] == stores[stores.len() - 1] {
            entry[16..32].copy_from_slice(own.as_ref().expect("it stands before"));
        }
    }
    Some(Arc::new(Patched {
        disk: disk.clone(),
        at,
        bytes: block,
    }))
}

/// A disk with other bytes at one place.
struct Patched {
    disk: Arc<dyn ReadAt>,
    at: u64,
    bytes: Vec<u8>,
}

impl ReadAt for Patched {
    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let have = self.disk.read_at(offset, buf)?;
        for (place, byte) in (self.at..).zip(&self.bytes) {
            if let Some(index) = place
                .checked_sub(offset)
                .filter(|index| *index < have as u64)
            {
                buf[index as usize] = *byte;
            }
        }
        Ok(have)
    }
}

/// What the catalog says of a snapshot.
fn check_catalog(store: &serde_json::Value, snapshot: &Snapshot) {
    assert_eq!(guid_text(snapshot.store), store["identifier"]);
    assert_eq!(snapshot.volume_bytes, store["volume_size"]);
    assert_eq!(snapshot.is_here, store["has_in_volume_data"]);
    let created = snapshot.created;
    assert_eq!(created.to_filetime(), store["creation_filetime"].as_u64());
    let iso = scelle_event::Moment::Utc(created).to_iso(scelle_event::Precision::FILETIME);
    assert_eq!(iso, store["creation"]);
}

/// The number of entries in use, and which of them are no metadata files. That tool could not tell their paths.
fn check_entries(volume: &dyn Volume, count: &serde_json::Value, listed: &serde_json::Value) {
    let (entries, losses) = walked(volume);
    assert!(losses.is_empty(), "{losses:?}");
    assert_eq!(entries.len() as u64, count.as_u64().expect("a count"));
    let expected: Vec<u64> = listed
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| entry[0].as_u64().expect("a number"))
        .collect();
    let others: Vec<u64> = entries.range(FIRST_ENTRY..).copied().collect();
    assert_eq!(others, expected);
}

/// The numbers of the entries in use, and what is lost.
fn walked(volume: &dyn Volume) -> (BTreeSet<u64>, Vec<String>) {
    let (mut entries, mut losses) = (BTreeSet::new(), Vec::new());
    volume.walk(&mut |found| {
        match found {
            Ok(entry) if !entry.deleted => {
                entries.insert(entry.id.expect("NTFS numbers its entries").entry);
            }
            Ok(_) => {}
            Err(loss) => losses.push(loss.error.to_string()),
        }
        ControlFlow::Continue(())
    });
    (entries, losses)
}

fn unpacked(packed: &Path, folder: &Path) -> PathBuf {
    if packed.extension().is_some_and(|ending| ending == "qcow2") {
        return packed.to_owned();
    }
    run_tool(folder, "tar", &["-xzSf", &packed.to_string_lossy()]);
    let mut files = folder.read_dir().expect("our folder");
    files.next().expect("a file").expect("readable").path()
}

#[test]
fn every_byte_is_that_of_libvshadow() {
    let Some(corpus) = Corpus::find("the bytes of shadow copies") else {
        return;
    };
    if !has_tool("vshadowmount", "the bytes of shadow copies") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let packed = corpus.path("ntfs-images/vss/vsstest.qcow2");
    let disk = open_disk(&packed, &OpenOptions::default())
        .expect("an image")
        .disk;
    let raw = folder.path().join("disk.raw");
    let mut file = File::create(&raw).expect("a file");
    let mut from = Reader {
        disk: &*disk,
        at: 0,
    };
    std::io::copy(&mut from, &mut file).expect("room");
    let evidence = open_source("vss".into(), disk);
    // The oldest goes through every store.
    compare_with_mount(&evidence, &raw, &[0], 1 << 30);
}

struct Reader<'a> {
    disk: &'a dyn ReadAt,
    at: u64,
}

impl std::io::Read for Reader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let have = self.disk.read_at(self.at, buf)?;
        self.at += have as u64;
        Ok(have)
    }
}

/// Compares snapshots with what `vshadowmount` shows of them, up to `limit` bytes.
fn compare_with_mount(evidence: &Evidence, image: &Path, which: &[usize], limit: u64) {
    use std::io::Read as _;
    let mount = tempfile::tempdir().expect("a folder");
    let shown = mount.path().to_string_lossy().into_owned();
    run_tool(
        mount.path(),
        "vshadowmount",
        &[&image.to_string_lossy(), &shown],
    );
    let compared = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for index in which {
            let name = format!("vss{}", index + 1);
            let mut theirs = File::open(mount.path().join(name)).expect("a snapshot");
            let source = &evidence.snapshots[*index].disk;
            let (mut one, mut other) = (vec![0; 1 << 20], vec![0; 1 << 20]);
            let end = source.len().min(limit);
            for at in (0..end).step_by(1 << 20) {
                let want = (end - at).min(1 << 20) as usize;
                theirs.read_exact(&mut other[..want]).expect("their bytes");
                source
                    .read_exact_at("a snapshot", at, &mut one[..want])
                    .expect("our bytes");
                assert!(one[..want] == other[..want], "snapshot {index}, from {at}");
            }
        }
    }));
    let ended = Command::new("fusermount")
        .arg("-u")
        .arg(mount.path())
        .status();
    assert!(
        ended.expect("it starts").success(),
        "the mount is there no more"
    );
    if let Err(panic) = compared {
        std::panic::resume_unwind(panic);
    }
}

/// Blocks of the volumes that are made up.
const BLOCKS: u32 = 1024;
/// From this one on shadow copies are laid.
const AREA: u32 = 512;
const STATES: u64 = 9;

/// What a block holds in a state: the states of a block are told apart, and few of them change.
fn content(block: u32, state: u64) -> Vec<u8> {
    let changes_every = u64::from(block % 5 + 2);
    let is_changing = block % 7 == 3 && block < AREA;
    let version = if is_changing {
        state / changes_every
    } else {
        0
    };
    let mut bytes = vec![block as u8; BLOCK];
    bytes[..4].copy_from_slice(&block.to_le_bytes());
    bytes[4..12].copy_from_slice(&version.to_le_bytes());
    bytes
}

/// A volume with a boot sector and nine snapshots, and what it is to be then.
fn nine() -> (Vec<u8>, Laid) {
    let mut volume: Vec<u8> = (0..BLOCKS)
        .flat_map(|block| content(block, STATES))
        .collect();
    let boot = scelle_testkit::NtfsImage::new(4096, 1024, BLOCKS as usize * 4, 64, 8);
    volume[..512].copy_from_slice(&boot.into_bytes()[..512]);
    let shadows: Vec<Shadow> = (0..STATES)
        .map(|state| Shadow {
            created_filetime: 133_000_000_000_000_000 + state * 864_000_000_000,
            blocks: (1..AREA)
                .filter(|block| content(*block, state) != content(*block, state + 1))
                .map(|block| (block, content(block, state)))
                .collect::<BTreeMap<_, _>>(),
            besides: Vec::new(),
        })
        .collect();
    let laid = lay(&mut volume, u64::from(AREA) * BLOCK as u64, &shadows);
    assert!(laid.end <= volume.len() as u64);
    (volume, laid)
}

/// The snapshots of bytes that begin as a volume does, whether or not there are files.
fn snapshots_of(volume: Vec<u8>) -> Evidence {
    let info = VolumeInfo {
        id: "ntfs-0123456789ABCDEF".into(),
        kind: VolumeKind::Ntfs,
        offset: 0,
        size_bytes: Some(volume.len() as u64),
        label: None,
        cluster_bytes: Some(4096),
    };
    let mut losses = Vec::new();
    let source: Arc<dyn ReadAt> = Arc::new(Bytes(volume));
    let snapshots = shadow_copies(&source, &info, &mut losses);
    let losses = losses.into_iter().map(|error| EvidenceLoss {
        path: None,
        entry: None,
        error,
    });
    Evidence {
        name: "made up".into(),
        volumes: Vec::new(),
        snapshots,
        unlocked: Vec::new(),
        losses: losses.collect(),
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "that many threads read at once is what is tested"
)]
fn nine_snapshots_are_what_was_put_in() {
    let (volume, _) = nine();
    let evidence = snapshots_of(volume.clone());
    assert!(evidence.losses.is_empty(), "{:?}", evidence.losses);
    assert_eq!(evidence.snapshots.len(), STATES as usize);
    let ids: Vec<_> = evidence
        .snapshots
        .iter()
        .map(|one| &*one.volume.info().id)
        .collect();
    assert_eq!(ids[0], "ntfs-0123456789ABCDEF@20220618T042640Z");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    std::thread::scope(|threads| {
        for (state, snapshot) in (0..).zip(&evidence.snapshots) {
            threads.spawn(move || {
                let disk = &snapshot.disk;
                let mut bytes = vec![0; BLOCK];
                for block in 1..AREA {
                    let at = u64::from(block) * BLOCK as u64;
                    disk.read_exact_at("a block", at, &mut bytes)
                        .expect("whole");
                    assert!(
                        bytes == content(block, state),
                        "block {block} of state {state}"
                    );
                }
                // A read may begin and end anywhere.
                let mut whole = vec![0; 100_000];
                disk.read_exact_at("a piece", 12_345 + BLOCK as u64, &mut whole)
                    .expect("whole");
                let expected: Vec<u8> = (1..9).flat_map(|block| content(block, state)).collect();
                assert!(whole == expected[12_345..112_345]);
            });
        }
    });
    if !has_tool("vshadowmount", "snapshots that are made up") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("nine.raw");
    std::fs::write(&image, &volume).expect("room");
    let said = run_tool(folder.path(), "vshadowinfo", &["nine.raw"]);
    assert!(said.contains("Number of stores:\t9"), "{said}");
    for snapshot in &evidence.snapshots {
        assert!(said.contains(&guid_text(snapshot.store)), "{said}");
    }
    let all: Vec<usize> = (0..STATES as usize).collect();
    compare_with_mount(&evidence, &image, &all, u64::MAX);
}

#[test]
fn forwarders_and_overlays_are_read_as_libvshadow_reads_them() {
    let block = |number: u64| number * BLOCK as u64;
    let (mut volume, _) = nine();
    volume.truncate(AREA as usize * BLOCK);
    volume.resize(BLOCKS as usize * BLOCK, 0);
    let data = block(900);
    for (at, byte) in volume[data as usize..].iter_mut().enumerate() {
        *byte = (at / 512) as u8;
    }
    let shadow = |days: u64, besides| Shadow {
        created_filetime: 133_000_000_000_000_000 + days * 864_000_000_000,
        blocks: BTreeMap::from([(20, vec![0xAA; BLOCK])]),
        besides,
    };
    let shadows = [
        shadow(
            0,
            vec![
                // Some sectors of a block, more of it, and the rest from the newer store.
                (block(30), 0, data, 2, 0x0000_00F0),
                (block(30), 1, data, 2, 0x8000_0001),
                // The newer store has the block elsewhere.
                (block(31), block(40), 0, 1, 0),
                (block(32), block(20), 0, 1, 0),
                // One after another, and what was then kept.
                (block(33), block(34), 0, 1, 0),
                (block(34), 0, data + block(3), 0, 0),
                // Void.
                (block(35), 0, data, 4, 0),
                // Sectors of a block that is kept as well.
                (block(36), 0, data + block(5), 0, 0),
                (block(36), 0, data + block(7), 2, 0x00FF_0000),
            ],
        ),
        shadow(
            1,
            vec![
                (block(30), 0, data + block(1), 0, 0),
                (block(40), 0, data + block(2), 0, 0),
                // Of no concern to an older snapshot.
                (block(41), 0, data, 2, u32::MAX),
                (block(42), block(50), 0, 1, 0),
            ],
        ),
    ];
    lay(&mut volume, block(AREA.into()), &shadows);
    let evidence = snapshots_of(volume.clone());
    assert!(evidence.losses.is_empty(), "{:?}", evidence.losses);
    let byte = |snapshot: usize, at: u64| {
        let mut byte = [0];
        let disk = &evidence.snapshots[snapshot].disk;
        disk.read_exact_at("a byte", at, &mut byte).expect("whole");
        byte[0]
    };
    assert_eq!([byte(0, block(30)), byte(0, block(30) + 600)], [0, 33]);
    assert_eq!([byte(1, block(30)), byte(1, block(30) + 600)], [32, 33]);
    assert_eq!(
        [byte(0, block(31)), byte(0, block(32)), byte(0, block(33))],
        [64, 0xAA, 96]
    );
    assert_eq!([byte(0, block(35)), byte(0, block(36))], [35, 160]);
    assert_eq!(byte(0, block(36) + 16 * 512), 240);
    assert_eq!([byte(1, block(41)), byte(0, block(41))], [0, 41]);
    assert_eq!(byte(1, block(42)), 50);
    if !has_tool("vshadowmount", "forwarders and overlays") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("forwarders.raw");
    std::fs::write(&image, &volume).expect("room");
    compare_with_mount(&evidence, &image, &[0, 1], u64::MAX);
}

fn put(volume: &mut [u8], at: u64, number: u64) {
    volume[at as usize..][..8].copy_from_slice(&number.to_le_bytes());
}

/// The first error of reading a snapshot from its beginning on.
fn error_of(snapshot: &Snapshot) -> Option<ReadError> {
    let disk = &snapshot.disk;
    let mut bytes = vec![0; BLOCK];
    (0..disk.len())
        .step_by(BLOCK)
        .find_map(|at| disk.read_full_at(at, &mut bytes).err())
}

#[test]
fn a_list_that_leads_to_itself_is_told_with_its_place() {
    let (mut volume, laid) = nine();
    let list = laid.lists_at[4];
    put(&mut volume, list + 40, list);
    let evidence = snapshots_of(volume);
    assert!(evidence.losses.is_empty(), "{:?}", evidence.losses);
    // Newer snapshots don't rest on it; itself and older ones do, and give no byte that is not theirs.
    for (state, snapshot) in (0..).zip(&evidence.snapshots) {
        let error = error_of(snapshot);
        assert_eq!(error.is_some(), state <= 4, "{state}: {error:?}");
        if let Some(error) = error {
            assert!(matches!(error, ReadError::Damaged { offset, .. } if offset == list));
        }
        let disk = &snapshot.disk;
        let mut bytes = vec![0; BLOCK];
        for block in 1..AREA {
            let at = u64::from(block) * BLOCK as u64;
            if disk.read_exact_at("a block", at, &mut bytes).is_ok() {
                assert!(
                    bytes == content(block, state),
                    "block {block} of state {state}"
                );
            }
        }
    }
}

#[test]
fn a_damaged_catalog_is_a_loss_and_no_byte_is_made_up() {
    // It goes on where it is already; what it says of itself is wrong; an entry is of no known type.
    for (field, value) in [
        (40, None),
        (32, Some(1 << 60)),
        (16, Some(77)),
        (128 * 40, Some(99)),
    ] {
        let (mut volume, laid) = nine();
        let at = laid.catalog_at;
        put(&mut volume, at + field, value.unwrap_or(at));
        let evidence = snapshots_of(volume);
        let [loss] = &evidence.losses[..] else {
            panic!("{:?}", evidence.losses);
        };
        assert!(
            matches!(loss.error, ReadError::Damaged { offset, .. } if offset == at),
            "{:?}",
            loss.error
        );
        for (state, snapshot) in (0..).zip(&evidence.snapshots) {
            let disk = &snapshot.disk;
            let mut bytes = vec![0; BLOCK];
            let mut read = 0;
            for block in 1..AREA {
                let at = u64::from(block) * BLOCK as u64;
                if disk.read_exact_at("a block", at, &mut bytes).is_ok() {
                    assert!(
                        bytes == content(block, state),
                        "block {block} of state {state}"
                    );
                    read += 1;
                }
            }
            // What some store holds is still read.
            assert!(read > 0 && read < AREA / 5, "{read}");
        }
    }
}

#[test]
fn claims_of_exabytes_cost_nothing() {
    let (mut volume, laid) = nine();
    let size = volume.len() as u64;
    // Every snapshot claims an exabyte, one list lies past every end, one block does.
    for entry in (1..19).step_by(2) {
        put(&mut volume, laid.catalog_at + 128 * entry + 8, 1 << 60);
    }
    put(
        &mut volume,
        laid.lists_at[2] + 40,
        u64::MAX - (BLOCK as u64) + 1,
    );
    put(&mut volume, laid.lists_at[8] + 128 + 16, 1 << 62);
    let evidence = snapshots_of(volume);
    assert_eq!(evidence.losses.len(), STATES as usize);
    for (state, snapshot) in evidence.snapshots.iter().enumerate() {
        assert_eq!(
            (snapshot.volume_bytes, snapshot.disk.len()),
            (1 << 60, size)
        );
        // Whatever rests on that list can't be read; the block has older copies.
        let is_lost = state <= 2 || state == 8;
        assert!(!is_lost || error_of(snapshot).is_some(), "{state}");
        assert!(snapshot.disk.ranges().count() < 2 * BLOCKS as usize);
    }
}

#[test]
fn no_byte_of_the_structures_is_trusted() {
    let (volume, laid) = nine();
    let places = [0x1E00, laid.catalog_at, laid.lists_at[0], laid.lists_at[8]];
    let mut random = 0x2545_F491_4F6C_DD1Du64;
    for round in 0..48 {
        let mut damaged = volume.clone();
        for _ in 0..=round % 3 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let place = places[(random % 4) as usize] + (random >> 8) % 512;
            damaged[place as usize] = (random >> 40) as u8;
        }
        let evidence = snapshots_of(damaged);
        for snapshot in &evidence.snapshots {
            let disk = &snapshot.disk;
            let mut end = 0;
            for (range, _) in disk.ranges() {
                assert!(range.start == end && range.end > end);
                end = range.end;
            }
            assert_eq!(end, disk.len());
            error_of(snapshot);
            walked(&*snapshot.volume);
        }
    }
}
