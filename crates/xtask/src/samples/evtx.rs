//! Event logs: a sound one, a damaged one, a wiped one, and one of odd events and deleted records.

use scelle_testkit::{EvtxEvent, EvtxLog, EvtxNode, EvtxRecord, EvtxValue, seal_evtx_chunk};

use super::Recipe;

/// 2024-02-29 12:34:56.7890123 UTC as a FILETIME.
const DAY: u64 = 133_536_836_967_890_123;
const SECOND: u64 = 10_000_000;
const FIRST_CHUNK: usize = 4096;
const RECORD_MAGIC: &[u8] = b"**\0\0";

pub(super) fn recipes() -> Vec<Recipe> {
    [
        ("Security.evtx", sound()),
        ("Security-damaged.evtx", damaged()),
        ("Security-wiped.evtx", wiped()),
        ("Application-odd.evtx", odd()),
    ]
    .into_iter()
    .map(|(name, bytes)| Recipe {
        artefact: "windows.evtx",
        name,
        bytes,
    })
    .collect()
}

fn text(text: &str) -> EvtxValue {
    EvtxValue::Text(text.to_owned())
}

fn logon(seconds: u64, account: &str, address: &str) -> EvtxRecord {
    EvtxRecord {
        provider: "Microsoft-Windows-Security-Auditing",
        channel: "Security",
        computer: "DESK-7.example.org",
        event_id: 4624,
        level: 0,
        created: DAY + seconds * SECOND,
        user: &[],
        data: EvtxRecord::named_data(
            "logon",
            vec![
                ("SubjectUserSid", EvtxValue::sid(&[18])),
                ("TargetUserName", text(account)),
                ("LogonType", EvtxValue::U32(3)),
                ("LogonGuid", EvtxValue::Raw(0x0f, (1..=16).collect())),
                ("IpAddress", text(address)),
                ("KeyLength", EvtxValue::Null),
            ],
        ),
    }
}

fn process(seconds: u64, program: &str) -> EvtxRecord {
    EvtxRecord {
        event_id: 4688,
        user: &[21, 1, 2, 3, 1001],
        data: EvtxRecord::named_data(
            "process",
            vec![
                ("NewProcessId", EvtxValue::Hex64(0x1a2c)),
                ("NewProcessName", text(program)),
                ("CommandLine", text("\"tool.exe\" /quiet\r\n")),
            ],
        ),
        ..logon(seconds, "", "")
    }
}

fn events() -> Vec<EvtxRecord> {
    vec![
        logon(0, "alice", "192.0.2.7"),
        process(2, r"C:\Tools\tool.exe"),
        logon(3, "bob", "::1"),
        process(5, r"C:\Windows\System32\cmd.exe"),
    ]
}

fn sound() -> Vec<u8> {
    let mut log = EvtxLog::of(&events());
    log.add_chunk(&[logon(60, "größer", "-")]);
    log.into_bytes()
}

/// Where the records of the first chunk begin.
fn records_of(bytes: &[u8]) -> Vec<usize> {
    let chunk = &bytes[FIRST_CHUNK..];
    let starts = chunk.windows(RECORD_MAGIC.len()).enumerate();
    let starts = starts.filter(|(_, four)| *four == RECORD_MAGIC);
    starts.map(|(at, _)| FIRST_CHUNK + at).collect()
}

/// A dirty log: its header is cut short by zeros, the second record's magic is gone, the third
/// one's template is elsewhere, the last one was never closed, and a second chunk has no magic.
fn damaged() -> Vec<u8> {
    const TEMPLATE_OFFSET: usize = 24 + 10;
    let mut bytes = sound();
    let records = records_of(&bytes);
    bytes[..64].fill(0);
    bytes[records[1]..records[1] + 4].fill(0xaa);
    let template = records[2] + TEMPLATE_OFFSET;
    bytes[template..template + 4].copy_from_slice(&60_000u32.to_le_bytes());
    let size = bytes[records[3] + 4..records[3] + 8]
        .try_into()
        .expect("four bytes");
    let end = records[3] + u32::from_le_bytes(size) as usize;
    bytes[end - 4..end].fill(0);
    let second = FIRST_CHUNK + 65_536;
    bytes[second..second + 8].fill(0);
    bytes
}

/// The header tells of a chunk, of which nothing is left.
fn wiped() -> Vec<u8> {
    let mut bytes = EvtxLog::of(&events()).into_bytes();
    bytes[FIRST_CHUNK..].fill(0);
    bytes
}

/// Unnamed and nested data, lists, texts that are no Unicode, and two records in the slack.
fn odd() -> Vec<u8> {
    use EvtxNode::{Element, Optional, Text, Value};
    let odd = |data| EvtxRecord {
        provider: "Example-Provider",
        channel: "Application",
        level: 2,
        user: &[18],
        event_id: 7,
        data,
        ..logon(0, "", "")
    };
    let unnamed = EvtxEvent {
        name: "unnamed",
        template: Element(
            "EventData",
            Vec::new(),
            vec![
                Element("Data", Vec::new(), vec![Value(0)]),
                Element("Binary", Vec::new(), vec![Value(1)]),
            ],
        ),
        values: vec![
            EvtxValue::Texts(vec!["one".into(), String::new(), "three".into()]),
            EvtxValue::Raw(0x0e, vec![0xde, 0xad]),
        ],
    };
    let inner = EvtxEvent {
        name: "inner",
        template: Element(
            "Cleared",
            vec![("xmlns", Text("urn:example")), ("By", Optional(0))],
            vec![
                Element("Item", Vec::new(), vec![Value(1)]),
                Element("Item", Vec::new(), vec![Text("<&"), Value(2)]),
                Element("When", Vec::new(), vec![Value(3)]),
            ],
        ),
        values: vec![
            EvtxValue::Null,
            EvtxValue::Units(vec![0x61, 0xd83d, 0x62]),
            EvtxValue::U8(9),
            EvtxValue::Raw(
                0x12,
                vec![0xe8, 7, 2, 0, 4, 0, 29, 0, 12, 0, 34, 0, 56, 0, 0x15, 3],
            ),
        ],
    };
    let nested = EvtxEvent {
        name: "nested",
        template: Element("UserData", Vec::new(), vec![Value(0)]),
        values: vec![EvtxValue::Nested(Box::new(inner))],
    };
    let records = [
        odd(unnamed.clone()),
        odd(nested.clone()),
        odd(unnamed),
        odd(nested),
    ];
    let mut bytes = EvtxLog::of(&records).into_bytes();
    // The chunk declares the first two only.
    let starts = records_of(&bytes);
    let chunk = &mut bytes[FIRST_CHUNK..];
    let second_at = (starts[1] - FIRST_CHUNK) as u32;
    let third_at = (starts[2] - FIRST_CHUNK) as u32;
    for place in [16, 32] {
        chunk[place..place + 8].copy_from_slice(&2u64.to_le_bytes());
    }
    chunk[44..48].copy_from_slice(&second_at.to_le_bytes());
    chunk[48..52].copy_from_slice(&third_at.to_le_bytes());
    seal_evtx_chunk(chunk);
    bytes
}
