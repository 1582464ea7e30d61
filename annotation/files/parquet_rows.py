"""Rows of a Parquet file, batch by batch, so that a row group of any size fits the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from annotation.errors import InvalidFileError
from annotation.files.cells import (
    BOOLEAN,
    CLOCK,
    DATE,
    FLOAT,
    INNER,
    INTEGER,
    LIST,
    MOMENT,
    NULL,
    NUMBER,
    OBJECT,
    TEXT,
    inner_value,
)
from annotation.files.json_file import too_long
from annotation.files.parquet_values import CellValue, ParquetCell, inner_cell, nested_cell, texts_of
from annotation.files.records import Limits, Notes, RejectedRow, SourceRow, letters, row_too_long
from annotation.messages import message

_BATCH_ROWS = 1_000


# A text on many rows may be far more than the file; below the grace no ratio is asked for.
_GRACE, _MOST_TIMES = 100_000_000, 1_000


class ParquetRows:
    def __init__(
        self,
        limits: Limits,
        notes: Notes,
        plain: Sequence[bool],
        inner: Sequence[str],
        names: Mapping[str, Sequence[str]],
    ) -> None:
        self._limits, self._notes, self._plain, self._inner, self._names = limits, notes, plain, inner, names

    def written_schema(self, schema: Any) -> Any:
        """The file's types, as cells have them."""
        import pyarrow as pa

        for at, (name, kind) in enumerate(zip(schema.names, schema.types, strict=True)):
            if name in self._names:
                text = pa.list_(pa.string()) if is_nested(kind) else pa.string()
                schema = schema.set(at, pa.field(name, text))
            elif pa.types.is_dictionary(kind):
                schema = schema.set(at, pa.field(name, kind.value_type))
        return schema

    def of(self, file: Any, size: int) -> Iterator[SourceRow | RejectedRow]:
        """The rows of an opened file of this many bytes."""
        import pyarrow as pa

        count, line, unpacked = max(1, file.metadata.num_rows), 0, 0
        self._notes.bytes_total = size
        try:
            # One thread: it is bounded memory that counts here, and the database is slower anyway.
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
                # No character takes more than four bytes, so a row of more is too long.
                for piece in _fitting(batch, most=4 * self._limits.row_characters):
                    if piece is None:
                        line += 1
                        yield RejectedRow(line, row_too_long(self._limits))
                        continue
                    for row in self._piece(piece, line):
                        unpacked += 0 if isinstance(row, RejectedRow) else sum(map(len, row.cells))
                        yield row
                    line += piece.num_rows
                    _check_unpacked(unpacked, size, self._limits)
                self._notes.bytes_read = size * line // count
        except (pa.ArrowException, OSError) as error:
            raise damaged(error) from None

    def _piece(self, piece: Any, line: int) -> Iterator[SourceRow | RejectedRow]:
        names, kinds = piece.schema.names, piece.schema.types
        columns = [
            self._named(name, texts_of(column, self._notes))
            for name, column in zip(names, piece.columns, strict=True)
        ]
        types = [
            letter_of(kind) if name not in self._names or is_nested(kind) else TEXT
            for name, kind in zip(names, kinds, strict=True)
        ]
        for cells in zip(*columns, strict=True):
            line += 1
            yield self._row(line, cells, types, names)

    def _named(self, column: str, cells: list[ParquetCell]) -> list[ParquetCell]:
        """Label numbers by the names that the file has for them; -1 is none."""
        names = self._names.get(column)
        if names is None:
            return cells
        self._notes.notice("label numbers replaced by the names in the file's description", len(cells))
        known = {str(number): name for number, name in enumerate(names)} | {"-1": None}
        return [
            nested_cell([known.get(str(part), part) for part in cell.value])
            if isinstance(cell, CellValue) and isinstance(cell.value, list)
            else known.get(cell, cell)
            if isinstance(cell, str)
            else cell
            for cell in cells
        ]

    def _row(
        self, line: int, cells: Sequence[ParquetCell], types: Sequence[str], names: Sequence[str]
    ) -> SourceRow | RejectedRow:
        found = [NULL if cell is None else letter for cell, letter in zip(cells, types, strict=True)]
        within: list[ParquetCell] = []
        if self._inner:
            row = {
                name: cell.value if isinstance(cell, CellValue) else cell
                for name, cell in zip(names, cells, strict=True)
            }
            within = [inner_cell(inner_value(row, path)) for path in self._inner]
            found += [INNER] * len(within)
        texts = _row_texts(line, [*cells, *within], self._limits, self._notes, self._plain)
        return texts if isinstance(texts, RejectedRow) else SourceRow(line, texts, letters(found))


def damaged(error: Exception) -> Exception:
    """What to raise for an error of Arrow's; a lack of memory stays one."""
    if isinstance(error, MemoryError):
        return error
    first_line = str(error).partition("\n")[0]
    return InvalidFileError(
        "The Parquet file is damaged or cut off (%(why)s). Upload it again.", why=first_line
    )


def is_nested(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_nested(kind))


def letter_of(kind: Any) -> str:
    """The letter for a column's type."""
    import pyarrow as pa

    checks: dict[str, Callable[[], bool]] = {
        INTEGER: lambda: pa.types.is_integer(kind) and not pa.types.is_uint64(kind),
        FLOAT: lambda: pa.types.is_floating(kind),
        NUMBER: lambda: pa.types.is_decimal(kind) or pa.types.is_uint64(kind),
        BOOLEAN: lambda: pa.types.is_boolean(kind),
        DATE: lambda: pa.types.is_date(kind),
        MOMENT: lambda: pa.types.is_timestamp(kind),
        CLOCK: lambda: pa.types.is_time(kind),
        LIST: lambda: pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind),
        OBJECT: lambda: pa.types.is_nested(kind),
    }
    return next((letter for letter, check in checks.items() if check()), TEXT)


def _check_unpacked(characters: int, packed: int, limits: Limits) -> None:
    """Refuse a file whose texts come to far more than its size: one text a million times."""
    if characters > limits.unpacked_bytes or (characters > _GRACE and characters > _MOST_TIMES * packed):
        raise InvalidFileError(
            "The file unpacks to more than %(times)s times its size, as a zip bomb does. It was not read.",
            times=characters // max(packed, 1),
        )


def _fitting(batch: Any, *, most: int) -> Iterator[Any]:
    """The batch in pieces whose texts, written out, take no more than some megabytes; None for a row that takes more."""
    if sum(map(_written_bytes, batch.columns)) <= most:
        yield batch
    elif batch.num_rows < 2:
        yield None
    else:
        half = batch.num_rows // 2
        yield from _fitting(batch.slice(0, half), most=most)
        yield from _fitting(batch.slice(half), most=most)


def _written_bytes(column: Any) -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type) and not pa.types.is_nested(column.type.value_type):
        if not _is_bytes(column.type.value_type):
            return 0
        lengths = pc.take(pc.binary_length(column.dictionary), column.indices)
        return int(pc.sum(lengths).as_py() or 0)
    if pa.types.is_struct(column.type):
        return sum(map(_written_bytes, column.flatten()))
    if pa.types.is_map(column.type):
        return _written_bytes(column.keys) + _written_bytes(column.items)
    return _written_bytes(column.flatten()) if pa.types.is_nested(column.type) else int(column.nbytes)


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    return any(
        check(kind)
        for check in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_binary,
            pa.types.is_large_binary,
        )
    )


def _row_texts(
    line: int, cells: Sequence[ParquetCell], limits: Limits, notes: Notes, plain: Sequence[bool]
) -> list[str] | RejectedRow:
    texts = []
    for place, cell in enumerate(cells):
        if isinstance(cell, CellValue):
            if plain[place] or not cell.text:
                return RejectedRow(
                    line,
                    message("cell %(place)s is %(kind)s, not a text", place=place + 1, kind=cell.kind),
                )
            notes.notice("lists, objects and bytes kept as JSON text")
        text = cell.text if isinstance(cell, CellValue) else cell or ""
        if len(text) > limits.cell_characters:
            return RejectedRow(line, too_long(len(text), limits))
        if "\0" in text:
            notes.notice("NUL characters replaced", text.count("\0"))
            text = text.replace("\0", "\ufffd")
        texts.append(text)
    if sum(map(len, texts)) > limits.row_characters:
        return RejectedRow(line, row_too_long(limits))
    return texts
