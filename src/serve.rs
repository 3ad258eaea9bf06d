//! `pipe serve`: a model over HTTP.

use clap::Args;
use pipe::cli::{FolderCommand, arguments};
use pipe_serve::{Limits, Server};
use pipe_stage::Result;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

pub(crate) const COMMAND: FolderCommand = FolderCommand {
    name: "serve",
    kind: "model",
    arguments: |command| {
        let command = command.about("Serve a trained language model over HTTP: POST /generate, GET /health");
        Serve::augment_args(command).after_help(
            "Example: pipe serve pipelines/gpt-small.yaml export --port 8000\n         \
             curl localhost:8000/generate --json '{\"text\": \"A trait is\"}'",
        )
    },
    run: |folder, matches| arguments::<Serve>(matches).run(folder),
};

#[derive(Args)]
struct Serve {
    /// Address to listen on; nobody is asked who they are, so think before you open it to a network.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS")]
    host: IpAddr,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Requests at work at once [default: one for each core].
    #[arg(long, value_name = "REQUESTS")]
    workers: Option<usize>,
    /// Requests that wait for their turn; more get 503.
    #[arg(long, default_value_t = Limits::default().waiting, value_name = "REQUESTS")]
    waiting: usize,
    /// Seconds that a request may take.
    #[arg(long, default_value_t = Limits::default().request.as_secs(), value_name = "SECONDS")]
    timeout: u64,
}

impl Serve {
    fn run(self, folder: &Path) -> Result<()> {
        let limits = Limits::default();
        let limits = Limits {
            workers: self.workers.unwrap_or(limits.workers),
            waiting: self.waiting,
            request: Duration::from_secs(self.timeout),
            ..limits
        };
        let server = Server::bind(folder, SocketAddr::new(self.host, self.port), limits)?;
        eprintln!("listening on http://{}; Ctrl-C ends it", server.address());
        server.run();
        Ok(())
    }
}
