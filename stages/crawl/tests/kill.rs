//! A crawl whose process is killed, several times, has the pages of one that is not, each once.

mod site;

use flate2::read::MultiGzDecoder;
use pipe_crawl::Crawl;
use pipe_stage::testing::Bench;
use std::{
    collections::BTreeSet,
    env,
    io::Read,
    path::Path,
    process::{Command, ExitCode},
    sync::atomic::Ordering,
    thread,
    time::Duration,
};

const PAGES: usize = 2000;
const KILLS: usize = 4;

/// Set for the process that crawls: the folder of its cache.
const CACHE: &str = "CRAWL_TEST_CACHE";
const SEED: &str = "CRAWL_TEST_SEED";

fn crawl(seed: String) -> Crawl {
    Crawl {
        seeds: vec![seed],
        private_addresses: true,
        delay_seconds: 0.0,
        per_host: 8,
        archive_mib: 1,
        ..Crawl::default()
    }
}

/// Addresses in the archives, in order.
fn pages(cache: &Path, seed: String) -> Vec<String> {
    let bench = Bench::new(cache).unwrap();
    let outcome = bench.run(&crawl(seed), &[]).unwrap();
    let mut pages = Vec::new();
    for entry in bench.open(&bench.output(&outcome, "archives").unwrap()) {
        let mut bytes = Vec::new();
        MultiGzDecoder::new(&entry.bytes().unwrap()[..]).read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        pages.extend(
            text.lines().filter_map(|line| line.strip_prefix("WARC-Target-URI: ")).map(str::to_owned),
        );
    }
    pages
}

fn main() -> ExitCode {
    if let (Some(cache), Ok(seed)) = (env::var_os(CACHE), env::var(SEED)) {
        let bench = Bench::new(Path::new(&cache)).unwrap();
        bench.run(&crawl(seed), &[]).unwrap();
        return ExitCode::SUCCESS;
    }
    let site = site::start(PAGES, false, site::RULES);
    let seed = site.url("/");
    let (killed, undisturbed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for kill in 1..=KILLS {
        let mut child = Command::new(env::current_exe().unwrap())
            .env(CACHE, killed.path())
            .env(SEED, &seed)
            .spawn()
            .unwrap();
        // Every time a fifth of the pages later.
        while site.seen.lock().unwrap().len() < PAGES * kill / (KILLS + 1) {
            assert!(child.try_wait().unwrap().is_none(), "the crawl ended before it was killed");
            thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
    }
    let resumed = pages(killed.path(), seed.clone());
    let requests = site.seen.lock().unwrap().len();
    site.seen.lock().unwrap().clear();
    let whole = pages(undisturbed.path(), seed);

    let set: BTreeSet<&String> = resumed.iter().collect();
    assert_eq!(set.len(), resumed.len(), "each page once");
    assert_eq!(set, whole.iter().collect(), "the pages of an undisturbed crawl");
    assert_eq!(whole.len(), PAGES + 1);
    assert!(site.together_max.load(Ordering::SeqCst) <= 16, "a process and its successor");
    println!("killed {KILLS} times: {requests} requests for {} pages", resumed.len());
    ExitCode::SUCCESS
}
