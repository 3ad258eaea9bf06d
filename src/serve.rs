//! `pipe serve`: a model over HTTP.

use clap::Args;
use pipe::cli::{FolderCommand, Work, arguments};
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
    port: |_| None,
    run: Work::Folder(|folder, matches| arguments::<Serve>(matches).run(folder, matches.get_flag("json"))),
};

#[derive(Args)]
struct Serve {
    /// Address to listen on. There is no authentication: do not expose it to an untrusted network.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS")]
    host: IpAddr,
    /// Port to listen on; 0 means any free port.
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Concurrent requests [default: one per core].
    #[arg(long, value_name = "REQUESTS")]
    workers: Option<usize>,
    /// Requests that may wait in the queue; further ones get status 503.
    #[arg(long, default_value_t = Limits::default().waiting, value_name = "REQUESTS")]
    queue: usize,
    /// Seconds after which a request is ended.
    #[arg(long, default_value_t = Limits::default().request.as_secs(), value_name = "SECONDS")]
    timeout: u64,
}

impl Serve {
    fn run(self, folder: &Path, json: bool) -> Result<()> {
        let limits = Limits::default();
        let limits = Limits {
            workers: self.workers.unwrap_or(limits.workers),
            waiting: self.queue,
            request: Duration::from_secs(self.timeout),
            ..limits
        };
        let server = Server::bind(folder, SocketAddr::new(self.host, self.port), limits)?;
        let address = format!("http://{}", server.address());
        if json {
            pipe::cli::print_json(&serde_json::json!({ "version": 1, "listening": address }));
        }
        pipe::cli::say(&format!("listening on {address}; press Ctrl-C to stop"));
        server.run();
        Ok(())
    }
}
