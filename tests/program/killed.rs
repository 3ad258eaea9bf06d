//! Kill -9 at random moments: the next run goes on and makes the same bytes, and nothing is left over.

use crate::project::{Engine, Project, STAGES, send};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

/// Moments for each way to kill.
const MOMENTS: u64 = 20;
/// Runs that are disturbed at the same time.
const AT_ONCE: u64 = 4;
/// Each command takes a while, so that there are moments at which it runs.
const SLOW: &str = "sleep 0.04;";

#[test]
fn the_engine_may_be_killed() {
    kill_at_moments(1, |engine, _| engine.signal(Signal::KILL));
}

#[test]
fn the_process_group_of_the_engine_may_be_killed() {
    kill_at_moments(2, |engine, _| engine.signal_group(Signal::KILL));
}

#[test]
fn every_process_may_be_killed() {
    kill_at_moments(3, |engine, project| {
        engine.signal_group(Signal::KILL);
        // Those that were started meanwhile, too.
        for _ in 0..3 {
            project.processes().into_iter().for_each(|pid| send(pid, Signal::KILL));
        }
    });
}

#[test]
fn the_engine_may_be_killed_with_its_workers() {
    kill_at_moments(4, |engine, project| {
        engine.signal(Signal::STOP);
        let is_worker = |pid: &i32| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.split(|byte| *byte == 0).nth(1) == Some(b"worker")
        };
        project.processes().into_iter().filter(is_worker).for_each(|pid| send(pid, Signal::KILL));
        engine.signal(Signal::KILL);
    });
}

#[test]
fn killed_again_and_again_it_gets_to_the_end() {
    let project = Project::letters(SLOW);
    let mut moments = Moments(5);
    let mut killed = 0;
    loop {
        let engine = project.start(&[]);
        thread::sleep(moments.next(Duration::from_millis(300)));
        engine.signal_group(Signal::KILL);
        if engine.end().code.is_some() {
            break;
        }
        killed += 1;
        project.wait_for_silence();
        assert!(killed < 200, "it never gets on");
    }
    project.run(&[]).expect(0);
    assert_eq!(project.outputs(), undisturbed().0);
    project.assert_clean();
}

/// What an undisturbed run makes, and how long it takes.
fn undisturbed() -> &'static (BTreeMap<String, Value>, Duration) {
    static MADE: OnceLock<(BTreeMap<String, Value>, Duration)> = OnceLock::new();
    MADE.get_or_init(|| {
        let project = Project::letters(SLOW);
        let started = Instant::now();
        assert_eq!(project.ran(&[]), STAGES);
        (project.outputs(), started.elapsed())
    })
}

fn kill_at_moments(seed: u64, kill: impl Fn(&Engine, &Project) + Sync) {
    let (made, length) = undisturbed();
    let at = |moment: Duration| {
        let project = Project::letters(SLOW);
        let engine = project.start(&[]);
        thread::sleep(moment);
        kill(&engine, &project);
        let code = engine.end().code;
        assert!(code.is_none() || code == Some(0), "{code:?} after {moment:?}");
        project.wait_for_silence();
        project.run(&[]).expect(0);
        assert_eq!(&project.outputs(), made, "after {moment:?}");
        assert_eq!(project.read("out/report/report/all.txt"), "abc\nwxyzABC\nWXYZ");
        project.assert_clean();
        assert_eq!(project.ran(&[]), [""; 0]);
    };
    thread::scope(|scope| {
        for lane in 0..AT_ONCE {
            scope.spawn(move || {
                let mut moments = Moments(seed * 100 + lane);
                (0..MOMENTS / AT_ONCE).for_each(|_| at(moments.next(*length)));
            });
        }
    });
}

/// Random moments from a seed (xorshift64*, Vigna 2016).
struct Moments(u64);

impl Moments {
    fn next(&mut self, below: Duration) -> Duration {
        for _ in 0..8 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
        }
        let part = (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f64 / (1u64 << 24) as f64;
        below.mul_f64(part)
    }
}
