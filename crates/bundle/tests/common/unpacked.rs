//! What an archive holds, as another program reads it.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read as _},
};

use scelle_bundle::Options;
use scelle_event::EvidencePath;

use super::{Content, Item, entry, item, noise};

pub(crate) fn evidence() -> Vec<Item> {
    let mut items: Vec<Item> = (0..14)
        .map(|number| item(format!("d/f{number}").as_bytes(), noise(number, 300)))
        .collect();
    items[4].content = Content::Sparse(700_000, vec![(0, noise(1, 400)), (300_000, vec![7; 90])]);
    items[6].content = Content::Lost;
    items[7] = item(b"D/F2", b"a name that clashes".to_vec());
    // One that is lost has its name all the same.
    items[10] = item(b"D/F6", b"a name that clashes with what was lost".to_vec());
    items[9] = Item {
        entry: entry(b"d/f3", 12),
        stream: Some(EvidencePath::from_bytes(b"Zone.Identifier")),
        content: Content::Plain(b"[ZoneTransfer]".to_vec()),
    };
    items
}

pub(crate) fn near(mut options: Options) -> Options {
    options.checkpoint_bytes = 700;
    options
}

/// Payload members by name.
pub(crate) fn members(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut zip = zip::ZipArchive::new(Cursor::new(archive)).expect("a Zip archive");
    (0..zip.len())
        .map(|index| {
            let mut member = zip.by_index(index).expect("a member");
            let name = member.name().expect("UTF-8").into_owned();
            let (_, name) = name.split_once('/').expect("a folder");
            let name = name.to_owned();
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes).expect("sound");
            (name, bytes)
        })
        .collect()
}

/// For each place in an archive, how many payload files a checkpoint vouches for that is wholly
/// before it; found by writing the bundle again and looking at it after each stream.
pub(crate) fn logged(archive: &[u8]) -> Vec<(u64, u64)> {
    let mut zip = zip::ZipArchive::new(Cursor::new(archive)).expect("a Zip archive");
    let (mut files, mut list) = (0, Vec::new());
    for index in 0..zip.len() {
        let mut member = zip.by_index(index).expect("a member");
        let name = member.name().expect("UTF-8").into_owned();
        let end = member.data_start().expect("it has data") + member.compressed_size();
        if name.contains("/data/") {
            files += 1;
        } else if name.contains("/records/checkpoints/") && name.ends_with(".asc") {
            list.push((end, files));
        }
        member.read_to_end(&mut Vec::new()).expect("sound");
    }
    list
}
