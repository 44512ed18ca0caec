//! What a salvage keeps of the cut bundle's own records, and what they vouch for.

use super::{Signer, Verification, archive::Check, tags};
use crate::{
    Certificate, Collection,
    checkpoint::{self, LISTS},
    limits::{ARMOUR_LIMIT, COLLECTION_LIMIT, SignersRoom, TEXT_LIMIT},
    reader::Member,
    salvage::FOLDER,
    writer::FILES,
};

/// What the cut bundle's checkpoints say together.
#[derive(Default)]
pub(super) struct Salvaged {
    /// Payload files that they vouch for.
    pub(super) files: u64,
    /// Bytes of each list, and its BLAKE3.
    lists: [(u64, blake3::Hasher); LISTS.len()],
    checkpoint: u64,
    signer: String,
    is_complete: bool,
    archive: Option<crate::Salvaged>,
}

impl Salvaged {
    /// How many bytes a tag file begins with that are those of the checkpoints, and their hash.
    pub(super) fn list(&self, name: &str) -> Option<(u64, blake3::Hash)> {
        let list = LISTS
            .iter()
            .position(|list| name == format!("records/{list}.jsonl"))?;
        let (bytes, hasher) = &self.lists[list];
        Some((*bytes, hasher.finalize()))
    }

    /// What there is to say of a salvage of so many payload files.
    pub(super) fn tell(&self, files: u64) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(archive) = &self.archive {
            notes.push(format!(
                "it is a salvage of a bundle that was cut off after {} bytes (BLAKE3 {})",
                archive.archive_bytes, archive.archive_blake3
            ));
        }
        notes.push(match self.checkpoint {
            0 => "no checkpoint vouches for any of it".to_owned(),
            number => format!(
                "checkpoint {number} vouches for {} payload files, by the key {} of the \
                 collection that was cut off",
                self.files, self.signer
            ),
        });
        let more = files.saturating_sub(self.files);
        if more > 0 {
            notes.push(format!(
                "{more} payload files are whole, but nobody vouches for them: their lines say so"
            ));
        }
        notes.push(
            if self.is_complete {
                "nothing that was collected is missing, only the end was"
            } else {
                "missing: what the plan asked for behind that; records/coverage.jsonl says \
                 cut-off"
            }
            .to_owned(),
        );
        notes
    }
}

impl Check<'_> {
    /// Checks the records of the cut bundle that a salvage keeps; `None` where it is none.
    pub(super) fn check_salvaged(
        &self,
        tags: &[Member],
        verification: &mut Verification,
    ) -> Option<Salvaged> {
        let kept: Vec<Member> = tags
            .iter()
            .filter(|member| member.name.starts_with(FOLDER))
            .cloned()
            .collect();
        if kept.is_empty() {
            return None;
        }
        verification.is_salvage = true;
        let collection = |name: &str| -> Option<Collection> {
            let text = self.read_tag(tags, name, COLLECTION_LIMIT)?;
            let read = serde_json::from_slice(&text);
            read.map_err(|error| self.problems.of(name, error.to_string()))
                .ok()
        };
        let was = format!("{FOLDER}collection.json");
        let (own, cut) = (collection(tags::COLLECTION)?, collection(&was)?);
        let mut salvaged = Salvaged {
            archive: own.salvage.clone(),
            ..Salvaged::default()
        };
        let expected = Collection {
            salvage: own.salvage.clone(),
            session_packets_sha256: own.session_packets_sha256.clone(),
            ..cut.clone()
        };
        if own != expected {
            self.problems.of(
                tags::COLLECTION,
                "it is not that of the bundle that was cut off",
            );
        }
        let mut signer: Option<Certificate> = None;
        let mut previous = cut.resumes.map(|resumes| resumes.checkpoint_blake3);
        let mut room = SignersRoom::ALL;
        for member in &kept {
            let name = &member.name;
            if name.ends_with(".cert.asc") {
                if let Err(what) = room.take(member.facts.size) {
                    self.problems.of(name, what);
                    return None;
                }
                let text = self.read_tag(tags, name, ARMOUR_LIMIT)?;
                match Certificate::read(&text) {
                    Ok(certificate) => {
                        verification.signers.push(Signer {
                            fingerprint: certificate.fingerprint(),
                            user_id: certificate.user_id(),
                        });
                        signer = Some(certificate);
                    }
                    Err(error) => self.problems.of(name, error.to_string()),
                }
            } else if name.starts_with(&format!("{FOLDER}checkpoints/")) && name.ends_with(".json")
            {
                let text = self.read_tag(tags, name, TEXT_LIMIT)?;
                let signature = format!("{}.asc", name.trim_end_matches(".json"));
                let file = self.read_tag(tags, &signature, ARMOUR_LIMIT)?;
                let signer = signer.as_ref()?;
                if let Err(what) = signer.check(&text, &file) {
                    self.problems
                        .of(&signature, format!("the signature is not sound: {what}"));
                }
                let head = checkpoint::read(&text, |list, line| {
                    let (bytes, hasher) = &mut salvaged.lists[list];
                    *bytes += line.len() as u64 + 1;
                    hasher.update(line);
                    hasher.update(b"\n");
                    salvaged.files += u64::from(list == FILES);
                    Ok(())
                });
                match head {
                    Ok(head) => {
                        if head.checkpoint != salvaged.checkpoint + 1
                            || head.previous != previous
                            || salvaged.is_complete
                        {
                            self.problems
                                .of(name, "it does not follow the checkpoint before");
                        }
                        salvaged.checkpoint = head.checkpoint;
                        salvaged.is_complete = head.last;
                    }
                    Err(what) => self.problems.of(name, what),
                }
                salvaged.signer = signer.fingerprint();
                previous = Some(blake3::hash(&text).to_hex().to_string());
            }
        }
        let said = salvaged
            .archive
            .as_ref()
            .map(|said| said.checkpoint.unwrap_or(0));
        if said != Some(salvaged.checkpoint) {
            self.problems.of(
                tags::COLLECTION,
                "it names another checkpoint than the last one that was salvaged",
            );
        }
        Some(salvaged)
    }
}
