//! Checking a proof: from the seal down to the bytes of one stream.

use std::collections::HashMap;

use scelle_event::{Label, Tlp};
use scelle_formats::{Digests, ReadAt};

use super::{Problems, Scope, Verdict, Verification, VerifyOptions, conclude, tags};
use crate::{
    Certificate, Error, Proof,
    names::plain_name,
    proof::{BAG_INFO, Shown, TAG_MANIFEST, is_signer},
    records::sealed_label,
    text::{hex, unhex},
};

/// What a proof shows, once it was checked.
pub struct CheckedProof {
    /// What was checked, what is wrong, who vouches for it. Its label is the sealed one.
    pub verification: Verification,
    /// The stream, as far as it is shown: a read of anything else is an error. `None` where something is wrong.
    pub stream: Option<Box<dyn ReadAt>>,
}

impl Proof {
    /// Checks that the bytes which the proof shows are under the seal. That its row follows from them is for whoever knows the
    /// artefact.
    ///
    /// # Errors
    /// [`Error::Key`] when the root to compare with is no hash.
    pub fn check(&self, options: &VerifyOptions) -> Result<CheckedProof, Error> {
        super::check_options(options)?;
        let problems = Problems::default();
        let mut verification = Verification::new(Scope::Proof);
        let signer = self.check_seal(&mut verification, &problems);
        let stream = match self.follow(&mut verification) {
            Ok(stream) => Some(stream),
            Err((member, what)) => {
                problems.of(&member, what);
                None
            }
        };
        let verification = conclude(verification, signer.as_ref(), problems, options);
        let stream = stream.filter(|_| verification.verdict != Verdict::Broken);
        Ok(CheckedProof {
            verification,
            stream: stream.map(|stream| Box::new(stream) as Box<dyn ReadAt>),
        })
    }

    fn check_seal(
        &self,
        verification: &mut Verification,
        problems: &Problems,
    ) -> Option<Certificate> {
        let (name, text) = &self.certificate;
        let certificate = match Certificate::read(text) {
            Ok(certificate) => certificate,
            Err(error) => {
                problems.of(name, error.to_string());
                return None;
            }
        };
        let signers = [(0, certificate)];
        let (signature_name, signature) = &self.signature;
        let signature = (signature_name.as_str(), signature.as_slice());
        let seal = tags::Seal {
            manifest: &self.tag_manifest,
            signature: Some(signature),
            signers: &signers,
        };
        let signer = tags::check_seal(&seal, verification, problems);
        if let Some((name, stamp)) = &self.stamp {
            let stamp = (name.as_str(), stamp.as_slice());
            tags::check_stamp(stamp, Some(signature), verification, problems);
        }
        signer
    }

    /// Follows the hashes from the tag manifest to the stream; an error names the file that it is about.
    fn follow(&self, verification: &mut Verification) -> Result<Shown, (String, String)> {
        let of = |name: &str, what: &str| (name.to_owned(), what.to_owned());
        let listed = listed(&self.tag_manifest).map_err(|what| of(TAG_MANIFEST, &what))?;
        let (certificate, text) = &self.certificate;
        let last = listed.order.iter().rfind(|name| is_signer(name));
        if last != Some(&certificate.as_str()) {
            return Err(of(
                certificate,
                "it is not the certificate of the key that sealed",
            ));
        }
        if listed
            .order
            .iter()
            .any(|name| name.starts_with(crate::salvage::FOLDER))
        {
            return Err(of(
                TAG_MANIFEST,
                "it is that of a salvage, which was not sealed when it was collected",
            ));
        }
        for (name, text) in [(certificate.as_str(), text), (BAG_INFO, &self.bag_info)] {
            let sha256 = hex(&Digests::of(text).sha256);
            if listed.sha256.get(name) != Some(&sha256.as_str()) {
                return Err(of(name, "its SHA-256 is not that of the tag manifest"));
            }
        }
        let info = str::from_utf8(&self.bag_info).map_err(|_| of(BAG_INFO, "it is no text"))?;
        let value = |label: &str| {
            let mut lines = info.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(key, _)| *key == label).map(|(_, value)| value)
        };
        let payload =
            value("Scelle-Payload").ok_or_else(|| of(BAG_INFO, "it has no payload id"))?;
        let hash: Option<[u8; 32]> = unhex(payload).and_then(|hash| hash.try_into().ok());
        let hash = hash.ok_or_else(|| of(BAG_INFO, "its payload id is no BLAKE3"))?;
        let sealed = value("Scelle-TLP").ok_or_else(|| of(BAG_INFO, "it has no TLP label"))?;
        let sealed = sealed_label(sealed).map_err(|what| of(BAG_INFO, &what))?;
        if !bears(self.label(), sealed) {
            let what = format!(
                "the bundle is {sealed}, and the proof {} without a word of why",
                self.label().tlp
            );
            return Err(of(BAG_INFO, &what));
        }
        verification.payload = Some(payload.to_owned());
        verification.tlp = Some(sealed.name().to_owned());
        if self.member() != plain_name(self.stream()) {
            return Err(of(
                self.member(),
                "it is not what the row's stream is stored as",
            ));
        }
        let member = self
            .manifest_line(&hash)
            .map_err(|what| of(self.member(), &what))?;
        self.stream_shown(&member)
            .map_err(|what| of(self.member(), &what))
    }
}

/// Whether a label may stand on what was made of something that bears `sealed`.
fn bears(label: &Label, sealed: Tlp) -> bool {
    match &label.lowered {
        None => label.tlp >= sealed,
        Some(lowered) => lowered.from >= sealed && !lowered.reason.trim().is_empty(),
    }
}

/// What a tag manifest lists.
struct Listed<'a> {
    order: Vec<&'a str>,
    sha256: HashMap<&'a str, &'a str>,
}

fn listed(manifest: &[u8]) -> Result<Listed<'_>, String> {
    let text = str::from_utf8(manifest).map_err(|_| "it is no text")?;
    let mut listed = Listed {
        order: Vec::new(),
        sha256: HashMap::new(),
    };
    for line in text.split_inclusive('\n') {
        let pair = line
            .strip_suffix('\n')
            .and_then(|line| line.split_once("  "));
        let (hash, name) = pair.ok_or("a line is not as it is written")?;
        listed.order.push(name);
        if listed.sha256.insert(name, hash).is_some() {
            return Err(format!("it lists {name} twice"));
        }
    }
    Ok(listed)
}
