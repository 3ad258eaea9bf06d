#!/usr/bin/env python3
"""Masks web addresses in one shard of documents.

`each: documents` puts the shard into $PIPE_INPUT_documents as shard.parquet; what is left as `shard` in
$PIPE_OUTPUT_documents keeps its name.
"""
import json
import os
import pathlib
import re

import pyarrow
import pyarrow.parquet as parquet

ADDRESS = re.compile(r"https?://[^\s<>\"')]+")

shard = parquet.ParquetFile(pathlib.Path(os.environ["PIPE_INPUT_documents"]) / "shard.parquet")
target = pathlib.Path(os.environ["PIPE_OUTPUT_documents"]) / "shard.parquet"
masked = 0
# The schema has the file's own metadata, which says that these are documents.
schema = shard.schema_arrow.with_metadata(shard.metadata.metadata)
with parquet.ParquetWriter(target, schema, compression="zstd", store_schema=False) as writer:
    for group in range(shard.num_row_groups):
        rows = shard.read_row_group(group)
        texts = [ADDRESS.subn("<address>", text) for text in rows["text"].to_pylist()]
        masked += sum(count for _, count in texts)
        column = pyarrow.array([text for text, _ in texts], rows.schema.field("text").type)
        rows = rows.set_column(rows.schema.get_field_index("text"), rows.schema.field("text"), column)
        writer.write_table(rows.cast(schema))
with open(os.environ["PIPE_EVENTS"], "a") as events:
    events.write(json.dumps({"event": "metric", "name": "masked", "value": masked, "unit": "address"}) + "\n")
