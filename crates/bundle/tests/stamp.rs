//! Time-stamps over the seal, of OpenSSL's service.

mod common;

use std::{fs, io::Read as _, path::Path};

use common::{PLAN_DATE, item, options, write_with};
use scelle_bundle::{
    Certificate, SealKey, StampAuthority, Stamper, Terms, Verdict, Verification, VerifyOptions,
    stamp_time, verify,
};
use scelle_formats::Bytes;
use scelle_testkit::{TimeService, has_tool, run_tool};
use x509_cert::der::Decode as _;

const RSA: &[&str] = &["-newkey", "rsa:2048"];
const EC: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const DAY: u32 = 86_400;

fn authority(service: &TimeService, name: &str) -> Vec<StampAuthority> {
    let bytes = fs::read(service.path(name)).expect("readable");
    StampAuthority::read(&bytes).expect("certificates")
}

fn ask(archive: &[u8], authorities: Vec<StampAuthority>, trust: Vec<Certificate>) -> Verification {
    let options = VerifyOptions {
        authorities,
        trust,
        ..VerifyOptions::default()
    };
    verify(&Bytes(archive), &options).expect("an answer")
}

/// A bundle of that key, stamped with whatever `answer` makes of the question.
fn stamped(
    key: Option<SealKey>,
    answer: impl FnOnce(&[u8]) -> Result<Vec<u8>, String> + Send + 'static,
) -> (Option<Result<String, String>>, Vec<u8>) {
    let mut options = options("stamped");
    options.key = key.unwrap_or(options.key);
    options.stamp = Some(Stamper {
        service: "http://tsa.example.org".into(),
        ask: Box::new(move |request| answer(request.der())),
    });
    let (sealed, archive) = write_with(options, &[item(b"a", b"evidence".to_vec())]);
    let said = sealed.stamp.map(|said| said.map(|time| time.to_string()));
    (said, archive)
}

/// The signature and the time-stamp, as files.
fn unpack(archive: &[u8], folder: &Path) -> [std::path::PathBuf; 2] {
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(archive)).expect("an archive");
    let names: Vec<String> = zip
        .file_names()
        .map(|name| name.expect("text").into_owned())
        .collect();
    [".asc", ".tsr"].map(|ending| {
        let name = names
            .iter()
            .find(|name| name.contains("signatures/") && name.ends_with(ending))
            .expect("there");
        let mut bytes = Vec::new();
        let mut member = zip.by_name(name).expect("there");
        member.read_to_end(&mut bytes).expect("readable");
        let path = folder.join(format!("seal{ending}"));
        fs::write(&path, bytes).expect("written");
        path
    })
}

/// A system's list of authorities has more than a hundred; the one that counts may be the last.
#[test]
fn no_certificate_of_a_file_is_passed_over() {
    if !has_tool("openssl", "time-stamps") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let [service, other] = ["one", "two"]
        .map(|name| TimeService::make(&folder.path().join(name), EC, "sha256", "sha256"));
    let read = |name: &TimeService| fs::read(name.path("ca.pem")).expect("readable");
    let list = |count: usize| {
        let mut list = read(&other).repeat(count - 1);
        list.extend(read(&service));
        StampAuthority::read(&list)
    };
    let path = service.path(".");
    let (_, archive) = stamped(None, move |query| Ok(TimeService::at(&path).answer(query)));
    let told = ask(&archive, list(33).expect("certificates"), vec![]).stamp;
    assert_eq!(told.expect("a time-stamp").trusted, Some(Ok(())));
    assert_eq!(list(1024).expect("certificates").len(), 1024);
    let Err(error) = list(1025) else {
        panic!("more than are read");
    };
    assert!(error.to_string().contains("more than 1024"), "{error}");
}

#[test]
fn a_service_dates_the_seal_and_every_bit_counts() {
    if !has_tool("openssl", "time-stamps") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for (name, key, digest, ess) in [
        ("rsa", RSA, "sha256", "sha1"),
        ("ec", EC, "sha384", "sha256"),
    ] {
        let service = TimeService::make(&folder.path().join(name), key, digest, ess);
        let other = TimeService::make(&folder.path().join(format!("{name}-2")), key, digest, ess);
        let (ca, own) = (
            authority(&service, "ca.pem"),
            authority(&service, "tsa.pem"),
        );
        let path = service.path(".");
        let answering = TimeService::at(&path);
        let (said, archive) = stamped(None, move |query| Ok(answering.answer(query)));
        let time = said.expect("asked for").expect("given");
        let answer = ask(&archive, ca, vec![]);
        assert_eq!(
            answer.verdict,
            Verdict::SignerUnknown,
            "{:?}",
            answer.problems
        );
        assert!(answer.problems.is_empty());
        let told = answer.stamp.expect("a time-stamp");
        assert_eq!(
            (told.trusted, &*told.service),
            (Some(Ok(())), "CN=time service")
        );
        assert_eq!(told.time.to_string(), time);
        // The service's own certificate is enough; nobody's, or another's with the same name, is not.
        let told = ask(&archive, own, vec![]).stamp.expect("a time-stamp");
        assert_eq!(told.trusted, Some(Ok(())));
        let told = ask(&archive, vec![], vec![]).stamp.expect("a time-stamp");
        assert_eq!(told.trusted, None);
        let told = ask(&archive, authority(&other, "ca.pem"), vec![]).stamp;
        let why = told.and_then(|told| told.trusted).expect("asked for");
        assert!(why.expect_err("another's").contains("CN=time CA"));

        // OpenSSL's own opinion of the file.
        let [signature, stamp] = unpack(&archive, folder.path());
        service.check(&stamp, &signature);
        let (text, data) = (
            fs::read(stamp).expect("ok"),
            fs::read(signature).expect("ok"),
        );
        stamp_time(&text, &data).expect("sound");
        assert!(stamp_time(&text, b"another signature").is_err());
        for bit in 0..text.len() * 8 {
            let mut changed = text.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let at = bit / 8;
            assert!(
                stamp_time(&changed, &data).is_err(),
                "{name}: bit {bit} (byte {at})"
            );
        }
        for cut in 0..text.len() {
            assert!(
                stamp_time(&text[..cut], &data).is_err(),
                "{name}: cut at {cut}"
            );
        }
        let at = archive
            .windows(text.len())
            .position(|window| window == text);
        let mut changed = archive.clone();
        changed[at.expect("stored") + text.len() / 2] ^= 1;
        assert_eq!(ask(&changed, vec![], vec![]).verdict, Verdict::Broken);
    }
}

/// What another may make of a time-stamp without its key: a signature that fits as well, and the
/// signer named in the other way.
fn other_forms(text: &[u8], certificate: &[u8]) -> [Vec<u8>; 2] {
    let negated = change_signer(text, &|fields| {
        let signature = fields.last_mut().expect("a signature");
        let (_, der) = split_der(signature);
        let read = p256::ecdsa::Signature::from_der(&der).expect("on P-256");
        let (r, s) = read.split_scalars();
        let other = p256::ecdsa::Signature::from_scalars(r, -s).expect("not zero");
        *signature = join_der(4, other.to_der().as_bytes());
    });
    let certificate = x509_cert::Certificate::from_der(certificate).expect("a certificate");
    let (_, id) = certificate
        .tbs_certificate
        .get::<x509_cert::ext::pkix::SubjectKeyIdentifier>()
        .expect("readable")
        .expect("there");
    let by_key = change_signer(text, &|fields| {
        fields[0] = vec![2, 1, 3];
        fields[1] = join_der(0x80, id.0.as_bytes());
    });
    [negated, by_key]
}

/// Changes the fields of the one `SignerInfo`, which stands last in whatever holds it.
fn change_signer(text: &[u8], change: &dyn Fn(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    fn descend(der: &[u8], depth: usize, change: &dyn Fn(&mut Vec<Vec<u8>>)) -> Vec<u8> {
        let (tag, content) = split_der(der);
        let mut fields = Vec::new();
        let mut rest = &content[..];
        while !rest.is_empty() {
            let (_, inner) = split_der(rest);
            let length = join_der(rest[0], &inner).len();
            fields.push(rest[..length].to_vec());
            rest = &rest[length..];
        }
        match depth {
            0 => change(&mut fields),
            _ => {
                let last = fields.last_mut().expect("not empty");
                *last = descend(last, depth - 1, change);
            }
        }
        join_der(tag, &fields.concat())
    }
    // TimeStampResp, ContentInfo, [0], SignedData, SET, SignerInfo.
    descend(text, 5, change)
}

/// The tag and the content of what stands first.
fn split_der(der: &[u8]) -> (u8, Vec<u8>) {
    let (head, length) = match usize::from(der[1]) {
        short @ 0..128 => (2, short),
        long => {
            let octets = &der[2..2 + (long - 128)];
            let length = octets
                .iter()
                .fold(0, |sum, octet| sum << 8 | usize::from(*octet));
            (2 + octets.len(), length)
        }
    };
    (der[0], der[head..head + length].to_vec())
}

fn join_der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let octets = length.to_be_bytes();
    let octets = &octets[length.leading_zeros() as usize / 8..];
    let head = match length {
        0..128 => vec![tag, length as u8],
        _ => [&[tag, 128 + octets.len() as u8][..], octets].concat(),
    };
    [&head[..], content].concat()
}

#[test]
fn a_time_stamp_has_one_form() {
    if !has_tool("openssl", "time-stamps") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let service = TimeService::make(folder.path(), EC, "sha256", "sha256");
    let to_der = [
        "x509", "-in", "tsa.pem", "-outform", "DER", "-out", "tsa.der",
    ];
    run_tool(folder.path(), "openssl", &to_der);
    let certificate = fs::read(service.path("tsa.der")).expect("readable");
    let path = service.path(".");
    let (_, archive) = stamped(None, move |query| Ok(service.answer(query)));
    let [signature, stamp] =
        unpack(&archive, folder.path()).map(|path| fs::read(path).expect("ok"));
    stamp_time(&stamp, &signature).expect("sound");
    for (at, other) in other_forms(&stamp, &certificate).iter().enumerate() {
        assert_ne!(*other, stamp);
        let told = stamp_time(other, &signature).expect_err("another form");
        assert!(told.contains("the one form"), "{at}: {told}");
    }
    // Nor is an ECDSA signature called an RSA one.
    let named = change_signer(&stamp, &|fields| {
        let oid = [6, 9, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1, 5, 0];
        fields[4] = join_der(0x30, &oid);
    });
    assert_ne!(named, stamp);
    let told = stamp_time(&named, &signature).expect_err("by another algorithm");
    assert!(told.contains("unknown kind"), "{told}");
    // Whichever a service answers with, what is kept is in the one form.
    for at in 0..2 {
        let (service, own) = (TimeService::at(&path), certificate.clone());
        let (said, archive) = stamped(None, move |query| {
            Ok(other_forms(&service.answer(query), &own)[at].clone())
        });
        said.expect("asked for").expect("taken");
        let [signature, stamp] =
            unpack(&archive, folder.path()).map(|path| fs::read(path).expect("ok"));
        stamp_time(&stamp, &signature).expect("sound");
        assert!(stamp_time(&other_forms(&stamp, &certificate)[0], &signature).is_err());
    }
}

#[test]
fn an_answer_that_is_none_keeps_nothing_from_being_sealed() {
    if !has_tool("openssl", "time-stamps") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let service = TimeService::make(folder.path(), EC, "sha256", "sha256");
    let (_, first) = stamped(None, move |query| Ok(service.answer(query)));
    let [_, old] = unpack(&first, folder.path());
    let old = fs::read(old).expect("readable");
    for (answer, reason) in [
        (Err("no route".to_owned()), "no route"),
        (Ok(b"<html>".to_vec()), "can't be read"),
        // `TimeStampResp` with status 2, rejection.
        (
            Ok(vec![0x30, 5, 0x30, 3, 2, 1, 2]),
            "refused, with status 2",
        ),
        (Ok(old), "over something else"),
    ] {
        let (said, archive) = stamped(None, |_| answer);
        let why = said.expect("asked for").expect_err("none");
        assert!(
            why.contains(reason) && why.contains("http://tsa.example.org"),
            "{why}"
        );
        let answer = ask(&archive, vec![], vec![]);
        assert_eq!(
            answer.verdict,
            Verdict::SignerUnknown,
            "{:?}",
            answer.problems
        );
        assert_eq!(answer.stamp, None);
    }
}

/// A host whose clock is fast seals, by its word, when its deployment is over; a time-stamp says better.
#[test]
fn a_time_stamp_is_believed_before_the_clock_of_the_host() {
    if !has_tool("openssl", "time-stamps") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let service = TimeService::make(folder.path(), EC, "sha256", "sha256");
    let ca = authority(&service, "ca.pem");
    let key = |created| SealKey::generate("key", created).expect("a key");
    let (case, deployment) = (key(PLAN_DATE), key(PLAN_DATE));
    let terms = Terms {
        lasts_seconds: Some(DAY),
        levels: 1,
    };
    let certified = case
        .certify(&deployment.public(), &terms)
        .expect("certified");
    let deployment = deployment.with_certificate(certified).expect("its own");
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = since.expect("after 1970").as_secs() as u32;
    // A signature can't be older than its key, so the run's key has the date of the plan.
    let run = key(PLAN_DATE)
        .not_before(now + 2 * DAY)
        .certified_by(&deployment);
    // Nor does it, if the clock was as fast when the run's key was made.
    let fast = key(now + 2 * DAY)
        .not_before(now + 2 * DAY)
        .certified_by(&deployment)
        .expect("certified");
    let other = tempfile::tempdir().expect("a folder");
    let answers = TimeService::make(other.path(), EC, "sha256", "sha256");
    let fast_ca = authority(&answers, "ca.pem");
    let (_, archive) = stamped(Some(fast), move |query| Ok(answers.answer(query)));
    let answer = ask(&archive, fast_ca, vec![case.public()]);
    assert_eq!(answer.verdict, Verdict::Sealed, "{:?}", answer.problems);

    let (_, archive) = stamped(Some(run.expect("certified")), move |query| {
        Ok(service.answer(query))
    });
    let trust = vec![case.public()];
    let answer = ask(&archive, vec![], trust.clone());
    assert_eq!(
        answer.verdict,
        Verdict::SignerUnknown,
        "{:?}",
        answer.problems
    );
    let answer = ask(&archive, ca, trust);
    assert_eq!(answer.verdict, Verdict::Sealed, "{:?}", answer.problems);
}
