"""A DuckDB file that neither `kill -9` nor a power cut tears: made whole at once, and checkpointed with a journal.

DuckDB writes new rows to blocks that nothing uses yet and its header last. But its blocks of metadata hold old entries
beside new ones and are written over in place while the old header still points into them; half written, their checksum
fails and DuckDB 2.0 refuses the file. So DuckDB makes no checkpoint of its own accord. `checkpoint` first copies those
blocks beside the file, and `connect` puts them back where the new header never came. What was committed is in the log.
All of this knows how DuckDB lays out a file: in another storage version nothing is copied, and nothing put back.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import io
import logging
import os
import struct
import threading
import time
from pathlib import Path

import duckdb

from kobe_resources.errors import KobeError
from kobe_resources.runtime.atomic_files import write_whole

LOG_LIMIT = 16 << 20
"""Bytes of log at which a commit is followed by a checkpoint; DuckDB's own figure."""
HEADERS = 12_288
"""Bytes before the first block: the file's header and those of its last two checkpoints."""
MAIN_HEADER = struct.Struct("<8x4sQ")
"""Checksum, 'DUCK', storage version."""
CHECKPOINT_HEADERS = (4096, 8192)
CHECKPOINT_HEADER = struct.Struct("<56xQ")
"""At each of these offsets; its eighth number is the newest way of writing that the file uses."""
KNOWN_VERSIONS = frozenset({64, 65, 66, 67, 68, 999})
"""Storage versions of DuckDB 0.9 to 2.0."""
NEWEST_FORMAT = 69
"""What DuckDB 2.0 writes."""
RECORD = struct.Struct("<QQ")
"""What stands before each part in the journal: its offset in the file, and its length."""


class StorageUnknown(KobeError):
    """The file is of a DuckDB whose layout is not known here; it was not touched."""


_logger = logging.getLogger(__name__)
# The event log takes its warnings where it is configured; a command's stderr is for the one line that says what failed.
_logger.addHandler(logging.NullHandler())
_one_at_a_time = threading.Lock()


def connect(path: Path, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """Open the file at `path`, after mending what a killed process left; made where it is missing, unless read_only.

    Raises duckdb.Error, OSError where the folder refuses, or StorageUnknown where there is something to mend in a file that
    another DuckDB laid out.
    """
    with _one_at_a_time:
        if not read_only and not path.exists():
            _create(path.resolve())
        _put_back(path)
        connection = duckdb.connect(str(path), read_only=read_only)
    try:
        if not read_only:
            connection.execute("PRAGMA disable_checkpoint_on_shutdown")
            connection.execute("SET checkpoint_threshold = '1000 TB'")
    except BaseException:
        # DuckDB gives out a database it has given up as long as a connection of the process has it open.
        connection.close()
        raise
    return connection


def checkpoint(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Bring the log into the file. Raises duckdb.Error, OSError or StorageUnknown, and the log stays as it is then."""
    with _one_at_a_time:
        journal = _journal(path)
        _write_journal(connection, path, journal)
        connection.execute("CHECKPOINT")
        journal.unlink(missing_ok=True)


def checkpoint_beyond(limit: int, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """`checkpoint` where the log has more than `limit` bytes; one that fails is left to the next writer."""
    try:
        if _size(path.with_name(f"{path.name}.wal")) > limit:
            checkpoint(connection, path)
    except (duckdb.Error, OSError, StorageUnknown) as error:
        _logger.warning("%s keeps its log: no checkpoint (%s)", path, str(error).splitlines()[0])


def close(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Close a connection that could write, after bringing the log into the file."""
    with contextlib.closing(connection):
        checkpoint_beyond(0, connection, path)


def copy(path: Path, target: Path) -> None:
    """Copy a file that this process has open; what is in the log is not copied."""
    source, at = _descriptor(path), 0
    with target.open("wb") as file:
        while chunk := os.pread(source, 1 << 20, at):
            at += file.write(chunk)


def _descriptor(path: Path) -> int:
    """DuckDB's own descriptor of a file this process has open.

    DuckDB's lock is the process's: opening the file by another descriptor and closing that would end it.
    """
    found = _descriptor_or_none(path)
    if found is None:
        raise OSError(errno.ESTALE, "another file stands where the open one was", str(path))
    return found


def _descriptor_or_none(path: Path) -> int | None:
    wanted = path.stat()
    for name in os.listdir("/dev/fd"):
        # The one of this listing is closed by now.
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(int(name)), wanted):
                return int(name)
    return None


def _create(path: Path) -> None:
    """DuckDB writes three headers one by one and opens no file that has only some of them."""
    from filelock import FileLock

    new = path.with_name(f".{path.name}.new")
    with FileLock(path.with_name(f".{path.name}.lock"), mode=0o600):
        if not path.exists():
            new.unlink(missing_ok=True)
            _write_empty(new)
            # The log of a file that was moved away: a new one cannot be opened beside it.
            for log in path.parent.glob(f"{glob.escape(path.name)}.wal*"):
                log.rename(log.with_name(f"left-{time.time_ns()}-{log.name}"))
            new.rename(path)


def _write_empty(path: Path) -> None:
    duckdb.connect(str(path)).close()


def _write_journal(connection: duckdb.DuckDBPyConnection, path: Path, journal: Path) -> None:
    blocks = connection.execute("SELECT DISTINCT block_id FROM pragma_metadata_info() ORDER BY ALL").fetchall()
    ((size,),) = connection.execute("SELECT block_size FROM pragma_database_size()").fetchall()
    source = _descriptor(path)
    headers = os.pread(source, HEADERS, 0)
    _check_version(headers, path)
    read = ((HEADERS + block * size, os.pread(source, size, HEADERS + block * size)) for (block,) in blocks)
    # No header points yet into a block that is not whole in the file.
    parts = [(0, headers), *((offset, block) for offset, block in read if len(block) == size)]
    content = b"".join(RECORD.pack(offset, len(block)) + block for offset, block in parts)
    # One name always: only who has the file open writes it, and a killed one leaves nothing that would heap up.
    write_whole(journal, content, journal.with_name(f"{journal.name}.new"))


def _write_all(file: io.FileIO, content: bytes) -> None:
    """Write all of it where the file stands: one call may write a part, on a disk that fills up."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def _put_back(path: Path) -> None:
    """Undo a checkpoint that was begun and not finished, unless a process has the file open."""
    journal = _journal(path)
    if not (journal.exists() and path.exists()) or _descriptor_or_none(path) is not None:
        return
    try:
        with path.open("r+b", buffering=0) as file:
            # DuckDB's own kind of lock. Who has it opened the file soundly, and sees to the journal.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            headers, blocks = _parts(journal.read_bytes())
            if file.read(HEADERS) == headers:
                _check_version(headers, path)
                for offset, block in blocks:
                    file.seek(offset)
                    _write_all(file, block)
                os.fsync(file.fileno())
            journal.unlink()
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EAGAIN, errno.EROFS, errno.ENOENT}:
            raise


def _check_version(headers: bytes, path: Path) -> None:
    """Raise StorageUnknown unless the headers are of a layout that blocks can be copied by."""
    magic, version = MAIN_HEADER.unpack_from(headers) if len(headers) == HEADERS else (b"", 0)
    formats = [CHECKPOINT_HEADER.unpack_from(headers, offset)[0] for offset in CHECKPOINT_HEADERS] if magic else []
    if magic != b"DUCK" or version not in KNOWN_VERSIONS or max(formats) > NEWEST_FORMAT:
        raise StorageUnknown(
            f"{path} has DuckDB's storage version {version} ({'/'.join(map(str, formats))}), which this Kobe cannot mend",
            "open it once with the DuckDB that wrote it, restore a backup, or update Kobe",
        )


def _parts(data: bytes) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Headers, and blocks with their offsets; no headers where the journal is none, as only another program leaves it."""
    at, parts = 0, []
    while at + RECORD.size <= len(data):
        offset, length = RECORD.unpack_from(data, at)
        at += RECORD.size + length
        parts.append((offset, data[at - length : at]))
    if at != len(data) or not parts:
        return b"", []
    return parts[0][1], parts[1:]


def _journal(path: Path) -> Path:
    # Hidden, so that no copy of the folder takes it along.
    return path.with_name(f".{path.name}.journal")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
