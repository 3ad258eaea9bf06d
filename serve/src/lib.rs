//! A trained model over HTTP.
//!
//! ```text
//! POST /generate  {"text": "Once upon a time", "max_tokens": 50}  ->  {"generated": " there was …"}
//! GET  /health                                                    ->  {"status": "ok"}
//! ```
//!
//! Invariant: knows nothing of manifests, stages or caches; it sees a [`Generator`] and sockets. Clients are
//! hostile: connections, bodies, waiting requests and the time of each are bounded ([`Limits`]).

mod generate;

mod connections;

use pipe_model::Generator;
use pipe_stage::{Error, Result};
use std::{net::SocketAddr, path::Path, time::Duration};
use tokio::{net::TcpListener, runtime::Runtime};

/// Limits of a server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections; more wait in the system's queue.
    pub connections: usize,
    /// Requests at work, each on a thread.
    pub workers: usize,
    /// Requests that wait for a thread; beyond them the answer is 503.
    pub waiting: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Time for the headers of a request, the wait for it included: a connection without requests ends after it.
    pub headers: Duration,
    /// Time for the body of a request.
    pub body: Duration,
    /// Time for a request, from the end of its headers to its answer.
    pub request: Duration,
    /// Time for a client to take what has been written to it.
    pub write: Duration,
    /// Time that running requests get when the server ends.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            waiting: 64,
            body_bytes: 1 << 20,
            headers: Duration::from_secs(10),
            body: Duration::from_secs(20),
            request: Duration::from_secs(60),
            write: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}

/// A bound server.
#[derive(Debug)]
pub struct Server {
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
    generator: Generator,
    limits: Limits,
}

impl Server {
    /// Loads a folder of the Hugging Face layout, and binds; port 0 takes a free one.
    pub fn bind(folder: &Path, address: SocketAddr, limits: Limits) -> Result<Self> {
        let generator = Generator::load(folder)?;
        let failed = |action: &str, error: std::io::Error| Error::Machine {
            action: action.to_owned(),
            message: error.to_string(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(limits.workers.max(1))
            .enable_all()
            .build()
            .map_err(|error| failed("start threads", error))?;
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                Error::input(format!("another program listens on {address}")).help("choose another `--port`")
            }
            _ => failed(&format!("listen on {address}"), error),
        })?;
        let address = listener.local_addr().map_err(|error| failed("ask for the address", error))?;
        Ok(Self { runtime, listener, address, generator, limits })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until SIGINT or SIGTERM; then finishes what runs, within the grace.
    pub fn run(self) {
        let Self { runtime, listener, generator, limits, .. } = self;
        let router = generate::router(generator, &limits);
        runtime.block_on(connections::serve(listener, router, &limits));
        // A generation that nobody waits for any more ends at its next token.
        runtime.shutdown_timeout(Duration::from_secs(1));
    }
}
