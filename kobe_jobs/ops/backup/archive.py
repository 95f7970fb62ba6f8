"""Reading an archive of `kobe backup`: nothing in it is trusted, and nothing is written outside the folder given.

Only plain files that a backup would hold, only the names of the manifest, each of the size and with the SHA-256 told there;
anything else refuses the whole archive.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import hashlib
import json
import os
import re
import struct
import tarfile
import unicodedata
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from kobe_jobs.ops.backup.files import is_left_out, is_safe_name
from kobe_resources.errors import KobeError

MANIFEST = "manifest.json"
FORMAT = 1
MAX_MANIFEST_BYTES = 50_000_000
MAX_READ_BYTES = 2 * MAX_MANIFEST_BYTES
"""Most bytes asked for at once: tarfile takes a header in one piece, however long the archive says it is."""
MAX_SIZE = 1 << 50
"""A petabyte: no file of ours is larger, and sums of such sizes stay plain numbers."""
CHUNK = 1 << 20
MEND = "try another archive; nothing was changed"
MISTRUST = "do not trust where it comes from; nothing was changed"
DAMAGE = (
    tarfile.TarError,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    ArithmeticError,
    LookupError,
    MemoryError,
    RecursionError,
)
"""What the readers of tar, gzip and JSON raise on odd data."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HEAD = re.compile(r"([0-9]{1,18}:[0-9a-f]{64})?")


class ArchiveRefused(KobeError):
    """The archive is damaged, was tampered with, or is none of ours."""


def read_manifest(archive: Path) -> dict[str, Any]:
    """The manifest alone: what the archive says of itself. Raises ArchiveRefused."""
    with _opened(archive) as tar:
        return _manifest(tar, archive)


def read_archive(archive: Path, into: Path | None = None) -> dict[str, Any]:
    """Check every byte of the archive, writing its files under `into` (which must be empty) where given; the manifest.

    Raises ArchiveRefused; what was written by then is for the caller to remove.
    """
    with _opened(archive) as tar:
        manifest = _manifest(tar, archive)
        wanted: Mapping[str, Mapping[str, Any]] = manifest["files"]
        seen: set[str] = set()
        for member in tar:
            if member.name == MANIFEST and not seen and member.offset == 0:
                continue
            _check_member(member, wanted, seen)
            content = tar.extractfile(member)
            if content is None:
                raise ArchiveRefused(f"{member.name!r} in the archive cannot be read", MEND)
            digest = _take(content, member, into)
            if digest != wanted[member.name]["sha256"]:
                raise ArchiveRefused(f"{member.name!r} in the archive is not what was backed up (SHA-256 differs)", MEND)
            seen.add(member.name)
        missing = wanted.keys() - seen
        if missing:
            raise ArchiveRefused(f"the archive lacks {min(missing)} (and {len(missing) - 1} more)", MEND)
        return manifest


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    """The archive, with what its readers raise on damaged data turned into ArchiveRefused."""
    if not archive.is_file():
        raise ArchiveRefused(f"{archive} is no file", "name an archive of `kobe backup`")
    try:
        with gzip.open(archive, "rb") as plain, tarfile.open(fileobj=cast(IO[bytes], _Measured(plain)), mode="r:") as tar:
            yield tar
    except DAMAGE as error:
        raise ArchiveRefused(f"{archive} is damaged ({str(error) or type(error).__name__})", MEND) from error
    except OSError as error:
        # gzip reports damage as an OSError without a number; a full disk has one.
        if error.errno is not None:
            raise
        raise ArchiveRefused(f"{archive} is damaged ({error})", MEND) from error


class _Measured:
    """A stream that gives only so much at once, so that no header fills the memory."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_READ_BYTES:
            raise tarfile.ReadError("a header of it is too long")
        return self._stream.read(size)

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)


def _manifest(tar: tarfile.TarFile, archive: Path) -> dict[str, Any]:
    first = tar.next()
    if first is None or first.name != MANIFEST or not _is_plain(first) or first.size > MAX_MANIFEST_BYTES:
        raise ArchiveRefused(f"{archive} is no archive of `kobe backup`", MEND)
    content = tar.extractfile(first)
    try:
        text = content.read().decode() if content else ""
        manifest = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict):
        raise ArchiveRefused(f"{archive} has an unreadable manifest", MEND)
    known = manifest.get("format")
    if known != FORMAT and type(known) is int and 0 <= known < 1_000_000:
        raise ArchiveRefused(f"{archive} has format {known}, this Kobe reads {FORMAT}", "restore it with a newer Kobe")
    if known != FORMAT or type(known) is not int or not _is_well_formed(manifest):
        raise ArchiveRefused(f"{archive} has an unreadable manifest", MEND)
    _check_names(manifest["files"])
    return manifest


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _is_well_formed(manifest: Mapping[str, Any]) -> bool:
    """Whether the fields that are read have the types that a backup writes; a newer Kobe may add others."""
    files, created, head = manifest.get("files"), manifest.get("created", ""), manifest.get("audit_head", "")
    return (
        isinstance(files, dict)
        and all(_is_description(entry) for entry in files.values())
        and isinstance(head, str)
        and _HEAD.fullmatch(head) is not None
        and isinstance(created, str)
        and (not created or _is_moment(created))
    )


def _is_description(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    size, digest = entry.get("size"), entry.get("sha256")
    return type(size) is int and 0 <= size < MAX_SIZE and isinstance(digest, str) and _SHA256.fullmatch(digest) is not None


def _is_moment(text: str) -> bool:
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _check_names(names: Collection[str]) -> None:
    """Refuse what leaves the folder, what a backup leaves out, and two names that could be one file."""
    seen: dict[str, str] = {}
    for name in names:
        if not is_safe_name(name):
            raise ArchiveRefused(f"the archive names a file outside the data folder ({name!r})", MISTRUST)
        if is_left_out(name):
            raise ArchiveRefused(f"the archive names {name!r}, which no backup holds", MISTRUST)
        other = seen.setdefault(_as_one(name), name)
        if other != name:
            raise ArchiveRefused(f"the archive names {other!r} and {name!r}, which can be one file", MISTRUST)


def _as_one(name: str) -> str:
    """The key under which a file system without case or with normalised Unicode holds the name."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _is_plain(member: tarfile.TarInfo) -> bool:
    """Neither link, device, folder nor sparse: a sparse file is as large as it says, whatever the archive holds of it."""
    return member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()


def _check_member(member: tarfile.TarInfo, wanted: Mapping[str, Mapping[str, Any]], seen: set[str]) -> None:
    if not _is_plain(member):
        raise ArchiveRefused(f"the archive holds {member.name!r}, which is no plain file", MISTRUST)
    if member.name not in wanted:
        raise ArchiveRefused(f"the archive holds {member.name!r}, which its manifest does not name", MEND)
    above = next((folder for folder in map(str, PurePosixPath(member.name).parents) if folder in wanted), None)
    if above is not None:
        raise ArchiveRefused(f"the archive names {above!r} as a file and as a folder", MISTRUST)
    if member.name in seen:
        raise ArchiveRefused(f"the archive holds {member.name!r} twice", MEND)
    if member.size != wanted[member.name]["size"]:
        raise ArchiveRefused(f"{member.name!r} in the archive is not what was backed up (its size differs)", MEND)


def _take(content: IO[bytes], member: tarfile.TarInfo, into: Path | None) -> str:
    """The SHA-256 of the member, written to its place where there is one."""
    digest = hashlib.sha256()
    if into is None:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
        return digest.hexdigest()
    target = into / member.name
    target.parent.mkdir(parents=True, exist_ok=True)
    # O_EXCL follows no link and replaces nothing.
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()
