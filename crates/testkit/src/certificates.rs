//! An authority that vouches for servers' certificates, as `openssl` makes one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{has_tool, run_tool};

/// An authority of a test's own, in a folder.
pub struct Authority {
    folder: PathBuf,
    name: String,
}

/// The certificate of a server, and its key, in PEM.
#[derive(Clone, Debug)]
pub struct ServerCertificate {
    /// Of the server.
    pub certificate: PathBuf,
    /// Its key, PKCS #8.
    pub key: PathBuf,
}

impl Authority {
    /// Makes one; `None`, with a line that says so, where `openssl` is not installed.
    pub fn new(folder: &Path, name: &str) -> Option<Self> {
        if !has_tool("openssl", "delivery over TLS") {
            return None;
        }
        fs::create_dir_all(folder).expect("made");
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign";
        let subject = format!("/CN={name}");
        let mut arguments: Vec<_> = arguments.split_whitespace().collect();
        arguments.extend(["-subj", &subject, "-keyout", &key, "-out", &certificate]);
        run_tool(folder, "openssl", &arguments);
        Some(Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
        })
    }

    /// The file of its own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join(format!("{}.pem", self.name))
    }

    /// A certificate for a server: `subject` is as OpenSSL writes other names, `IP:127.0.0.1` or `DNS:…`.
    pub fn certify(&self, subject: &str) -> ServerCertificate {
        let file = |ending: &str| {
            let plain: String = subject.replace([':', '.'], "-");
            format!("{}-{plain}.{ending}", self.name)
        };
        let (key, request, certificate) = (file("key"), file("csr"), file("pem"));
        let extensions = file("ext");
        let text = format!("subjectAltName={subject}\nextendedKeyUsage=serverAuth\n");
        fs::write(self.folder.join(&extensions), text).expect("written");
        let new = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=store";
        let mut new: Vec<_> = new.split_whitespace().collect();
        new.extend(["-keyout", &key, "-out", &request]);
        run_tool(&self.folder, "openssl", &new);
        let (ca, ca_key) = (format!("{}.pem", self.name), format!("{}.key", self.name));
        let sign = [
            "x509",
            "-req",
            "-days",
            "30",
            "-CAcreateserial",
            "-in",
            &request,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-extfile",
            &extensions,
            "-out",
            &certificate,
        ];
        run_tool(&self.folder, "openssl", &sign);
        ServerCertificate {
            certificate: self.folder.join(certificate),
            key: self.folder.join(key),
        }
    }
}
