//! What stands between a sender and an S3 service: TLS, and trouble just as an object is made of its parts.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use crate::ServerCertificate;

/// What happens where a store is asked to make an object of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The line is cut before the store hears of it.
    CutBefore,
    /// The store does it, and the line is cut before it says so.
    CutAfter,
    /// The same, and from then on it says that it knows no such upload, as S3 does after a while.
    Forget,
    /// It says that it failed, and has done nothing.
    FailBefore,
    /// It says that it failed, and has done it.
    FailAfter,
    /// It says that it knows no such upload, and is not asked.
    Unknown,
    /// From here on nothing is let through any more.
    Gone,
}

/// What a front does.
#[derive(Default)]
pub struct Front {
    /// With what it speaks TLS; else it speaks none.
    pub tls: Option<ServerCertificate>,
    /// One for each time that an object is to be made, in this order; later ones are let through.
    pub troubles: Vec<Trouble>,
    /// What happens at the store after a trouble, before anybody asks again.
    pub meanwhile: Option<Box<dyn Fn() + Send + Sync>>,
    /// What else it shows on some connections, by their numbers from 0, as somebody on the line would.
    pub impostor: Option<(Vec<u64>, ServerCertificate)>,
}

/// Hands requests on to a store, one a connection.
pub struct StoreFront {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    to: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    impostor: Option<(Vec<u64>, Arc<ServerConfig>)>,
    troubles: Mutex<VecDeque<Trouble>>,
    meanwhile: Option<Box<dyn Fn() + Send + Sync>>,
    asked: AtomicU64,
    has_forgotten: AtomicBool,
}

impl StoreFront {
    /// Listens, for a store.
    pub fn start(to: SocketAddr, front: Front) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(State {
            to,
            tls: front.tls.as_ref().map(server_config),
            impostor: front
                .impostor
                .map(|(connections, shown)| (connections, server_config(&shown))),
            troubles: Mutex::new(front.troubles.into()),
            meanwhile: front.meanwhile,
            asked: AtomicU64::new(0),
            has_forgotten: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for (number, client) in (0..).zip(listener.incoming()) {
                let (shared, client) = (Arc::clone(&shared), client.expect("connected"));
                // Either end may go at any time: that is what a line does.
                thread::spawn(move || drop(shared.serve(client, number)));
            }
        });
        Self { address, state }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often an object was to be made of its parts.
    pub fn asked(&self) -> u64 {
        self.state.asked.load(Ordering::SeqCst)
    }
}

impl State {
    fn serve(&self, client: TcpStream, number: u64) -> io::Result<()> {
        let impostor = self.impostor.as_ref();
        let impostor = impostor.filter(|(connections, _)| connections.contains(&number));
        let Some(config) = impostor.map(|(_, config)| config).or(self.tls.as_ref()) else {
            return self.answer(client);
        };
        let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        let mut client = StreamOwned::new(session, client);
        self.answer(&mut client)?;
        client.conn.send_close_notify();
        client.flush()
    }

    fn answer(&self, mut client: impl Read + Write) -> io::Result<()> {
        let (head, body) = read_request(&mut client)?;
        if self.is_gone() {
            return Ok(());
        }
        let trouble = if is_end(&head) {
            self.asked.fetch_add(1, Ordering::SeqCst);
            self.next_trouble()
        } else {
            None
        };
        let answer = match trouble {
            None if is_end(&head) && self.has_forgotten.load(Ordering::SeqCst) => UNKNOWN.to_vec(),
            None => self.ask(&head, &body)?,
            Some(Trouble::Forget) => {
                self.has_forgotten.store(true, Ordering::SeqCst);
                self.ask(&head, &body).map(|_| Vec::new())?
            }
            Some(Trouble::CutBefore | Trouble::Gone) => Vec::new(),
            Some(Trouble::Unknown) => UNKNOWN.to_vec(),
            Some(Trouble::FailBefore) => FAILED.to_vec(),
            Some(Trouble::CutAfter) => self.ask(&head, &body).map(|_| Vec::new())?,
            Some(Trouble::FailAfter) => self.ask(&head, &body).map(|_| FAILED.to_vec())?,
        };
        if let (Some(_), Some(meanwhile)) = (trouble, &self.meanwhile) {
            meanwhile();
        }
        client.write_all(&answer)?;
        client.flush()
    }

    fn is_gone(&self) -> bool {
        self.troubles.lock().expect("whole").front() == Some(&Trouble::Gone)
            && self.asked.load(Ordering::SeqCst) > 0
    }

    /// The next trouble; one that lasts stays.
    fn next_trouble(&self) -> Option<Trouble> {
        let mut troubles = self.troubles.lock().expect("whole");
        match troubles.front() {
            Some(Trouble::Gone) => Some(Trouble::Gone),
            _ => troubles.pop_front(),
        }
    }

    /// Has the store answer, and gives all that it says.
    fn ask(&self, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut server = TcpStream::connect(self.to)?;
        let (first, rest) = head.split_once("\r\n").unwrap_or((head, ""));
        server.write_all(format!("{first}\r\nConnection: close\r\n{rest}").as_bytes())?;
        server.write_all(body)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

const FAILED: &[u8] =
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 41\r\nConnection: close\r\n\r\n\
    <Error><Code>InternalError</Code></Error>";

const UNKNOWN: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 40\r\nConnection: close\r\n\r\n\
    <Error><Code>NoSuchUpload</Code></Error>";

/// Whether a request is to make an object of its parts.
fn is_end(head: &str) -> bool {
    head.starts_with("POST ") && head.contains("uploadId=")
}

/// A request's head, with the empty line behind it, and its body.
fn read_request(client: &mut impl Read) -> io::Result<(String, Vec<u8>)> {
    let mut read = Vec::new();
    let mut buffer = vec![0; 16 << 10];
    let end = loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        let count = client.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read.extend_from_slice(&buffer[..count]);
    };
    let mut body = read.split_off(end);
    let head = String::from_utf8(read).map_err(io::Error::other)?;
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>());
    let length = length.map_err(io::Error::other)?;
    let begun = body.len();
    body.resize(length, 0);
    client.read_exact(&mut body[begun..])?;
    Ok((head, body))
}

fn server_config(certificate: &ServerCertificate) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(&certificate.certificate).expect("a certificate");
    let chain = chain.map(|one| one.expect("PEM")).collect();
    let key = PrivateKeyDer::from_pem_file(&certificate.key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_no_client_auth()
        .with_single_cert(chain, key);
    Arc::new(config.expect("a key that fits"))
}
