"""Reading an archive of `kobe backup`: nothing in it is trusted, and nothing is written outside the folder given.

Only plain files, only the names of the manifest, each of the size and with the SHA-256 told there; anything else refuses
the whole archive.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from kobe_resources.errors import KobeError

MANIFEST = "manifest.json"
FORMAT = 1
MAX_MANIFEST_BYTES = 100_000_000
CHUNK = 1 << 20
MEND = "try another archive; nothing was changed"


class ArchiveRefused(KobeError):
    """The archive is damaged, was tampered with, or is none of ours."""


def read_manifest(archive: Path) -> dict[str, Any]:
    """The manifest alone: what the archive says of itself. Raises ArchiveRefused."""
    with _reading(archive), tarfile.open(archive, "r:gz") as tar:
        return _manifest(tar, archive)


def read_archive(archive: Path, into: Path | None = None) -> dict[str, Any]:
    """Check every byte of the archive, writing its files under `into` (which must be empty) where given; the manifest.

    Raises ArchiveRefused; what was written by then is for the caller to remove.
    """
    with _reading(archive), tarfile.open(archive, "r:gz") as tar:
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
                raise ArchiveRefused(f"{member.name} in the archive is not what was backed up (SHA-256 differs)", MEND)
            seen.add(member.name)
        missing = wanted.keys() - seen
        if missing:
            raise ArchiveRefused(f"the archive lacks {min(missing)} (and {len(missing) - 1} more)", MEND)
        return manifest


def is_safe_name(name: str) -> bool:
    """A relative path with slashes that stays where it is put."""
    parts = PurePosixPath(name).parts
    return (
        bool(parts)
        and name == "/".join(parts)
        and not name.startswith("/")
        and not any(part in ("..", ".") for part in parts)
        and not any(character in name for character in "\\\0:")
    )


class _reading:  # noqa: N801  reads as a block
    """Turns what the tar and gzip readers raise on damaged data into ArchiveRefused."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive

    def __enter__(self) -> None:
        if not self._archive.is_file():
            raise ArchiveRefused(f"{self._archive} is no file", "name an archive of `kobe backup`")

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, tarfile.TarError | zlib.error | EOFError | UnicodeError | OverflowError):
            raise ArchiveRefused(f"{self._archive} is damaged ({error})", MEND) from error
        # gzip reports damage as an OSError without a number; a full disk has one.
        if isinstance(error, OSError) and error.errno is None:
            raise ArchiveRefused(f"{self._archive} is damaged ({error})", MEND) from error


def _manifest(tar: tarfile.TarFile, archive: Path) -> dict[str, Any]:
    first = tar.next()
    if first is None or first.name != MANIFEST or not first.isreg() or first.size > MAX_MANIFEST_BYTES:
        raise ArchiveRefused(f"{archive} is no archive of `kobe backup`", MEND)
    content = tar.extractfile(first)
    try:
        manifest = json.loads(content.read() if content else b"")
        files = manifest["files"]
        known = manifest["format"]
        well_formed = isinstance(files, dict) and all(
            isinstance(told["size"], int) and isinstance(told["sha256"], str) for told in files.values()
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ArchiveRefused(f"{archive} has an unreadable manifest", MEND) from None
    if not well_formed:
        raise ArchiveRefused(f"{archive} has an unreadable manifest", MEND)
    if known != FORMAT:
        raise ArchiveRefused(f"{archive} has format {known}, this Kobe reads {FORMAT}", "restore it with a newer Kobe")
    unsafe = next((name for name in files if not is_safe_name(name)), None)
    if unsafe is not None:
        raise ArchiveRefused(
            f"the archive names a file outside the data folder ({unsafe!r})", "do not trust where it comes from"
        )
    result: dict[str, Any] = manifest
    return result


def _check_member(member: tarfile.TarInfo, wanted: Mapping[str, Mapping[str, Any]], seen: set[str]) -> None:
    if not member.isreg():
        raise ArchiveRefused(f"the archive holds {member.name!r}, which is no plain file", "do not trust where it comes from")
    if member.name not in wanted:
        raise ArchiveRefused(f"the archive holds {member.name!r}, which its manifest does not name", MEND)
    if member.name in seen:
        raise ArchiveRefused(f"the archive holds {member.name!r} twice", MEND)
    if member.size != wanted[member.name]["size"]:
        raise ArchiveRefused(f"{member.name} in the archive is not what was backed up (its size differs)", MEND)


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
