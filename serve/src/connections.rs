//! Owns: connections: how many, for how long, and how they end. Knows no model.

use crate::Limits;
use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
    time::{Instant, Sleep},
};

/// After an accept that failed: descriptors may be short, and trying on at once would only burn time.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Accepts connections until a signal; then lets running requests end.
pub(crate) async fn serve(listener: TcpListener, router: Router, limits: &Limits) {
    let room = Arc::new(Semaphore::new(limits.connections.max(1)));
    let graceful = GracefulShutdown::new();
    let mut ended = std::pin::pin!(end());
    loop {
        let accepted = async {
            let place = Arc::clone(&room).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            (place, accepted) = accepted => match accepted {
                Ok((stream, _)) => (place, stream),
                Err(_) => {
                    tokio::time::sleep(AFTER_FAILURE).await;
                    continue;
                }
            },
            () = &mut ended => break,
        };
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(limits.headers);
        let service = TowerToHyperService::new(router.clone());
        let stream = TokioIo::new(Impatient::new(stream, limits.write));
        let connection = graceful.watch(builder.serve_connection(stream, service));
        tokio::spawn(async move {
            // A connection that breaks is the client's affair.
            let _ = connection.await;
            drop(place);
        });
    }
    let _ = tokio::time::timeout(limits.grace, graceful.shutdown()).await;
}

/// A stream whose client must take what is written to it within a time: from when it first does not, until all of it
/// is taken. A client that reads byte by byte gains no time by that.
struct Impatient {
    stream: TcpStream,
    write_max: Duration,
    /// The end of that time; none while nothing waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn new(stream: TcpStream, write_max: Duration) -> Self {
        Self { stream, write_max, deadline: None }
    }

    /// Waits for the client, but not beyond the deadline.
    fn wait<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_pending() {
            let write_max = self.write_max;
            let sleep = || Box::pin(tokio::time::sleep_until(Instant::now() + write_max));
            ready!(self.deadline.get_or_insert_with(sleep).as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        written
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wait(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.wait(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    // Called when everything before has been written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.deadline = None;
        }
        self.wait(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Comes when the process is asked to end.
async fn end() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::{
        io::{Read, Write},
        net::SocketAddr,
        thread,
    };

    const CONNECTIONS: usize = 4;

    const IMPATIENT: Duration = Duration::from_millis(300);

    /// A server, for the time of a test.
    fn served(write: Duration, test: impl FnOnce(SocketAddr)) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits { connections: CONNECTIONS, headers: IMPATIENT, write, ..Limits::default() };
        let router = Router::new()
            .route("/small", get(|| async { "answer" }))
            .route("/large", get(|| async { "x".repeat(32 << 20) }));
        runtime.spawn(async move { serve(listener, router, &limits).await });
        test(address);
        runtime.shutdown_background();
    }

    fn ask(address: SocketAddr, path: &str) -> std::net::TcpStream {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(request(path, "keep-alive").as_bytes()).unwrap();
        stream
    }

    fn request(path: &str, connection: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\n\r\n")
    }

    /// The whole answer to a client that behaves.
    fn answer(address: SocketAddr, path: &str) -> Vec<u8> {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(request(path, "close").as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn clients_that_never_read_keep_no_other_out() {
        served(IMPATIENT, |address| {
            let large: Vec<_> = (0..CONNECTIONS).map(|_| ask(address, "/large")).collect();
            assert!(answer(address, "/small").ends_with(b"answer"));
            drop(large);
            // Many small answers fill a connection as well.
            let asking = |_| {
                let mut stream = ask(address, "/small");
                thread::spawn(move || {
                    let more = request("/small", "keep-alive").repeat(1000);
                    while stream.write_all(more.as_bytes()).is_ok() {}
                })
            };
            let asking: Vec<_> = (0..CONNECTIONS).map(asking).collect();
            assert!(answer(address, "/small").ends_with(b"answer"));
            asking.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }

    #[test]
    fn idle_clients_and_those_with_slow_headers_keep_no_other_out() {
        served(Duration::from_secs(60), |address| {
            let sent = [String::new(), "GET /small HTTP/1.1\r\nHo".into(), request("/small", "keep-alive")];
            for sent in sent {
                let idle = |_| {
                    let mut stream = std::net::TcpStream::connect(address).unwrap();
                    stream.write_all(sent.as_bytes()).unwrap();
                    stream
                };
                let idle: Vec<_> = (0..CONNECTIONS).map(idle).collect();
                assert!(answer(address, "/small").ends_with(b"answer"), "{sent:?}");
                drop(idle);
            }
        });
    }

    #[test]
    fn clients_that_read_byte_by_byte_gain_no_time() {
        served(IMPATIENT, |address| {
            let mut stream = ask(address, "/large");
            let started = std::time::Instant::now();
            let mut read = 0;
            // What is read makes room for more; the server's time is up nevertheless.
            while started.elapsed() < 4 * IMPATIENT
                && let Ok(more @ 1..) = stream.read(&mut [0; 64])
            {
                read += more;
                thread::sleep(Duration::from_millis(1));
            }
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            assert!(read + rest.len() < 32 << 20, "{read} {}", rest.len());
        });
    }

    #[test]
    fn a_large_answer_is_read_whole() {
        served(Duration::from_secs(60), |address| {
            assert!(answer(address, "/large").len() > 32 << 20);
        });
    }
}
