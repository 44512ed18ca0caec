//! What a delivery reads of others: a journal beside a rest, a file of known hosts, an S3 service's answers.

use std::{env, fs, path::PathBuf, process, sync::OnceLock, time::Duration};

use scelle_deliver::{
    Begun, Confirmation, Failure, FileOptions, Piece, Retry, SentPiece, Store, deliver_file,
    readers, rest_of,
};

/// A store that takes everything and has all that a journal says.
struct Willing(String);

impl Store for Willing {
    fn name(&self) -> String {
        self.0.clone()
    }

    fn endpoint(&self) -> String {
        "https://store.example.org".into()
    }

    fn most_pieces(&self) -> u32 {
        10_000
    }

    fn begin(&mut self) -> Result<Begun, Failure> {
        Ok(Begun {
            upload: "id".into(),
        })
    }

    fn put(&mut self, _: &Begun, _: &Piece<'_>) -> Result<String, Failure> {
        Ok("taken".into())
    }

    fn finish(&mut self, _: &Begun, _: &[SentPiece]) -> Result<Confirmation, Failure> {
        Ok(Confirmation::default())
    }
}

/// The first byte is the size of the rest; the others are its journal.
pub fn journal(data: &[u8]) {
    let Some((size, text)) = data.split_first() else {
        return;
    };
    match readers::journal_pieces(text) {
        Ok(Some(_)) => {}
        Ok(None) => return,
        Err(why) => return assert!(!why.is_empty()),
    }
    let path = folder().join("rest");
    let beside = folder().join("rest.delivery");
    fs::write(&path, vec![7_u8; usize::from(*size)]).expect("written");
    fs::write(&beside, text).expect("written");
    let Ok(Some(rest)) = rest_of(&path) else {
        return;
    };
    assert!(!rest.to.contains(char::is_control), "{:?}", rest.to);
    let options = FileOptions {
        retry: Retry {
            patience: Duration::ZERO,
            ..Retry::default()
        },
        moved: true,
        ..FileOptions::default()
    };
    let store = Box::new(Willing(rest.to));
    if let Ok(done) = deliver_file(&path, store, options, &|_| {}, &|_| Ok(())) {
        let receipt = done.receipt;
        let pieces: u64 = receipt.pieces.iter().map(|piece| piece.bytes).sum();
        assert_eq!(pieces, receipt.bytes, "the pieces are the bundle");
        assert!(receipt.bytes >= u64::from(*size));
        assert!(!beside.exists(), "there is a receipt");
    }
}

/// A folder of this process alone.
fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = env::temp_dir().join(format!("scelle-fuzz-{}", process::id()));
        fs::create_dir_all(&folder).expect("made");
        folder
    })
}

/// A host that no line names has no key.
pub fn known_hosts(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    readers::known_keys(&text, "drop.example.org", 22);
    readers::known_keys(&text, "drop.example.org", 2222);
    let unnamed = text.replace(['*', '?', '|', '\u{7F}'], "");
    assert_eq!(readers::known_keys(&unnamed, "\u{7F}", 22), 0);
}

/// The first byte picks a status.
pub fn answer(data: &[u8]) {
    const STATUSES: [u16; 8] = [200, 204, 301, 400, 403, 404, 412, 503];
    let Some((choice, body)) = data.split_first() else {
        return;
    };
    let status = STATUSES[usize::from(*choice) % STATUSES.len()];
    let body = String::from_utf8_lossy(body);
    match readers::is_made(status, &body) {
        Ok(is_made) => {
            assert!(status < 300, "{status}");
            assert!(!is_made || body.contains("ETag"), "{body}");
        }
        Err(why) => assert!(
            !why.is_empty() && !why.contains(char::is_control),
            "{why:?}"
        ),
    }
}
