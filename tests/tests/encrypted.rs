//! Encrypted bundles as their users make and read them: no plaintext reaches a disk.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

use support::{
    Ran, Reader, collector, data_version, files, recycled, run, run_scelle, scelle, text,
};

/// Planted in evidence; long enough that no other bytes are it by chance.
const CANARIES: [&str; 4] = [
    "CANARY-in-a-name-4f1c9a6be2",
    "CANARY-in-a-stream-77d0e5a913",
    "CANARY-deep-in-a-large-file-0b9c",
    "CANARY-in-a-row-e19d5527ac",
];

/// Whether `needle` stands in `bytes`, as it is or in UTF-16.
fn holds(bytes: &[u8], needle: &str) -> bool {
    let wide: Vec<u8> = needle.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let found = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    found(needle.as_bytes()) || found(&wide)
}

/// Evidence with canaries in a name, a small file, a large one, and what becomes rows of a timeline.
fn plant(folder: &Path) {
    fs::create_dir_all(folder.join("logs")).expect("made");
    let mut large = vec![b'.'; 3 << 20];
    for at in (0..large.len() - 100).step_by(100_000) {
        large[at..at + CANARIES[2].len()].copy_from_slice(CANARIES[2].as_bytes());
    }
    fs::write(folder.join("large.bin"), large).expect("written");
    fs::write(folder.join("logs/small.txt"), CANARIES[1]).expect("written");
    fs::write(folder.join(format!("{}.txt", CANARIES[0])), "named").expect("written");
    let bin = folder.join("$Recycle.Bin/S-1-5-21-1");
    fs::create_dir_all(&bin).expect("made");
    let deleted = recycled(&format!("C:\\{}", CANARIES[3]));
    // Several, so that there are rows already when others come.
    for letter in 'A'..='F' {
        fs::write(bin.join(format!("$I{letter}BCDEF.txt")), &deleted).expect("written");
    }
}

fn collect(command: &mut Command, source: &Path, out: &Path, recipient: &[String]) {
    command.args(["collect", "--profile", "everything", "--tlp", "amber"]);
    command.args(["--compression", "store", "--source"]);
    command.arg(source).arg("--out").arg(out).args(recipient);
}

/// Keys of both kinds: of whoever reads SEIPD v1 and of whoever reads v2. None where GnuPG is not installed.
fn readers(folder: &Path) -> Vec<Reader> {
    let older = Reader::make(folder);
    older
        .map(|older| vec![older, Reader::newer(folder)])
        .unwrap_or_default()
}

/// The calls by which bytes leave a process, or might leave it unseen.
#[cfg(target_os = "linux")]
const CALLS: &str = "trace=write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,sendmmsg,sendfile,splice,tee,vmsplice,\
                     copy_file_range,process_vm_writev,mmap,memfd_create,shmat,io_uring_setup,io_submit,ftruncate";

/// Runs a command as it is, and gives all that it handed to the system, in strace's words, with the names of files.
#[cfg(target_os = "linux")]
fn trace(folder: &Path, command: &Command) -> String {
    let log = folder.join("trace.log");
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-y", "-xx", "-s", "8000000", "-e", CALLS, "-o"]);
    traced.arg(&log).arg(command.get_program());
    traced.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    let ran = ran(traced);
    assert!(matches!(ran.status, 0 | 1), "{}", ran.err);
    fs::read_to_string(&log).expect("a trace")
}

/// Bytes as strace shows them.
#[cfg(target_os = "linux")]
fn shown(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

/// The calls of a trace in which a text is handed over, as it is or in UTF-16.
#[cfg(target_os = "linux")]
fn calls_with<'a>(log: &'a str, text: &str) -> Vec<&'a str> {
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let forms = [shown(text.as_bytes()), shown(&wide)];
    let lines = log.lines();
    let lines = lines.filter(|line| forms.iter().any(|form| line.contains(form)));
    lines.collect()
}

/// The calls of a trace that write to a file, or to what was made in a folder and has no name there.
#[cfg(target_os = "linux")]
fn writes_to<'a>(log: &'a str, place: &Path) -> Vec<&'a str> {
    let place = format!("<{}", shown(text(place).as_bytes()));
    let is_write = |line: &&str| line.contains("write") && line.contains(&place);
    log.lines().filter(is_write).collect()
}

/// A line of a trace that fits a message.
#[cfg(target_os = "linux")]
fn head(line: &str) -> &str {
    line.get(..300).unwrap_or(line)
}

/// Refuses a trace in which something is handed over that the trace does not show.
#[cfg(target_os = "linux")]
fn check_is_seen(log: &str) {
    assert!(log.contains("write("), "something was written");
    for line in log.lines() {
        let is_shared_map = line.contains("MAP_SHARED") && line.contains("PROT_WRITE");
        assert!(!is_shared_map, "a file is mapped to be written: {line}");
        for call in [
            "io_uring_setup(",
            "io_submit(",
            "sendfile(",
            "copy_file_range(",
            "splice(",
        ] {
            assert!(
                !line.contains(call),
                "the trace does not see what this writes: {line}"
            );
        }
    }
}

/// Refuses a trace in which a canary is handed over, or in which it could have been unseen.
#[cfg(target_os = "linux")]
fn check_trace(log: &str) {
    check_is_seen(log);
    for canary in CANARIES {
        let calls = calls_with(log, canary);
        let first = calls.first().map_or("", |line| head(line));
        assert!(calls.is_empty(), "{canary} in {first}");
    }
}

/// Something was spilled, and no block of it is the compressed one that it would be in clear.
#[cfg(target_os = "linux")]
fn check_spilled(log: &str, folder: &Path) {
    const ZSTD: &[u8] = b"\x28\xB5\x2F\xFD";
    let spilled = writes_to(log, folder);
    assert!(!spilled.is_empty(), "nothing was spilled");
    let begin = format!(", \"{}", shown(ZSTD));
    for line in spilled {
        assert!(!line.contains(&begin), "{} is in clear", head(line));
    }
}

/// Everything that a collection hands to the system is looked at, and a timeline that is encrypted.
#[cfg(target_os = "linux")]
#[test]
fn no_canary_is_written_by_an_encrypted_collection_or_timeline() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let readers = readers(folder);
    if readers.is_empty() {
        return;
    }
    if !scelle_testkit::has_tool("strace", "what is handed to the system") {
        return;
    }
    let source = folder.join("source");
    plant(&source);
    let clear = folder.join("clear.scelle.zip");
    let mut command = collector();
    collect(&mut command, &source, &clear, &[]);
    let log = trace(folder, &command);
    let clear = fs::read(clear).expect("a bundle");
    for canary in CANARIES {
        // The proof that such a trace shows what is written.
        let calls = calls_with(&log, canary);
        assert!(!calls.is_empty(), "{canary} is not in the trace");
        assert!(holds(&clear, canary), "{canary} is not in the bundle");
    }
    for reader in readers {
        let version = reader.data_version();
        let out = folder.join(format!("case-{version}.scelle.zip.pgp"));
        let mut command = collector();
        collect(&mut command, &source, &out, &reader.recipient());
        check_trace(&trace(folder, &command));
        let sealed = fs::read(&out).expect("a bundle");
        assert_eq!(data_version(&sealed), version);
        for canary in CANARIES {
            assert!(!holds(&sealed, canary), "{canary} is in the ciphertext");
        }

        // With no memory for rows all of them are spilled, into a folder of their own.
        let spill = folder.join(format!("spill-{version}"));
        fs::create_dir(&spill).expect("made");
        let timeline = |name: &str| {
            let mut command = scelle();
            command.args([
                "timeline",
                "--format",
                "jsonl",
                "--row-memory",
                "0",
                "--key",
            ]);
            command.arg(&reader.secret).arg(&out).arg("--out");
            command.arg(folder.join(name)).arg("--spill").arg(&spill);
            command
        };
        let name = format!("rows-{version}.jsonl");
        let mut command = timeline(&name);
        command.args(reader.recipient());
        let log = trace(folder, &command);
        check_trace(&log);
        check_spilled(&log, &spill);
        let rows = folder.join(name).with_extension("jsonl.pgp");
        let sealed = fs::read(rows).expect("rows");
        assert_eq!(data_version(&sealed), version);

        // The same with its rows in clear: the trace shows them there, and nowhere else.
        let name = format!("rows-{version}.clear.jsonl");
        let log = trace(folder, &timeline(&name));
        check_is_seen(&log);
        let rows = folder.join(name);
        check_spilled(&log, &spill);
        let written = writes_to(&log, &rows);
        let calls = calls_with(&log, CANARIES[3]);
        assert!(!calls.is_empty(), "{} is not in the trace", CANARIES[3]);
        for canary in CANARIES {
            for line in calls_with(&log, canary) {
                assert!(written.contains(&line), "{canary} in {}", head(line));
            }
        }
        assert!(holds(&fs::read(rows).expect("rows"), CANARIES[3]));
        assert_eq!(files(&spill), [""; 0], "nothing stays of what was spilled");
    }
}

/// What every command prints and leaves, with the key in a file and with gpg's agent.
#[test]
fn every_command_reads_an_encrypted_bundle() {
    let folder = tempfile::tempdir().expect("a folder");
    for reader in readers(folder.path()) {
        let scene = folder.path().join(reader.data_version().to_string());
        fs::create_dir(&scene).expect("made");
        reads_and_leaves_nothing(&scene, &reader);
    }
}

fn reads_and_leaves_nothing(folder: &Path, reader: &Reader) {
    let source = folder.join("source");
    plant(&source);
    let bundle = folder.join("case.scelle.zip.pgp");
    let mut command = scelle();
    collect(&mut command, &source, &bundle, &reader.recipient());
    command.arg("--json");
    let made = ran(command).ended(0).json();
    let root = made["root"].as_str().expect("a root").to_owned();
    let bytes = fs::read(&bundle).expect("there");
    assert_eq!(data_version(&bytes), reader.data_version());

    let temporary = folder.join("tmp");
    fs::create_dir(&temporary).expect("made");
    let ask = |arguments: &[&str], key: &[String]| {
        let mut command = scelle();
        command.args(arguments).args(key);
        command.env("GNUPGHOME", &reader.home);
        // Wherever a program might think of leaving something.
        for place in [
            "TMPDIR",
            "HOME",
            "XDG_CACHE_HOME",
            "XDG_STATE_HOME",
            "XDG_DATA_HOME",
        ] {
            command.env(place, &temporary);
        }
        command.current_dir(&temporary);
        ran(command)
    };
    let at = text(&bundle);
    let file = vec!["--key".to_owned(), text(&reader.secret)];
    let mut keys = vec![file.clone()];
    if reader.is_of_gpg {
        keys.push(vec!["--key-agent".to_owned()]);
    }
    for key in &keys {
        let answer = ask(&["verify", &at, "--root", &root, "--json"], key).ended(0);
        assert_eq!(answer.json()["verdict"], "sealed");
        let listed = ask(&["ls", &at], key).ended(0).text();
        assert!(listed.contains(CANARIES[0]), "{listed}");
        let read = ask(&["cat", &at, "logs/small.txt"], key).ended(0);
        assert_eq!(read.out, CANARIES[1].as_bytes());
        let part = ["cat", &*at, "large.bin", "--range", "100000..32"];
        assert_eq!(ask(&part, key).ended(0).out, CANARIES[2].as_bytes());
        let shown = ["timeline", &*at, "--format", "jsonl", "--out", "-"];
        let rows = ask(&shown, key).ended(0).text();
        assert!(rows.contains(CANARIES[3]), "{rows}");
    }
    // No key, a wrong one, an altered bundle: nothing comes out.
    let refused = ask(&["ls", &at], &[]).ended(2);
    assert!(refused.err.contains("--key"), "{}", refused.err);
    let other = tempfile::tempdir().expect("a folder");
    let stranger = Reader::newer(other.path());
    let wrong = ["--key".to_owned(), text(&stranger.secret)];
    let certificate = ["--key".to_owned(), reader.recipient()[1].clone()];
    // Each says which file, why, and what to do; once.
    for (key, why, what) in [
        (&[][..], "it is encrypted", "--key FILE"),
        (&wrong, "not encrypted for", "name the secret key"),
    ] {
        for command in ["verify", "ls"] {
            let said = ask(&[command, &at], key).ended(2).err;
            assert!(said.contains(&at) && said.contains(what), "{said}");
            assert_eq!(said.matches(why).count(), 1, "{said}");
        }
    }
    let said = ask(&["verify", &at], &certificate).ended(2).err;
    assert!(said.contains("it is a certificate"), "{said}");
    let mut bytes = fs::read(&bundle).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let altered = folder.join("altered.pgp");
    fs::write(&altered, &bytes).expect("written");
    let answer = ask(&["verify", &text(&altered), "--json"], &file).ended(1);
    assert_eq!(answer.json()["verdict"], "broken");
    let refused = ask(&["cat", &text(&altered), "large.bin"], &file).ended(2);
    assert!(refused.out.is_empty() && refused.err.contains("altered"));

    // What is left on the disk: nothing where it was not named, and what was is encrypted where
    // that was said.
    let out = folder.join("rows.jsonl");
    let name = text(&out);
    let arguments = ["timeline", &*at, "--format", "jsonl", "--out", &name];
    let mut more = file.clone();
    more.extend(reader.recipient());
    ask(&arguments, &more).ended(0);
    let export = folder.join("bag");
    let named = text(&export);
    ask(&["extract", &at, "--to", &named, "--in-clear"], &file).ended(0);
    let bag = fs::read_dir(&export).expect("made").next().expect("a bag");
    let bag = bag.expect("a bag").path();
    let found = walk(&bag)
        .into_iter()
        .any(|path| fs::read(&path).expect("there") == CANARIES[1].as_bytes());
    assert!(found, "the bag holds what was collected");
    let rows = out.with_extension("jsonl.pgp");
    sweep(folder, &[&source, &export]);
    assert_eq!(walk(&temporary), Vec::<PathBuf>::new());
    assert_eq!(
        data_version(&fs::read(&rows).expect("rows")),
        reader.data_version()
    );
    if reader.is_of_gpg {
        let rows = reader.decrypt(&rows);
        assert!(rows.contains(CANARIES[3]), "{rows}");
    }
}

/// Thousands of session keys, of each of which gpg says something: who hands them over must listen meanwhile.
#[test]
fn gpg_is_heard_while_it_is_asked() {
    const MOST_SESSION_PACKETS: usize = 1 << 20;
    let folder = tempfile::tempdir().expect("a folder");
    let Some(reader) = Reader::make(folder.path()) else {
        return;
    };
    let source = folder.path().join("source");
    plant(&source);
    let bundle = folder.path().join("case.scelle.zip.pgp");
    let mut command = scelle();
    collect(&mut command, &source, &bundle, &reader.recipient());
    ran(command).ended(0);
    let bytes = fs::read(&bundle).expect("there");
    // One octet of a length under 192 (RFC 9580, section 4.2.1.1).
    assert!(bytes[0] == 0xC1 && bytes[1] < 192);
    let packet = &bytes[..2 + usize::from(bytes[1])];
    let mut flooded = packet.repeat(MOST_SESSION_PACKETS / packet.len() - 1);
    flooded.extend_from_slice(&bytes);
    fs::write(&bundle, flooded).expect("written");
    let mut command = scelle();
    command.arg("verify").arg(&bundle).arg("--key-agent");
    command.env("GNUPGHOME", &reader.home);
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || sender.send(ran(command).status));
    let status = ended.recv_timeout(Duration::from_secs(300));
    assert_eq!(
        status,
        Ok(1),
        "the session keys are not those of the bundle"
    );
}

/// No file below a folder holds a canary or bears its name, save where it was planted or asked for.
fn sweep(folder: &Path, named: &[&Path]) {
    let mut swept = 0;
    for path in walk(folder) {
        if named.iter().any(|named| path.starts_with(named)) {
            continue;
        }
        let bytes = fs::read(&path).expect("there");
        swept += 1;
        for canary in CANARIES {
            assert!(!holds(&bytes, canary), "{canary} in {}", path.display());
            let name = path.file_name().expect("a name").to_string_lossy();
            assert!(!name.contains(canary), "{canary} names a file");
        }
    }
    assert!(swept >= 4, "only {swept} files");
}

#[test]
fn triage_encrypts_its_bundle_and_its_timeline() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(reader) = Reader::make(folder.path()) else {
        return;
    };
    let source = folder.path().join("source");
    support::windows_folder(&source);
    let out = folder.path().join("out");
    let mut arguments = vec![
        "triage".to_owned(),
        text(&source),
        "--out".to_owned(),
        text(&out),
    ];
    arguments.extend(["--tlp", "red", "--format", "jsonl", "--json"].map(str::to_owned));
    arguments.extend(reader.recipient());
    let result = run_scelle(arguments).ended(0).json();
    assert_eq!(result["verify"]["verdict"], "sealed");
    let mut names: Vec<String> = walk(&out)
        .iter()
        .map(|path| {
            path.file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "source.scelle.zip.pgp",
            "source.timeline.jsonl.metadata.json.pgp",
            "source.timeline.jsonl.pgp",
            "source.timeline.warnings.jsonl.pgp",
        ]
    );
    let rows = reader.decrypt(&out.join("source.timeline.jsonl.pgp"));
    let count = result["timeline"]["rows"].as_u64().expect("a number");
    assert_eq!(rows.lines().count() as u64, count);
}

/// Whoever pipes it on has all of it, and the root beside it.
#[test]
fn ciphertext_goes_to_standard_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(reader) = Reader::make(folder.path()) else {
        return;
    };
    let source = folder.path().join("source");
    support::windows_folder(&source);
    let mut command = scelle();
    collect(&mut command, &source, Path::new("-"), &[]);
    command.args(reader.recipient()).args(["--json", "--quiet"]);
    let piped = ran(command).ended(0);
    let told: serde_json::Value = serde_json::from_str(piped.err.trim()).expect("a line of JSON");
    let root = told["root"].as_str().expect("a root");
    let bundle = folder.path().join("piped.scelle.zip.pgp");
    fs::write(&bundle, &piped.out).expect("written");
    let key = text(&reader.secret);
    let verified = run_scelle(["verify", &text(&bundle), "--key", &key, "--root", root]);
    verified.ended(0);
}

/// Before anything of the evidence is read: the source here does not even exist.
#[test]
fn certificates_are_refused_before_evidence_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(reader) = Reader::make(folder.path()) else {
        return;
    };
    let nowhere = folder.path().join("no such source");
    let certificate = text(&reader.certificate);
    let short = &reader.fingerprint[24..];
    let other = "0".repeat(40);
    for (arguments, why) in [
        (
            &["--recipient", &certificate, "--fingerprint", short][..],
            "no full fingerprint",
        ),
        (
            &["--recipient", &certificate, "--fingerprint", &other],
            "not the one meant",
        ),
        (&["--recipient", &certificate], "--fingerprint"),
        (&["--fingerprint", &other], "--recipient"),
        (
            &[
                "--recipient",
                &certificate,
                "--fingerprint",
                &reader.fingerprint,
                "--fingerprint",
                &other,
            ],
            "each --recipient needs its --fingerprint",
        ),
    ] {
        let mut command = scelle();
        collect(&mut command, &nowhere, folder.path(), &[]);
        command.args(arguments);
        let refused = ran(command).ended(2);
        assert!(refused.err.contains(why), "{why}: {}", refused.err);
        assert!(!refused.err.contains("no such source"), "{}", refused.err);
    }
}

fn ran(command: Command) -> Ran {
    run(command, [] as [&str; 0])
}

/// Every file below a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let names = files(folder).into_iter();
    let paths = names.map(|name| folder.join(name));
    // What an agent listens on is no file.
    paths.filter(|path| path.is_file()).collect()
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut command = Command::new("gpgconf");
        command.env("GNUPGHOME", &self.home).args(["--kill", "all"]);
        if let Err(error) = command.output() {
            eprintln!("an agent may be left: {error}");
        }
    }
}
