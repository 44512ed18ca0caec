//! An HTTP proxy that is gone through with CONNECT, and who asked to.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// A proxy that lets everybody through, or nobody, and keeps what they said.
pub struct HttpProxy {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl HttpProxy {
    /// Listens.
    pub fn start() -> Self {
        Self::start_with(true)
    }

    /// The same, for one that wants another login than anybody has.
    pub fn start_refusing() -> Self {
        Self::start_with(false)
    }

    fn start_with(lets_through: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&heard);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (shared, client) = (Arc::clone(&shared), client.expect("connected"));
                thread::spawn(move || drop(carry(client, &shared, lets_through)));
            }
        });
        Self { address, heard }
    }

    /// Its address, as `--proxy` takes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The head of each request to go through.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("whole").clone()
    }
}

fn carry(mut client: TcpStream, heard: &Mutex<Vec<String>>, lets_through: bool) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let place = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let is_connect = head.starts_with("CONNECT ");
    heard.lock().expect("whole").push(head);
    if !is_connect {
        return client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n");
    }
    if !lets_through {
        return client.write_all(
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\
              Content-Length: 0\r\n\r\n",
        );
    }
    let server = TcpStream::connect(place)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let up = (client.try_clone()?, server.try_clone()?);
    let sending = thread::spawn(move || copy(up.0, up.1));
    let done = copy(server, client);
    sending
        .join()
        .map_err(|_| io::Error::other("it panicked"))??;
    done
}

fn copy(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to);
    // The other end may have gone first.
    drop(to.shutdown(Shutdown::Write));
    copied.map(drop)
}
