//! Labels that files claim without a seal.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use scelle_bundle::BAG_INFO_LIMIT;
use scelle_event::Tlp;
use scelle_evidence::far_places;

const INFO: &str = "bag-info.txt";
const KEY: &str = "Scelle-TLP";

/// The label that a bag claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedLabel {
    /// The label; [`Tlp::Red`] where it can't be read, since it may be that.
    pub tlp: Tlp,
    /// Why it can't be read.
    pub unreadable: Option<String>,
}

/// The strictest label that a bag claims in which `path` lies (an export of a bundle, or a file of one), or that lies
/// right in it (the folder that was exported to).
///
/// Nothing vouches for it: whoever made the folder may have written it. So it is a reason to refuse a freer
/// label, and none to choose it.
pub fn claimed_label(path: &Path) -> Option<ClaimedLabel> {
    let path = match path.canonicalize() {
        Ok(path) => path,
        Err(error) if is_absent(&error) => return None,
        // Windows can't say of a device, or of what some file systems hold, where it really lies.
        Err(_) => match std::path::absolute(path) {
            Ok(path) => path,
            Err(error) => return Some(ClaimedLabel::unreadable(path, &error.to_string())),
        },
    };
    let below = path.read_dir().into_iter().flatten().flatten();
    let far = far_places();
    let below = below
        .map(|entry| entry.path())
        .filter(|folder| !far.contains(folder));
    // What can't be entered is not read either.
    let below = below.filter(|folder| folder.join(INFO).symlink_metadata().is_ok());
    let folders = path.ancestors().map(Path::to_owned).chain(below);
    let claims = folders.filter_map(|folder| bag_label(&folder));
    claims.max_by_key(|claim| (claim.tlp, claim.unreadable.is_none()))
}

impl ClaimedLabel {
    fn unreadable(path: &Path, why: &str) -> Self {
        Self {
            tlp: Tlp::Red,
            unreadable: Some(format!("{}: {why}", path.display())),
        }
    }
}

/// What the bag in that folder says; nothing where there is none, or it is of a tool that knows no labels.
fn bag_label(folder: &Path) -> Option<ClaimedLabel> {
    let path = folder.join(INFO);
    let read = match path.symlink_metadata() {
        Err(error) if is_absent(&error) || !folder.is_dir() => return None,
        Err(error) => Err(error.to_string()),
        Ok(_) => read_info(&path).and_then(|text| label_in(&text)),
    };
    match read {
        Ok(tlp) => tlp.map(|tlp| ClaimedLabel {
            tlp,
            unreadable: None,
        }),
        Err(why) => Some(ClaimedLabel::unreadable(&path, &why)),
    }
}

/// Whether there is no such file.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

fn read_info(path: &Path) -> Result<String, String> {
    let wrong = |error: io::Error| error.to_string();
    // A pipe would be waited for.
    if !path.metadata().map_err(wrong)?.is_file() {
        return Err("it is no file".into());
    }
    let mut text = Vec::new();
    let file = File::open(path).map_err(wrong)?;
    let read = file.take(BAG_INFO_LIMIT + 1).read_to_end(&mut text);
    if read.map_err(wrong)? as u64 > BAG_INFO_LIMIT {
        return Err(format!(
            "it has more than {BAG_INFO_LIMIT} bytes, and no bundle's has"
        ));
    }
    String::from_utf8(text).map_err(|_| "it is no UTF-8 text".into())
}

/// The strictest label that stands there. As other tools write it (RFC 8493, 2.2.2): keys are of any case, a line ends in LF, CR or
/// both, and one that begins with a blank goes on with the one before; a byte order mark is passed over.
fn label_in(info: &str) -> Result<Option<Tlp>, String> {
    let info = info.strip_prefix('\u{FEFF}').unwrap_or(info);
    let mut lines: Vec<String> = Vec::new();
    for line in info.split(['\n', '\r']).filter(|line| !line.is_empty()) {
        match lines.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => last.push_str(line),
            _ => lines.push(line.to_owned()),
        }
    }
    let mut strictest = None;
    for line in &lines {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        if key.trim().eq_ignore_ascii_case(KEY) {
            let tlp: Tlp = value
                .trim()
                .parse()
                .map_err(|error: scelle_event::ParseTlpError| error.to_string())?;
            strictest = strictest.max(Some(tlp));
        }
    }
    Ok(strictest)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_label_that_cannot_be_read_counts_as_the_strictest() {
        let export = tempfile::tempdir().expect("a folder");
        let folder = export.path().join("bag");
        let info = folder.join(INFO);
        let file = folder.join("data/a");
        fs::create_dir_all(folder.join("data")).expect("a folder");
        fs::write(&file, "x").expect("room");
        assert_eq!(claimed_label(&file), None);
        assert_eq!(claimed_label(&folder.join("absent")), None);
        let readable = |tlp| {
            Some(ClaimedLabel {
                tlp,
                unreadable: None,
            })
        };
        for (text, claim) in [
            ("A: b\n", None),
            ("Scelle-TLP: TLP:AMBER\n", readable(Tlp::Amber)),
            ("A: b\r\nscelle-tlp :  green\r\n", readable(Tlp::Green)),
            (
                "Scelle-TLP: clear\nScelle-TLP: amber+strict\n",
                readable(Tlp::AmberStrict),
            ),
            ("\u{FEFF}Scelle-TLP: green\n", readable(Tlp::Green)),
            ("A: b\rScelle-TLP: green\rC: d\r", readable(Tlp::Green)),
            ("Scelle-TLP:\n TLP:GREEN\n", readable(Tlp::Green)),
            ("A: b\n Scelle-TLP: red\n", None),
        ] {
            fs::write(&info, text).expect("room");
            assert_eq!(claimed_label(&file), claim, "{text}");
            assert_eq!(claimed_label(export.path()), claim, "{text}");
        }
        let long = format!(
            "{}\nScelle-TLP: clear\n",
            "x".repeat(BAG_INFO_LIMIT as usize)
        );
        for text in [
            &b"Scelle-TLP: TLP:PURPLE\n"[..],
            b"Scelle-TLP: clear\n or so\n",
            b"Scelle-TLP: clear\nScelle-TLP: ?\n",
            b"Scelle-TLP: clear\n\xFF\n",
            long.as_bytes(),
        ] {
            fs::write(&info, text).expect("room");
            let claim = claimed_label(&file).expect("it claims something");
            assert_eq!(claim.tlp, Tlp::Red);
            assert!(claim.unreadable.is_some_and(|why| why.contains(INFO)));
        }
        fs::remove_file(&info).expect("there");
        fs::create_dir(&info).expect("room");
        assert_eq!(claimed_label(&file).map(|claim| claim.tlp), Some(Tlp::Red));
    }
}
