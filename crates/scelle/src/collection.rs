//! What `records/collection.json` says: what was asked for, of which volumes, by which program.

use std::{collections::BTreeMap, env, io, path::Path};

use jiff::Timestamp;
use scelle_bundle::{Collection, EncryptionRecord, Tool, VolumeRecord};
use scelle_engine::Plan;
use scelle_evidence::{Unlocked, Volume, VolumeKind};
use scelle_formats::{Hasher, ReadAtExt};

use crate::{Order, Source, open_file, own_program};

pub(crate) fn kind_name(volume: &dyn Volume) -> &'static str {
    match volume.info().kind {
        VolumeKind::Ntfs => "ntfs",
        VolumeKind::Fat => "fat",
        VolumeKind::Exfat => "exfat",
        VolumeKind::Ext => "ext",
        VolumeKind::Folder => "folder",
        VolumeKind::File => "file",
        _ => "other",
    }
}

/// What the bundle says of a collection from `source`.
pub(crate) fn collection(source: &Source, plan: &Plan, order: &Order) -> Collection {
    let profile = &plan.profile;
    let limits = [
        ("max_file_bytes", profile.limits.max_file_bytes),
        ("max_total_bytes", profile.limits.max_total_bytes),
    ];
    let volumes = source.evidence().volumes.iter();
    Collection {
        tlp: order.tlp.name().to_owned(),
        tool: Tool {
            name: "scelle".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sha256: match &order.prepared {
                Some(prepared) => Some(prepared.program_sha256.clone()),
                None => own_program().and_then(|path| sha256(&path)).ok(),
            },
        },
        case: order.case.clone(),
        operator: order.operator.clone(),
        source: order.source.clone(),
        plan: scelle_bundle::Plan {
            blake3: Some(plan_hash(plan, order)),
            profiles: profile.name.split('+').map(str::to_owned).collect(),
            limits: limits
                .into_iter()
                .filter_map(|(name, limit)| Some((name.to_owned(), limit?.to_string())))
                .collect(),
        },
        clocks: BTreeMap::from([("collector".to_owned(), Timestamp::now().to_string())]),
        time_zones: time_zone()
            .map(|zone| ("collector".to_owned(), zone))
            .into_iter()
            .collect(),
        volumes: volumes
            .map(|volume| volume_record(volume.as_ref(), &source.evidence().unlocked))
            .collect(),
        deployment: order.prepared.as_ref().map(|one| one.deployment.clone()),
        ..Collection::default()
    }
}

/// The hash of what was asked for: the signed plan, or profile and limits.
pub(crate) fn plan_hash(plan: &Plan, order: &Order) -> String {
    if let Some(prepared) = &order.prepared {
        return prepared.plan_blake3.clone();
    }
    let text = serde_json::to_vec(&plan.profile).expect("a profile is plain data");
    hex(&scelle_formats::Digests::of(&text).blake3)
}

fn volume_record(volume: &dyn Volume, unlocked: &[Unlocked]) -> VolumeRecord {
    let info = volume.info();
    // A snapshot was opened with its volume.
    let unlocked = unlocked.iter().find(|one| *one.volume == *info.base_id());
    VolumeRecord {
        id: info.id.to_string(),
        kind: kind_name(volume).to_owned(),
        offset: info.offset,
        size_bytes: info.size_bytes,
        label: info.label.clone(),
        cluster_bytes: info.cluster_bytes,
        drive_letters: Vec::new(),
        device: None,
        encryption: unlocked.map(|one| EncryptionRecord {
            kind: "bitlocker".to_owned(),
            method: one.method.to_owned(),
            volume_guid: one.guid.clone(),
            protector: one.protector.to_owned(),
            protector_guid: one.protector_guid.clone(),
        }),
    }
}

/// The zone of the machine that collects, where the system names it.
fn time_zone() -> Option<String> {
    if let Ok(zone) = env::var("TZ")
        && !zone.is_empty()
    {
        return Some(zone);
    }
    let target = std::fs::read_link("/etc/localtime").ok()?;
    let target = target.to_str()?;
    Some(target.rsplit_once("zoneinfo/")?.1.to_owned())
}

fn sha256(path: &Path) -> io::Result<String> {
    const BLOCK_BYTES: usize = 1 << 20;
    let file = open_file(path)?;
    let mut hasher = Hasher::new();
    let mut block = vec![0; BLOCK_BYTES];
    let mut at = 0;
    loop {
        let have = file.read_full_at(at, &mut block)?;
        if have == 0 {
            return Ok(hex(&hasher.finish().sha256));
        }
        hasher.update(&block[..have]);
        at += have as u64;
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    scelle_event::json::write_hex(&mut out, bytes);
    String::from_utf8(out).expect("hex is text")
}
