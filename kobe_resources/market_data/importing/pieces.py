"""The files that a person's paths name, each as text or Parquet that DuckDB reads: unpacked, decoded, workbooks written as CSV.

What is unpacked lies under names of Kobe's own in the caller's folder: a member's name is never a path.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import itertools
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple
from urllib.parse import unquote

from kobe_resources.market_data.protocol import MarketDataError, Progress

TEXTS = (".csv", ".txt", ".tsv", ".asc", ".prn", ".dat")
BOOKS = (".xlsx", ".xlsm", ".xls", ".xlsb", ".ods")
TABLES = (".parquet", ".pq")
PACKED: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
FIRST_BYTES = {
    b"PAR1": "table",
    b"\x1f\x8b": ".gz",
    b"BZh": ".bz2",
    b"\xfd7zXZ": ".xz",
    b"\xd0\xcf\x11\xe0": "book",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
}
HEAD = 1 << 16
BLOCK = 1 << 20
DEEPEST = 3
"""Archives in archives."""
PLAIN_SHEETS = ("sheet", "tabelle", "feuil", "hoja", "foglio", "worksheet")


PARTED_BY = ("symbol=", "ticker=")


class Piece(NamedTuple):
    """A file to read: as the person knows it, its own name, where it lies, what it is, and whether a path named it itself."""

    label: str
    stem: str
    path: Path
    form: Literal["text", "table"]
    named: bool


class Skipped(NamedTuple):
    """A file that is not read, and why."""

    label: str
    reason: str


class _Finder:
    """Walks paths; `pieces` and `skipped` grow."""

    def __init__(self, scratch: Path, leave: set[Path]) -> None:
        self.scratch, self.leave = scratch, leave
        self.pieces: list[Piece] = []
        self.skipped: list[Skipped] = []
        self._numbers = itertools.count()

    def add(self, path: Path, label: str, stem: str, named: bool, depth: int = 0) -> None:
        suffix = Path(stem).suffix.lower()
        bare = stem[: len(stem) - len(suffix)]
        if not named and suffix not in (*BOOKS, *TEXTS, *TABLES, *PACKED, ".zip"):
            self.skipped.append(Skipped(label, "is no file of bars by its ending"))
            return
        try:
            # What a file is by its first bytes: browsers and people give it other endings.
            form = _form(path, suffix)
            if form == "zip":
                self._unzip(path, label, named, depth)
            elif form in PACKED:
                self._unpack(path, form, label, bare if suffix in PACKED else stem, named, depth)
            elif form == "table":
                self.pieces.append(Piece(label, bare, path, "table", named))
            elif form == "book":
                self._sheets(path, label, bare, named)
            else:
                known = suffix in (*TEXTS, *TABLES, *BOOKS)
                self.pieces.append(Piece(label, bare if known else stem, self._text(path), "text", named))
        except (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            self._give_up(label, f"cannot be read ({error})", named)

    def _give_up(self, label: str, reason: str, named: bool) -> None:
        if named:
            raise MarketDataError(f"{label} {reason}", "see whether the file is whole")
        self.skipped.append(Skipped(label, reason))

    def _unzip(self, path: Path, label: str, named: bool, depth: int) -> None:
        if depth >= DEEPEST:
            self._give_up(label, "is an archive in too many archives", named)
            return
        with zipfile.ZipFile(path) as archive:
            inside = [(member, member.filename.rsplit("/", 1)[-1]) for member in archive.infolist() if not member.is_dir()]
            inside = [
                (member, name)
                for member, name in inside
                if not name.startswith(".") and not member.filename.startswith("__MACOSX")
            ]
            for member, name in inside:
                # pandas packs `bars.zip` with one member `bars`.
                name = f"{name}.csv" if len(inside) == 1 and not Path(name).suffix else name
                place = self._place(name)
                with archive.open(member) as source, place.open("wb") as target:
                    shutil.copyfileobj(source, target, BLOCK)
                self.add(place, f"{label}!{member.filename}", name, False, depth + 1)

    def _unpack(self, path: Path, form: str, label: str, bare: str, named: bool, depth: int) -> None:
        if depth >= DEEPEST:
            self._give_up(label, "is packed too many times", named)
            return
        place = self._place(bare)
        with PACKED[form](path) as source, place.open("wb") as target:
            shutil.copyfileobj(source, target, BLOCK)
        if tarfile.is_tarfile(place):
            self._give_up(label, "is a tar archive: unpack it first", named)
            return
        # `AAPL.gz` is the text that its folder is made of.
        inner = bare if Path(bare).suffix.lower() in (*TEXTS, *TABLES, *BOOKS) else f"{bare}.csv"
        self.add(place, label, inner, named, depth + 1)

    def _sheets(self, path: Path, label: str, bare: str, named: bool) -> None:
        try:
            import python_calamine
        except ImportError:
            self._give_up(label, "is a workbook, and python-calamine is not installed", named)
            return
        try:
            with python_calamine.load_workbook(str(path)) as book:
                held = [(name, _rows_of(book.get_sheet_by_name(name))) for name in book.sheet_names]
        except python_calamine.CalamineError as error:
            self._give_up(label, f"cannot be read as a workbook ({error})", named)
            return
        filled = [(name, rows) for name, rows in held if rows]
        for name, rows in filled:
            place = self._place("sheet.csv")
            with place.open("w", encoding="utf-8", newline="") as target:
                csv.writer(target).writerows([_cell(value) for value in row] for row in rows)
            own = len(filled) > 1 and not name.lower().startswith(PLAIN_SHEETS)
            where = f"{label}!{name}" if len(filled) > 1 else label
            self.pieces.append(Piece(where, name if own else bare, place, "text", named and len(filled) == 1))

    def _text(self, path: Path) -> Path:
        """The file itself where it is UTF-8 with ordinary line ends; else a copy that is."""
        with path.open("rb") as source:
            encoding, plain = _encoding(source)
        if plain:
            return path
        place = self._place("text.csv")
        with path.open(encoding=encoding, errors="replace", newline=None) as text, place.open("w", encoding="utf-8") as target:
            while block := text.read(BLOCK):
                target.write(block.replace("\0", "").lstrip("\ufeff") if target.tell() == 0 else block.replace("\0", ""))
        return place

    def _place(self, name: str) -> Path:
        return self.scratch / f"{next(self._numbers)}{Path(name).suffix.lower()}"


def find_pieces(paths: list[Path], scratch: Path, leave: set[Path], progress: Progress) -> tuple[list[Piece], list[Skipped]]:
    """What the paths name, files of folders included at any depth, in the order of their names; and what is left out.

    leave: files that are no input. Raises MarketDataError for a path that is not there, or names a file that cannot be read.
    """
    found: list[tuple[Path, str, bool]] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.is_file())
            parts = [(one, str(one), False) for one in inside if not _hidden(one.relative_to(path))]
            found += [part for part in parts if part[0].resolve() not in leave]
        elif path.is_file():
            found.append((path, str(path), True))
        else:
            raise MarketDataError(f"{path} does not exist", "name files or folders that are there")
    finder = _Finder(scratch, leave)
    progress.start("finding", len(found), "files")
    for path, label, named in found:
        finder.add(path, label, _own_name(path), named)
        progress.advance()
    return finder.pieces, finder.skipped


def head_of(piece: Piece) -> str:
    """The first text of a piece, whole lines."""
    with piece.path.open("rb") as source:
        head = source.read(HEAD)
    text = head.decode("utf-8", errors="replace").lstrip("\ufeff")
    return text if len(head) < HEAD else text[: text.rfind("\n") + 1]


def _own_name(path: Path) -> str:
    """The file's name, or the symbol that a folder above it names, as in data sets in parts: `symbol=BRK%2FB/0.parquet`."""
    parts = [unquote(part.partition("=")[2]) for part in path.parts[:-1] if part.lower().startswith(PARTED_BY)]
    return f"{parts[-1]}{path.suffix}" if parts else path.name


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.parts) or path.name.endswith(".original")


def is_book(path: Path) -> bool:
    """Whether it is a workbook by its first bytes, whatever its name says."""
    return _form(path, "") == "book"


def _form(path: Path, suffix: str) -> str:
    """What the file is: a key of PACKED, zip, table, book or text. suffix: decides where its bytes say nothing."""
    with path.open("rb") as source:
        head = source.read(6)
    form = next((form for mark, form in FIRST_BYTES.items() if head.startswith(mark)), "")
    if form == "zip" and suffix != ".zip":
        return "book" if _is_package(path) else "zip"
    # A broken file of these kinds is read as what it says it is, and the reader says what is broken.
    return form or {**dict.fromkeys(TABLES, "table"), ".zip": "zip"}.get(suffix) or "text"


def _is_package(path: Path) -> bool:
    """Whether the zip archive is a workbook of Excel or LibreOffice."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.startswith("xl/") or name == "content.xml" for name in archive.namelist())
    except zipfile.BadZipFile:
        return True


def _encoding(source: IO[bytes]) -> tuple[str, bool]:
    """How the text is encoded, and whether it can be read as it lies: UTF-8 with line ends of one kind that is no `\\r`."""
    head = source.read(BLOCK)
    for mark, name in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if head.startswith(mark):
            return name, False
    # Text of letters and digits in UTF-16 has a null in every second byte.
    for begin, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if head[begin:200:2].count(0) > min(40, len(head) // 4):
            return name, False
    decoder = codecs.getincrementaldecoder("utf-8")()
    both = feeds = returns = 0
    plain, block, last = not head.startswith(codecs.BOM_UTF8 * 2), head, b""
    try:
        while block:
            decoder.decode(block)
            both += block.count(b"\r\n") + (last == b"\r" and block.startswith(b"\n"))
            feeds, returns = feeds + block.count(b"\n"), returns + block.count(b"\r")
            plain, last = plain and b"\0" not in block, block[-1:]
            block = source.read(BLOCK)
    except UnicodeDecodeError:
        return "cp1252", False
    return "utf-8-sig", plain and returns == both and both in (0, feeds)


def _rows_of(sheet: Any) -> list[list[Any]]:
    """The sheet's rows, with what stands in cells merged downwards in each of them, as pandas merges equal ones of an index."""
    rows: list[list[Any]] = sheet.to_python()
    begin_row, begin_column = sheet.start or (0, 0)
    for (first, column), (last, _) in sheet.merged_cell_ranges or ():
        for row in range(first + 1, min(last + 1, begin_row + len(rows))):
            rows[row - begin_row][column - begin_column] = rows[first - begin_row][column - begin_column]
    return rows


def _cell(value: Any) -> Any:
    """A workbook's value as text: days without midnight, whole numbers without a point, TRUE as it stands there."""
    import datetime as dt

    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, dt.datetime) and value.time() == dt.time():
        return value.date().isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    return value
