//! Owns: what is answered: `POST /generate` and `GET /health`.

use crate::Limits;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRequest, Request, State, rejection::JsonRejection},
    http::{StatusCode, Uri},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use pipe_model::{Generator, Options};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;

/// What a client asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Prompt {
    /// The text to continue.
    text: String,
    #[serde(default = "tokens")]
    max_tokens: usize,
    #[serde(default = "temperature")]
    temperature: f64,
    #[serde(default)]
    top_k: usize,
    #[serde(default = "top_p")]
    top_p: f64,
    #[serde(default)]
    seed: u64,
}

fn tokens() -> usize {
    50
}

fn temperature() -> f64 {
    Options::default().temperature
}

fn top_p() -> f64 {
    Options::default().top_p
}

/// What it gets.
#[derive(Debug, Serialize)]
struct Generated {
    /// The new text alone, without the prompt.
    generated: String,
}

/// Why it gets nothing.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

/// The model, and who may use it.
struct Service {
    generator: Generator,
    /// Time for a body.
    body: Duration,
    /// Threads that generate.
    workers: Semaphore,
    /// These, and those who wait for them.
    places: Semaphore,
}

pub(crate) fn router(generator: Generator, limits: &Limits) -> Router {
    let workers = limits.workers.max(1);
    let service = Service {
        generator,
        body: limits.body,
        workers: Semaphore::new(workers),
        places: Semaphore::new(workers + limits.waiting),
    };
    let time = limits.request;
    let in_time = move |request: Request, next: Next| async move {
        let late = |_| Refusal(StatusCode::REQUEST_TIMEOUT, format!("not done within {time:?}"));
        tokio::time::timeout(time, next.run(request)).await.map_err(late)
    };
    let nowhere =
        || async { Refusal(StatusCode::NOT_FOUND, "there is POST /generate and GET /health".into()) };
    let otherwise = |uri: Uri| async move {
        let method = if uri.path() == "/generate" { "POST" } else { "GET" };
        Refusal(StatusCode::METHOD_NOT_ALLOWED, format!("`{}` takes {method}", uri.path()))
    };
    Router::new()
        .route("/generate", post(generate))
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .method_not_allowed_fallback(otherwise)
        .fallback(nowhere)
        .layer(DefaultBodyLimit::max(limits.body_bytes))
        .layer(from_fn(in_time))
        .with_state(Arc::new(service))
}

async fn generate(State(service): State<Arc<Service>>, request: Request) -> Result<Json<Generated>, Refusal> {
    let Json(prompt) = read(request, service.body).await?;
    let options = Options {
        tokens_max: prompt.max_tokens,
        temperature: prompt.temperature,
        top_k: prompt.top_k,
        top_p: prompt.top_p,
        seed: prompt.seed,
    };
    let bad = |error: pipe_stage::Error| Refusal(StatusCode::BAD_REQUEST, error.to_string());
    options.check().map_err(bad)?;
    let full =
        |_| Refusal(StatusCode::SERVICE_UNAVAILABLE, "too many requests are waiting; try again".into());
    let place = service.places.try_acquire().map_err(full)?;
    let turn = service.workers.acquire().await.expect("invariant: never closed");
    // Dropped with this future: by an answer, by the time limit, or by a client that has gone.
    let wanted = Wanted(Arc::new(AtomicBool::new(true)));
    let (theirs, work) = (Arc::clone(&wanted.0), Arc::clone(&service));
    let made = tokio::task::spawn_blocking(move || {
        work.generator.generate(&prompt.text, &options, || theirs.load(Ordering::Relaxed))
    });
    let made = made.await;
    drop((turn, place));
    match made {
        Ok(made) => made.map(|generated| Json(Generated { generated })).map_err(bad),
        Err(_) => Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the model panicked; see the log".into())),
    }
}

/// The body of a request, which has to arrive in time.
async fn read(request: Request, time: Duration) -> Result<Json<Prompt>, Refusal> {
    let late = |_| Refusal(StatusCode::REQUEST_TIMEOUT, format!("the body did not arrive within {time:?}"));
    let read = tokio::time::timeout(time, Json::from_request(request, &())).await.map_err(late)?;
    read.map_err(|bad| {
        let message = match &bad {
            JsonRejection::MissingJsonContentType(_) => {
                "set the header `Content-Type: application/json`".into()
            }
            bad => bad.body_text(),
        };
        Refusal(bad.status(), message)
    })
}

struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::TcpStream,
    };

    #[test]
    fn a_body_that_does_not_arrive_is_an_answer_with_408() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let prompt = |request| async { read(request, Duration::from_millis(100)).await.map(|_| ()) };
        let router = Router::new().route("/generate", post(prompt));
        runtime.spawn(async move {
            crate::connections::serve(listener, router, &Limits::default()).await;
        });

        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let request = "POST /generate HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n\
                       content-length: 100\r\n\r\n{";
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer, and the end of the connection");
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("did not arrive"), "{answer}");
    }
}
