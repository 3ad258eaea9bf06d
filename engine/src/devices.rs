//! Owns: which devices this machine has, for stages with `backend: auto`. It knows no driver: it runs a probe in a
//! separate process, and caches the result until the program or a driver changes.
//!
//! ```text
//! stamps/devices-PROBE     JSON: {"version": 1, "made_by": DIGEST, "devices": …}
//! ```

use crate::{machine, sources};
use pipe_stage::{Devices, Digest, Probe};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::Read,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A driver that takes longer than this counts as broken.
const PROBE_TIME_MAX: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Files that drivers install; a new driver version changes them.
const DRIVERS: [&str; 8] = [
    "/proc/driver/nvidia/version",
    "/dev/dri",
    "/dev/nvidiactl",
    "/dev/nvidia0",
    "/usr/share/vulkan/icd.d",
    "/etc/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
    "/usr/local/cuda",
];
/// Variables that select the devices that drivers show.
const VARIABLES: [&str; 5] = [
    "CUDA_VISIBLE_DEVICES",
    "VK_DRIVER_FILES",
    "VK_ICD_FILENAMES",
    "CUBECL_WGPU_DEFAULT_DEVICE",
    "LD_LIBRARY_PATH",
];

#[derive(Serialize, Deserialize)]
struct Remembered {
    version: u32,
    made_by: Digest,
    devices: Devices,
}

/// Runs a probe, or returns its cached result; an error says why there is none.
pub fn find(probe: &Probe, cache: &Path) -> Result<Devices, String> {
    let memory = sources::stamps(cache).join(format!("devices-{}", probe.name));
    let made_by = circumstances();
    let remembered =
        fs::read(&memory).ok().and_then(|bytes| serde_json::from_slice::<Remembered>(&bytes).ok());
    if let Some(known) = remembered.filter(|known| known.version == 1 && known.made_by == made_by) {
        return Ok(known.devices);
    }
    let devices = ask(probe)?;
    let text = serde_json::to_vec(&Remembered { version: 1, made_by, devices: devices.clone() });
    // Without the cache file the probe runs again; this is no reason to fail.
    let _ = text.map_err(std::io::Error::from).and_then(|text| sources::replace(&memory, &text));
    Ok(devices)
}

/// Digest of everything that a result depends on: program, drivers, variables, machine.
fn circumstances() -> Digest {
    let stamp = |path: &Path| match fs::metadata(path) {
        Ok(data) => format!("{} {} {}.{}", path.display(), data.len(), data.mtime(), data.mtime_nsec()),
        Err(_) => format!("{} -", path.display()),
    };
    let program = machine::program_file().map(|program| stamp(&program)).unwrap_or_default();
    let drivers = DRIVERS.map(|path| {
        let text = fs::read(path).map(|bytes| Digest::of(&bytes).to_string());
        format!("{} {}", stamp(Path::new(path)), text.unwrap_or_default())
    });
    let variables = VARIABLES.map(|name| format!("{name}={:?}", std::env::var_os(name)));
    let text = [sources::machine(), program, drivers.join("\n"), variables.join("\n")].join("\n");
    Digest::of(text.as_bytes())
}

fn ask(probe: &Probe) -> Result<Devices, String> {
    // Also where another build has taken its place since.
    let program = machine::program().map_err(|error| format!("cannot find this program: {error}"))?;
    let mut child = Command::new(program)
        .arg0(machine::program_name())
        .args(["worker", "--probe", probe.name])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot start the device probe: {error}"))?;
    let mut out = child.stdout.take().expect("invariant: stdout is piped");
    let reader = std::thread::Builder::new().spawn(move || {
        let mut text = Vec::new();
        let read = out.by_ref().take(ANSWER_BYTES_MAX).read_to_end(&mut text);
        read.map(|_| text)
    });
    let reader = match reader {
        Ok(reader) => reader,
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("cannot start threads: {error}"));
        }
    };
    let started = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|error| format!("cannot wait for the device probe: {error}"))? {
            Some(status) => break status,
            None if started.elapsed() > PROBE_TIME_MAX => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("the device probe did not answer within {PROBE_TIME_MAX:?}"));
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let text = reader.join().ok().and_then(Result::ok).unwrap_or_default();
    match serde_json::from_slice(&text) {
        Ok(devices) if status.success() => Ok(devices),
        _ => Err(format!("the device probe crashed ({status}): a driver may be broken")),
    }
}
