"""Compares the tokens of `pipe` with those of Hugging Face's tokenizers: every model and pattern, on every document.

usage: check_tokenizers.py PIPE [TEXTS.jsonl]

Trains a tokenizer of each kind on generated text in many scripts (and the texts of a file, one JSON object with `text` per
line), encodes all documents with `pipe tokenize`, and compares each list of ids with that of the Python package `tokenizers`.
"""

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as parquet
from tokenizers import Tokenizer

KINDS = {
    "gpt2": "pattern: gpt2",
    "llama3": "pattern: llama3, chat: llama3",
    "qwen2": "pattern: qwen2, normalizer: nfc, chat: chatml",
    "cl100k": "pattern: cl100k",
    "o200k": "pattern: o200k",
    "single": "digits: single",
    "groups": "pattern: gpt2, digits: groups-of-three",
    "nfkc": "normalizer: nfkc",
    "bert": "model: word-piece",
    "cased": "model: word-piece, normalizer: bert-cased",
    "words": "model: word-piece, pattern: whitespace, normalizer: none",
    "characters": "model: bpe-characters",
    "unigram": "model: unigram",
    "unigram_nfkc": "model: unigram, normalizer: nfkc",
}
SCRIPTS = [
    "the quick brown fox doesn't jump over 12 lazy dogs and 3456 cats I'VE SEEN McDonald iPhone",
    "größte Übel über den Wolken élève naïve façade Ærø İstanbul ſtraße ǅ",
    "данные и модели языка ЁЛКА 数据和模型的训练 語言模型 これはテキストです カタカナ 한국어 텍스트",
    "بيانات ونماذج हिन्दी पाठ १२३ ไทยภาษา עברית ʰello ½ ⅷ ² ① ﬁ ﷺ",
    "fn main() { let x = 0x1F; } // <s> </s> <0x41> <unk> [UNK] [CLS] ##x ▁y https://a.b/c?d=e",
]
TORTURE = [
    "e\u0301", "\u0301", "\u200d", "\ufeff", "\u00a0", "\u2028", "\u0085", "\t", "\r\n", "\n\n", "  ", "   ", "\u3000", "\x00",
    "\x7f", "\ufffd", "\U0001f680", "\U0001f468\u200d\U0001f469", "\u1112\u1161\u11ab", "<|endoftext|>", "<|im_end|>", "'s", "'VE",
    "’t", "123456", "==", "//", "\U0010ffff", "\ue000", "\u0903", "Á", "ŒUVRE",
]


def documents(path):
    """Texts of words and of characters that are hard to split, the same at each run."""
    chance = random.Random(1)
    words = [word for line in SCRIPTS for word in line.split()]
    for number in range(1500):
        parts = chance.choices(words, k=chance.randint(0, 120))
        if number % 3 == 0:
            parts = [chance.choice(TORTURE) if chance.random() < 0.5 else part for part in parts]
        yield chance.choice([" ", "", "\n"]).join(parts) if number % 3 else "".join(parts)
    for _ in range(500):
        yield "".join(chr(code) for code in (chance.randrange(0x110000) for _ in range(60)) if not 0xD800 <= code < 0xE000)
    if path:
        for line in open(path, encoding="utf-8"):
            yield json.loads(line)["text"]


def main():
    pipe, path = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        texts = {f"d{number:06}": text for number, text in enumerate(documents(path)) if text}
        with open(folder / "texts.jsonl", "w", encoding="utf-8") as file:
            for name, text in texts.items():
                file.write(json.dumps({"id": name, "text": text}) + "\n")
        stages = ["  texts: { uses: ingest, with: { sources: [{ glob: texts.jsonl, columns: { id: id } }] } }"]
        for kind, settings in KINDS.items():
            stages.append(f"  {kind}: {{ uses: tokenizer, needs: texts, with: {{ vocabulary_size: 3000, {settings} }} }}")
            stages.append(f"  {kind}_ids: {{ uses: tokenize, needs: {{ train: texts, tokenizer: {kind} }} }}")
        (folder / "pipeline.yaml").write_text("\n".join(["pipeline: check", "stages:", *stages, ""]))

        def run(*arguments):
            subprocess.run([pipe, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)

        run("run", "pipeline.yaml")
        different = 0
        for kind in KINDS:
            run("get", "pipeline.yaml", kind, kind)
            run("get", "pipeline.yaml", f"{kind}_ids.train", f"{kind}_ids")
            oracle = Tokenizer.from_file(str(folder / kind / "tokenizer.json"))
            # Names of special tokens in a document are text.
            oracle.encode_special_tokens = True
            compared = 0
            for shard in sorted((folder / f"{kind}_ids").rglob("*.parquet")):
                for row in parquet.read_table(shard).to_pylist():
                    text = texts[row["id"].rsplit("/", 1)[-1]]
                    expected = oracle.encode(text, add_special_tokens=False).ids
                    compared += 1
                    if row["ids"] != expected:
                        different += 1
                        print(f"{kind}: {text!r}: {row['ids']} instead of {expected}")
            print(f"{kind}: {compared} documents, {oracle.get_vocab_size()} tokens")
            if compared < len(texts) - 1:
                sys.exit(f"{kind}: {compared} of {len(texts)} documents")
    if different:
        sys.exit(f"{different} documents differ")


main()
