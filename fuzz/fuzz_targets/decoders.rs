//! What is fuzzed: every artefact of the registry, and the decoders below it.

use std::sync::Arc;

use scelle_artefacts::{ALL, Artefact, Candidate, Input};
use scelle_engine::run;
use scelle_event::{Context, EvidencePath, StreamId};
use scelle_formats::{Bytes, ReadAt};

use crate::{
    bitlocker, bundle, codec, custody, delivery, discard::Discard, disk_images, encrypted, image,
    ntfs, parts, plan, proof, shadow, words,
};

type Decode = dyn Fn(&[u8]) + Send + Sync;

pub struct Decoder {
    pub id: &'static str,
    decode: Box<Decode>,
}

impl Decoder {
    fn new(id: &'static str, decode: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        Self {
            id,
            decode: Box::new(decode),
        }
    }

    pub fn decode(&self, data: &[u8]) {
        (self.decode)(data);
    }
}

/// Every decoder; new ones go to the end, so that old seeds keep their meaning.
pub fn all() -> Vec<Decoder> {
    let mut all: Vec<Decoder> = ALL
        .iter()
        .copied()
        .map(|artefact| Decoder::new(artefact.descriptor().id, move |data| parse(artefact, data)))
        .collect();
    all.extend([
        Decoder::new("event.paths", paths),
        Decoder::new("ntfs.boot", ntfs::boot),
        Decoder::new("ntfs.records", ntfs::records),
        Decoder::new("ntfs.runs", ntfs::runs),
        Decoder::new("ntfs.names", ntfs::names),
        Decoder::new("evidence.any-image", image::any),
        Decoder::new("evidence.patched-image", image::patched),
        Decoder::new("bundle.verify", bundle::any),
        Decoder::new("bundle.patched", bundle::patched),
        Decoder::new("bundle.salvage", bundle::cut),
        Decoder::new("codec.lznt1", codec::lznt1),
        Decoder::new("codec.xpress", codec::xpress),
        Decoder::new("codec.lzx", codec::lzx),
        Decoder::new("ntfs.secure", codec::secure),
        Decoder::new("image.ewf", disk_images::ewf),
        Decoder::new("image.vhd", disk_images::vhd),
        Decoder::new("image.vhdx", disk_images::vhdx),
        Decoder::new("image.vmdk", disk_images::vmdk),
        Decoder::new("image.qcow2", disk_images::qcow2),
        Decoder::new("fs.fat", disk_images::fat),
        Decoder::new("fs.exfat", disk_images::exfat),
        Decoder::new("fs.ext4", disk_images::ext4),
        Decoder::new("bundle.encrypted", encrypted::any),
        Decoder::new("bundle.stamp", stamp),
        Decoder::new("image.vss", shadow::patched),
        Decoder::new("bundle.custody", custody::any),
        Decoder::new("bundle.proof", proof::any),
        Decoder::new("bitlocker.structures", bitlocker::any),
        Decoder::new("bitlocker.patched", bitlocker::patched),
        Decoder::new("image.ex01", disk_images::ex01),
        Decoder::new("bundle.parts", parts::any),
        Decoder::new("scelle.plan", plan::any),
        Decoder::new("team", words::team),
        Decoder::new("incident", words::incident),
        Decoder::new("deliver.journal", delivery::journal),
        Decoder::new("deliver.known-hosts", delivery::known_hosts),
        Decoder::new("deliver.answer", delivery::answer),
    ]);
    all
}

/// An artefact, recognised or not: a parser must stand what it should never be handed.
fn parse(artefact: &dyn Artefact, data: &[u8]) {
    let stream = Bytes(data);
    let path = EvidencePath::from_bytes(b"$I0");
    let candidate = Candidate::new(&path, None, stream.len(), || {
        Some(Box::new(&stream) as Box<dyn ReadAt>)
    });
    let recognised = artefact.recognises(&candidate);
    let context = Arc::new(Context {
        artefact: artefact.descriptor().id,
        source: "fuzz".into(),
        host: None,
        host_id: None,
        streams: vec!["fuzz".into()],
    });
    let tally = run(artefact, Input::alone(&stream), &context, &Discard).expect("nothing refuses");
    // Of what is its own it speaks; an index that holds no name is nobody's.
    assert!(
        tally.records + tally.warnings > 0 || !recognised,
        "{} says nothing of {} bytes",
        artefact.descriptor().id,
        data.len()
    );
}

/// A time-stamp over a signature: sound, or a sentence that says why not.
fn stamp(data: &[u8]) {
    if let Err(what) = scelle_bundle::stamp_time(data, b"a signature") {
        assert!(!what.is_empty());
    }
}

/// The text form of names: exact both ways, or refused.
fn paths(data: &[u8]) {
    let path = EvidencePath::from_bytes(data);
    let stream = StreamId {
        volume: "v".into(),
        path: path.clone(),
        stream: None,
    };
    let again: StreamId = stream.to_string().parse().expect("its own text form");
    assert_eq!(again.path, path);
    if let Ok(text) = str::from_utf8(data)
        && let Ok(stream) = text.parse::<StreamId>()
    {
        let again: StreamId = stream.to_string().parse().expect("its own text form");
        assert_eq!(again, stream);
    }
}
