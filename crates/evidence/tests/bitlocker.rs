//! BitLocker volumes: made by recipe in every way, opened by us and by other people's programs; and
//! those that Windows made, which the source package of `dissect.fve` has for its own tests.

use std::{
    fs,
    io::{Read as _, Write as _},
    ops::{ControlFlow, Range},
    path::{Path, PathBuf},
    sync::Arc,
};

use scelle_evidence::{Evidence, VolumeKeys, VolumeKind, open_source_with};
use scelle_formats::{Bytes, RangeKind, ReadAt, ReadAtExt as _, ReadError};
use scelle_testkit::{
    bitlocker::{
        AREA, Bitlocker, MOVED, PROTECTOR_GUID, Protector, recovery_password, startup_file,
    },
    has_tool, run_tool, testdata,
};
use sha2::{Digest as _, Sha256};

const PASSWORD: &str = "Ein Wort 4711";
const RECOVERY: [u8; 16] = [
    0x0F, 0x27, 0xFF, 0xFF, 0, 0, 1, 0, 0xAA, 0x55, 7, 0, 8, 9, 0x10, 0x99,
];
const STARTUP: [u8; 32] = [0x5A; 32];
const METHODS: [u16; 6] = [0x8000, 0x8001, 0x8002, 0x8003, 0x8004, 0x8005];

/// The demonstration's NTFS volume, with room after it for what BitLocker keeps.
fn plain() -> Vec<u8> {
    const VOLUME_AT: usize = 64 << 10;
    let disk = fs::read(testdata().join("demo/workstation.raw")).expect("our own sample");
    let mut volume = disk[VOLUME_AT..].to_vec();
    volume.resize(volume.len().next_multiple_of(AREA), 0);
    volume
}

/// Where the metadata of a volume lie: among clusters that no file has.
fn areas(volume: &[u8]) -> [usize; 4] {
    let end = volume.len() / AREA;
    [end - 9, end - 6, end - 3, end - 8].map(|unit| unit * AREA)
}

/// The volume as Windows shows it: what is BitLocker's own is zeros.
fn shown(volume: &[u8], areas: [usize; 4]) -> Vec<u8> {
    let mut shown = volume.to_vec();
    for area in &areas[..3] {
        shown[*area..][..AREA].fill(0);
    }
    shown[areas[3]..][..MOVED].fill(0);
    shown
}

fn opened(volume: Vec<u8>, keys: &VolumeKeys) -> Evidence {
    open_source_with("made".into(), Arc::new(Bytes(volume)), keys)
}

fn with_password(password: &str) -> VolumeKeys {
    let mut keys = VolumeKeys::default();
    keys.add_password(password);
    keys
}

/// Every stream of a volume: its name, its size, and the hash of what can be read of it.
fn streams(evidence: &Evidence) -> Vec<(String, u64, String)> {
    let mut found = Vec::new();
    let volume = &evidence.volumes[0];
    volume.walk(&mut |entry| {
        let entry = entry.expect("a sound volume");
        for info in &entry.streams {
            let name = format!("{}:{:?}", entry.path, info.name);
            let hash = volume
                .open_entry(&entry, info.name.as_ref())
                .and_then(|stream| stream.read_range(0..u64::MAX, 4 << 20));
            let hash = hash.map_or_else(|error| error.to_string(), |bytes| hex(&bytes));
            found.push((name, info.size_bytes, hash));
        }
        ControlFlow::Continue(())
    });
    found
}

fn hex(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The whole of the volume that a source holds, through its raw reader.
fn whole(volume: &[u8], keys: &VolumeKeys) -> Vec<u8> {
    decrypted(Arc::new(Bytes(volume.to_vec())), keys)
        .read_range(0..u64::MAX, usize::MAX)
        .expect("a sound volume")
}

/// The reader of a volume that holds no file system, or whose file system is not asked for.
fn decrypted(source: Arc<dyn ReadAt>, keys: &VolumeKeys) -> Arc<dyn ReadAt> {
    scelle_evidence::open_bitlocker(source, keys).expect("a volume that opens")
}

#[test]
fn every_cipher_is_read_and_dislocker_reads_the_same() {
    let volume = plain();
    let areas = areas(&volume);
    let expected = shown(&volume, areas);
    let reference = streams(&opened(expected.clone(), &VolumeKeys::default()));
    assert!(reference.len() > 20, "the demonstration has files");
    let others = has_tool("dislocker-file", "what is made of BitLocker volumes");
    let folder = tempfile::tempdir().expect("a folder");
    for method in METHODS {
        let protector = Protector::Password(PASSWORD.to_owned());
        let made = Bitlocker::new(method)
            .protector(protector)
            .encrypt(&volume, areas);
        assert!(
            !made.windows(16).any(|part| part == &volume[..16]),
            "{method:#x}"
        );
        let keys = with_password(PASSWORD);
        assert!(whole(&made, &keys) == expected, "{method:#x}: other bytes");
        let evidence = opened(made.clone(), &keys);
        assert_eq!(evidence.volumes[0].info().kind, VolumeKind::Ntfs);
        assert!(
            streams(&evidence) == reference,
            "{method:#x}: other streams"
        );
        let [unlocked] = &evidence.unlocked[..] else {
            panic!("one volume was opened: {:?}", evidence.unlocked);
        };
        assert_eq!(unlocked.volume, evidence.volumes[0].info().id);
        assert_eq!(unlocked.protector, "password");
        assert_eq!(unlocked.protector_guid.as_deref(), Some(PROTECTOR_GUID));
        if others {
            let option = format!("-u{PASSWORD}");
            let other = dislocked(folder.path(), &made, &[&option]);
            assert!(other == expected, "{method:#x}: dislocker has other bytes");
        }
    }
}

/// What dislocker makes of a volume.
fn dislocked(folder: &Path, volume: &[u8], options: &[&str]) -> Vec<u8> {
    fs::write(folder.join("volume.raw"), volume).expect("room");
    let out = folder.join("decrypted.raw");
    if out.exists() {
        fs::remove_file(&out).expect("our own");
    }
    let arguments = [
        &["-q", "-r", "-V", "volume.raw"],
        options,
        &["--", "decrypted.raw"],
    ];
    run_tool(folder, "dislocker-file", &arguments.concat());
    fs::read(out).expect("what it wrote")
}

#[test]
fn every_protector_opens_the_volume_and_is_named() {
    let volume = plain();
    let areas = areas(&volume);
    let expected = shown(&volume, areas);
    let others = has_tool("dislocker-file", "what opens BitLocker volumes");
    let folder = tempfile::tempdir().expect("a folder");
    let digits = recovery_password(RECOVERY);
    assert!(
        digits.starts_with("109989-720885-000000-000011-"),
        "{digits}"
    );
    let bek = startup_file(0, STARTUP);
    fs::write(folder.path().join("key.BEK"), &bek).expect("room");
    let mut by_digits = VolumeKeys::default();
    by_digits
        .add_recovery_password(&digits)
        .expect("a sound one");
    let mut by_file = VolumeKeys::default();
    by_file.add_startup_key(&bek).expect("a sound one");
    let password = format!("-u{PASSWORD}");
    let recovery = format!("-p{digits}");
    for (protector, keys, name, option) in [
        (
            Protector::Password(PASSWORD.to_owned()),
            with_password(PASSWORD),
            "password",
            &[&*password][..],
        ),
        (
            Protector::Recovery(RECOVERY),
            by_digits,
            "recovery password",
            &[&*recovery],
        ),
        (
            Protector::Startup(STARTUP),
            by_file,
            "startup key",
            &["-f", "key.BEK"],
        ),
        (
            Protector::Clear,
            VolumeKeys::default(),
            "clear key",
            &["-c"],
        ),
    ] {
        let made = Bitlocker::new(0x8004)
            .protector(protector)
            .encrypt(&volume, areas);
        let evidence = opened(made.clone(), &keys);
        assert_eq!(evidence.unlocked[0].protector, name);
        assert_eq!(evidence.unlocked[0].method, "XTS-AES 128");
        assert!(whole(&made, &keys) == expected, "{name}: other bytes");
        if others {
            let other = dislocked(folder.path(), &made, option);
            assert!(other == expected, "{name}: dislocker has other bytes");
        }
    }
}

#[test]
fn a_locked_volume_says_what_opens_it() {
    let volume = plain();
    let areas = areas(&volume);
    let made = Bitlocker::new(0x8005)
        .protector(Protector::Tpm)
        .protector(Protector::Recovery(RECOVERY))
        .protector(Protector::Password("Fußgänger 🌞".to_owned()))
        .protector(Protector::Startup(STARTUP))
        .encrypt(&volume, areas);
    for keys in [VolumeKeys::default(), with_password("another")] {
        let evidence = opened(made.clone(), &keys);
        assert_eq!(evidence.volumes[0].info().kind, VolumeKind::File);
        assert!(evidence.unlocked.is_empty());
        let [loss] = &evidence.losses[..] else {
            panic!("one loss: {:?}", evidence.losses);
        };
        let said = loss.error.to_string();
        assert!(matches!(loss.error, ReadError::Locked { .. }), "{said}");
        for part in [
            "TPM 70726f74-6563-746f-7220-6e756d626572 (only on its own machine)",
            "recovery password 70726f74-6563-746f-7220-6e756d626573 (--recovery-password-file)",
            "password 70726f74-6563-746f-7220-6e756d626574 (--bitlocker-password-file)",
            "startup key 70726f74-6563-746f-7220-6e756d626575.BEK (--startup-key)",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let was_tried = format!("{keys:?}").contains("passwords: 1, startup");
        assert_eq!(said.contains("none of the keys that were given"), was_tried);
        assert!(!said.contains("another"), "{said}");
    }
    // Among several keys, the right one counts.
    let mut keys = with_password("another");
    keys.add_password("Fußgänger 🌞");
    assert_eq!(opened(made, &keys).unlocked[0].protector, "password");
}

#[test]
fn sectors_of_4096_bytes_and_odd_reads() {
    let volume = plain();
    let areas = areas(&volume);
    let expected = shown(&volume, areas);
    for method in METHODS {
        let mut recipe = Bitlocker::new(method).protector(Protector::Clear);
        recipe.sector_bytes = 4096;
        let made = recipe.encrypt(&volume, areas);
        let disk = decrypted(Arc::new(Bytes(made)), &VolumeKeys::default());
        let mut at = 1_u64;
        for step in 1..300_u64 {
            at = (at * 7919 + step * 104_729) % disk.len();
            let mut buf = vec![0xEE; (step * 331 % 70_000) as usize];
            let have = disk.read_full_at(at, &mut buf).expect("a sound volume");
            let end = expected.len().min(at as usize + buf.len());
            assert!(
                buf[..have] == expected[at as usize..end],
                "{method:#x} at {at}"
            );
        }
        let mut next = 0;
        let mut holes = 0;
        for (range, kind) in disk.ranges() {
            assert_eq!(range.start, next, "ranges follow one another");
            next = range.end;
            holes += u64::from(kind == RangeKind::Hole) * (range.end - range.start);
        }
        assert_eq!((next, holes), (disk.len(), (3 * AREA + MOVED) as u64));
    }
}

#[test]
fn what_is_not_encrypted_yet_is_read_as_it_is() {
    let volume = plain();
    let areas = areas(&volume);
    let expected = shown(&volume, areas);
    // Up to the middle; and so far that the volume's beginning was moved behind it.
    for encrypted in [volume.len() / 2, 128 << 10, volume.len() - 512] {
        let mut recipe = Bitlocker::new(0x8002).protector(Protector::Clear);
        recipe.encrypted_bytes = Some(encrypted as u64);
        let made = recipe.encrypt(&volume, areas);
        let end = volume.len() - 512;
        assert_eq!(made[end..] == volume[end..], encrypted <= end);
        assert!(
            whole(&made, &VolumeKeys::default()) == expected,
            "{encrypted}"
        );
    }
}

#[test]
fn a_volume_of_vista_is_read_and_dissect_reads_the_same() {
    let volume = plain();
    let areas = areas(&volume);
    let mut recipe = Bitlocker::new(0x8002).protector(Protector::Recovery(RECOVERY));
    recipe.is_vista = true;
    let made = recipe.encrypt(&volume, areas);
    let mut keys = VolumeKeys::default();
    let digits = recovery_password(RECOVERY);
    keys.add_recovery_password(&digits).expect("a sound one");
    let mut expected = volume.clone();
    for area in &areas[..3] {
        expected[*area..][..16 << 10].fill(0);
    }
    assert!(whole(&made, &keys) == expected, "other bytes");
    assert_eq!(
        opened(made.clone(), &keys).unlocked[0].method,
        "AES-CBC 128"
    );
    // dislocker opens none, not even that which Windows made.
    if has_tool("dissect-python", "a volume of Vista") {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("vista.raw"), &made).expect("room");
        let end = made.len().to_string();
        let arguments = ["-c", DISSECT, "vista.raw", "recovery", &digits, &end];
        let theirs = run_tool(folder.path(), "dissect-python", &arguments);
        assert_eq!(theirs.trim(), hex(&expected));
    }
}

#[test]
fn a_partition_is_opened_at_its_place() {
    const AT: usize = 1 << 20;
    let volume = plain();
    let areas = areas(&volume);
    let made = Bitlocker::new(0x8004)
        .protector(Protector::Clear)
        .encrypt(&volume, areas);
    let mut disk = vec![0; AT];
    disk.extend(&made);
    let sectors = |bytes: usize| (bytes as u32 / 512).to_le_bytes();
    disk[0x1BE + 4] = 7;
    disk[0x1BE + 8..0x1BE + 12].copy_from_slice(&sectors(AT));
    disk[0x1BE + 12..0x1BE + 16].copy_from_slice(&sectors(made.len()));
    disk[0x1FE..0x200].copy_from_slice(&[0x55, 0xAA]);
    let evidence = opened(disk, &VolumeKeys::default());
    assert!(evidence.losses.is_empty(), "{:?}", evidence.losses);
    let info = evidence.volumes[0].info();
    assert_eq!((info.kind, info.offset), (VolumeKind::Ntfs, AT as u64));
    assert!(streams(&evidence) == streams(&opened(shown(&volume, areas), &VolumeKeys::default())));
}

#[test]
fn damaged_copies_of_the_metadata_are_passed_over_and_said() {
    let volume = plain();
    let areas = areas(&volume);
    let expected = shown(&volume, areas);
    let made = Bitlocker::new(0x8004)
        .protector(Protector::Clear)
        .encrypt(&volume, areas);
    let damage = |copies: Range<usize>, at: usize| {
        let mut made = made.clone();
        for area in &areas[copies] {
            made[area + at] ^= 1;
        }
        let evidence = opened(made.clone(), &VolumeKeys::default());
        let losses: Vec<String> = evidence
            .losses
            .iter()
            .map(|loss| loss.error.to_string())
            .collect();
        let is_open = !evidence.unlocked.is_empty();
        if is_open {
            assert!(whole(&made, &VolumeKeys::default()) == expected);
        }
        (is_open, losses.join("\n"))
    };
    let (is_open, said) = damage(0..2, 3);
    assert!(is_open && said.contains("signature"), "{said}");
    // The label, of which only checksums know.
    let (is_open, said) = damage(0..1, 130);
    assert!(
        is_open && said.contains("the checksum of that copy fails"),
        "{said}"
    );
    let (is_open, said) = damage(0..3, 130);
    assert!(
        is_open && said.contains("no copy of its metadata is sound"),
        "{said}"
    );
    assert!(said.contains("the hash of its metadata fails"), "{said}");
    let (is_open, said) = damage(0..3, 3);
    assert!(
        !is_open && said.contains("no copy of its metadata can be read"),
        "{said}"
    );
}

#[test]
fn absurd_metadata_end() {
    let volume = plain();
    let areas = areas(&volume);
    let made = Bitlocker::new(0x8004)
        .protector(Protector::Clear)
        .encrypt(&volume, areas);
    // Each field of the block's header, with a checksum that is right.
    for at in (8..64).step_by(4) {
        for value in [0, 1, 0x7FFF_FFFF, u32::MAX] {
            let mut made = made.clone();
            if made[areas[0] + at..][..4] == value.to_le_bytes() {
                continue;
            }
            let size = usize::from(u16::from_le_bytes([made[areas[0] + 8], made[areas[0] + 9]]));
            for area in &areas[..3] {
                let block = &mut made[*area..];
                block[at..at + 4].copy_from_slice(&value.to_le_bytes());
                let crc = crc32(&block[..size * 16]);
                block[size * 16 + 4..size * 16 + 8].copy_from_slice(&crc.to_le_bytes());
            }
            let evidence = opened(made, &VolumeKeys::default());
            assert_eq!(evidence.volumes.len(), 1, "{at}: {value}");
            assert!(!evidence.losses.is_empty(), "{at}: {value}");
        }
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ ((crc & 1) * 0xEDB8_8320);
        }
    }
    !crc
}

/// Where the samples of `dissect.fve` lie, and a Python that has it.
fn windows_samples() -> Option<PathBuf> {
    let what = "volumes that Windows encrypted";
    (has_tool("dissect-python", what) && has_tool("dissect-fve-samples", what)).then(|| {
        let folder = run_tool(Path::new("/"), "dissect-fve-samples", &[]);
        PathBuf::from(folder.trim())
    })
}

/// The hash of what dissect.fve makes of a volume, up to the end of its file.
const DISSECT: &str = r#"
import gzip, hashlib, os, sys
from dissect.fve.bde import bde
path, way, secret, end = sys.argv[1:5]
volume = bde.BDE(open(path, "rb"))
if way == "password": volume.unlock_with_passphrase(secret)
elif way == "recovery": volume.unlock_with_recovery_password(secret)
elif way == "startup": volume.unlock_with_bek(open(secret, "rb"))
elif way == "clear": volume.unlock_with_clear_key()
stream, left, digest = volume.open(), int(end), hashlib.sha256()
while left:
    block = stream.read(min(left, 1 << 20))
    if not block: sys.exit("it ended early")
    digest.update(block)
    left -= len(block)
print(digest.hexdigest())
"#;

#[test]
fn volumes_that_windows_made_are_read_as_dissect_reads_them() {
    let Some(samples) = windows_samples() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let recovery = "284867-596541-514998-422114-660297-261613-215424-199408";
    let vista = "517506-503998-044583-576191-587004-635965-501270-087802";
    // How it is opened, with what, and how much of it is compared: past that dissect is slow and says nothing new.
    for (name, way, secret, compared) in [
        ("aes_128", "password", "password12!@", u64::MAX),
        ("aes_256", "password", "password12!@", u64::MAX),
        ("aes_128_diffuser", "password", "password12!@", 512 << 10),
        ("aes_256_diffuser", "password", "password12!@", 512 << 10),
        ("aes-xts_128", "password", "password12!@", u64::MAX),
        ("aes-xts_256", "password", "password12!@", u64::MAX),
        ("recovery_password", "recovery", recovery, u64::MAX),
        ("recovery_key", "startup", "recovery_key.bek", u64::MAX),
        ("startup_key", "startup", "startup_key.bek", u64::MAX),
        ("suspended", "clear", "", u64::MAX),
        ("decrypted", "none", "", u64::MAX),
        ("eow_partial", "password", "password12!@", 64 << 20),
        ("vista", "recovery", vista, 512 << 10),
    ] {
        let path = folder.path().join(name);
        unpack(&samples.join(format!("{name}.bin.gz")), &path);
        let mut keys = VolumeKeys::default();
        let mut secret = secret.to_owned();
        match way {
            "password" => keys.add_password(&secret),
            "recovery" => keys.add_recovery_password(&secret).expect("a sound one"),
            "startup" => {
                let file = samples.join(&secret);
                let bytes = fs::read(&file).expect("a startup key");
                keys.add_startup_key(&bytes).expect("a sound one");
                secret = file.to_string_lossy().into_owned();
            }
            _ => {}
        }
        let bytes: Arc<dyn ReadAt> = Arc::new(Bytes(fs::read(&path).expect("our own")));
        let disk = decrypted(bytes.clone(), &keys);
        // The samples are cut behind the metadata.
        let end = compared.min(bytes.len());
        let ours = hex(&disk.read_range(0..end, usize::MAX).expect("a sound volume"));
        let path = path.to_string_lossy();
        let arguments = ["-c", DISSECT, &path, way, &secret, &end.to_string()];
        let theirs = run_tool(folder.path(), "dissect-python", &arguments);
        assert_eq!(ours, theirs.trim(), "{name}");

        let evidence = open_source_with(name.into(), bytes, &keys);
        let [unlocked] = &evidence.unlocked[..] else {
            panic!("{name}: {:?}", evidence.losses);
        };
        // Whoever made the samples left out most of what lies in the volumes; the copy of the $MFT's beginning is
        // there, but for Vista's.
        if name != "vista" {
            assert!(unlocked.volume.starts_with("ntfs-"), "{name}: {unlocked:?}");
            let mut head = [0; 4];
            disk.read_exact_at("$MFTMirr", 8192, &mut head)
                .expect("a sound volume");
            assert_eq!(&head, b"FILE", "{name}");
        }
        fs::remove_file(&*path).expect("our own");
    }
}

fn unpack(from: &Path, to: &Path) {
    let packed = fs::File::open(from).expect("a sample");
    let mut reader = flate2::read::GzDecoder::new(packed);
    let mut out = fs::File::create(to).expect("room");
    let mut block = vec![0; 1 << 20];
    loop {
        let have = reader.read(&mut block).expect("a sound sample");
        if have == 0 {
            break;
        }
        out.write_all(&block[..have]).expect("room");
    }
}
