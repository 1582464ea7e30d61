"""Rows as a Parquet file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

_GROUP_ROWS = 10_000


def write_parquet_rows(
    path: Path,
    header: Sequence[str],
    numbers: Mapping[str, type[int] | type[float]],
    rows: Iterable[Sequence[Any]],
) -> int:
    """Writes rows to a file: the columns in ``numbers`` as such, all others as the texts that they are.

    Returns:
        The number of rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {int: pa.int64(), float: pa.float64()}
    schema = pa.schema([(name, kinds[numbers[name]] if name in numbers else pa.string()) for name in header])
    count, left = 0, iter(rows)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := list(islice(left, _GROUP_ROWS)):
            arrays = [
                pa.array([row[place] for row in group], field.type) for place, field in enumerate(schema)
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            count += len(group)
    return count
