"""The telemetry's way to disk: a write-ahead stream that survives a kill, and Parquet files that appear whole.

``<folder>/spool/<first_utc_ns>.arrows`` is an Arrow IPC stream, one record batch per second, handed to the kernel at
once: a killed process loses what it had not yet spilled, at most the last second.
``<folder>/ready/<first_utc_ns>.parquet`` appears by rename, complete and synced, and stays until the driver has
acknowledged it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.files.publish import publish
from actors.telemetry.schema import SCHEMA

Row = Sequence[Any]
"""Values in the order of the schema."""


def batch(rows: Sequence[Row]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    return pa.RecordBatch.from_arrays(
        [_array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def _array(column: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    # Much of the schema is NULL throughout on any one unit, and that is several times cheaper to say.
    return pa.nulls(len(column), kind) if column.count(None) == len(column) else pa.array(column, type=kind)


def whole_batches(segment: Path) -> Iterator[pa.RecordBatch]:
    """The batches of a stream up to its end, or up to where it was torn."""
    with pa.OSFile(str(segment), "rb") as source:
        try:
            stream = pa.ipc.open_stream(source)
            while True:
                yield stream.read_next_batch()
        except (StopIteration, pa.ArrowInvalid, OSError):
            return


class Spool:
    """The segment being written and the files that wait for the driver. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self.segments = folder / "spool"
        self.finished = folder / "ready"
        self.segments.mkdir(parents=True, exist_ok=True)
        self.finished.mkdir(parents=True, exist_ok=True)
        self._writing = threading.Lock()
        self._converting = threading.Lock()
        self._path: Path | None = None
        self._file: Any = None
        self._stream: Any = None

    def leftovers(self) -> list[Path]:
        """Segments that nobody writes to any more and that are not yet converted, oldest first."""
        return sorted(path for path in self.segments.glob("*.arrows") if path != self._path)

    def append(self, rows: Sequence[Row]) -> None:
        """Write rows to the current segment. Raises OSError (a full disk)."""
        if not rows:
            return
        content = batch(rows)
        with self._writing:
            if self._stream is None:
                self._open(int(rows[0][0]))
            self._stream.write_batch(content)

    def close_segment(self) -> Path | None:
        """End the current segment; the next rows begin another. None where nothing was written."""
        with self._writing:
            path, stream, file = self._path, self._stream, self._file
            self._path = self._stream = self._file = None
            if stream is not None:
                # On a full disk the end marker finds no room: the segment is then read like a torn one.
                with contextlib.suppress(OSError):
                    stream.close()
                with contextlib.suppress(OSError):
                    file.close()
            return path

    def convert(self, segment: Path) -> str | None:
        """Turn a closed or torn segment into Parquet. Returns the file's name, None where it held no whole batch.

        Raises OSError (a full disk); the segment then stays for another time.
        """
        with self._converting:
            batches = list(whole_batches(segment))
            name = None
            if batches:
                name = f"{segment.stem}.parquet"
                self._publish(pa.Table.from_batches(batches), name)
            segment.unlink(missing_ok=True)
            return name

    def ready(self) -> list[tuple[str, bytes]]:
        """Finished files and their content, oldest first."""
        return [(path.name, path.read_bytes()) for path in sorted(self.finished.glob("*.parquet"))]

    def acknowledge(self, names: Iterable[str]) -> None:
        """The driver has them on its disk."""
        for name in names:
            (self.finished / Path(name).name).unlink(missing_ok=True)

    def _open(self, first_utc_ns: int) -> None:
        # Wall time may have been set back; a name must still be new.
        while (path := self.segments / f"{first_utc_ns}.arrows").exists() or (
            self.finished / f"{first_utc_ns}.parquet"
        ).exists():
            first_utc_ns += 1
        # Unbuffered: each batch is with the kernel when write returns, so killing this process cannot lose it.
        self._file = path.open("wb", buffering=0)
        self._stream = pa.ipc.new_stream(self._file, SCHEMA)
        self._path = path

    def _publish(self, table: pa.Table, name: str) -> None:
        with publish(self.finished / name, durable=True) as partial:
            pq.write_table(table, partial, compression="zstd", row_group_size=2**17)
