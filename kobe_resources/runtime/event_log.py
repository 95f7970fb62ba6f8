"""The event log: one JSON line an event in KOBE_HOME/logs/events.jsonl, without secrets, whatever is passed to it.

`get_logger(name)` logs from the first call on; `configure_logging()` also brings in warnings of the libraries.
Redaction trusts no caller: it runs last, over every value of every event, tracebacks and unknown objects included.
A log that cannot be written is said once on stderr and stops no work; what must not be lost goes to the audit trail.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import math
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import structlog
from filelock import FileLock, Timeout

from kobe_resources.runtime.atomic_files import private_folder
from kobe_resources.settings.load import kobe_home
from kobe_resources.settings.secrets import secret_texts

if TYPE_CHECKING:
    from structlog.typing import EventDict, FilteringBoundLogger

MAX_BYTES = 10_000_000
KEEP_FILES = 5
LOCK_WAIT_S = 2.0
REDACTED = "[redacted]"
MAX_TEXT = 20_000
"""Characters kept of one value: a broker's HTML page is evidence, not a reason to fill the disk."""
MAX_DEPTH = 8
SHORTEST_SECRET = 4

_SECRET_FIELD = re.compile(
    r"(?i)api[-_]?key|secret|password|passwd|(?:^|[-_]|access)token$|authorization|credential|private[-_]?key|apca-api|webhook|^(?:set-)?cookie$"
)
_NOT_SECRET_FIELDS = {"page_token", "next_page_token"}
# Every repeat that could start anywhere is bounded, so that a long odd text costs no more than its length.
_SECRET_TEXT = (
    # apiKey=…, "api_key": "…", APCA-API-SECRET-KEY: …, token=…, in URLs, headers, JSON and Python reprs alike.
    re.compile(
        r"""(?ix)((?:api[-_]?key|secret|password|passwd|apca-api-|(?<![a-z0-9-])(?:access[-_])?token(?![\w-]))[\w-]{0,40}
        ["']?\s{0,3}[:=]\s{0,3}(?:b?["'])?)((?!\[redacted)[^\s"'&,;}\])<>]+)"""
    ),
    re.compile(r"(?i)(\b(?:bearer|basic)\s{1,3})([A-Za-z0-9._~+/=-]{6,})"),
    re.compile(r"(?i)(\b[a-z][a-z0-9+.-]{0,20}://)([^/\s@'\"]{1,400})(?=@)"),
)

_SCHEME = re.compile(r"^[^/]{0,40}://")

_UNPRINTABLE = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""What a third party's __str__ may raise; an object that cannot print itself must not stop its logging."""

_hidden: set[str] = set()
_handler_lock = threading.Lock()


def get_logger(name: str) -> FilteringBoundLogger:
    """A structlog logger that writes to the event log; `name` becomes the field `logger`."""
    logger: FilteringBoundLogger = structlog.wrap_logger(
        _Sink(),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _stamp,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    ).bind(logger=name)
    return logger


@contextlib.contextmanager
def event_context(
    *, run_id: str | None = None, session: dt.date | None = None, stage: str | None = None, order_id: str | None = None
) -> Iterator[None]:
    """Every event inside carries these ids (and those of the blocks around it)."""
    given = {"run_id": run_id, "session": session, "stage": stage, "order_id": order_id}
    with structlog.contextvars.bound_contextvars(**{name: value for name, value in given.items() if value is not None}):
        yield


def configure_logging() -> None:
    """Send warnings and errors of every library's `logging` to the event log too; twice is the same as once."""
    with _handler_lock:
        root = logging.getLogger()
        if not any(isinstance(handler, _LibraryHandler) for handler in root.handlers):
            root.addHandler(_LibraryHandler(level=logging.WARNING))


def events_path() -> Path:
    """Where events are appended; older ones are in events.1.jsonl (newest) and on."""
    return kobe_home() / "logs" / "events.jsonl"


def hide(secret: str) -> None:
    """Redact `secret` from now on as if it were a key: an address that is a password (its path alone too), say."""
    _hidden.update(_parts_of(secret))


def _parts_of(secret: str) -> set[str]:
    """The text, and of an address also what stands behind the host: a library may name that alone."""
    behind = _SCHEME.sub("", secret, count=1).partition("/")[2] if "://" in secret else ""
    paths = {f"/{text}" for text in (behind, behind.partition("?")[0]) if text}
    return paths | ({secret} if secret else set())


def redact(value: Any) -> Any:
    """`value` as plain JSON data without the loaded secrets, key-looking fields, and keys inside texts and URLs.

    Values of unknown types become their `str`; bytes are decoded. Never raises on odd input.
    """
    return _clean(value, _known_secrets(), 0)


def _clean(value: Any, secrets: tuple[str, ...], depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) < 2**63 else str(int(value))
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, str):
        return _clean_text(value, secrets)
    if isinstance(value, bytes | bytearray):
        return _clean_text(bytes(value).decode("utf-8", "replace"), secrets)
    if depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {
            _clean_text(name, secrets): REDACTED if _is_secret_field(name) else _clean(item, secrets, depth + 1)
            for name, item in ((_text_of(key), item) for key, item in value.items())
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item, secrets, depth + 1) for item in value]
    return _clean_text(_text_of(value), secrets)


def _text_of(value: Any) -> str:
    try:
        return str(value)
    except _UNPRINTABLE as error:
        return f"<{type(value).__name__}: {type(error).__name__}>"


def _clean_text(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    for pattern in _SECRET_TEXT:
        text = pattern.sub(rf"\g<1>{REDACTED}", text)
    # A lone surrogate (from a file name, say) is no UTF-8.
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text)} characters)"


def _is_secret_field(name: str) -> bool:
    return name.lower() not in _NOT_SECRET_FIELDS and _SECRET_FIELD.search(name) is not None


def _known_secrets() -> tuple[str, ...]:
    """What is a secret by the environment, its files and `hide`, in every spelling a URL or a repr gives it, longest first."""
    plain = {part for secret in secret_texts() for part in _parts_of(secret)}
    return _spellings(frozenset(plain | _hidden))


@lru_cache(maxsize=4)
def _spellings(secrets: frozenset[str]) -> tuple[str, ...]:
    found: set[str] = set()
    for plain in secrets:
        if len(plain) >= SHORTEST_SECRET:
            found |= {plain, quote(plain), quote(plain, safe=""), quote_plus(plain), repr(plain)[1:-1]}
    return tuple(sorted(found, key=len, reverse=True))


def _stamp(_logger: Any, _method: str, event: EventDict) -> EventDict:
    return {"time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"), "pid": os.getpid(), **event}


def _render(_logger: Any, _method: str, event: EventDict) -> str:
    import orjson

    error = event.pop("exc_info", None)
    if error:
        event["exception"] = _traceback_of(error)
    return orjson.dumps(redact(event)).decode()


def _traceback_of(error: Any) -> str:
    found = error if isinstance(error, BaseException) else error[1] if isinstance(error, tuple) else sys.exc_info()[1]
    return "".join(traceback.format_exception(found)) if found else ""


class _Sink:
    """What structlog writes to: any level is a line."""

    def msg(self, line: str) -> None:
        append_line(events_path(), line)

    debug = info = warning = warn = error = critical = fatal = exception = log = msg


class _LibraryHandler(logging.Handler):
    """Standard logging records as events, through the same redaction."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except _UNPRINTABLE:
            # A library's own mistake: arguments that do not fit its message.
            text = _text_of(record.msg)
        event: MutableMapping[str, Any] = {
            **structlog.contextvars.get_contextvars(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": text,
        }
        if record.exc_info:
            event["exc_info"] = record.exc_info
        append_line(events_path(), _render(None, "", _stamp(None, "", dict(event))))


_complained = threading.Event()


def append_line(path: Path, line: str, max_bytes: int = MAX_BYTES, keep: int = KEEP_FILES) -> None:
    """Append one line, which many processes may do at once. Past `max_bytes` the file is rotated, `keep` old ones stay."""
    try:
        private_folder(path.parent)
        with FileLock(path.with_suffix(".lock"), timeout=LOCK_WAIT_S, mode=0o600):
            # Under the lock no other process renames the file between the look at its size and the write.
            _rotate(path, max_bytes, keep)
            _append(path, line.encode() + b"\n")
    except (OSError, Timeout) as error:
        if not _complained.is_set():
            _complained.set()
            sys.stderr.write(
                f"kobe: warning: the event log {path} cannot be written ({error}): free space or mend its permissions\n"
            )


def _append(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            # A process died in the middle of a line: its line stays torn, this one must not.
            data = b"\n" + data
        while data:
            data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)


def _rotate(path: Path, max_bytes: int, keep: int) -> None:
    if not path.exists() or path.stat().st_size < max_bytes:
        return
    for number in range(keep - 1, 0, -1):
        older = path.with_suffix(f".{number}{path.suffix}")
        if older.exists():
            older.replace(path.with_suffix(f".{number + 1}{path.suffix}"))
    path.replace(path.with_suffix(f".1{path.suffix}"))
