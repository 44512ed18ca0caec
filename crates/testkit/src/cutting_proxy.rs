//! A line that is cut at random places, or for good.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::Random;

/// Where a line is cut.
#[derive(Clone, Copy, Debug)]
pub struct Cuts {
    /// What the places follow from.
    pub seed: u64,
    /// So many connections are cut; later ones are whole.
    pub count: u64,
    /// Each after no more than so many bytes.
    pub within_bytes: u64,
    /// And after at least so many.
    pub first_bytes: u64,
    /// After so many bytes of all connections, none is let through any more.
    pub gone_after: u64,
}

impl Default for Cuts {
    fn default() -> Self {
        Self {
            seed: 1,
            count: 0,
            within_bytes: 1,
            first_bytes: 0,
            gone_after: u64::MAX,
        }
    }
}

/// Hands connections on to a server, and cuts them.
///
/// Every fourth is cut at the first bytes of an answer: whoever asked can't know whether it was done.
pub struct CuttingProxy {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    to: SocketAddr,
    cuts: Cuts,
    /// Connections that were cut.
    cut: AtomicU64,
    /// Bytes that were handed on.
    bytes: AtomicU64,
}

impl CuttingProxy {
    /// Listens, for a server.
    pub fn start(to: SocketAddr, cuts: Cuts) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(State {
            to,
            cuts,
            cut: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            let mut random = Random(cuts.seed);
            for (number, client) in listener.incoming().enumerate() {
                let at = cuts.first_bytes + random.next() % cuts.within_bytes;
                let at = i64::try_from(at).expect("few bytes");
                shared.carry(client.expect("connected"), number as u64, at);
            }
        });
        Self { address, state }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has cut.
    pub fn cut(&self) -> u64 {
        self.state.cut.load(Ordering::SeqCst)
    }
}

impl State {
    /// Carries one connection, in threads of its own.
    fn carry(self: &Arc<Self>, client: TcpStream, number: u64, at: i64) {
        let Ok(server) = TcpStream::connect(self.to) else {
            return;
        };
        let is_cut = self.cut.load(Ordering::SeqCst) < self.cuts.count;
        let cuts_answer = is_cut && number % 4 == 3;
        let up = if !is_cut || cuts_answer { i64::MAX } else { at };
        let down = if cuts_answer { 0 } else { i64::MAX };
        for (from, to, budget) in [(&client, &server, up), (&server, &client, down)] {
            let (from, to) = (from.try_clone(), to.try_clone());
            let (from, to) = (from.expect("a handle"), to.expect("a handle"));
            let state = Arc::clone(self);
            thread::spawn(move || state.copy(from, to, budget));
        }
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream, mut budget: i64) {
        let mut buffer = vec![0; 16 << 10];
        // Either end may go at any time: that is what a line does.
        while let Ok(count) = from.read(&mut buffer) {
            if count == 0 {
                drop(to.shutdown(Shutdown::Write));
                return;
            }
            let total = self.bytes.fetch_add(count as u64, Ordering::SeqCst);
            let passed = usize::try_from(budget).unwrap_or(0).min(count);
            budget -= count as i64;
            if total >= self.cuts.gone_after {
                break;
            }
            if to.write_all(&buffer[..passed]).is_err() {
                break;
            }
            if passed < count {
                self.cut.fetch_add(1, Ordering::SeqCst);
                break;
            }
        }
        drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
    }
}

/// An address of this machine at which nobody listens. It is none that tests listen at, so that none of them
/// gets its port meanwhile; where the machine has no other than the usual one (macOS), that has to do.
pub fn closed_address() -> SocketAddr {
    let free = |address: &str| TcpListener::bind(address).and_then(|bound| bound.local_addr());
    let free = free("127.77.7.7:0").or_else(|_| free("127.0.0.1:0"));
    free.expect("a port")
}
