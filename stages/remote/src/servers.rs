//! The interface of the package: listing and opening.

use crate::address::{Address, Scheme, file_name, glob, is_pattern, masked};
use crate::http::{Head, Http, repeated};
use crate::hub::{Hub, Wanted};
use crate::limits::{Limits, Pacer};
use crate::list::{self, Line};
use crate::objects::Objects;
use crate::reader::Reader;
use futures_util::{StreamExt, TryStreamExt, stream};
use pipe_stage::{
    Digest, Error, Listing, Remote, RemoteFile, RemoteRoot, Remotes, Result, Stop, files, shown,
};
use std::{
    io::Read,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, OnceLock},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::Semaphore,
};

/// Where data sets are by default.
const HUB: &str = "https://huggingface.co";

/// Access to files on servers. Nothing is connected before the first request.
pub struct Servers {
    settings: fn() -> Result<Settings>,
    shared: OnceLock<Result<Arc<Shared>>>,
}

/// What the environment says.
struct Settings {
    limits: Limits,
    /// Without `/` at its end.
    hub: String,
    token: Option<String>,
    /// Those of the object stores.
    variables: Vec<(String, String)>,
}

/// What all requests of a process share.
pub(crate) struct Shared {
    pub(crate) runtime: Runtime,
    pub(crate) limits: Limits,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) pacer: Pacer,
    pub(crate) http: Http,
    pub(crate) objects: Objects,
    hub: String,
}

impl Servers {
    /// With limits and credentials from the environment of the process: see [`Limits::of_variables`], `HF_ENDPOINT` and
    /// `HF_TOKEN`, and the variables of the object stores.
    pub const fn of_environment() -> Self {
        Self { settings, shared: OnceLock::new() }
    }

    /// With these limits, this hub and its token, and without credentials for object stores.
    ///
    /// # Errors
    /// If the system gives no threads or no root certificates.
    pub fn new(limits: Limits, hub: &str, token: Option<String>) -> Result<Self> {
        Self::with_variables(limits, hub, token, &[])
    }

    /// As [`Self::new`], with variables of object stores, such as `AWS_ENDPOINT_URL`.
    ///
    /// # Errors
    /// If the system gives no threads or no root certificates.
    pub fn with_variables(
        limits: Limits,
        hub: &str,
        token: Option<String>,
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        let hub = hub.trim_end_matches('/').to_owned();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = Settings { limits, hub, token, variables: variables.collect() };
        let shared = OnceLock::from(Ok(Shared::new(settings)?));
        Ok(Self { settings: self::settings, shared })
    }

    fn shared(&self) -> Result<Arc<Shared>> {
        self.shared.get_or_init(|| Shared::new((self.settings)()?)).clone()
    }
}

fn settings() -> Result<Settings> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let hub = variable("HF_ENDPOINT").unwrap_or_else(|| HUB.to_owned());
    let token = variable("HF_TOKEN").map(|token| token.trim().to_owned());
    let hub = hub.trim_end_matches('/').to_owned();
    let variables = std::env::vars_os();
    let variables =
        variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok(Settings { limits: Limits::of_variables(variable)?, hub, token, variables: variables.collect() })
}

impl Shared {
    fn new(settings: Settings) -> Result<Arc<Self>> {
        let Settings { limits, hub, token, variables } = settings;
        let runtime =
            Builder::new_multi_thread().worker_threads(2).thread_name("remote").enable_all().build();
        let runtime = runtime.map_err(|error| Error::Machine {
            action: "start threads".to_owned(),
            message: error.to_string(),
        })?;
        Ok(Arc::new(Self {
            runtime,
            permits: Arc::new(Semaphore::new(limits.concurrency)),
            pacer: Pacer::new(limits.bandwidth),
            http: Http::new(&limits)?.with_token(&hub, token),
            objects: Objects::new(&limits, variables),
            limits,
            hub,
        }))
    }

    /// Runs requests to their end. A panic of a library is an error.
    pub(crate) fn run<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        catch_unwind(AssertUnwindSafe(|| self.runtime.block_on(work))).unwrap_or_else(|panic| {
            let told = panic.downcast_ref::<String>().map(String::as_str);
            let told = told.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message");
            Err(Error::Panic { message: format!("a request to a server panicked: {}", masked(told)) })
        })
    }

    async fn head(&self, url: &str) -> Result<Head> {
        let _permit = self.permits.acquire().await;
        match Scheme::of(url)? {
            Scheme::Web => repeated(&self.limits, &shown(url), async || self.http.head(url).await).await,
            _ => self.objects.head(url).await.map_err(|failure| failure.into_error(&shown(url))),
        }
    }

    async fn of_url(&self, url: &str) -> Result<Listing> {
        let address = match Scheme::of(url)? {
            Scheme::Web => {
                if is_pattern(url.split('?').next().unwrap_or_default()) {
                    let message = format!("`{}` has wildcards, but web servers list no files", shown(url));
                    return Err(Error::input(message).help("name the files in a list, with `paths`"));
                }
                return self.one(url, file_name(url)).await;
            }
            _ => Address::new(url)?,
        };
        if !address.has_pattern() {
            return self.one(url, address.rest).await;
        }
        let matcher = glob(&address.rest)?;
        let prefix = if address.folder.is_empty() { String::new() } else { format!("{}/", address.folder) };
        let mut files = Vec::new();
        let (objects, odd) = self.objects.list(&address.bucket, &address.folder).await?;
        // Of all listings of the bucket so far.
        let odd = odd.iter().filter_map(|key| key.strip_prefix(&prefix)).find(|name| matcher.is_match(name));
        if let Some(name) = odd {
            let message = format!("`{}` matches {name:?}, which is no path of a file", shown(url));
            return Err(Error::input(message).help(
                "narrow the pattern, or rename the object: empty parts, `.`, `..` and control characters cannot be read",
            ));
        }
        for object in objects {
            if let Some(name) = object.path.strip_prefix(&prefix).filter(|name| matcher.is_match(name)) {
                let url = address.object(&object.path);
                files.push(file(name.to_owned(), url, object.head));
            }
        }
        if files.is_empty() {
            let message = format!("no object matches `{}`", shown(url));
            return Err(Error::input(message).help("`*` matches within a folder, `**` matches any folders"));
        }
        Ok(several(files))
    }

    async fn one(&self, url: &str, name: String) -> Result<Listing> {
        if name.is_empty() {
            return Err(Error::input(format!("`{}` names no file", shown(url))));
        }
        let head = self.head(url).await?;
        Ok(Listing {
            revision: head.version.replace(' ', "_"),
            files: vec![file(name, url.to_owned(), head)],
        })
    }

    async fn of_list(self: &Arc<Self>, list: &str, base: &str, hash_max: Option<u64>) -> Result<Listing> {
        let bytes = self.list_bytes(list).await?;
        let lines = list::lines(list, &bytes, base, hash_max)?;
        let heads = lines.into_iter().map(async |Line { name, url }| {
            let head = self.head(&url).await?;
            Ok::<_, Error>(file(name, url, head))
        });
        let files = stream::iter(heads).buffered(self.limits.concurrency).try_collect().await?;
        Ok(several(files))
    }

    /// Reads a list of files.
    async fn list_bytes(self: &Arc<Self>, list: &str) -> Result<Vec<u8>> {
        match Scheme::of(list) {
            Err(_) if list.contains("://") => Scheme::of(list).map(|_| Vec::new()),
            Err(_) => local_list(list),
            Ok(Scheme::Web) => {
                let page = async || self.http.page(list, list::BYTES_MAX).await;
                Ok(repeated(&self.limits, &shown(list), page).await?.bytes)
            }
            Ok(_) => {
                let Head { size, version } = self.head(list).await?;
                if size > list::BYTES_MAX as u64 {
                    return Err(Error::input(format!("the list `{}` is too large", shown(list))));
                }
                let remote = Remote { url: list.to_owned(), version, license: String::new() };
                Reader::new(self.clone(), &remote, size, 0, &Stop::default()).whole().await
            }
        }
    }
}

/// A name, in quotes where it could be taken for more than one.
fn quoted(name: &str) -> String {
    let is_plain = name.chars().all(|c| c.is_alphanumeric() || "._-+/".contains(c));
    if is_plain { name.to_owned() } else { format!("{name:?}") }
}

fn local_list(list: &str) -> Result<Vec<u8>> {
    files::read(Path::new(list), list::BYTES_MAX as u64).map_err(|error| {
        Error::input(format!("cannot read the list `{list}`: {error}"))
            .help("its path is relative to the project; it may also be a URL")
    })
}

fn file(name: String, url: String, head: Head) -> RemoteFile {
    RemoteFile {
        name,
        size: head.size,
        remote: Remote { url, version: head.version, license: String::new() },
    }
}

fn several(mut files: Vec<RemoteFile>) -> Listing {
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let counted = if files.len() == 1 { "1 file".to_owned() } else { format!("{} files", files.len()) };
    Listing { revision: counted, files }
}

impl Remotes for Servers {
    fn pin_name(&self, root: &RemoteRoot) -> Result<String> {
        // What is not shown still tells two addresses apart.
        let named = |url: &str| match shown(url) {
            plain if plain == url => plain,
            plain => format!("{plain}#{}", Digest::of(url.as_bytes()).short()),
        };
        Ok(match root {
            RemoteRoot::Url { url } => named(url),
            RemoteRoot::List { list, base, hash_max } => {
                // A list on this machine says itself which files are meant.
                let list = match list.contains("://") {
                    true => named(list),
                    false => {
                        let name = Path::new(list).file_name().unwrap_or_default().to_string_lossy();
                        format!("{name}#{}", Digest::of(&local_list(list)?).short())
                    }
                };
                let sample = hash_max.map(|max| format!(" up to {max:016x}")).unwrap_or_default();
                format!("{list} at {}{sample}", named(base))
            }
            RemoteRoot::Dataset { repo, config, split, revision } => {
                let at = if revision.is_empty() { String::new() } else { format!("@{revision}") };
                // No configuration is not the one with the name `default`: the card says which one it is.
                let config =
                    if config.is_empty() { String::new() } else { format!("config {}, ", quoted(config)) };
                format!("hf:{repo}{at} {config}split {}", quoted(split))
            }
        })
    }

    fn list(&self, root: &RemoteRoot, pinned: Option<&str>) -> Result<Listing> {
        let shared = self.shared()?;
        shared.run(async {
            match root {
                RemoteRoot::Url { url } => shared.of_url(url).await,
                RemoteRoot::List { list, base, hash_max } => shared.of_list(list, base, *hash_max).await,
                RemoteRoot::Dataset { repo, config, split, revision } => {
                    let hub = Hub { endpoint: &shared.hub, http: &shared.http, limits: &shared.limits };
                    hub.list(Wanted { repo, config, split, revision }, pinned).await
                }
            }
        })
    }

    fn open(&self, remote: &Remote, size: u64, at: u64, stop: &Stop) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(Reader::new(self.shared()?, remote, size, at, stop)))
    }
}
