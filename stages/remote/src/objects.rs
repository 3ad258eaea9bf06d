//! Objects of S3, Google Cloud Storage and Azure, by `object_store`, with its signatures and its repetition of requests.

use crate::address::{Scheme, masked, split_object};
use crate::failure::{Failure, as_named, changed, gone, same_version};
use crate::http::Head;
use crate::limits::Limits;
use crate::listing::{Connector, OddKeys};
use crate::version;
use futures_util::{StreamExt, stream::BoxStream};
use object_store::{
    Attribute, BackoffConfig, ClientOptions, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt,
    RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder,
    path::Path,
};
use pipe_stage::{Error, Result, shown};
use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use url::Url;

/// More objects than a listing may have.
const OBJECTS_MAX: usize = 10_000_000;

/// The buckets in use, by scheme and name.
pub(crate) struct Objects {
    limits: Limits,
    /// Of the environment, without those that are empty.
    variables: Vec<(String, String)>,
    buckets: Mutex<BTreeMap<String, Bucket>>,
}

/// A bucket, and the keys of its listings that cannot be read.
#[derive(Clone)]
struct Bucket {
    store: Arc<dyn ObjectStore>,
    odd: OddKeys,
}

/// Bytes of an object as they arrive.
pub(crate) type Chunks = BoxStream<'static, object_store::Result<Vec<u8>>>;

/// An object of a listing.
pub(crate) struct Object {
    pub(crate) path: String,
    pub(crate) head: Head,
}

impl Objects {
    pub(crate) fn new(limits: &Limits, variables: Vec<(String, String)>) -> Self {
        let mut variables = variables;
        variables.retain(|(_, value)| !value.trim().is_empty());
        Self { limits: limits.clone(), variables, buckets: Mutex::default() }
    }

    /// The settings that the variables with a prefix contain.
    ///
    /// # Errors
    /// If one cannot be part of a request, which the libraries below do not expect.
    fn settings<K: FromStr>(&self, prefix: &str) -> Result<Vec<(K, String)>> {
        let of_prefix = self.variables.iter().filter(|(name, _)| name.starts_with(prefix));
        of_prefix
            .filter_map(|(name, value)| Some((name, name.to_ascii_lowercase().parse().ok()?, value.trim())))
            .map(|(name, key, value)| Ok((key, checked(name, value)?.to_owned())))
            .collect()
    }

    /// The store of a bucket such as `s3://bucket`.
    fn bucket(&self, bucket: &str) -> Result<Bucket> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = buckets.get(bucket) {
            return Ok(known.clone());
        }
        let odd = OddKeys::default();
        let connector = Connector { odd: odd.clone() };
        let options = ClientOptions::new()
            .with_connect_timeout(self.limits.stall)
            .with_read_timeout(self.limits.stall)
            .with_timeout_disabled();
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: self.limits.pause,
                max_backoff: self.limits.pause_max.min(Duration::from_secs(30)),
                base: 2.0,
            },
            max_retries: self.limits.attempts as usize - 1,
            retry_timeout: Duration::from_secs(240),
        };
        let url = format!("{bucket}/");
        let made: object_store::Result<Arc<dyn ObjectStore>> = match Scheme::of(bucket)? {
            Scheme::S3 => {
                let settings = self.settings("AWS_")?;
                // An endpoint that is named is meant, encrypted or not.
                let is_plain = settings.iter().any(|(key, value)| {
                    matches!(key, AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint)
                        && value.starts_with("http://")
                });
                let options = if is_plain { options.with_allow_http(true) } else { options };
                let builder =
                    AmazonS3Builder::new().with_http_connector(connector).with_client_options(options);
                let builder = settings
                    .into_iter()
                    .fold(builder, |builder, (key, value)| builder.with_config(key, value));
                builder.with_url(url).with_retry(retry).build().map(|store| Arc::new(store) as _)
            }
            Scheme::Google => {
                let builder = GoogleCloudStorageBuilder::new()
                    .with_http_connector(connector)
                    .with_client_options(options);
                let builder = self
                    .settings("GOOGLE_")?
                    .into_iter()
                    .fold(builder, |builder, (key, value)| builder.with_config(key, value));
                builder.with_url(url).with_retry(retry).build().map(|store| Arc::new(store) as _)
            }
            Scheme::Azure => {
                let builder =
                    MicrosoftAzureBuilder::new().with_http_connector(connector).with_client_options(options);
                let builder = self
                    .settings("AZURE_")?
                    .into_iter()
                    .fold(builder, |builder, (key, value)| builder.with_config(key, value));
                let identity = self.variables.iter().find(|(name, _)| name == "IDENTITY_ENDPOINT");
                let builder = match identity {
                    Some((name, value)) => builder.with_msi_endpoint(checked(name, value.trim())?),
                    None => builder,
                };
                builder.with_url(url).with_retry(retry).build().map(|store| Arc::new(store) as _)
            }
            Scheme::Web => return Err(Error::input(format!("`{}` is no bucket", shown(bucket)))),
        };
        let store = made.map_err(|error| {
            Error::input(format!("cannot use `{}`: {}", shown(bucket), masked(&error.to_string())))
                .help(CREDENTIALS)
        })?;
        let made = Bucket { store, odd };
        buckets.insert(bucket.to_owned(), made.clone());
        Ok(made)
    }

    /// Lists the objects below a folder of a bucket, in any order, and the keys that cannot be read.
    pub(crate) async fn list(&self, bucket: &str, folder: &str) -> Result<(Vec<Object>, BTreeSet<String>)> {
        let Bucket { store, odd } = self.bucket(bucket)?;
        let prefix = path(folder)?;
        let mut listed = store.list((!folder.is_empty()).then_some(&prefix));
        let mut objects = Vec::new();
        let place = format!("{bucket}/{folder}");
        while let Some(object) = listed.next().await {
            let meta = object.map_err(|error| failure(&error, &shown(&place)).into_error(&shown(&place)))?;
            let head = head_of(&meta);
            objects.push(Object { path: meta.location.into(), head });
            if objects.len() > OBJECTS_MAX {
                return Err(Error::input(format!("more than {OBJECTS_MAX} objects below `{place}`")));
            }
        }
        Ok((objects, odd.lock().unwrap_or_else(PoisonError::into_inner).clone()))
    }

    /// Asks for size and version of an object.
    pub(crate) async fn head(&self, url: &str) -> Result<Head, Failure> {
        let (bucket, name) = split_object(url);
        let Bucket { store, .. } = self.bucket(bucket).map_err(Failure::Lasting)?;
        let path = path(name).map_err(Failure::Lasting)?;
        let meta = store.head(&path).await.map_err(|error| failure(&error, &shown(url)))?;
        Ok(head_of(&meta))
    }

    /// Asks for an object from byte `at`, in the version that was listed.
    pub(crate) async fn open(&self, url: &str, size: u64, at: u64, listed: &str) -> Result<Chunks, Failure> {
        let (bucket, name) = split_object(url);
        let Bucket { store, .. } = self.bucket(bucket).map_err(Failure::Lasting)?;
        let path = path(name).map_err(Failure::Lasting)?;
        let options = GetOptions {
            range: (at > 0).then_some(GetRange::Offset(at)),
            if_match: version::strong_etag(listed).map(str::to_owned),
            version: version::object(listed).map(str::to_owned),
            ..GetOptions::default()
        };
        let shown = shown(url);
        let result = store.get_opts(&path, options).await.map_err(|error| failure(&error, &shown))?;
        if result.meta.size != size {
            return Err(changed(&shown, &format!("it had {size} bytes and has {}", result.meta.size)));
        }
        let modified = result.meta.last_modified.to_rfc3339();
        same_version(&shown, listed, result.meta.e_tag.as_deref(), Some(&modified))?;
        as_named(url, result.attributes.get(&Attribute::ContentEncoding).map(|value| value.as_ref()))?;
        Ok(result.into_stream().map(|chunk| chunk.map(|chunk| chunk.to_vec())).boxed())
    }
}

/// What to do about missing credentials.
const CREDENTIALS: &str = "credentials come from the environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION` \
    and `AWS_ENDPOINT_URL` (or `AWS_SKIP_SIGNATURE=true` for public buckets), `GOOGLE_APPLICATION_CREDENTIALS`, \
    `AZURE_STORAGE_ACCOUNT_NAME` and `AZURE_STORAGE_ACCOUNT_KEY`";

/// The value of a variable, if it can be part of a request: an address of a server, or what a header may hold.
fn checked<'a>(name: &str, value: &'a str) -> Result<&'a str> {
    // No value is shown: it may be a secret.
    let fault =
        |what: &str, help: &str| Err(Error::input(format!("the variable `{name}` {what}")).help(help));
    // JSON may have lines.
    if value.contains(char::is_control) && !name.ends_with("SERVICE_ACCOUNT_KEY") {
        return fault("has a line break or another control character", "set it without");
    }
    let is_address = name.contains("ENDPOINT") || name.ends_with("_URL");
    if is_address && !name.contains("_USE_") {
        let is_server = Url::parse(value).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.has_host() && value.contains("://")
        });
        if !is_server || value.contains(char::is_whitespace) {
            return fault(
                "is no address of a server",
                "set it to an address such as `http://localhost:9000`",
            );
        }
    }
    Ok(value)
}

fn path(name: &str) -> Result<Path> {
    Path::parse(name).map_err(|error| Error::input(format!("`{name}` is no path of an object: {error}")))
}

fn head_of(meta: &ObjectMeta) -> Head {
    let modified = meta.last_modified.to_rfc3339();
    let version = version::stated(meta.e_tag.as_deref(), meta.version.as_deref(), Some(&modified));
    Head { size: meta.size, version: version.unwrap_or_default() }
}

/// The failure of a request that `object_store` has repeated already.
pub(crate) fn failure(error: &object_store::Error, shown: &str) -> Failure {
    use object_store::Error as Store;
    let refused = || Failure::lasting(format!("the server refuses access to `{shown}`"), CREDENTIALS);
    match error {
        Store::NotFound { .. } => gone(shown),
        Store::Precondition { .. } | Store::NotModified { .. } => {
            changed(shown, "the server has another version")
        }
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => refused(),
        error => {
            let told = masked(&error.to_string());
            if MISSING_BUCKETS.iter().any(|code| told.contains(code)) {
                return Failure::lasting(
                    format!("there is no bucket of `{shown}`"),
                    "correct the address, or the server in `AWS_ENDPOINT_URL`",
                );
            }
            // Of requests for listings, the library tells no kinds of failures apart.
            if REFUSALS.iter().any(|status| told.contains(status)) {
                return refused();
            }
            // Without credentials, those of a machine in the cloud are looked for, at an address or a name that only
            // these have.
            if METADATA.iter().any(|place| told.contains(place)) {
                return Failure::lasting(format!("there are no credentials for `{shown}`"), CREDENTIALS);
            }
            Failure::Lasting(Error::Machine { action: format!("read `{shown}`"), message: brief(&told) })
        }
    }
}

/// Codes of answers of S3 and Google Cloud Storage, and of Azure.
const MISSING_BUCKETS: [&str; 2] = ["<Code>NoSuchBucket</Code>", "<Code>ContainerNotFound</Code>"];

/// How the library writes the statuses 401 and 403.
const REFUSALS: [&str; 2] = ["status code: 401 ", "status code: 403 "];

/// Where machines in the cloud find credentials.
const METADATA: [&str; 2] = ["169.254.", "metadata.google.internal"];

/// The text of an error without the pages of XML or HTML that servers add.
fn brief(told: &str) -> String {
    let plain = told.split(['<', '\n']).next().unwrap_or_default().trim_end_matches([':', ' ']);
    let message = told.split_once("<Message>").and_then(|(_, rest)| rest.split_once("</Message>"));
    match message {
        Some((message, _)) => format!("{plain}: {message}"),
        None => plain.to_owned(),
    }
}
