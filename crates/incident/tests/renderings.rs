//! The example record of the repository: complete, rendered, exchanged.

use std::{fs, path::PathBuf, process::Command};

use jiff::{Timestamp, tz::TimeZone};
use scelle_event::{Label, Lowered, Tlp};
use scelle_incident::{Document, Incident, Language, RenderError, Time, iodef, template};
use scelle_testkit::{Corpus, compare_golden, has_tool};

fn testdata() -> PathBuf {
    scelle_testkit::testdata().join("incident")
}

fn example() -> Incident {
    let text =
        fs::read_to_string(testdata().join("example.toml")).expect("it is in the repository");
    Incident::from_toml(&text).expect("a record")
}

fn paris() -> TimeZone {
    TimeZone::get("Europe/Paris").expect("zones are built in")
}

fn elements(incident: &Incident) -> Vec<String> {
    incident.gaps().into_iter().map(|gap| gap.element).collect()
}

#[test]
fn the_example_is_complete_and_comes_back_from_its_seal() {
    let incident = example();
    assert_eq!(elements(&incident), [""; 0]);
    let sealed = incident.to_json();
    assert_eq!(Incident::read(&sealed).expect("sealed"), incident);
    assert_eq!(Incident::read(&sealed).expect("sealed").to_json(), sealed);
}

/// Each element of the charter, taken away alone, is named alone.
#[test]
fn each_missing_element_is_named() {
    type Spoil = fn(&mut Incident);
    let cases: &[(&str, Spoil)] = &[
        ("id", |one| one.id = Some("  ".to_owned())),
        ("team", |one| one.team = None),
        ("tlp", |one| one.tlp = None),
        ("tlp", |one| one.tlp = Some("TLP:WHITE".to_owned())),
        ("times.detected", |one| one.times.detected = None),
        ("times.detected", |one| {
            one.times.detected = Some(Time::new("2026-11-20T08:12:00"))
        }),
        ("times.detected", |one| {
            one.times.detected = Some(scelle_incident::Time::new("2026-11-20"))
        }),
        ("times.started", |one| {
            one.times.started = Some(Time::new("hier"))
        }),
        ("times.started", |one| {
            one.times.started = Some(scelle_incident::Time::new("2026-11-19T08:12:00"))
        }),
        ("times.reported", |one| {
            one.times.reported = Some(scelle_incident::Time::new("2026-11-20T09:05:00"))
        }),
        ("times.ended", |one| {
            one.times.ended = Some(Time::new("2026-11-18T08:12:00Z"))
        }),
        ("contacts", |one| one.contacts.clear()),
        ("contacts[1].name", |one| one.contacts[0].name = None),
        ("contacts[2].email", |one| one.contacts[1].email = None),
        ("contacts[1].email", |one| {
            one.contacts[0].email = Some("aline".to_owned())
        }),
        ("contacts[2].openpgp_fingerprint", |one| {
            one.contacts[1].openpgp_fingerprint = Some("89ABCDEF01234567".to_owned());
        }),
        ("context.title", |one| one.context.title = None),
        ("context.description", |one| {
            one.context.description = Some("\n".to_owned())
        }),
        ("impact.description", |one| one.impact.description = None),
        ("impact.severity", |one| one.impact.severity = None),
        ("indicators", |one| one.indicators.clear()),
        ("indicators[1].source", |one| {
            one.indicators[0].source = None
        }),
        ("indicators[1].source", |one| {
            one.indicators[0].source = Some("198.51.100.700".to_owned())
        }),
        ("indicators[1].destination", |one| {
            one.indicators[0].destination = None
        }),
        ("indicators[2].destination", |one| {
            one.indicators[1].destination = Some("un serveur".to_owned())
        }),
        ("indicators[1].seen", |one| {
            one.indicators[0].seen = Some(scelle_incident::Time::new("2026-11-19T23:47:12"))
        }),
        ("indicators[2].destination_port", |one| {
            one.indicators[1].destination_port = None
        }),
        ("indicators[2].protocol", |one| {
            one.indicators[1].protocol = None
        }),
        ("indicators[2].protocol", |one| {
            one.indicators[1].protocol = Some("morse".to_owned())
        }),
        ("indicators[3]", |one| {
            one.indicators[2].domain = None;
            one.indicators[2].url = None;
        }),
        ("no_indicators", |one| {
            one.no_indicators = Some("Rien encore".to_owned())
        }),
        ("indicators[4].hash", |one| {
            one.indicators[3].hash = Some("9f86".to_owned())
        }),
    ];
    for (element, spoil) in cases {
        let mut incident = example();
        spoil(&mut incident);
        assert_eq!(elements(&incident), [*element], "{element}");
        let gap = &incident.gaps()[0];
        assert_ne!(
            gap.message(Language::French),
            gap.message(Language::English)
        );
    }
    let mut none = example();
    none.indicators.clear();
    none.no_indicators = Some("Les journaux sont encore analysés".to_owned());
    assert_eq!(elements(&none), [""; 0]);
}

/// A port or a protocol belongs to a flow: without its ends it is asked for, and shown all the same.
#[test]
fn a_port_without_its_connection_is_not_dropped() {
    let mut incident = example();
    incident.indicators[2].destination_port = Some("8443".to_owned().into());
    incident.indicators[2].protocol = Some("tcp".to_owned());
    assert_eq!(
        elements(&incident),
        ["indicators[3].source", "indicators[3].destination"]
    );
    let document = Document::new(&incident, Language::French, None).expect("labelled");
    assert!(document.to_markdown().contains("8443"));
    let refused = iodef::write(&incident, Language::French, Timestamp::UNIX_EPOCH);
    assert!(matches!(refused, Err(RenderError::Lacks(_))));
}

/// What the form leaves blank is not there, times too.
#[test]
fn a_blank_time_is_none() {
    let text = fs::read_to_string(testdata().join("example.toml")).expect("in the repository");
    let blank = |from: &str, to: &str| {
        assert!(text.contains(from));
        Incident::from_toml(&text.replace(from, to)).expect("a record")
    };
    let incident = blank(
        "started = 2026-11-19T23:47:00+01:00",
        "started = \" \"\nended = \"\"",
    );
    assert_eq!(elements(&incident), [""; 0]);
    iodef::write(&incident, Language::French, Timestamp::UNIX_EPOCH).expect("complete");
    let incident = blank("detected = 2026-11-20T08:12:00+01:00", "detected = \"\"");
    assert_eq!(elements(&incident), ["times.detected"]);
    let told = incident.gaps()[0].message(Language::French);
    assert!(told.starts_with("Indiquez quand"), "{told}");
}

/// A slip of the pen is told with its place and what to do, in the writer's language.
#[test]
fn what_is_no_record_is_told_in_both_languages() {
    for (text, french, english) in [
        (
            "id = \"1\"\nimpakt = 3\n",
            ["ligne 2, colonne 1", "impakt"],
            ["line 2, column 1", "impakt"],
        ),
        (
            "id = \"1\"\n\n[[indicators]]\nfile = \"C:\\Windows\"\n",
            ["ligne 4", "chemin Windows"],
            ["line 4", "Windows path"],
        ),
        (
            "id = \"1\"\nid = \"2\"\n",
            ["ligne 2", "plus haut"],
            ["line 2", "further up"],
        ),
        (
            "contacts = 3\n",
            ["ligne 1", "forme attendue"],
            ["line 1", "form that is expected"],
        ),
        (
            "{\"format\": 1,",
            ["scellé", "EOF"],
            ["sealed incident record", "EOF"],
        ),
        ("format = 9\n", ["le format 9", ""], ["has format 9", ""]),
    ] {
        let error = Incident::read(text.as_bytes()).expect_err("no record");
        for (language, parts) in [(Language::French, french), (Language::English, english)] {
            let told = error.message(language);
            for part in parts {
                assert!(told.contains(part), "{part}: {told}");
            }
        }
        assert_eq!(error.to_string(), error.message(Language::English));
    }
}

#[test]
fn templates_are_records_that_lack_everything() {
    for language in [Language::French, Language::English] {
        let blank = Incident::from_toml(template(language)).expect("a record");
        for element in [
            "id",
            "team",
            "tlp",
            "times.detected",
            "context.title",
            "impact.severity",
            "indicators",
        ] {
            assert!(
                elements(&blank).iter().any(|one| one == element),
                "{element}"
            );
        }
        assert!(matches!(
            Document::new(&blank, language, None),
            Err(RenderError::NoLabel)
        ));
    }
}

/// The messages name elements; whoever fills in the form finds them there.
#[test]
fn templates_have_a_place_for_what_is_asked_for() {
    for language in [Language::French, Language::English] {
        let form = template(language);
        let blank = elements(&Incident::from_toml(form).expect("a record"));
        assert!(
            !blank.iter().any(|one| one.ends_with("fingerprint")),
            "{blank:?}"
        );
        for (element, value) in [
            ("no_indicators", "being looked for"),
            (
                "openpgp_fingerprint",
                "0123456789ABCDEF0123456789ABCDEF01234567",
            ),
            ("severity", "low"),
        ] {
            let empty = format!("\n{element} = \"\"\n");
            assert_eq!(form.matches(&empty).count(), 1, "{element}");
            let filled = form.replace(&empty, &format!("\n{element} = \"{value}\"\n"));
            let record = Incident::from_toml(&filled).expect("a record");
            let sealed = String::from_utf8(record.to_json()).expect("text");
            assert!(sealed.contains(value), "{element}: {sealed}");
            let left = elements(&record);
            let asked_for =
                |one: &&String| matches!(one.as_str(), "indicators" | "impact.severity");
            let (before, after) = (
                blank.iter().filter(asked_for),
                left.iter().filter(asked_for),
            );
            let filled_in = usize::from(element != "openpgp_fingerprint");
            assert_eq!(after.count() + filled_in, before.count(), "{element}");
        }
    }
}

/// What people write keeps a record from nothing but being complete.
#[test]
fn a_word_that_is_none_of_its_list_is_a_gap() {
    let text = fs::read_to_string(testdata().join("example.toml")).expect("there");
    for (old, new, element) in [
        (
            "severity = \"high\"",
            "severity = \"haute\"",
            "impact.severity",
        ),
        ("status = \"in-progress\"", "status = \"ouvert\"", "status"),
        ("role = \"irt\"", "role = \"chef\"", "contacts[2].role"),
        ("= 443", "= \"https\"", "indicators[2].destination_port"),
        ("= 443", "= 70000", "indicators[2].destination_port"),
        ("= 49152", "= -1", "indicators[1].source_port"),
    ] {
        assert!(text.contains(old), "{old}");
        let incident = Incident::from_toml(&text.replace(old, new)).expect("a record");
        assert_eq!(elements(&incident), [element]);
        let found = new.split("= ").last().expect("a value").trim_matches('"');
        let said = incident.gaps()[0].message(Language::French);
        assert!(
            said.starts_with(&format!("«\u{A0}{found}\u{A0}» n’est pas")),
            "{said}"
        );
        // It is sealed and shown as it was written; another team's tools can't be given it.
        let sealed = incident.to_json();
        assert_eq!(Incident::read(&sealed).expect("sealed"), incident);
        let document = Document::new(&incident, Language::French, None).expect("labelled");
        let shown = document.to_html();
        let after = shown.find("Résumé").expect("the summary");
        assert!(shown[after..].contains(found), "{shown}");
        let refused = iodef::write(&incident, Language::French, Timestamp::UNIX_EPOCH);
        assert!(matches!(refused, Err(RenderError::Lacks(what)) if what.contains(found)));
    }
    // Quotes, capitals and blanks make no other word.
    for (old, new) in [
        ("severity = \"high\"", "severity = \" High\""),
        ("= 443", "= \"443\""),
    ] {
        let incident = Incident::from_toml(&text.replace(old, new)).expect("a record");
        assert_eq!(incident, example());
    }
    let blank = text
        .replace("\"high\"", "\" \"")
        .replace("\"in-progress\"", "\"\"");
    let blank = Incident::from_toml(&blank).expect("a record");
    assert_eq!(elements(&blank), ["impact.severity"]);
}

#[test]
fn protocols_of_everyday_are_known() {
    for name in [
        "telnet", "POP3", "snmp", "kerberos", "ldaps", "mssql", "winrm", "smb", "icmp", "47",
    ] {
        let mut incident = example();
        incident.indicators[0].protocol = Some(name.to_owned());
        assert_eq!(elements(&incident), [""; 0], "{name}");
    }
}

#[test]
fn no_part_of_a_time_is_dropped() {
    let mut incident = example();
    incident.times.detected = Some(Time::new("2026-11-20T08:12:00.250+01:00"));
    let document = Document::new(&incident, Language::English, Some(&paris())).expect("labelled");
    let shown = document.to_markdown();
    for cell in [
        "| 2026-11-20 08:12:00.25 +01:00 ",
        "| 2026-11-20 07:12:00.25 UTC ",
        "| 2026-11-20 08:12:00.25 CET (+01:00) ",
    ] {
        assert!(shown.contains(cell), "{cell}: {shown}");
    }
    let xml = iodef::write(&incident, Language::English, Timestamp::UNIX_EPOCH).expect("complete");
    let xml = String::from_utf8(xml).expect("UTF-8");
    assert!(
        xml.contains("<DetectTime>2026-11-20T08:12:00.25+01:00<"),
        "{xml}"
    );
}

#[test]
fn a_label_that_was_lowered_is_said_in_words() {
    let mut incident = example();
    incident.relabel(Label {
        tlp: Tlp::Green,
        lowered: Some(Lowered {
            from: Tlp::Red,
            reason: "accord de la victime".to_owned(),
        }),
    });
    for (language, said) in [
        (
            Language::French,
            "**Marquage TLP abaissé**\u{A0}: auparavant TLP:RED (accord de la victime)",
        ),
        (
            Language::English,
            "**TLP label lowered**: from TLP:RED (accord de la victime)",
        ),
    ] {
        let document = Document::new(&incident, language, None).expect("labelled");
        let shown = document.to_markdown();
        assert!(shown.contains(said), "{shown}");
    }
}

#[test]
fn what_is_no_record_is_refused_with_its_place() {
    let error = Incident::from_toml("id = \"1\"\nimpakt = 3\n").expect_err("misspelt");
    assert!(error.to_string().contains("impakt"), "{error}");
    // It is not said twice to whoever prints what lies behind it too.
    assert!(std::error::Error::source(&error).is_none());
    assert!(
        Incident::from_toml("format = 2")
            .expect_err("later")
            .to_string()
            .contains("newer version")
    );
    assert!(Incident::read(&[0xFF, 0xFE]).is_err());
}

/// The golden files are what a person looked at; `UPDATE_GOLDEN=1` writes them again.
#[test]
fn markdown_and_html_are_as_they_were_read() {
    for language in [Language::French, Language::English] {
        let document = Document::new(&example(), language, Some(&paris())).expect("labelled");
        for (ending, text) in [("md", document.to_markdown()), ("html", document.to_html())] {
            let golden = testdata().join(format!("example.{}.{ending}", language.code()));
            compare_golden(&golden, &text).unwrap_or_else(|difference| panic!("{difference}"));
        }
    }
}

#[test]
fn a_hostile_record_stays_text() {
    let mut incident = example();
    incident.context.title = Some("<script>alert(1)</script> | [x](javascript:y)\u{7}".to_owned());
    incident.times.ended = Some(Time::new("<img src=x>"));
    let document = Document::new(&incident, Language::English, None).expect("labelled");
    let (html, markdown) = (document.to_html(), document.to_markdown());
    for text in [&html, &markdown] {
        for piece in ["<script>", "<img", "\u{7}"] {
            assert!(!text.contains(piece), "{piece:?} in {text}");
        }
    }
    assert!(!markdown.contains("[x]"));
    assert!(matches!(
        iodef::write(&incident, Language::English, Timestamp::UNIX_EPOCH),
        Err(RenderError::Lacks(_))
    ));
}

#[test]
fn pdf_is_the_same_each_time_and_labelled_on_each_page() {
    let mut incident = example();
    let line = "Une ligne de plus, avec un caractère que la police n'a pas : 中.\n\n";
    incident.context.description = Some(line.repeat(120));
    let document = Document::new(&incident, Language::French, Some(&paris())).expect("labelled");
    let pdf = document.to_pdf().expect("rendered");
    assert_eq!(pdf, document.to_pdf().expect("rendered"));
    assert!(pdf.starts_with(b"%PDF-"));
    let Some(pages) = pages_of(&pdf) else { return };
    let text = pages.concat();
    assert!(pages.len() > 2, "{} pages", pages.len());
    for page in &pages {
        assert_eq!(
            page.matches("TLP:AMBER+STRICT").count() - usize::from(page.contains("Marquage TLP")),
            2,
            "{page}"
        );
    }
    for piece in [
        "Rapport d’incident 2026-0042",
        "Aline Martin",
        "198.51.100.7:49152",
        "2026-11-20 07:12:00 UTC",
        "[U+4E2D]",
    ] {
        assert!(text.contains(piece), "{piece}");
    }
    assert_eq!(text.matches("Une ligne de plus").count(), 120);
}

/// The text of each page, as another program reads it; `None` where there is none to ask.
fn pages_of(pdf: &[u8]) -> Option<Vec<String>> {
    if !has_tool("pdftotext", "the text of a report in PDF") {
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("report.pdf");
    fs::write(&path, pdf).expect("written");
    let output = Command::new("pdftotext")
        .arg("-layout")
        .arg(&path)
        .arg("-")
        .output()
        .expect("pdftotext runs");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let pages = text.split('\u{C}').filter(|page| !page.trim().is_empty());
    Some(pages.map(str::to_owned).collect())
}

/// A row that no page holds goes on under its head.
#[test]
fn a_row_taller_than_a_page_has_its_head_on_each() {
    let mut incident = example();
    let flow = incident.indicators.iter_mut().find(|one| one.is_flow());
    let flow = flow.expect("the example has one");
    let words: Vec<_> = (0..900).map(|number| format!("mot{number:03}")).collect();
    flow.note = Some(words.join(" "));
    let document = Document::new(&incident, Language::French, Some(&paris())).expect("labelled");
    let pdf = document.to_pdf().expect("rendered");
    let Some(pages) = pages_of(&pdf) else { return };
    let holds = |page: &str| words.iter().filter(|word| page.contains(&***word)).count();
    let holding: Vec<_> = pages.iter().filter(|page| holds(page) > 0).collect();
    assert!(holding.len() > 1, "{} pages", holding.len());
    for page in &holding {
        assert!(page.contains("Destination"), "{page}");
    }
    let all: usize = pages.iter().map(|page| holds(page)).sum();
    assert_eq!(all, words.len());
}

/// The schema of RFC 7970, asked through `xmllint`, for every label.
#[test]
fn iodef_is_valid_and_keeps_the_label() {
    let mut documents = Vec::new();
    for label in Tlp::ALL {
        let mut incident = example();
        incident.tlp = Some(label.name().to_owned());
        let xml = iodef::write(
            &incident,
            Language::French,
            "2026-11-20T08:00:00Z".parse().expect("a time"),
        )
        .expect("complete");
        let text = String::from_utf8(xml).expect("UTF-8");
        assert!(
            text.contains(&format!("name=\"tlp\">{}<", label.name())),
            "{text}"
        );
        let restriction = match label {
            Tlp::Green => "restriction=\"green\"",
            Tlp::Amber => "restriction=\"amber\"",
            Tlp::Red => "restriction=\"red\"",
            Tlp::Clear => "restriction=\"ext-value\" ext-restriction=\"TLP:CLEAR\"",
            Tlp::AmberStrict => "restriction=\"ext-value\" ext-restriction=\"TLP:AMBER+STRICT\"",
        };
        assert!(text.contains(restriction), "{text}");
        assert!(text.contains("<DetectTime>2026-11-20T08:12:00+01:00</DetectTime>"));
        assert!(
            text.contains("n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg="),
            "the hash in base64"
        );
        assert!(
            text.contains("<IANAService>ms-wbt-server<"),
            "RDP by its name in the registry"
        );
        documents.push((label, text));
    }
    let mut sparse = example();
    sparse.indicators.clear();
    sparse.no_indicators = Some("rien <encore>".to_owned());
    sparse.times.started = None;
    sparse.status = None;
    let xml = iodef::write(&sparse, Language::English, Timestamp::UNIX_EPOCH).expect("enough");
    documents.push((Tlp::AmberStrict, String::from_utf8(xml).expect("UTF-8")));

    let Some(corpus) = Corpus::find("the schema of IODEF") else {
        return;
    };
    if !has_tool("xmllint", "IODEF") {
        return;
    }
    let schema = corpus.path("schemas/iodef-2.0/iodef-2.0.xsd");
    let folder = tempfile::tempdir().expect("a folder");
    for (label, text) in &documents {
        let path = folder.path().join("incident.xml");
        fs::write(&path, text).expect("written");
        let output = Command::new("xmllint")
            .args(["--noout", "--nonet", "--schema"])
            .args([&schema, &path])
            .output()
            .expect("xmllint runs");
        assert!(
            output.status.success(),
            "{label}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    // The schema does refuse what is wrong.
    let path = folder.path().join("wrong.xml");
    fs::write(
        &path,
        documents[0]
            .1
            .replace("purpose=\"reporting\"", "purpose=\"joking\""),
    )
    .expect("written");
    let output = Command::new("xmllint")
        .args(["--noout", "--nonet", "--schema"])
        .args([&schema, &path])
        .output();
    assert!(!output.expect("xmllint runs").status.success());
}
