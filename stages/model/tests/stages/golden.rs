//! The bytes that a revision stands for: a stage type whose results change without a new revision would let
//! caches give what it no longer makes. Each instruction set has digests of its own.

use crate::world::{World, tiny, tuning, world};
use pipe_model::{Eval, Export, Preset, Pretrain, instruction_set};
use pipe_stage::{Artifact, Outcome, Stage};
use std::process::Command;

/// Instruction set, case, output, digest. Renew a stage's lines together with its `REVISION`.
const DIGESTS: &[(&str, &str, &str, &str)] = &[
    ("avx2", "pretrain llama", "history", "ac3ce88021af8acfe3f92929503cfb6e9a15af2c9edfc3df4e9784e73b9ee5c1"),
    ("avx2", "pretrain llama", "model", "d92e30f4bb2020ec66e1e4c73ee7fee890ebd87954f818a4c5239b8cc3e53857"),
    ("avx2", "pretrain llama", "samples", "95f3b9e90800da5c1db32ae43847561860926c5c6080ddd661a61b1283b92077"),
    ("avx2", "finetune llama", "history", "0d61c7e16cc012f4454b836f8d39f55ae4038ab6b2c3ccbfe8ecdf9448d1d5a9"),
    ("avx2", "finetune llama", "model", "c358eee470a8c916d4daedb53afb39cde8fb7ab1e3cf7419a9d10f091c35118a"),
    ("avx2", "eval llama", "samples", "a884b34922d88dd1aed12c5ea84fc0bf5cd113ad896e711a07342c4771c7c028"),
    ("avx2", "eval llama", "scores", "0c0782e17d5985b1deec860f6fbcab518fbf3c84232a78d539a8e60b3dc4cab3"),
    ("avx2", "eval llama", "text", "096738c1c146e3e94d246542079b2fda711a0b0a8a2f9317dd3fe8f7f384f799"),
    ("avx2", "export llama", "model", "f3d71b1e7e0bac6342f28a50c02d854dd0ba1c995e1d0f5a659bb51313df24e1"),
    ("avx2", "pretrain gpt2", "history", "8b97068f07d712da1d8015a58fd9cda68ec28e5376991289a6edf88aea9c717c"),
    ("avx2", "pretrain gpt2", "model", "bdb93291766971bcbdede039683b47696977fbaebb42b49d3dd3e1d38985f66f"),
    ("avx2", "pretrain gpt2", "samples", "09678f6cb066637cee6d4bd9dc42ee64d7ad241436fb859522e35231ceec1a5c"),
    ("avx2", "finetune gpt2", "history", "2feb5bf92b4f2a7e4f203ab77fb6031a92d6717241f56805d368fefa83033d47"),
    ("avx2", "finetune gpt2", "model", "8811d8f4159a566e28383cb8a1353ef8b87dd244d5a2b1d1e7da2a04b91a476a"),
    ("avx2", "eval gpt2", "samples", "9d26dd849104614dbda1dbf4e389d10fc09b26dc53a2115bb49b2d597adc44d2"),
    ("avx2", "eval gpt2", "scores", "ec7c7203e6b0d3289c0c50eee533578d8b9619f97415028d37b89a87ee37d2cd"),
    ("avx2", "eval gpt2", "text", "096738c1c146e3e94d246542079b2fda711a0b0a8a2f9317dd3fe8f7f384f799"),
    ("avx2", "export gpt2", "model", "09008019ec4f6e0fb8ba9fff5833d5cd97bcac67b3ed36632e34e8ef97c4ae1b"),
    (
        "avx512",
        "pretrain llama",
        "history",
        "ac3ce88021af8acfe3f92929503cfb6e9a15af2c9edfc3df4e9784e73b9ee5c1",
    ),
    ("avx512", "pretrain llama", "model", "d92e30f4bb2020ec66e1e4c73ee7fee890ebd87954f818a4c5239b8cc3e53857"),
    (
        "avx512",
        "pretrain llama",
        "samples",
        "95f3b9e90800da5c1db32ae43847561860926c5c6080ddd661a61b1283b92077",
    ),
    (
        "avx512",
        "finetune llama",
        "history",
        "695d2077eb5a8c41829108b62e7ec60fc723e9168385bd948fd75a45185e24de",
    ),
    ("avx512", "finetune llama", "model", "a5d1cd3ba863ce0d67144f7e2731aface1023f5b1cd63ad25770d103db0ead5a"),
    ("avx512", "eval llama", "samples", "a884b34922d88dd1aed12c5ea84fc0bf5cd113ad896e711a07342c4771c7c028"),
    ("avx512", "eval llama", "scores", "64be2f847b5774aaf24cf2fc7e2091e202cdb44434b4039edbc0b21bef8a0b26"),
    ("avx512", "eval llama", "text", "096738c1c146e3e94d246542079b2fda711a0b0a8a2f9317dd3fe8f7f384f799"),
    ("avx512", "export llama", "model", "29581a6d87b03d41fe352cdbfe587d3d1ac0386b6e2664d9dfdb9e425c9ad272"),
    (
        "avx512",
        "pretrain gpt2",
        "history",
        "8b97068f07d712da1d8015a58fd9cda68ec28e5376991289a6edf88aea9c717c",
    ),
    ("avx512", "pretrain gpt2", "model", "bdb93291766971bcbdede039683b47696977fbaebb42b49d3dd3e1d38985f66f"),
    (
        "avx512",
        "pretrain gpt2",
        "samples",
        "09678f6cb066637cee6d4bd9dc42ee64d7ad241436fb859522e35231ceec1a5c",
    ),
    (
        "avx512",
        "finetune gpt2",
        "history",
        "d6e4c5356d1c0a32ea4a6a2ed736de25fc39bbc22a9edb9d152a56806bf38470",
    ),
    ("avx512", "finetune gpt2", "model", "7a2ed123e5ec1546715e26994e51baabd734c5d0ee598d26cb261412836bd6c8"),
    ("avx512", "eval gpt2", "samples", "9d26dd849104614dbda1dbf4e389d10fc09b26dc53a2115bb49b2d597adc44d2"),
    ("avx512", "eval gpt2", "scores", "b9e3b8c9535d2f0c87ee6394947953ce02125f85d3c2dc8fe22d5c8658b9bcaa"),
    ("avx512", "eval gpt2", "text", "096738c1c146e3e94d246542079b2fda711a0b0a8a2f9317dd3fe8f7f384f799"),
    ("avx512", "export gpt2", "model", "d89b1ea4da29d8284ef70b89f1d9599043774d6561110735748ad93f898bd0ea"),
    (
        "portable",
        "pretrain llama",
        "history",
        "5de5c1c78bde50b3787e924060b34238d3235de0c158e26e3cdf7b88ffd79f89",
    ),
    (
        "portable",
        "pretrain llama",
        "model",
        "03b8d3221c9ebed0be0621dd790c1c57aeff44f297eebbb2f2ba95805f07c949",
    ),
    (
        "portable",
        "pretrain llama",
        "samples",
        "95f3b9e90800da5c1db32ae43847561860926c5c6080ddd661a61b1283b92077",
    ),
    (
        "portable",
        "finetune llama",
        "history",
        "e1276760e474fae5b1c5cd974370c74a213b3dba83954d2b66eb078244475f12",
    ),
    (
        "portable",
        "finetune llama",
        "model",
        "289d9b9ea314842b7b311fa90073c02070ac7b27a80e15b8724e3432bb3d7f53",
    ),
    ("portable", "eval llama", "samples", "a884b34922d88dd1aed12c5ea84fc0bf5cd113ad896e711a07342c4771c7c028"),
    ("portable", "eval llama", "scores", "77b1784536e1bdbf1e3ea4c8c0dd99e9dc6576ff4d97d6ca263982edb8f547ae"),
    ("portable", "eval llama", "text", "096738c1c146e3e94d246542079b2fda711a0b0a8a2f9317dd3fe8f7f384f799"),
    ("portable", "export llama", "model", "90a5cfeb68803d2f266b86e0aa2d0fe88de7d79bc230528152f613e61b435b4e"),
    (
        "portable",
        "pretrain gpt2",
        "history",
        "03c6b9cf0511453b1385bb2ff8725a133e755a911626389d3cd4080c846f73f0",
    ),
    (
        "portable",
        "pretrain gpt2",
        "model",
        "1835d675d513c41d97802f50b0a5755e828e4263be7bf7d020cebb8488672b4a",
    ),
    (
        "portable",
        "pretrain gpt2",
        "samples",
        "09678f6cb066637cee6d4bd9dc42ee64d7ad241436fb859522e35231ceec1a5c",
    ),
    (
        "portable",
        "finetune gpt2",
        "history",
        "8a94be3a1ec0da633105cf8ed9eeef64897a2ec5d61e9d4ad80b6b86558c8290",
    ),
    (
        "portable",
        "finetune gpt2",
        "model",
        "52adcb3fde19f2d7b46291c7c9bad9aeb4921f014bf05e6491b9659c23ab51c5",
    ),
    ("portable", "eval gpt2", "samples", "9d26dd849104614dbda1dbf4e389d10fc09b26dc53a2115bb49b2d597adc44d2"),
    ("portable", "eval gpt2", "scores", "58a4384fe40b5d24e5da5cccd730894494e51425fbfff6aa86a5dee689b10e2a"),
    ("portable", "eval gpt2", "text", "096738c1c146e3e94d246542079b2fda711a0b0a8a2f9317dd3fe8f7f384f799"),
    ("portable", "export gpt2", "model", "ada4b11f897ce0b624090e57ddcf3820426503c7488532c747b62b8815f83805"),
];

fn digests(case: &str, outcome: &Outcome) -> Vec<(String, String, String)> {
    let outputs = outcome.outputs.iter();
    outputs.map(|(port, digest)| (case.to_owned(), port.to_string(), digest.to_string())).collect()
}

fn run(world: &World, stage: &impl Stage, inputs: &[(&str, &Artifact)]) -> Outcome {
    world.bench.run(stage, inputs).expect("the stage ends well")
}

/// Everything that the four stages make of small data.
fn made() -> Vec<(String, String, String)> {
    let world = world();
    let mut all = Vec::new();
    for (case, preset) in [("llama", Preset::GptTiny), ("gpt2", Preset::Gpt2Tiny)] {
        let config = Pretrain { preset, gradient_accumulation_steps: 3, ..tiny() };
        let trained = world.pretrain(&config).expect("trained");
        all.extend(digests(&format!("pretrain {case}"), &trained));
        let model = world.bench.output(&trained, "model").expect("a model");
        let config = pipe_model::Finetune { steps: 10, dropout: 0.1, ..tuning() };
        let tuned = run(&world, &config, &[("model", &model), ("train", &world.documents)]);
        all.extend(digests(&format!("finetune {case}"), &tuned));
        let classifier = world.bench.output(&tuned, "model").expect("a model");
        let eval = Eval { label: config.label.clone(), prompts: vec!["The apple".into()], ..Eval::default() };
        let inputs = [
            ("model", &model),
            ("model", &classifier),
            ("documents", &world.documents),
            ("tokens", &world.train),
        ];
        let scored = run(&world, &eval, &inputs);
        all.extend(digests(&format!("eval {case}"), &scored));
        let scores = world.bench.output(&scored, "scores").expect("scores");
        let exported = run(&world, &Export::default(), &[("model", &model), ("scores", &scores)]);
        all.extend(digests(&format!("export {case}"), &exported));
    }
    all
}

#[test]
fn bytes_are_those_of_the_revision() {
    let set = instruction_set();
    let pinned: Vec<_> = DIGESTS
        .iter()
        .filter(|(of, ..)| *of == set)
        .map(|(_, case, port, digest)| ((*case).to_owned(), (*port).to_owned(), (*digest).to_owned()))
        .collect();
    let made = made();
    let lines = made
        .iter()
        .map(|(case, port, digest)| format!("    (\"{set}\", \"{case}\", \"{port}\", \"{digest}\"),\n"));
    let lines: String = lines.collect();
    if pinned.is_empty() {
        // Digests can only be made on a processor that has the instruction set. Until somebody adds them, the portable
        // ones, which every machine checks, stand for the revision.
        eprintln!("no digests are pinned for the instruction set `{set}`; add to DIGESTS:\n{lines}");
        assert!(made == self::made(), "two runs on `{set}` differ");
        return;
    }
    assert!(
        made == pinned,
        "bytes have changed on `{set}`: raise the REVISION of the stage types concerned, and renew DIGESTS:\n{lines}"
    );
}

#[test]
fn portable_bytes_are_those_of_the_revision() {
    let program = std::env::current_exe().expect("this program");
    let test = "golden::bytes_are_those_of_the_revision";
    let output = Command::new(program)
        .args([test, "--exact", "--nocapture"])
        .env("PIPE_INSTRUCTION_SET", "portable")
        .output()
        .expect("it starts");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
