//! Shadow copies as users meet them: listed, read, told of in stories and timelines, and collected where they are asked for.

mod support;

use std::{collections::BTreeMap, fs, path::PathBuf};

use scelle_testkit::{
    has_tool, run_tool,
    shadow::{BLOCK, Shadow, lay},
    testdata,
};
use serde_json::Value;
use support::{only, run_scelle, text};

const VOLUME_AT: usize = 64 << 10;
/// Where nothing of the sample lies, in blocks of its volume.
const AREA: usize = 200;
/// Where the `$MFT` of its volume begins.
const MFT_AT: usize = 16 << 10;
const FILE: &str = "Users/alice/Documents/notes.txt";
/// What the file was before, as long as what it is.
const BEFORE: &str = "CANARY before";
/// When it was last changed then: 2016-02-15T04:13:20Z.
const CHANGED: u64 = 130_999_832_000_000_000;
const CHANGED_TEXT: &str = "2016-02-15T04:13:20";
/// When the two were made.
const MADE: [u64; 2] = [133_000_000_000_000_000, 133_000_864_000_000_000];

struct Made {
    folder: tempfile::TempDir,
    /// The id of the volume, and of its shadow copies, the oldest first.
    volume: String,
    states: [String; 2],
    now: Vec<u8>,
}

impl Made {
    /// The sample with two shadow copies: the older has another text of a file and another time of its change, the
    /// newer has what is there.
    fn new() -> Self {
        let mut disk = fs::read(testdata().join("demo/workstation.raw")).expect("our own sample");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk.raw");
        fs::write(&path, &disk).expect("room");
        let listed = run_scelle(["ls", &text(&path), FILE, "--json"])
            .ended(0)
            .lines();
        let entry = listed[0]["mft_entry"].as_u64().expect("an entry") as usize;
        let volume_id = listed[0]["volume"].as_str().expect("an id").to_owned();
        let now = run_scelle(["cat", &text(&path), FILE]).ended(0).out;

        let volume = &mut disk[VOLUME_AT..];
        let at = MFT_AT + entry * 1024;
        let block = at / BLOCK;
        let kept = volume[block * BLOCK..][..BLOCK].to_vec();
        let mut older = kept.clone();
        let record = &mut older[at % BLOCK..][..1024];
        assert_eq!(record[..4], *b"FILE");
        // The first attribute is $STANDARD_INFORMATION; its second time is that of the last change.
        let first = usize::from(record[0x14]);
        let modified = first + usize::from(record[first + 0x14]) + 8;
        record[modified..modified + 8].copy_from_slice(&CHANGED.to_le_bytes());
        let content = record.windows(now.len()).position(|bytes| bytes == now);
        let content = content.expect("so few bytes lie in the record");
        record[content..content + BEFORE.len()].copy_from_slice(BEFORE.as_bytes());
        let shadows: Vec<Shadow> = [older, kept]
            .into_iter()
            .zip(MADE)
            .map(|(bytes, created_filetime)| Shadow {
                created_filetime,
                blocks: BTreeMap::from([(block as u32, bytes)]),
                besides: Vec::new(),
            })
            .collect();
        lay(volume, (AREA * BLOCK) as u64, &shadows);
        fs::write(&path, disk).expect("room");
        let states = ["20220618T042640Z", "20220619T042640Z"];
        Self {
            states: states.map(|time| format!("{volume_id}@{time}")),
            volume: volume_id,
            folder,
            now,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn disk(&self) -> String {
        text(&self.at("disk.raw"))
    }

    fn before(&self) -> Vec<u8> {
        [BEFORE.as_bytes(), &self.now[BEFORE.len()..]].concat()
    }
}

fn texts<'a>(lines: &'a [Value], key: &str) -> Vec<&'a str> {
    lines
        .iter()
        .map(|line| line[key].as_str().expect("text"))
        .collect()
}

#[test]
fn listings_name_shadow_copies_and_show_their_streams_where_asked() {
    let made = Made::new();
    let [older, newer] = &made.states;
    let listed = run_scelle(["ls", &made.disk(), "--json"]).ended(0).lines();
    let copies: Vec<Value> = listed
        .iter()
        .filter(|line| line["kind"] == "shadow-copy")
        .cloned()
        .collect();
    assert_eq!(texts(&copies, "volume"), [older, newer]);
    let others = listed.iter().filter(|line| line["kind"] != "shadow-copy");
    assert!(others.clone().count() > 10);
    assert!(
        others
            .into_iter()
            .all(|line| line["volume"] == made.volume.as_str())
    );
    // Their streams, the volume's first, then the newest.
    let arguments = ["ls", &made.disk(), FILE, "--json", "--shadow-copies"];
    let listed = run_scelle(arguments).ended(0).lines();
    assert_eq!(texts(&listed, "volume"), [&made.volume, newer, older]);
    let changed = listed[2]["times"]["modified"].as_str().expect("a time");
    assert!(changed.starts_with(CHANGED_TEXT), "{changed}");
}

#[test]
fn streams_of_a_shadow_copy_are_read_by_their_names() {
    let made = Made::new();
    let cat = |volume: &str| {
        let name = format!("{volume}/{FILE}");
        run_scelle(["cat", &made.disk(), &name]).ended(0).out
    };
    assert_eq!(cat(&made.states[0]), made.before());
    assert_eq!(cat(&made.states[1]), made.now);
    assert_eq!(cat(&made.volume), made.now);
    let unknown = format!("{}@20000101T000000Z/{FILE}", made.volume);
    run_scelle(["cat", &made.disk(), &unknown]).ended(2);
}

#[test]
fn a_story_says_what_only_a_shadow_copy_says() {
    let made = Made::new();
    // The sample has losses of its own.
    let told = run_scelle(["story", &made.disk(), FILE, "--json"])
        .ended(1)
        .lines();
    let time = made.states[0].split_once('@').expect("a time").1;
    let layers: Vec<&Value> = told
        .iter()
        .filter(|event| !event["layer"].is_null())
        .collect();
    assert!(!layers.is_empty(), "the older state has another time");
    for event in &layers {
        // The newer copy says nothing of its own.
        assert_eq!(event["layer"], time, "{event}");
    }
    let is_change = |event: &&&Value| {
        let time = event["time"].as_str().unwrap_or_default();
        time.starts_with(CHANGED_TEXT)
    };
    let change = layers.iter().find(is_change).expect("the change of then");
    let stream = change["stream"].as_str().expect("a stream");
    assert!(stream.contains(&made.states[0]), "{change}");
    let shown = run_scelle(["story", &made.disk(), FILE]).ended(1).text();
    assert!(shown.contains(&format!("[{time}]")), "{shown}");
}

#[test]
fn a_timeline_has_what_a_shadow_copy_adds() {
    let made = Made::new();
    let rows = |name: &str, more: &[&str]| {
        let (disk, out) = (made.disk(), text(&made.at(name)));
        let arguments = ["timeline", &disk, "--format", "jsonl", "--out", &out];
        let ran = run_scelle(arguments.iter().chain(more));
        assert!(ran.status <= 1, "{}", ran.err);
        fs::read_to_string(&out).expect("rows")
    };
    let alone = rows("alone.jsonl", &[]);
    let with = rows("with.jsonl", &["--shadow-copies"]);
    assert!(
        !alone.contains('@') || !alone.contains(&made.states[0]),
        "not asked for"
    );
    let added: Vec<&str> = with.lines().filter(|row| !alone.contains(row)).collect();
    assert!(!added.is_empty());
    for row in &added {
        assert!(
            row.contains(&made.states[0]) && row.contains("notes.txt"),
            "{row}"
        );
    }
    assert!(
        added.iter().any(|row| row.contains(CHANGED_TEXT)),
        "{added:?}"
    );
}

#[test]
fn a_bundle_holds_shadow_copies_where_they_are_asked_for() {
    if !has_tool("unzip", "what a bundle has of shadow copies") {
        return;
    }
    let made = Made::new();
    let collect = |name: &str, more: &[&str]| {
        let (disk, out) = (made.disk(), text(&made.at(name)));
        fs::create_dir(&out).expect("room");
        let arguments = [
            "collect",
            "--source",
            &disk,
            "--profile",
            "everything",
            "--tlp",
            "green",
            "--out",
            &out,
        ];
        let ran = run_scelle(arguments.iter().chain(more));
        assert!(ran.status <= 1, "{}", ran.err);
        only(&made.at(name), ".scelle.zip")
    };
    let lines = |bundle: &PathBuf| -> Vec<Value> {
        let arguments = ["-p", &text(bundle), "*/files.jsonl"];
        let files = run_tool(made.folder.path(), "unzip", &arguments);
        let lines = files.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    };
    let alone = lines(&collect("alone", &[]));
    assert!(
        alone
            .iter()
            .all(|line| line["volume"] == made.volume.as_str())
    );
    let bundle = collect("with", &["--shadow-copies"]);
    let with = lines(&bundle);
    for state in &made.states {
        let own = with.iter().filter(|line| line["volume"] == state.as_str());
        assert!(own.count() * 2 > alone.len(), "{state}");
    }
    // And what was sealed reads back under the same names.
    let cat = |volume: &str| {
        let name = format!("{volume}/{FILE}");
        run_scelle(["cat", &text(&bundle), &name]).ended(0).out
    };
    assert_eq!(cat(&made.states[0]), made.before());
    assert_eq!(cat(&made.states[1]), made.now);
    assert_eq!(cat(&made.volume), made.now);
}
