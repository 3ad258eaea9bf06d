"""Compares each rule of `clean` with datatrove's filter on the same documents.

usage: agreement.py PIPE PAGES.warc.gz FOLDER

The documents are the texts of the pages without fenced code, backticks and marks of headings, of which our rules see nothing and
datatrove's do. For each rule, only its threshold is set in datatrove's filter, and in ours the value is compared with the same threshold.
Prints for each rule how many documents both drop, only ours and only theirs, the share on which they agree, and this share where
datatrove's filter also divides texts into words by white space; with --show N the first N that then differ.
"""

import argparse
import functools
import json
import re
import subprocess
from pathlib import Path

import pyarrow.parquet
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    fineweb_quality_filter,
    gopher_quality_filter,
    gopher_repetition_filter,
)


MODULES = (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter)
# The filters split each text anew, which takes most of the time; all see the same words of it.
THEIR_WORDS = functools.lru_cache(maxsize=8)(gopher_quality_filter.split_into_words)


def verdict(peer, text, words):
    """The verdict of a datatrove filter with this division into words."""
    for module in MODULES:
        module.split_into_words = words
    return peer.filter(Document(text=text, id=""))


def our_words(text, _):
    return text.split()


def quality(**chosen):
    off = ("min_doc_words max_doc_words min_avg_word_length max_avg_word_length max_symbol_word_ratio max_bullet_lines_ratio "
           "max_ellipsis_lines_ratio max_non_alpha_words_ratio min_stop_words").split()
    return GopherQualityFilter(**{name: None for name in off} | chosen)


def repetition(**chosen):
    off = dict(dup_line_frac=None, dup_para_frac=None, dup_line_char_frac=None, dup_para_char_frac=None,
               top_n_grams=(), dup_n_grams=())
    return GopherRepetitionFilter(**off | chosen)


def c4(**chosen):
    off = dict(remove_citations=False, filter_no_terminal_punct=False, min_num_sentences=-1, min_words_per_line=-1,
               max_word_length=-1, filter_lorem_ipsum=False, filter_javascript=False, filter_curly_bracket=False,
               filter_policy=False)
    return C4QualityFilter(**off | chosen)


def fineweb(**chosen):
    off = dict(line_punct_thr=-1, short_line_thr=2, char_duplicates_ratio=2, new_line_ratio=1e9)
    return FineWebQualityFilter(**off | chosen)


AT_LEAST, AT_MOST = False, True
# Name of the rule, threshold, side, datatrove's filter with this threshold alone, and the reason that counts where it has two.
RULES = [
    ("gopher_words_min", 50, AT_LEAST, quality(min_doc_words=50), None),
    ("gopher_words_max", 100_000, AT_MOST, quality(max_doc_words=100_000), None),
    ("gopher_word_length_min", 3, AT_LEAST, quality(min_avg_word_length=3), None),
    ("gopher_word_length_max", 10, AT_MOST, quality(max_avg_word_length=10), None),
    ("gopher_hash_ratio", 0.1, AT_MOST, quality(max_symbol_word_ratio=0.1), "gopher_too_many_hashes"),
    ("gopher_ellipsis_ratio", 0.1, AT_MOST, quality(max_symbol_word_ratio=0.1), "gopher_too_many_ellipsis"),
    ("gopher_bullet_lines", 0.9, AT_MOST, quality(max_bullet_lines_ratio=0.9), None),
    ("gopher_ellipsis_lines", 0.3, AT_MOST, quality(max_ellipsis_lines_ratio=0.3), None),
    ("gopher_alphabetic_words", 0.8, AT_LEAST, quality(max_non_alpha_words_ratio=0.8), None),
    ("gopher_stop_words", 2, AT_LEAST, quality(min_stop_words=2), None),
    ("gopher_duplicate_lines", 0.3, AT_MOST, repetition(dup_line_frac=0.3), None),
    ("gopher_duplicate_paragraphs", 0.3, AT_MOST, repetition(dup_para_frac=0.3), None),
    ("gopher_duplicate_line_characters", 0.2, AT_MOST, repetition(dup_line_char_frac=0.2), None),
    ("gopher_duplicate_paragraph_characters", 0.2, AT_MOST, repetition(dup_para_char_frac=0.2), None),
    *((f"gopher_top_{n}_gram", share, AT_MOST, repetition(top_n_grams=((n, share),)), None)
      for n, share in ((2, 0.2), (3, 0.18), (4, 0.16))),
    *((f"gopher_duplicate_{n}_grams", share, AT_MOST, repetition(dup_n_grams=((n, share),)), None)
      for n, share in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))),
    ("c4_sentences", 5, AT_LEAST, c4(min_num_sentences=5, min_words_per_line=1), None),
    ("c4_lorem_ipsum", 0, AT_MOST, c4(filter_lorem_ipsum=True), None),
    ("c4_braces", 0, AT_MOST, c4(filter_curly_bracket=True), None),
    ("fineweb_line_punctuation", 0.12, AT_LEAST, fineweb(line_punct_thr=0.12), None),
    ("fineweb_short_lines", 0.67, AT_MOST, fineweb(short_line_thr=0.67), None),
    ("fineweb_duplicate_line_characters", 0.01, AT_MOST, fineweb(char_duplicates_ratio=0.01), None),
    ("fineweb_line_ratio", 0.3, AT_MOST, fineweb(new_line_ratio=0.3), None),
]
# Rules that cut lines, and datatrove's filter with this rule alone.
CUTS = [
    ("c4_line_words", 3, c4(min_words_per_line=3)),
    ("c4_line_word_characters", 1000, c4(max_word_length=1000)),
    ("c4_line_punctuation", 1, c4(filter_no_terminal_punct=True)),
    ("c4_line_javascript", 0, c4(filter_javascript=True)),
    ("c4_line_policy", 0, c4(filter_policy=True)),
]


def run(pipe, folder, manifest, stage):
    """The rows of a stage's documents."""
    (folder / "pipeline.yaml").write_text(manifest)
    call = {"cwd": folder, "check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([pipe, "run", "pipeline.yaml", stage, "--cache", "cache"], **call)
    subprocess.run(["rm", "-rf", folder / "got"], check=True)
    subprocess.run([pipe, "get", "pipeline.yaml", stage, "got", "--cache", "cache"], **call)
    for path in sorted((folder / "got").rglob("*.parquet")):
        yield from pyarrow.parquet.read_table(path).to_pylist()


def prose(text):
    """Without fenced code, backticks, and marks of headings."""
    out, fence = [], None
    for line in text.split("\n"):
        mark = re.match(r"\s*(`{3,})", line)
        if fence:
            fence = None if mark and len(mark[1]) >= fence else fence
        elif mark:
            fence = len(mark[1])
        else:
            out.append(re.sub(r"^\s*#+ ", "", line).replace("`", ""))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipe", type=Path)
    parser.add_argument("pages", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--show", type=int, default=0)
    options = parser.parse_args()
    pipe, folder = options.pipe.resolve(), options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)

    pages = f"pages: {{ uses: ingest, with: {{ sources: [{{ glob: {options.pages.resolve()} }}] }} }}"
    extract = "text: { uses: clean, needs: pages, with: { profile: none } }"
    texts = [prose(row["text"]) for row in run(pipe, folder, f"pipeline: a\nstages:\n  {pages}\n  {extract}\n", "text")]
    texts = [text for text in texts if text][:4000]
    with open(folder / "texts.jsonl", "w") as file:
        for number, text in enumerate(texts):
            file.write(json.dumps({"id": str(number), "text": text, "language": "en"}) + "\n")

    ours = f"pages: {{ uses: ingest, with: {{ sources: [{{ glob: {folder}/texts.jsonl, columns: {{ id: id, text: text, language: language }}, name: t }}] }} }}"

    def cleaned(settings):
        clean = f"text: {{ uses: clean, needs: pages, with: {{ language_score_min: 1, {settings} }} }}"
        rows = run(pipe, folder, f"pipeline: a\nstages:\n  {ours}\n  {clean}\n", "text")
        return {row["id"].removeprefix("t/"): row for row in rows}

    rows = cleaned("profile: none, languages: [en]")
    print(f"{len(rows)} documents\n{'rule':<40}{'both':>7}{'ours':>7}{'theirs':>7}{'agree':>9}{'same words':>12}")
    verdicts = agreed = 0

    def line(name, counts, same=None):
        nonlocal verdicts, agreed
        verdicts += sum(counts.values())
        agreed += counts["both"] + counts["none"]
        share = (counts["both"] + counts["none"]) / sum(counts.values())
        print(f"{name:<40}{counts['both']:>7}{counts['ours']:>7}{counts['theirs']:>7}{share:>9.2%}"
              + (f"{same / sum(counts.values()):>12.2%}" if same is not None else ""))

    counts = {rule[0]: dict(both=0, ours=0, theirs=0, none=0) for rule in RULES}
    same = {rule[0]: 0 for rule in RULES}
    shown = {rule[0]: [] for rule in RULES}
    for number, row in rows.items():
        values = dict(row["metadata"])
        for name, threshold, at_most, peer, reason in RULES:
            if name not in values:
                values[name] = "nan"
            value = float(values[name])
            dropped = value > threshold if at_most else value < threshold

            def theirs(words):
                found = verdict(peer, row["text"], words)
                # Two reasons come from one setting, so a document may be dropped for the other before this one is looked at.
                return found is not True and (reason is None or found[1] == reason)

            is_theirs = theirs(THEIR_WORDS)
            is_same = theirs(our_words) == dropped
            same[name] += is_same
            counts[name]["both" if dropped and is_theirs else "ours" if dropped else "theirs" if is_theirs else "none"] += 1
            if not is_same and len(shown[name]) < options.show:
                shown[name].append(f"    {number}: value {value}, theirs {is_theirs}: {row['text'][:150]!r}")
    for name in counts:
        print(*shown[name], sep="\n", end="\n" if shown[name] else "")
        line(name, counts[name], same[name])
    for name, threshold, peer in CUTS:
        counts = dict(both=0, ours=0, theirs=0, none=0)
        shown = 0
        cut = cleaned(f"profile: none, languages: [en], thresholds: {{ {name}: {threshold} }}")
        for number, row in rows.items():
            before = [one.strip() for one in row["text"].split("\n") if one.strip()]
            document = Document(text=row["text"], id=number)
            peer.filter(document)
            theirs = [one for one in document.text.split("\n") if one.strip()]
            after = [one.strip() for one in cut[number]["text"].split("\n") if one.strip()] if number in cut else []
            same = after == theirs
            key = ("both" if theirs != before else "none") if same else ("ours" if len(after) < len(theirs) else "theirs")
            counts[key] += 1
            if not same and shown < options.show:
                shown += 1
                print(f"    {number}: only one cuts {sorted(set(after) ^ set(theirs))[:4]}")
        line(f"{name} (lines left)", counts)
    print(f"agree on {agreed / verdicts:.3%} of {verdicts} verdicts")


main()
