//! Owns: the resources of this machine: cores, memory, GPUs, disk; limits of control groups apply.

use crate::record::Machine;
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// Number of cores that this process may use.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Bytes of memory that this process may use: the machine's memory, or the limit of its control group if lower.
pub fn memory() -> u64 {
    let physical = physical_memory();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let read = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let limits = [
        read(&format!("/sys/fs/cgroup/{own}/memory.max")),
        read("/sys/fs/cgroup/memory.max"),
        read("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ];
    limits.into_iter().flatten().fold(physical, u64::min)
}

#[cfg(target_os = "linux")]
fn physical_memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram as u64 * u64::from(info.mem_unit)
}

#[cfg(not(target_os = "linux"))]
fn physical_memory() -> u64 {
    use std::process::Command;
    let told = Command::new("sysctl").args(["-n", "hw.memsize"]).output().ok();
    let told = told.and_then(|told| String::from_utf8(told.stdout).ok());
    told.and_then(|told| told.trim().parse().ok()).unwrap_or(u64::MAX)
}

/// NVIDIA GPUs that this process may use, by the names used in `CUDA_VISIBLE_DEVICES`.
pub fn gpus() -> Vec<String> {
    if let Ok(visible) = std::env::var("CUDA_VISIBLE_DEVICES") {
        let names = visible.split(',').map(str::trim);
        return names.filter(|name| !name.is_empty() && *name != "-1").map(str::to_owned).collect();
    }
    let listed = fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, Iterator::count);
    (0..listed).map(|gpu| gpu.to_string()).collect()
}

/// Free bytes on the file system of a path.
pub fn disk_free(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|path| path.exists())?;
    rustix::fs::statvfs(there).ok().map(|stat| stat.f_bavail * stat.f_frsize)
}

/// The executable file of this process, even if another file has replaced it since.
pub fn program() -> io::Result<PathBuf> {
    const SELF: &str = "/proc/self/exe";
    if cfg!(target_os = "linux") && Path::new(SELF).exists() {
        return Ok(PathBuf::from(SELF));
    }
    std::env::current_exe()
}

/// The same by its own path, as long as that file is this program.
pub fn program_file() -> io::Result<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let id = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    let own = program()?;
    match std::env::current_exe() {
        Ok(path) if id(&path).ok() == Some(id(&own)?) => Ok(path),
        _ => Ok(own),
    }
}

/// Name of processes of this program in process listings.
pub fn program_name() -> OsString {
    std::env::current_exe().map_or_else(|_| OsString::from("pipe"), PathBuf::into_os_string)
}

/// Describes this machine for records.
pub fn describe() -> Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    let machine = MACHINE.get_or_init(|| Machine {
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        cpus: cpus(),
        memory: memory(),
    });
    machine.clone()
}

/// Number of processes that the system has killed for lack of memory, on this machine and in this control group.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct OomCount(u64);

impl OomCount {
    /// The current count.
    pub fn now() -> Self {
        let count = |text: String| {
            let line = text.lines().find_map(|line| line.strip_prefix("oom_kill ").map(str::to_owned));
            line.and_then(|number| number.trim().parse::<u64>().ok())
        };
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default().to_owned();
        let files = [format!("/sys/fs/cgroup/{own}/memory.events"), "/proc/vmstat".to_owned()];
        Self(files.iter().filter_map(|path| fs::read_to_string(path).ok().and_then(count)).sum())
    }
}
