//! Volumes that need no corpus, as the crate `ntfs` reads them by their indexes.

use std::{
    collections::BTreeMap,
    fs,
    io::{Cursor, Read, Seek},
    ops::ControlFlow,
    sync::Arc,
};

use ntfs::{Ntfs, NtfsFile, NtfsReadSeek as _, structured_values::NtfsFileNamespace};
use scelle_evidence::{EntryKind, Evidence, Volume, open_source};
use scelle_formats::{Bytes, ReadAtExt as _};
use scelle_testkit::{package_folder, testdata};

/// The other crate reads a record as one piece, and this one lies in two pieces of an `$MFT`
/// whose clusters are smaller than its records: serial number and entry.
const ACROSS_FRAGMENTS: [(u64, u64); 1] = [(0x6F46_2FC1_7DF9_1EB8, 255)];
/// It takes cluster 0 for a hole, and so this file for zeros.
const AT_CLUSTER_0: &str = "$Boot";

/// What one tool says of a live file, by path.
#[derive(Debug, PartialEq)]
struct Found {
    entry: u64,
    is_directory: bool,
    /// The content of the unnamed stream, where there is one.
    content: Option<Vec<u8>>,
}

type Tree = BTreeMap<String, Found>;

#[test]
fn the_sample_of_the_other_crate() {
    let image = fs::read(package_folder("ntfs").join("testdata/testfs1")).expect("its sample");
    let tree = agree(image, 0);
    assert_eq!(tree.len(), 530);
    let sparse = tree["sparse-file"].content.as_ref().expect("a stream");
    assert_eq!((sparse.len(), &sparse[..6]), (500_005, &b"12345\0"[..]));
    assert_eq!(sparse[499_999..], *b"\x0011111");
}

#[test]
fn the_disk_that_the_readme_speaks_of() {
    let image = fs::read(testdata().join("demo/workstation.raw")).expect("our own sample");
    let tree = agree(image, 64 << 10);
    assert!(tree.contains_key("Users/alice/Downloads/invoice.exe"));
}

fn agree(image: Vec<u8>, offset: u64) -> Tree {
    let mut other = Cursor::new(image[offset as usize..].to_vec());
    let ntfs = Ntfs::new(&mut other).expect("a volume");
    let mut theirs = Tree::new();
    let root = ntfs.root_directory(&mut other).expect("a root");
    list(&ntfs, &mut other, &root, "", &mut theirs);

    let evidence = open_source("sample".into(), Arc::new(Bytes(image)));
    assert!(evidence.losses.is_empty(), "{:?}", evidence.losses);
    let volume = volume_at(&evidence, offset);
    assert_eq!(
        &*volume.info().id,
        format!("ntfs-{:016X}", ntfs.serial_number())
    );
    let mut ours = walk(volume);
    ours.retain(|_, found| !ACROSS_FRAGMENTS.contains(&(ntfs.serial_number(), found.entry)));
    assert_eq!(
        ours.keys().collect::<Vec<_>>(),
        theirs.keys().collect::<Vec<_>>()
    );
    for (path, found) in &ours {
        assert!(*found == theirs[path] || path == AT_CLUSTER_0, "{path}");
    }
    ours
}

fn volume_at(evidence: &Evidence, offset: u64) -> &dyn Volume {
    let mut volumes = evidence.volumes.iter();
    &**volumes
        .find(|volume| volume.info().offset == offset)
        .expect("a volume there")
}

fn walk(volume: &dyn Volume) -> Tree {
    const DOS: u8 = 2;
    let mut tree = Tree::new();
    volume.walk(&mut |found| {
        let entry = found.expect("a sound volume");
        let unnamed = entry.streams.iter().any(|stream| stream.name.is_none());
        let names = entry.names.iter().filter(|name| name.namespace != DOS);
        for name in names.filter(|name| !entry.deleted && !name.path.as_bytes().is_empty()) {
            let content = unnamed.then(|| {
                let stream = volume.open_entry(&entry, None).expect("a stream");
                stream.read_range(0..u64::MAX, 1 << 24).expect("all of it")
            });
            let found = Found {
                entry: entry.id.expect("NTFS numbers its entries").entry,
                is_directory: entry.kind == EntryKind::Directory,
                content,
            };
            tree.insert(name.path.to_string(), found);
        }
        ControlFlow::Continue(())
    });
    tree
}

fn list<T: Read + Seek>(
    ntfs: &Ntfs,
    image: &mut T,
    folder: &NtfsFile<'_>,
    path: &str,
    tree: &mut Tree,
) {
    let index = folder.directory_index(image).expect("an index");
    let mut entries = index.entries();
    while let Some(entry) = entries.next(image) {
        let entry = entry.expect("a sound entry");
        let name = entry.key().expect("a name").expect("a sound name");
        let text = name.name().to_string_lossy();
        // The root is its own directory.
        if text == "." || name.namespace() == NtfsFileNamespace::Dos {
            continue;
        }
        let number = entry.file_reference().file_record_number();
        if ACROSS_FRAGMENTS.contains(&(ntfs.serial_number(), number)) {
            assert!(
                entry.to_file(ntfs, image).is_err(),
                "this one can be compared"
            );
            continue;
        }
        let file = entry.to_file(ntfs, image).expect("a file");
        let path = if path.is_empty() {
            text
        } else {
            format!("{path}/{text}")
        };
        let found = Found {
            entry: file.file_record_number(),
            is_directory: file.is_directory(),
            content: content(&file, image),
        };
        tree.insert(path.clone(), found);
        if file.is_directory() {
            list(ntfs, image, &file, &path, tree);
        }
    }
}

fn content<T: Read + Seek>(file: &NtfsFile<'_>, image: &mut T) -> Option<Vec<u8>> {
    let item = file.data(image, "")?.expect("a sound attribute");
    let attribute = item.to_attribute().expect("an attribute");
    let mut value = attribute.value(image).expect("a value");
    let mut bytes = vec![0; value.len() as usize];
    value.read_exact(image, &mut bytes).expect("all of it");
    Some(bytes)
}
