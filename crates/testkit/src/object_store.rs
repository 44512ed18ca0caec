//! An S3 service on this machine: `moto`, which heeds signatures and policies.

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
};

use crate::has_tool;

/// The bucket that there is.
const BUCKET: &str = "vault";
/// Requests that are answered without a look at their signature.
const ANYTHING: &str = "1000000000";

/// A store with one bucket, `vault`, and one user, who may put objects into it and nothing else.
pub struct ObjectStore {
    server: Child,
    address: SocketAddr,
    /// The user's access key.
    pub access: String,
    /// Its secret.
    pub secret: String,
}

impl ObjectStore {
    /// Starts it; `None`, with a line that says so, where `moto_server` is not installed.
    pub fn start() -> Option<Self> {
        Self::start_for(&["s3:PutObject"])
    }

    /// The same, with a user who may look at objects too.
    pub fn start_readable() -> Option<Self> {
        Self::start_for(&["s3:PutObject", "s3:GetObject", "s3:HeadObject"])
    }

    fn start_for(actions: &[&str]) -> Option<Self> {
        if !has_tool("moto_server", "delivery to an S3 service") {
            return None;
        }
        let mut command = Command::new("moto_server");
        for (name, _) in env::vars_os() {
            // Whoever runs the test may have accounts, services and settings of their own.
            let is_set_up = |prefix: &str| name.to_string_lossy().starts_with(prefix);
            if is_set_up("AWS_") || is_set_up("MOTO_") || is_set_up("S3_") {
                command.env_remove(&name);
            }
        }
        let mut server = command
            .args(["-H", "127.0.0.1", "-p", "0"])
            .env("INITIAL_NO_AUTH_ACTION_COUNT", ANYTHING)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("moto_server starts");
        let mut log = BufReader::new(server.stderr.take().expect("a pipe"));
        let mut line = String::new();
        let port = loop {
            line.clear();
            assert!(log.read_line(&mut line).expect("a log") > 0, "it has ended");
            if let Some((_, rest)) = line.split_once("http://127.0.0.1:") {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                break digits.parse().expect("a port");
            }
        };
        // A full pipe would stop it.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let mut store = Self {
            server,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            access: String::new(),
            secret: String::new(),
        };
        store.set_up(actions);
        Some(store)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as an endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it has under a key.
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.heed_signatures(false);
        let (status, body) = self.ask("GET", &format!("/{BUCKET}/{key}"), "", b"");
        self.heed_signatures(true);
        (status == 200).then_some(body)
    }

    /// Puts an object there, as somebody else.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        self.heed_signatures(false);
        let (status, body) = self.ask("PUT", &format!("/{BUCKET}/{key}"), "", bytes);
        self.heed_signatures(true);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    }

    fn set_up(&mut self, actions: &[&str]) {
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":{actions:?},"Resource":"arn:aws:s3:::{BUCKET}/*"}}]}}"#
        );
        self.ask("PUT", &format!("/{BUCKET}"), "", b"");
        self.iam("Action=CreateUser&UserName=writer");
        self.iam(&format!(
            "Action=PutUserPolicy&UserName=writer&PolicyName=put&PolicyDocument={}",
            percent(&policy)
        ));
        let key = self.iam("Action=CreateAccessKey&UserName=writer");
        self.access = between(&key, "<AccessKeyId>", "</AccessKeyId>").to_owned();
        self.secret = between(&key, "<SecretAccessKey>", "</SecretAccessKey>").to_owned();
        self.heed_signatures(true);
    }

    fn heed_signatures(&self, heed: bool) {
        let count = if heed { "0" } else { ANYTHING };
        let (status, _) = self.ask("POST", "/moto-api/reset-auth", "", count.as_bytes());
        assert_eq!(status, 200);
    }

    fn iam(&self, form: &str) -> String {
        let headers = "Content-Type: application/x-www-form-urlencoded\r\nAuthorization: \
                       AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/iam/aws4_request, \
                       SignedHeaders=host, Signature=x\r\n";
        let form = format!("{form}&Version=2010-05-08");
        let (status, body) = self.ask("POST", "/", headers, form.as_bytes());
        let body = String::from_utf8(body).expect("XML");
        assert_eq!(status, 200, "{body}");
        body
    }

    /// One request, unsigned.
    fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("sent");
        stream.write_all(body).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("answered");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.expect("a head");
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        assert!(
            !head.to_ascii_lowercase().contains("transfer-encoding"),
            "{head}"
        );
        let status = head.split(' ').nth(1).expect("a status");
        (status.parse().expect("a number"), answer.split_off(end + 4))
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        self.server.kill().expect("it ran until now");
        self.server.wait().expect("it ends");
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).expect(start);
    rest.split_once(end).expect(end).0
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
