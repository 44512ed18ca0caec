//! Checking the parts of a collection that was cut off and gone on with.
//!
//! The last part is checked as any bundle is. Of each before it counts what lies before the
//! checkpoint that the next one names: its archive's bytes by that checkpoint, its payload by its
//! lines, its session-key packets by its record, and how its packets are cut. What stands behind that counts for nothing.

use rayon::prelude::*;

use super::{
    Problem, Problems, Scope, Signer, Verdict, Verification, VerifyOptions, archive, asked::Asked,
    envelope, payload::Hashed,
};
use crate::{
    Ending, Part,
    codec::SEGMENT_BYTES,
    file_line::FileLine,
    names,
    parts::{Flaw, Placed, Set},
    reader::Member,
    text::hex,
};

/// Members that are checked side by side.
const BATCH_MEMBERS: usize = 1024;
/// What their bytes come to, at most, but for the last.
const BATCH_BYTES: u64 = 32 << 20;
/// What a range of a line takes.
const RANGE_BYTES: usize = 16;

pub(super) fn check(parts: &[Part], options: &VerifyOptions, asked: &Asked<'_>) -> Verification {
    let set = Set::arrange(parts);
    let problems = Problems::default();
    let mut verification = match set.parts.last() {
        Some(last) => check_last(last, options, asked),
        None => Verification::new(Scope::Parts),
    };
    let mut all = All::default();
    for (at, placed) in set.parts.iter().enumerate() {
        let is_last = at + 1 == set.parts.len();
        if let Err(what) = all.take(placed, is_last, asked, &problems) {
            problems.note(format!("{}: {what}", placed.part.name));
        }
        if !is_last {
            tell(placed, &mut verification, &problems);
        }
    }
    if all.has_twice() {
        problems.note("two parts hold a file of the same name");
    }
    let mut verification = settle(verification, set.flaws, problems);
    verification.scope = asked.scope(Scope::Parts);
    let is_sealed = matches!(
        verification.verdict,
        Verdict::Sealed | Verdict::SignerUnknown
    );
    verification.payload = is_sealed.then(|| hex(all.payload.finalize().as_bytes()));
    verification
}

fn check_last(last: &Placed<'_>, options: &VerifyOptions, asked: &Asked<'_>) -> Verification {
    let (bytes, scope) = (last.part.bytes(), Scope::Parts);
    let Some(message) = last.part.message() else {
        return archive::check(bytes, options, asked, None, scope);
    };
    match message.ending() {
        // No byte of it reaches another parser; what is wrong is told with the set's flaws.
        Ending::Altered(_) => Verification::new(scope),
        Ending::Whole => archive::check(bytes, options, asked, Some(message), scope),
        Ending::Cut => envelope::check_cut(message, options, asked, scope),
    }
}

/// Adds what an earlier part holds, and who signed it.
fn tell(placed: &Placed<'_>, verification: &mut Verification, problems: &Problems) {
    let (files, bytes) = placed.cut.vouched();
    verification.files += files;
    verification.bytes = verification.bytes.saturating_add(bytes);
    let in_force = placed.cut.marks.last().map_or(0, |mark| mark.signer + 1);
    let signers = placed.cut.signers.iter().take(in_force);
    let signers = signers.map(|(certificate, ..)| Signer {
        fingerprint: certificate.fingerprint(),
        user_id: certificate.user_id(),
    });
    // Who sealed stands last.
    let at = verification.signers.len().saturating_sub(1);
    drop(verification.signers.splice(at..at, signers));
    let collection = &placed.cut.collection;
    if verification.tlp.as_ref() != Some(&collection.tlp) {
        problems.note(format!("{}: it has another label", placed.part.name));
    }
    if let Some(message) = placed.part.message() {
        let recorded = collection.session_packets_sha256.as_deref();
        let packets = message.envelope().check_session_packets(recorded);
        let marks = placed.cut.marks.iter();
        let synced: Vec<u64> = marks.map(|mark| mark.signature.end).collect();
        let framing = message.check_framing_until(&synced);
        for what in [packets, framing].into_iter().filter_map(Result::err) {
            problems.note(format!("{}: {what}", placed.part.name));
        }
    }
}

/// What the parts hold together.
#[derive(Default)]
struct All {
    payload: blake3::Hasher,
    /// Keys of the names of all payload files.
    names: Vec<u64>,
    files: u64,
}

/// A payload file of an earlier part.
struct Item {
    number: u64,
    member: Member,
    segments: Vec<u64>,
    expected: Hashed,
}

impl All {
    /// Takes a part's payload; that of the last part was checked before.
    fn take(
        &mut self,
        placed: &Placed<'_>,
        is_last: bool,
        asked: &Asked<'_>,
        problems: &Problems,
    ) -> Result<(), String> {
        let mut batch = Vec::new();
        let mut bytes = 0u64;
        placed.visit_files(&mut |found, line: &FileLine, segments| {
            if let Some(what) = names::complaint(&line.member) {
                problems.of_payload(self.files + 1, &line.member, format!("its name {what}"));
            }
            self.payload.update(line.blake3_line()?.as_bytes());
            self.names.push(names::folded_key(&line.member));
            self.files += 1;
            if is_last || !asked.wants(line) {
                return Ok(());
            }
            if segments.len() as u64 > found.facts.size.div_ceil(SEGMENT_BYTES as u64).max(1) {
                let what = "its checkpoint lists more segments than it has";
                problems.of_payload(self.files, &line.member, what.to_owned());
                return Ok(());
            }
            let ranges = line.stored.as_ref().map_or(0, |stored| stored.ranges.len());
            let listed = (size_of_val(segments) + ranges * RANGE_BYTES) as u64;
            bytes = bytes
                .saturating_add(found.facts.size)
                .saturating_add(listed);
            batch.push(Item {
                number: self.files,
                member: placed.member(found),
                segments: segments.to_vec(),
                expected: Hashed::of(line),
            });
            if batch.len() >= BATCH_MEMBERS || bytes >= BATCH_BYTES {
                check_items(placed, &batch, problems);
                batch.clear();
                bytes = 0;
            }
            Ok(())
        })?;
        check_items(placed, &batch, problems);
        Ok(())
    }

    fn has_twice(&mut self) -> bool {
        self.names.sort_unstable();
        self.names.windows(2).any(|pair| pair[0] == pair[1])
    }
}

fn check_items(placed: &Placed<'_>, items: &[Item], problems: &Problems) {
    let archive = placed.reader();
    let folder = &placed.cut.folder;
    items.par_iter().with_max_len(1).for_each(|item| {
        let (member, table) = (&item.member, &item.segments);
        if let Err(what) = item.expected.check(archive, folder, member, table) {
            problems.of_payload(item.number, &member.name, what);
        }
    });
}

/// The verdict over all parts.
fn settle(mut verification: Verification, flaws: Vec<Flaw>, problems: Problems) -> Verification {
    let mut found = problems.into_list();
    let mut is_wrong = !found.is_empty();
    let is_flawed = !flaws.is_empty();
    let told = flaws.into_iter().map(|flaw| match flaw {
        Flaw::Missing(what) => what,
        Flaw::Wrong(what) => {
            is_wrong = true;
            what
        }
    });
    let mut all: Vec<Problem> = told.map(|what| Problem { member: None, what }).collect();
    all.append(&mut found);
    all.append(&mut verification.problems);
    verification.problems = all;
    if is_wrong {
        verification.verdict = Verdict::Broken;
    } else if is_flawed && verification.verdict != Verdict::Broken {
        verification.verdict = Verdict::Unfinished;
    }
    if verification.verdict != Verdict::Sealed {
        verification.vouched_by.clear();
        verification.through.clear();
    }
    verification
}
