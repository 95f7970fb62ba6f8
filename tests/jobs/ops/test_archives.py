"""No archive is trusted: what could leave the folder, fill memory or stand for something else is refused in one line."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kobe_jobs.ops.backup.archive import ArchiveRefused, read_archive, read_manifest
from kobe_jobs.ops.backup.files import is_safe_name
from kobe_jobs.ops.backup.make import make_backup
from kobe_jobs.ops.backup.restore import restore
from tests.support.builders.data_folder import fill, listing


def craft(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], files: dict[str, Any] | None = None, form: int = 1) -> Path:
    """An archive as an attacker would write it."""
    named = files if files is not None else {info.name: describe(data) for info, data in members}
    manifest = json.dumps({"format": form, "files": named}).encode()
    with tarfile.open(path, "w:gz") as tar:
        for info, data in [(tarfile.TarInfo("manifest.json"), manifest), *members]:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def describe(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def link(name: str, to: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


@pytest.mark.parametrize(
    "name", ["../escaped", "a/../../escaped", "/tmp/escaped", "..", "a/./b", "a//b", "C:\\x", "a\\..\\b", "", "a\0b", "./a"]
)
def test_names_that_could_leave_the_folder_are_unsafe(name: str) -> None:
    assert not is_safe_name(name)


@pytest.mark.parametrize("name", ["kobe.duckdb", "reports/kpi_report.html", "a b/ü.html", "..x/y"])
def test_plain_names_are_safe(name: str) -> None:
    assert is_safe_name(name)


@pytest.mark.parametrize("name", ["../escaped.html", "/tmp/kobe-escaped.html", "reports/../../escaped.html"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    archive = craft(tmp_path / "evil.tar.gz", [(tarfile.TarInfo(name), b"x")])
    with pytest.raises(ArchiveRefused, match="outside the data folder"):
        restore(archive, tmp_path / "deep" / "home")
    assert not list(tmp_path.rglob("*escaped*"))
    assert not Path("/tmp/kobe-escaped.html").exists()
    assert not (tmp_path / "deep" / "home").exists()


@pytest.mark.parametrize(
    ("craft_members", "why"),
    [
        (lambda: [(link("reports", "/etc", tarfile.SYMTYPE), b""), (tarfile.TarInfo("reports/x"), b"x")], "no plain file"),
        (lambda: [(link("a", "/etc/passwd", tarfile.LNKTYPE), b"")], "no plain file"),
        (lambda: [(link("pipe", "", tarfile.FIFOTYPE), b"")], "no plain file"),
        (lambda: [(link("folder", "", tarfile.DIRTYPE), b"")], "no plain file"),
        (lambda: [(tarfile.TarInfo("a"), b"x"), (tarfile.TarInfo("a"), b"x")], "twice"),
    ],
)
def test_odd_members_are_refused(tmp_path: Path, craft_members: Callable[[], Any], why: str) -> None:
    archive = craft(tmp_path / "evil.tar.gz", craft_members())
    with pytest.raises(ArchiveRefused, match=why):
        restore(archive, tmp_path / "deep" / "home")
    assert not (tmp_path / "deep" / "home").exists()


@pytest.mark.parametrize(
    "name",
    [
        "compiled/numba-000000000000/x/y.nbi",
        "Compiled/x.html",
        "cache/numba/y.nbc",
        "reports/y.NBI",
        "dagster/dagster.yaml",
        "DAGSTER/Dagster.yaml",
        ".kobe.duckdb.journal",
        "reports/.hidden/x",
        "__pycache__/x.pyc",
        "kobe.duckdb.wal",
        "orders.sqlite-wal",
        "trading.lock",
    ],
)
def test_what_a_backup_leaves_out_is_refused(tmp_path: Path, name: str) -> None:
    archive = craft(tmp_path / "evil.tar.gz", [(tarfile.TarInfo(name), b"x")])
    with pytest.raises(ArchiveRefused, match="no backup holds"):
        restore(archive, tmp_path / "deep" / "home")
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize("pair", [("a.html", "A.HTML"), ("\u00fc.html", "u\u0308.html"), ("ss", "\u00df")])
def test_two_names_that_can_be_one_file_are_refused(tmp_path: Path, pair: tuple[str, str]) -> None:
    archive = craft(tmp_path / "evil.tar.gz", [(tarfile.TarInfo(name), b"x") for name in pair])
    with pytest.raises(ArchiveRefused, match="can be one file"):
        restore(archive, tmp_path / "deep" / "home")


def test_a_file_that_is_also_a_folder_is_refused(tmp_path: Path) -> None:
    archive = craft(tmp_path / "evil.tar.gz", [(tarfile.TarInfo(name), b"x") for name in ("a", "a/b")])
    with pytest.raises(ArchiveRefused, match="as a file and as a folder"):
        restore(archive, tmp_path / "home")


@pytest.mark.parametrize(
    "manifest",
    [
        b'{"format": 1, "files": {"a": {"size": NaN, "sha256": "%s"}}}' % (b"0" * 64),
        b'{"format": 1, "files": {"a": {"size": Infinity, "sha256": "%s"}}}' % (b"0" * 64),
        b'{"format": 1, "files": {"a": {"size": 1%s, "sha256": "%s"}}}' % (b"0" * 400, b"0" * 64),
        b'{"format": 1, "files": {"a": {"size": 1%s, "sha256": "%s"}}}' % (b"0" * 6000, b"0" * 64),
        b'{"format": 1, "files": {"a": {"size": -1, "sha256": "%s"}}}' % (b"0" * 64),
        b'{"format": 1, "files": {"a": {"size": true, "sha256": "%s"}}}' % (b"0" * 64),
        b'{"format": 1, "files": {"a": {"size": 1, "sha256": "x"}}}',
        b'{"format": 1, "files": {"a": [1]}}',
        b'{"format": 1, "files": {}, "files": {}}',
        b'{"format": 1, "files": {}, "created": 5}',
        b'{"format": 1, "files": {}, "created": "\\u001b[2J"}',
        b'{"format": 1, "files": {}, "audit_head": {}}',
        b'{"format": true, "files": {}}',
        b'{"format": 1%s, "files": {}}' % (b"0" * 400),
        b'{"format": [[]], "files": {}}',
        b'{"format": 1, "files": ' + b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe",
        b"[]",
        b"",
    ],
)
@pytest.mark.usefixtures("no_collection")
def test_an_odd_manifest_is_one_line(tmp_path: Path, manifest: bytes) -> None:
    archive = tmp_path / "odd.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo("manifest.json")
        info.size = len(manifest)
        tar.addfile(info, io.BytesIO(manifest))
    with pytest.raises(ArchiveRefused, match="unreadable manifest") as caught:
        restore(archive, tmp_path / "home")
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("name", ["\ud800", "a\udc80", "a\nb", "a\x1b[2Jb"])
def test_a_name_that_no_line_can_show_is_refused(tmp_path: Path, name: str) -> None:
    archive = craft(tmp_path / "evil.tar.gz", [], {name: describe(b"x")})
    with pytest.raises(ArchiveRefused, match="outside the data folder") as caught:
        restore(archive, tmp_path / "home")
    assert str(caught.value).isprintable()


def test_a_sparse_file_is_refused_however_large_it_says_it_is(tmp_path: Path) -> None:
    info = tarfile.TarInfo("reports/x.html")
    info.pax_headers = {"GNU.sparse.size": str(1 << 40), "GNU.sparse.map": f"{(1 << 40) - 1},1"}
    archive = craft(tmp_path / "evil.tar.gz", [(info, b"x")], {"reports/x.html": {"size": 1 << 40, "sha256": "0" * 64}})
    with pytest.raises(ArchiveRefused, match="no plain file"):
        read_archive(archive)


def raw_header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "content",
    [
        raw_header(tarfile.XHDTYPE, 1 << 40),
        raw_header(tarfile.GNUTYPE_LONGNAME, 1 << 40),
        raw_header(tarfile.XGLTYPE, 0) * 5000,
        raw_header(tarfile.XHDTYPE, 5000) + (b"9" * 5000 + b" path=x\n").ljust(5120, b"\0"),
    ],
)
def test_headers_that_would_fill_memory_or_stack_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / "evil.tar.gz"
    archive.write_bytes(gzip.compress(content + bytes(10_240)))
    with pytest.raises(ArchiveRefused) as caught:
        restore(archive, tmp_path / "home")
    assert "\n" not in str(caught.value)


def test_what_the_manifest_does_not_tell_is_refused(tmp_path: Path) -> None:
    one = tarfile.TarInfo("a")
    with pytest.raises(ArchiveRefused, match="does not name"):
        read_archive(craft(tmp_path / "1.tar.gz", [(one, b"x")], {}))
    with pytest.raises(ArchiveRefused, match="SHA-256"):
        read_archive(craft(tmp_path / "2.tar.gz", [(one, b"x")], {"a": describe(b"y")}))
    with pytest.raises(ArchiveRefused, match="size"):
        read_archive(craft(tmp_path / "3.tar.gz", [(one, b"x")], {"a": describe(b"xx")}))
    with pytest.raises(ArchiveRefused, match="lacks b"):
        read_archive(craft(tmp_path / "4.tar.gz", [(one, b"x")], {"a": describe(b"x"), "b": describe(b"")}))
    with pytest.raises(ArchiveRefused, match="format 2"):
        read_archive(craft(tmp_path / "5.tar.gz", [], {}, form=2))
    with pytest.raises(ArchiveRefused, match="unreadable manifest"):
        read_archive(craft(tmp_path / "6.tar.gz", [], {"a": {"size": "1"}}))


def test_every_flipped_or_missing_byte_is_found_before_anything_is_touched(home: Path, tmp_path: Path) -> None:
    fill(home)
    good = make_backup(home).path.read_bytes()
    plain = gzip.decompress(good)
    before = listing(home)
    chance = random.Random(7)
    broken = tmp_path / "broken.tar.gz"
    for _ in range(12):
        flipped = bytearray(good)
        flipped[chance.randrange(20, len(good))] ^= 1 << chance.randrange(8)
        cut = good[: chance.randrange(1, len(good))]
        start = chance.randrange(512, 20_000)
        repacked = gzip.compress(plain[:start] + bytes([plain[start] ^ 1]) + plain[start + 1 :], 1)
        for damaged in (bytes(flipped), cut, repacked):
            broken.write_bytes(damaged)
            if refused(broken, tmp_path / "other"):
                assert not (tmp_path / "other").exists()
                continue
            # A flip in what carries no content (a time stamp, padding) must still give the same folder.
            content = {name: entry["sha256"] for name, entry in read_manifest(broken)["files"].items() if name != "kobe.duckdb"}
            assert content.items() <= listing(tmp_path / "other").items()
            shutil.rmtree(tmp_path / "other")
    assert listing(home) == before


def refused(archive: Path, home: Path) -> bool:
    try:
        restore(archive, home)
    except ArchiveRefused:
        return True
    return False


def test_a_file_that_is_no_archive_is_refused_in_one_line(tmp_path: Path) -> None:
    stranger = tmp_path / "x.tar.gz"
    stranger.write_text("not an archive")
    with pytest.raises(ArchiveRefused, match="damaged"):
        restore(stranger, tmp_path / "home")
    with pytest.raises(ArchiveRefused, match="is no file"):
        restore(tmp_path / "nowhere.tar.gz", tmp_path / "home")
