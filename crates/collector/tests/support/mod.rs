//! Collections that are killed at random moments.
#![allow(dead_code, reason = "each test program uses the part that it needs")]

use std::{
    fs,
    ops::ControlFlow,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use scelle::{DecryptKey, ReadKey, Recipient, formats::ReadAtExt as _};
pub(crate) use scelle_testkit::Random;
use scelle_testkit::ReaderKey;

pub(crate) struct Scene {
    pub(crate) folder: tempfile::TempDir,
    /// Whom bundles are encrypted for, where they are.
    pub(crate) reader: Option<ReaderKey>,
    /// The payload id of a run that nobody disturbs.
    pub(crate) payload: String,
    /// How long that takes.
    pub(crate) duration: Duration,
}

impl Scene {
    /// So many small files, and an undisturbed collection of them.
    pub(crate) fn new(files: usize, reader: Option<ReaderKey>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().join("source");
        for number in 0..files {
            let path = source.join(format!("d{}/file-{number}", number % 40));
            fs::create_dir_all(path.parent().expect("a parent")).expect("room");
            let line = format!("evidence {number} {}\n", number * 7919 % 1000);
            fs::write(path, line.repeat(number % 30)).expect("room");
        }
        let mut scene = Self {
            folder,
            reader,
            payload: String::new(),
            duration: Duration::ZERO,
        };
        if let Some(reader) = &scene.reader {
            fs::write(scene.certificate(), &reader.certificate).expect("room");
        }
        let began = Instant::now();
        let whole = scene.bundle("whole");
        scene.begin(&whole, false).wait().expect("it runs");
        scene.duration = began.elapsed();
        let source = scelle::open_with_key(&whole, &Default::default(), scene.key().as_ref());
        let source = source.expect("it is whole");
        scene.payload = source.bundle().expect("a bundle").payload.clone();
        scene
    }

    pub(crate) fn bundle(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder).expect("room");
        let ending = self.reader.as_ref().map_or("", |_| ".pgp");
        folder.join(format!("case.scelle.zip{ending}"))
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.asc")
    }

    /// What opens its bundles.
    pub(crate) fn key(&self) -> Option<ReadKey> {
        let reader = self.reader.as_ref()?;
        let key = DecryptKey::read(reader.secret.as_bytes(), None).expect("a key");
        Some(ReadKey::Secret(Box::new(key)))
    }

    pub(crate) fn recipients(&self) -> Vec<Recipient> {
        let readers = self.reader.iter();
        let recipients = readers
            .map(|reader| scelle::recipient(reader.certificate.as_bytes(), &reader.fingerprint));
        recipients.collect::<Result<_, _>>().expect("sound")
    }

    pub(crate) fn command(&self, bundle: &Path, resume: bool) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scelle-collector"));
        command
            .args(["collect", "--profile", "everything", "--tlp", "amber"])
            .args(["--checkpoint-bytes", "16KiB", "--threads", "2", "--source"])
            .arg(self.folder.path().join("source"))
            .arg("--out")
            .arg(bundle)
            .args(resume.then_some("--resume"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(reader) = &self.reader {
            command.arg("--recipient").arg(self.certificate());
            command.args(["--fingerprint", &reader.fingerprint]);
        }
        command
    }

    pub(crate) fn begin(&self, bundle: &Path, resume: bool) -> Child {
        self.command(bundle, resume).spawn().expect("it starts")
    }

    /// Starts it and kills it; whether it was still at work.
    pub(crate) fn kill(&self, bundle: &Path, resume: bool, random: &mut Random) -> bool {
        const SIGKILL: i32 = 9;
        let mut child = self.begin(bundle, resume);
        thread::sleep(self.duration.mul_f64(random.unit()));
        child.kill().expect("it is ours");
        let status = child.wait().expect("it was ours");
        let struck = status.signal() == Some(SIGKILL);
        assert!(
            struck || status.success() || resume,
            "it ended by itself: {status}"
        );
        struck && is_under_way(bundle)
    }

    /// Each stream that `bundle` holds, or the set that it is of, has the bytes of its file; how many there are.
    pub(crate) fn compare(&self, bundle: &Path) -> u64 {
        let options = scelle::evidence::OpenOptions::default();
        let source = scelle::open_with_key(bundle, &options, self.key().as_ref());
        let source = source.expect("a bundle");
        let mut count = 0;
        for volume in &source.evidence().volumes {
            volume.walk(&mut |entry| {
                let entry = entry.expect("sound");
                let stream = volume.open_entry(&entry, None).expect("it is there");
                let there = stream.read_range(0..u64::MAX, usize::MAX).expect("sound");
                assert_eq!(there.len() as u64, stream.len());
                let path = entry.path.to_string();
                let file = self.folder.path().join("source").join(&path);
                assert!(there == fs::read(file).expect("the evidence"), "{path}");
                count += 1;
                ControlFlow::Continue(())
            });
        }
        count
    }
}

/// Whether something beside a bundle is not finished.
fn is_under_way(bundle: &Path) -> bool {
    let folder = fs::read_dir(bundle.parent().expect("a folder")).expect("it is there");
    let mut names = folder.map(|entry| entry.expect("it is there").file_name());
    names.any(|name| name.to_string_lossy().ends_with(".partial"))
}

/// What a bundle is called until it is whole.
pub(crate) fn partial(bundle: &Path) -> PathBuf {
    beside(bundle, ".partial")
}

/// The file beside a bundle whose name has that ending too.
pub(crate) fn beside(bundle: &Path, ending: &str) -> PathBuf {
    let mut name = bundle.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
