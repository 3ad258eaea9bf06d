"""The chain of the data benchmarks in datatrove: WARC, extraction, language, Gopher, C4 and FineWeb rules, personal data,
MinHash, tokens. One worker, one task a step; documents go from filter to filter in memory, as datatrove's own examples do.

usage: datatrove_chain.py PAGES.warc.gz FOLDER TOKENIZER.json LID.ftz

Prints `CPU seconds` of each part and of all, and the documents that are left.
"""

import glob
import gzip
import json
import os
import resource
import sys

warc, folder, tokenizer, lid = sys.argv[1:5]

import datatrove.utils.lid as lids  # noqa: E402

# The model is a local file; datatrove downloads the same one.
lids.cached_asset_path_or_download = lambda *_, **__: lid

from datatrove.executor import LocalPipelineExecutor  # noqa: E402
from datatrove.pipeline.dedup import (  # noqa: E402
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig  # noqa: E402
from datatrove.pipeline.extractors import Trafilatura  # noqa: E402
from datatrove.pipeline.filters import (  # noqa: E402
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
)
from datatrove.pipeline.formatters import PIIFormatter  # noqa: E402
from datatrove.pipeline.readers import JsonlReader, WarcReader  # noqa: E402
from datatrove.pipeline.tokens import DocumentTokenizer  # noqa: E402
from datatrove.pipeline.writers.jsonl import JsonlWriter  # noqa: E402
from datatrove.utils.hashing import HashConfig  # noqa: E402


def cpu():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def run(name, steps, tasks=1):
    before = cpu()
    LocalPipelineExecutor(pipeline=steps, tasks=tasks, workers=1, logging_dir=f"{folder}/logs/{name}").run()
    print(f"part={name} cpu_s={cpu() - before:.2f}", flush=True)


def count(pattern):
    return sum(1 for path in glob.glob(pattern) for line in gzip.open(path, "rt") if json.loads(line)["text"])


start = cpu()
run(
    "texts",
    [
        WarcReader(os.path.dirname(os.path.abspath(warc)), glob_pattern=os.path.basename(warc)),
        Trafilatura(favour_precision=True, timeout=600),
        LanguageFilter("en"),
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
        PIIFormatter(),
        JsonlWriter(f"{folder}/texts"),
    ],
)
config = MinhashConfig(hash_config=HashConfig(precision=64), num_buckets=14, hashes_per_bucket=8, n_grams=5)
texts = JsonlReader(f"{folder}/texts")
run("signatures", [texts, MinhashDedupSignature(output_folder=f"{folder}/signatures", config=config, language="eng")])
buckets = MinhashDedupBuckets(input_folder=f"{folder}/signatures", output_folder=f"{folder}/buckets", config=config)
run("buckets", [buckets], tasks=14)
cluster = MinhashDedupCluster(input_folder=f"{folder}/buckets", output_folder=f"{folder}/removed", config=config)
run("clusters", [cluster])
run("unique", [texts, MinhashDedupFilter(input_folder=f"{folder}/removed"), JsonlWriter(f"{folder}/unique")])
tokens = DocumentTokenizer(
    output_folder=f"{folder}/tokens",
    local_working_dir=f"{folder}/scratch",
    tokenizer_name_or_path=tokenizer,
    eos_token="<|endoftext|>",
    shuffle_documents=False,
)
run("tokens", [JsonlReader(f"{folder}/unique"), tokens])
print(f"texts={count(folder + '/texts/*.gz')} unique={count(folder + '/unique/*.gz')}")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(f"total cpu_s={cpu() - start:.2f} peak_mib={peak}")
