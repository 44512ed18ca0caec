//! What a writer writes, every reader takes; and what no writer writes costs a reader little.

mod common;
mod forge;

use std::{fs, io::Write as _, sync::Arc};

use common::{
    Content, Item,
    certificates::{self, Reads},
    item, noise, options,
    unpacked::{members, near},
    write_compressed, write_with,
};
use forge::{Part, forge, unpack};
use scelle_bundle::{
    Bundle, BundleWriter, Compression, Cut, Error, SealKey, Verdict, Verification, VerifyOptions,
    verify, verify_bag,
};
use scelle_event::EvidencePath;
use scelle_formats::{Bytes, ReadAtExt as _};

fn ask(archive: &[u8]) -> Verification {
    verify(&Bytes(archive), &VerifyOptions::default()).expect("no option is wrong")
}

fn lines(text: &[u8]) -> Vec<serde_json::Value> {
    text.split_inclusive(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect()
}

/// As many links as NTFS gives a file, in a folder whose path is as long as one may be; the second
/// time with their short names.
#[test]
fn a_file_of_many_long_names_is_sealed_and_its_loss_is_told() {
    let folder = "0123456789abcde/".repeat(2047);
    for count in [1023, 2046] {
        let mut many = item(b"many", noise(1, 5_000));
        let name = many.entry.names[0].clone();
        many.entry.names = (0..count)
            .map(|number| {
                let mut name = name.clone();
                let path = format!("{folder}{number:014}");
                name.path = EvidencePath::from_bytes(path.as_bytes());
                name
            })
            .collect();
        let items = [many, item(b"next", b"next".to_vec())];
        let (sealed, archive) = write_with(options("names"), &items);
        assert_eq!((sealed.files, sealed.losses), (2, 1));
        let answer = ask(&archive);
        assert_eq!(
            answer.verdict,
            Verdict::SignerUnknown,
            "{:?}",
            answer.problems
        );
        let members = members(&archive);
        let files = lines(&members["records/files.jsonl"]);
        let kept = files[0]["names"].as_array().expect("a list").len();
        assert!((200..count).contains(&kept), "{kept} names");
        let coverage = lines(&members["records/coverage.jsonl"]);
        assert_eq!(coverage[0]["outcome"], "partial");
        let warnings = lines(&members["records/warnings.jsonl"]);
        let cause = warnings[0]["cause"].as_str().expect("a text");
        let left = count - kept;
        assert!(
            cause.contains(&format!("the last {left} of its {count} names")),
            "{cause}"
        );
        Bundle::open(Arc::new(Bytes(archive))).expect("it can be read");
    }
}

fn refused(options: scelle_bundle::Options) -> String {
    match BundleWriter::create(Vec::new(), options) {
        Ok(_) => panic!("what nobody reads is written"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_no_reader_takes_is_not_begun() {
    let mut long = options("case");
    long.collection.case = Some("c".repeat(64 << 10));
    assert!(refused(long).contains("say less of the case"));
    let mut many = options("volumes");
    let volume = many.collection.volumes[0].clone();
    many.collection.volumes = vec![volume; 100_000];
    assert!(refused(many).contains("fewer volumes"));
}

/// A certificate on a server of keys can be given any number of signatures by anyone.
#[test]
fn a_key_with_a_flooded_certificate_does_not_sign() {
    let mut secret = certificates::secret("flooded", Reads::VersionOne, None);
    let own = secret.details.users[0].signatures[0].clone();
    secret.details.users[0].signatures = vec![own; 6_000];
    let text = certificates::armoured(&secret);
    let why = SealKey::read(text.as_bytes(), None).map(drop);
    let why = why.expect_err("nobody reads its certificate");
    assert!(why.to_string().contains("1048576"), "{why}");
}

/// A sound bundle, as parts.
fn parts() -> Vec<Part> {
    let items: Vec<Item> = (0..6)
        .map(|number| item(format!("f{number}").as_bytes(), noise(number, 900)))
        .collect();
    unpack(&write_with(near(options("mutation")), &items).1)
}

fn change(parts: &mut [Part], label: &str, from: &str, to: &str) {
    let part = parts.iter_mut().find(|part| part.label() == label);
    let part = part.expect("there");
    let text = String::from_utf8(part.plain.clone()).expect("text");
    assert!(text.contains(from), "{label}");
    part.replace(text.replacen(from, to, 1).into_bytes());
}

/// A few KiB that stand for millions of segments.
#[test]
fn a_checkpoint_that_lists_more_than_there_is_costs_little() {
    let zeros = format!(
        "{{\"member\":\"data/x\",\"offset\":0,\"crc32\":0,\"compressed\":[0{}]}}\n",
        ",0".repeat(1 << 20)
    );
    let empty: String = (0..100_000)
        .map(|number| {
            format!("{{\"member\":\"{number}\",\"offset\":0,\"crc32\":0,\"compressed\":[]}},\n")
        })
        .collect();
    for listed in [zeros, empty.trim_end_matches(",\n").to_owned() + "\n"] {
        let mut parts = parts();
        let checkpoint = "records/checkpoints/000001.json";
        let (from, to) = ("\"segments\":[\n", format!("\"segments\":[\n{listed}"));
        change(&mut parts, checkpoint, from, &to);
        let answer = ask(&forge(&parts));
        assert_eq!(answer.verdict, Verdict::Broken);
        let told = answer
            .problems
            .iter()
            .any(|problem| problem.what.contains("more segments than the archive has"));
        assert!(told, "{:?}", answer.problems);
    }
}

/// What compresses best has the smallest segments, and is read all the same.
#[test]
fn segments_of_nothing_but_zeros_are_listed_and_read() {
    for compression in [Compression::Zstd, Compression::Deflate, Compression::Store] {
        let sizes = [(8 << 20) + 1, 40 << 20];
        let items = sizes.map(|size| {
            let mut zeros = item(format!("zeros-{size}").as_bytes(), vec![]);
            zeros.content = Content::Zeros(size);
            zeros
        });
        let (_, archive) = write_compressed(&items, compression);
        let answer = ask(&archive);
        assert_eq!(
            answer.verdict,
            Verdict::SignerUnknown,
            "{:?}",
            answer.problems
        );
        let bundle = Bundle::open(Arc::new(Bytes(archive))).expect("a bundle");
        let names: Vec<String> = bundle.files().map(|(name, _)| name.to_owned()).collect();
        for (name, size) in names.iter().zip(sizes) {
            let stream = bundle.open_stored(name).expect("there");
            let end = stream.read_range(size - 5..size, 5).expect("readable");
            assert_eq!(end, [0; 5], "{name}");
        }
    }
}

#[test]
fn ranges_that_are_none_are_refused() {
    const MOST: u64 = u64::MAX;
    for unread in [
        format!("[[0,{MOST}],[1,{MOST}]]"),
        format!("[[5,{MOST}]]"),
        "[[10,5],[3,2]]".to_owned(),
        "[[3,0]]".to_owned(),
        "[[899,2]]".to_owned(),
    ] {
        let mut parts = parts();
        let (from, to) = ("\"unread\":[]", format!("\"unread\":{unread}"));
        change(&mut parts, "records/files.jsonl", from, &to);
        let archive = forge(&parts);
        let answer = ask(&archive);
        let wanted = "unread ranges contradict its size";
        let told = answer.problems.iter().any(|one| one.what.contains(wanted));
        assert!(told, "{unread}: {:?}", answer.problems);
        match Bundle::open(Arc::new(Bytes(archive))) {
            Err(Error::Format(why)) => assert!(why.contains(wanted), "{why}"),
            Err(other) => panic!("{other}"),
            Ok(bundle) => panic!("{unread}: {} volumes", bundle.volumes().len()),
        }
    }
}

/// A bag whose list of files is one line without an end.
#[test]
fn a_line_of_any_length_is_not_held() {
    let folder = tempfile::tempdir().expect("a folder");
    for part in parts() {
        let path = folder.path().join(&part.name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        let mut file = fs::File::create(path).expect("made");
        file.write_all(&part.plain).expect("written");
        if part.label() == "records/files.jsonl" {
            file.set_len(65 << 20).expect("sparse");
        }
    }
    let answer = verify_bag(&folder.path().join("mutation"), &VerifyOptions::default());
    let answer = answer.expect("no option is wrong");
    assert_eq!(answer.verdict, Verdict::Broken);
    // The first line is sound; the second is of zeros alone.
    let told = |problem: &scelle_bundle::Problem| {
        problem.member.as_deref() == Some("records/files.jsonl")
            && problem.what.contains("a line has more than 67108864 bytes")
    };
    assert!(answer.problems.iter().any(told), "{:?}", answer.problems);
}

/// Of a cut bundle whose next checkpoint has more certificates before it than any collection comes to.
#[test]
fn certificates_of_a_cut_bundle_are_bounded() {
    let key = SealKey::generate(&"a".repeat(700_000), 1_767_225_600).expect("a key");
    let certificate = key.certificate().expect("it is read").into_bytes();
    for count in [10, 100] {
        let mut parts = parts();
        parts.truncate(3);
        let model = parts[2].clone();
        let named = |label: &str, plain: &[u8]| {
            let mut part = model.clone();
            part.name = format!("mutation/{label}");
            part.replace(plain.to_vec());
            part
        };
        for number in 2..count {
            parts.push(named(
                &format!("records/signer-{number}.cert.asc"),
                &certificate,
            ));
        }
        // Where the members end is at the end of the archive's last record.
        let members = |archive: &[u8]| {
            let at = archive.len() - 6;
            u32::from_le_bytes(*archive[at..].first_chunk().expect("four")) as usize
        };
        let before = forge(&parts);
        let length = members(&before);
        let blake3 = blake3::hash(&before[..length]).to_hex();
        let lists: String = ["segments", "files", "coverage", "warnings", "audit"]
            .map(|list| format!(",\n\"{list}\":[\n]"))
            .concat();
        let text = format!(
            "{{\"checkpoint\":1,\"previous\":null,\"length\":{length},\"blake3\":\"{blake3}\",\"last\":false{lists}}}\n"
        );
        let signature = key.sign(text.as_bytes()).expect("signed");
        for (ending, plain) in [("json", &text), ("asc", &signature)] {
            let name = format!("records/checkpoints/000001.{ending}");
            parts.push(named(&name, plain.as_bytes()));
        }
        let archive = forge(&parts);
        let cut = Bytes(&archive[..members(&archive)]);
        let cut = Cut::survey(&cut).expect("its head is there");
        assert_eq!(cut.checkpoint().is_some(), count < 50, "{count}");
    }
}
