//! Owns: the names of fields in other tools, so that an error can suggest ours.

/// A name in other tools, and the fields that it may mean, most likely first.
#[rustfmt::skip]
const FIELDS: &[(&str, &[&str])] = &[
    ("lr", &["learning_rate"]),
    ("learning_rate", &["lr"]),
    ("max_lr", &["lr"]),
    ("wd", &["weight_decay"]),
    ("betas", &["beta1"]),
    ("eps", &["epsilon"]),
    ("clip", &["max_grad_norm"]),
    ("grad_clip", &["max_grad_norm", "clip"]),
    ("max_grad_norm", &["clip"]),
    ("warmup", &["warmup_steps"]),
    ("warmup_iters", &["warmup_steps"]),
    ("warmup_ratio", &["warmup_steps"]),
    ("decay", &["decay_fraction"]),
    ("epochs", &["num_epochs", "steps"]),
    ("num_train_epochs", &["epochs", "steps"]),
    ("n_epochs", &["epochs", "steps"]),
    ("max_steps", &["steps"]),
    ("max_iters", &["steps"]),
    ("iterations", &["steps"]),
    ("batch", &["batch_size", "batch_rows"]),
    ("batch_size", &["batch_rows"]),
    ("batch_rows", &["batch_size"]),
    ("per_device_train_batch_size", &["batch_size", "batch_rows"]),
    ("micro_batch_size", &["batch_size", "batch_rows"]),
    ("accumulation", &["gradient_accumulation_steps"]),
    ("gradient_accumulation_steps", &["accumulation"]),
    ("grad_accum", &["gradient_accumulation_steps", "accumulation"]),
    ("lr_scheduler_type", &["schedule"]),
    ("scheduler", &["schedule"]),
    ("block_size", &["context_length", "context"]),
    ("seq_len", &["context_length", "context", "max_length"]),
    ("sequence_length", &["context_length", "context", "max_length"]),
    ("max_seq_length", &["context_length", "context", "max_length"]),
    ("max_position_embeddings", &["context_length", "context"]),
    ("n_positions", &["context_length", "context"]),
    ("n_ctx", &["context_length", "context"]),
    ("context", &["context_length"]),
    ("context_length", &["context"]),
    ("d_model", &["hidden_size", "features"]),
    ("n_embd", &["hidden_size", "features"]),
    ("dim", &["hidden_size", "features"]),
    ("hidden_dim", &["hidden_size", "features"]),
    ("features", &["hidden_size"]),
    ("hidden_size", &["features"]),
    ("d_ff", &["intermediate_size", "feed_forward"]),
    ("ffn_dim", &["intermediate_size", "feed_forward"]),
    ("n_inner", &["intermediate_size", "feed_forward"]),
    ("feed_forward", &["intermediate_size"]),
    ("intermediate_size", &["feed_forward"]),
    ("n_layer", &["num_layers", "layers"]),
    ("n_layers", &["num_layers", "layers"]),
    ("layers", &["num_layers"]),
    ("num_layers", &["layers"]),
    ("num_hidden_layers", &["num_layers", "layers"]),
    ("depth", &["num_layers", "layers"]),
    ("n_head", &["num_heads", "heads"]),
    ("n_heads", &["num_heads", "heads"]),
    ("heads", &["num_heads"]),
    ("num_heads", &["heads"]),
    ("num_attention_heads", &["num_heads", "heads"]),
    ("n_kv_heads", &["num_kv_heads", "kv_heads"]),
    ("num_key_value_heads", &["num_kv_heads", "kv_heads"]),
    ("kv_heads", &["num_kv_heads"]),
    ("tie_word_embeddings", &["tied_embeddings", "tied"]),
    ("form", &["architecture"]),
    ("model_type", &["architecture", "form"]),
    ("eval_steps", &["eval_interval", "every_steps"]),
    ("eval_interval", &["every_steps"]),
    ("every_steps", &["eval_interval"]),
    ("eval_iters", &["eval_batches", "batches"]),
    ("batches", &["eval_batches"]),
    ("early_stopping_patience", &["patience"]),
    ("save_steps", &["checkpoint_steps", "checkpoint_interval"]),
    ("save_interval", &["checkpoint_steps", "checkpoint_interval"]),
    ("device", &["backend"]),
    ("random_state", &["seed"]),
    ("random_seed", &["seed"]),
    ("vocab_size", &["vocabulary_size"]),
    ("n_vocab", &["vocabulary_size"]),
    ("max_tokens", &["max_new_tokens", "tokens_max"]),
    ("max_length", &["tokens_max"]),
    ("tokens_max", &["max_length"]),
    ("tokens", &["max_new_tokens"]),
    ("documents_min", &["min_documents_per_label"]),
    ("take", &["limit"]),
    ("max_samples", &["limit", "take"]),
    ("n_samples", &["limit", "take"]),
    ("without", &["disable"]),
    ("skip", &["disable", "without"]),
    ("rules", &["profile", "disable"]),
    ("limits", &["thresholds"]),
    ("path", &["glob", "sources"]),
    ("paths", &["glob", "sources"]),
    ("files", &["glob", "sources"]),
    ("file", &["glob", "sources"]),
    ("data", &["glob", "sources"]),
    ("sep", &["delimiter"]),
    ("separator", &["delimiter"]),
    ("charset", &["encoding"]),
    ("text_column", &["columns", "text"]),
    ("text_field", &["columns", "text"]),
    // Fields of stages and of their resources.
    ("type", &["uses"]),
    ("stage", &["uses"]),
    ("name", &["pipeline"]),
    ("config", &["with"]),
    ("params", &["with", "vars"]),
    ("args", &["with"]),
    ("settings", &["with"]),
    ("options", &["with"]),
    ("inputs", &["needs"]),
    ("input", &["needs"]),
    ("deps", &["needs"]),
    ("depends_on", &["needs"]),
    ("dependencies", &["needs"]),
    ("outs", &["outputs"]),
    ("output", &["outputs"]),
    ("cmd", &["run"]),
    ("command", &["run"]),
    ("script", &["run"]),
    ("environment", &["env"]),
    ("retries", &["retry"]),
    ("jobs", &["stages"]),
    ("steps", &["stages"]),
    ("variables", &["vars"]),
    ("include", &["extends"]),
    ("cpu", &["cpus", "resources"]),
    ("cores", &["cpus", "resources"]),
    ("threads", &["cpus", "resources"]),
    ("cpus", &["resources"]),
    ("gpu", &["gpus", "resources"]),
    ("gpus", &["resources"]),
    ("mem", &["memory", "resources"]),
    ("ram", &["memory", "resources"]),
    ("memory", &["resources"]),
    ("time_limit", &["timeout", "time"]),
    ("walltime", &["time", "timeout"]),
];

/// Finds the field of this section that a name from another tool means.
pub(super) fn field(word: &str, known: &[&str]) -> Option<&'static str> {
    candidates(word).find(|field| known.contains(field))
}

/// Finds the field of another section that a name means; `known` contains paths such as `optimizer.lr`.
pub(super) fn elsewhere<'a>(word: &str, known: &'a [String]) -> Option<&'a str> {
    let named = |name: &str| known.iter().find(|path| path.rsplit('.').next() == Some(name));
    named(word).or_else(|| candidates(word).find_map(named)).map(String::as_str)
}

fn candidates(word: &str) -> impl Iterator<Item = &'static str> {
    let entries = FIELDS.iter().filter(move |(name, _)| *name == word);
    entries.flat_map(|(_, fields)| fields.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_tools_lead_to_ours() {
        let training = ["steps", "optimizer", "model", "warmup_steps", "batch_size", "preset"];
        let here =
            ["epochs", "warmup", "batch_rows", "d_model", "nonsense"].map(|word| field(word, &training));
        assert_eq!(here, [Some("steps"), Some("warmup_steps"), Some("batch_size"), None, None]);
        let paths =
            ["steps", "optimizer.lr", "model.hidden_size", "model.num_layers", "model.context_length"];
        let paths = paths.map(str::to_owned);
        let below = ["learning_rate", "lr", "d_model", "n_layer", "block_size", "nonsense"]
            .map(|word| elsewhere(word, &paths));
        let expected = ["optimizer.lr", "optimizer.lr", "model.hidden_size", "model.num_layers"];
        assert_eq!(below[..4], expected.map(Some));
        assert_eq!(below[4..], [Some("model.context_length"), None]);
        assert_eq!(field("deps", &["uses", "needs", "with"]), Some("needs"));
    }
}
