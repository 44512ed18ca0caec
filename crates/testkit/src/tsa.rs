//! A time-stamping service, RFC 3161, of OpenSSL.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    thread,
};

use crate::run_tool;

/// A service with a key of its own, and an authority that issued its certificate.
pub struct TimeService {
    folder: PathBuf,
}

const CONFIG: &str = "
[req]
distinguished_name = none
[none]
[ca]
basicConstraints = critical,CA:true
subjectKeyIdentifier = hash
[tsa]
basicConstraints = critical,CA:false
extendedKeyUsage = critical,timeStamping
subjectKeyIdentifier = hash
[ts]
serial = serial
crypto_device = builtin
signer_digest = DIGEST
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ordering = yes
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = ESS
";

impl TimeService {
    /// Makes one in a folder. `key` is what `openssl req -newkey` takes, `digest` what it signs with, `ess`
    /// what it names its certificate by.
    pub fn make(folder: &Path, key: &[&str], digest: &str, ess: &str) -> Self {
        fs::create_dir_all(folder).expect("made");
        let config = CONFIG.replace("DIGEST", digest).replace("ESS", ess);
        fs::write(folder.join("ts.cnf"), config).expect("written");
        fs::write(folder.join("serial"), "01\n").expect("written");
        let made = Self {
            folder: folder.to_owned(),
        };
        let new = ["req", "-config", "ts.cnf", "-nodes"];
        let ca = [
            "-x509",
            "-days",
            "3650",
            "-subj",
            "/CN=time CA",
            "-extensions",
            "ca",
        ];
        let out = ["-keyout", "ca.key", "-out", "ca.pem"];
        made.openssl(&[&new[..], &ca, key, &out].concat());
        let out = [
            "-subj",
            "/CN=time service",
            "-keyout",
            "tsa.key",
            "-out",
            "tsa.csr",
        ];
        made.openssl(&[&new[..], key, &out].concat());
        made.openssl(&[
            "x509",
            "-req",
            "-in",
            "tsa.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-set_serial",
            "2",
            "-days",
            "3650",
            "-extfile",
            "ts.cnf",
            "-extensions",
            "tsa",
            "-out",
            "tsa.pem",
        ]);
        made
    }

    /// One that was made in that folder before.
    pub fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// A file of it: `ca.pem`, `tsa.pem`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn openssl(&self, arguments: &[&str]) -> String {
        run_tool(&self.folder, "openssl", arguments)
    }

    /// The answer to a question.
    pub fn answer(&self, query: &[u8]) -> Vec<u8> {
        fs::write(self.folder.join("q.tsq"), query).expect("written");
        self.openssl(&[
            "ts",
            "-reply",
            "-config",
            "ts.cnf",
            "-section",
            "ts",
            "-queryfile",
            "q.tsq",
            "-signer",
            "tsa.pem",
            "-inkey",
            "tsa.key",
            "-chain",
            "ca.pem",
            "-out",
            "a.tsr",
        ]);
        fs::read(self.folder.join("a.tsr")).expect("readable")
    }

    /// What OpenSSL thinks of a time-stamp over a file.
    pub fn check(&self, stamp: &Path, data: &Path) -> String {
        let (stamp, data) = (stamp.to_string_lossy(), data.to_string_lossy());
        self.openssl(&[
            "ts", "-verify", "-in", &stamp, "-data", &data, "-CAfile", "ca.pem",
        ])
    }

    /// Answers over HTTP until the test ends; gives the address.
    pub fn serve(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}/tsr", listener.local_addr().expect("bound"));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.expect("connected"));
                let (mut length, mut line) = (0, String::new());
                while stream.read_line(&mut line).expect("a line") > 2 {
                    let lower = line.to_ascii_lowercase();
                    if let Some(value) = lower.strip_prefix("content-length:") {
                        length = value.trim().parse().expect("a number");
                    }
                    line.clear();
                }
                let mut query = vec![0; length];
                stream.read_exact(&mut query).expect("the question");
                let answer = self.answer(&query);
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/timestamp-reply\r\n\
                     Content-Length: {}\r\nConnection: close\r\n\r\n",
                    answer.len()
                );
                let out = stream.get_mut();
                out.write_all(head.as_bytes()).expect("sent");
                out.write_all(&answer).expect("sent");
            }
        });
        address
    }
}
