//! Objects of S3, Google Cloud Storage and Azure, by `object_store`, with its signatures and its repetition of requests.

use crate::address::{Scheme, masked, split_object};
use crate::failure::{Failure, changed, gone};
use crate::http::Head;
use crate::limits::Limits;
use crate::version;
use futures_util::{StreamExt, stream::BoxStream};
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig,
    aws::AmazonS3Builder, azure::MicrosoftAzureBuilder, gcp::GoogleCloudStorageBuilder, path::Path,
};
use pipe_stage::{Error, Result, shown};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// More objects than a listing may have.
const OBJECTS_MAX: usize = 10_000_000;

/// The buckets in use, by scheme and name.
pub(crate) struct Objects {
    limits: Limits,
    buckets: Mutex<BTreeMap<String, Arc<dyn ObjectStore>>>,
}

/// Bytes of an object as they arrive.
pub(crate) type Chunks = BoxStream<'static, object_store::Result<Vec<u8>>>;

/// An object of a listing.
pub(crate) struct Object {
    pub(crate) path: String,
    pub(crate) head: Head,
}

impl Objects {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { limits: limits.clone(), buckets: Mutex::default() }
    }

    /// The store of a bucket such as `s3://bucket`.
    fn bucket(&self, bucket: &str) -> Result<Arc<dyn ObjectStore>> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = buckets.get(bucket) {
            return Ok(store.clone());
        }
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
                let builder = AmazonS3Builder::from_env().with_client_options(options.clone());
                // An endpoint that is named is meant, encrypted or not.
                let is_plain = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
                    .iter()
                    .find_map(|name| std::env::var(name).ok())
                    .is_some_and(|endpoint| endpoint.starts_with("http://"));
                let builder = builder.with_client_options(options.with_allow_http(is_plain));
                builder.with_url(url).with_retry(retry).build().map(|store| Arc::new(store) as _)
            }
            Scheme::Google => {
                let builder = GoogleCloudStorageBuilder::from_env().with_client_options(options);
                builder.with_url(url).with_retry(retry).build().map(|store| Arc::new(store) as _)
            }
            Scheme::Azure => {
                let builder = MicrosoftAzureBuilder::from_env().with_client_options(options);
                builder.with_url(url).with_retry(retry).build().map(|store| Arc::new(store) as _)
            }
            Scheme::Web => return Err(Error::input(format!("`{}` is no bucket", shown(bucket)))),
        };
        let store = made.map_err(|error| {
            Error::input(format!("cannot use `{}`: {}", shown(bucket), masked(&error.to_string())))
                .help(CREDENTIALS)
        })?;
        buckets.insert(bucket.to_owned(), store.clone());
        Ok(store)
    }

    /// Lists the objects below a folder of a bucket, in any order.
    pub(crate) async fn list(&self, bucket: &str, folder: &str) -> Result<Vec<Object>> {
        let store = self.bucket(bucket)?;
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
        Ok(objects)
    }

    /// Asks for size and version of an object.
    pub(crate) async fn head(&self, url: &str) -> Result<Head, Failure> {
        let (bucket, name) = split_object(url);
        let store = self.bucket(bucket).map_err(Failure::Lasting)?;
        let path = path(name).map_err(Failure::Lasting)?;
        let meta = store.head(&path).await.map_err(|error| failure(&error, &shown(url)))?;
        Ok(head_of(&meta))
    }

    /// Asks for an object from byte `at`, in the version that was listed.
    pub(crate) async fn open(&self, url: &str, size: u64, at: u64, listed: &str) -> Result<Chunks, Failure> {
        let (bucket, name) = split_object(url);
        let store = self.bucket(bucket).map_err(Failure::Lasting)?;
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
        let now = version::stated(result.meta.e_tag.as_deref(), None, None);
        if let Some(now) = now.filter(|now| version::etag(listed).is_some() && now != listed) {
            return Err(changed(&shown, &format!("its version was {listed} and is {now}")));
        }
        Ok(result.into_stream().map(|chunk| chunk.map(|chunk| chunk.to_vec())).boxed())
    }
}

/// What to do about missing credentials.
const CREDENTIALS: &str = "credentials come from the environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION` \
    and `AWS_ENDPOINT_URL` (or `AWS_SKIP_SIGNATURE=true` for public buckets), `GOOGLE_APPLICATION_CREDENTIALS`, \
    `AZURE_STORAGE_ACCOUNT_NAME` and `AZURE_STORAGE_ACCOUNT_KEY`";

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
    match error {
        Store::NotFound { .. } => gone(shown),
        Store::Precondition { .. } | Store::NotModified { .. } => {
            changed(shown, "the server has another version")
        }
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => {
            Failure::lasting(format!("the server refuses access to `{shown}`"), CREDENTIALS)
        }
        error => Failure::Lasting(Error::Machine {
            action: format!("read `{shown}`"),
            message: masked(&error.to_string()),
        }),
    }
}
