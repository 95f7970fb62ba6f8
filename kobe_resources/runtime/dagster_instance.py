"""The Dagster instance of this KOBE_HOME: run history, event log and schedules under KOBE_HOME/dagster.

The project's dagster.yaml is the one source of its configuration; here its folders become absolute. So the default
data folder of the sample and a plain `dagster dev` in the project's root, with no variable set, share one history.
It trusts every process that can write KOBE_HOME.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kobe_resources.errors import KobeError
from kobe_resources.runtime.atomic_files import private_folder, write_whole
from kobe_resources.settings.load import PROJECT_ROOT, kobe_home

if TYPE_CHECKING:
    from dagster import DagsterInstance

DEFAULT_FOLDER = "warehouse/data/sample/dagster"
"""What dagster.yaml writes where KOBE_HOME/dagster is meant."""
CREATION_WAIT_S = 120.0
CLOCK_STEP_S = 60.0
"""By so much a clock may have been set while a run was at work."""
KEEP_NO_OUTPUT = {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
UNSTORED = "Exception while writing logger call to event log"
"""How the line begins that Dagster writes to stderr where it cannot store an event."""


class InstanceUnusable(KobeError):
    """The folder of the run history cannot be created or written."""


def dagster_home() -> Path:
    """The folder to hand to Dagster as DAGSTER_HOME, its dagster.yaml written or brought up to date."""
    home = kobe_home() / "dagster"
    text = rendered_configuration(home)
    target = home / "dagster.yaml"
    try:
        private_folder(home)
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            write_whole(target, text.encode())
    except OSError as error:
        raise InstanceUnusable(
            f"{home} cannot be written ({error})", "free space, mend permissions, or set KOBE_HOME"
        ) from error
    return home


def open_instance() -> DagsterInstance:
    """The instance, its storage created and migrated at first use; use it as a context manager. Raises InstanceUnusable.

    What a run in this process prints goes where the process prints, and is not kept for the UI: to keep it Dagster starts
    four processes, of which two print a traceback at Ctrl-C, which a terminal sends to all. The runs of `kobe ui` keep theirs.
    """
    return _prepared() or _instance_of(dagster_home())


def _instance_of(home: Path) -> DagsterInstance:
    from dagster import DagsterInstance
    from dagster._core.instance.ref import InstanceRef

    return DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides={"compute_logs": KEEP_NO_OUTPUT}))


@contextlib.contextmanager
def kept_open(run_id: str) -> Iterator[None]:
    """Make the storing of a run's events cheap until it has ended.

    Dagster opens the SQLite file anew for every event, and with its last connection SQLite copies its log into the file and
    waits for the disk; so each file is held open. It makes a new engine of SQLAlchemy, which compiles every statement anew;
    so engines are kept. And commits do not wait for the disk: whatever becomes of the process, nothing is lost; a power cut may
    lose the last events of a history on which no figure stands.
    """
    import sqlite3

    from dagster._core.storage.event_log.sqlite import sqlite_event_log
    from sqlalchemy import event

    engines: dict[str, Any] = {}
    # Of a name that Dagster imports for itself alone nothing declares a type.
    storage: Any = sqlite_event_log
    make_engine = storage.create_engine

    def engine_of(url: str, **options: Any) -> Any:
        if url not in engines:
            engines[url] = make_engine(url, **options)
            event.listen(engines[url], "connect", lambda connection, _: connection.execute("PRAGMA synchronous = NORMAL"))
        return engines[url]

    runs = dagster_home() / "history" / "history" / "runs"
    with contextlib.ExitStack() as held:
        for file in (runs.with_suffix(".db"), runs / "index.db", runs / f"{run_id}.db"):
            connection = held.enter_context(contextlib.closing(sqlite3.connect(file)))
            # Dagster's own mode; a connection holds its file from the first look into it on.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        storage.create_engine = engine_of
        try:
            yield
        finally:
            storage.create_engine = make_engine


@contextlib.contextmanager
def without_unstored_events() -> Iterator[None]:
    """Keep off stderr what Dagster prints there of each event that it cannot store, on a full disk say.

    The run fails of the same fault, and its error is the one line that a person needs.
    """
    with contextlib.redirect_stderr(_WithoutUnstored(sys.stderr)):
        yield


class _WithoutUnstored:
    """A stream that drops those lines, and else is the one it is given."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return len(text) if text.startswith(UNSTORED) else int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def prepare_storage() -> None:
    """Create or migrate the storage where this version of Dagster has not yet done so.

    Two first uses at once are safe: one creates, the other waits. Raises InstanceUnusable.
    """
    instance = _prepared()
    if instance is not None:
        instance.dispose()


def _prepared() -> DagsterInstance | None:
    """As `prepare_storage`; the instance that created the storage, None where it was there.

    To open another takes a quarter of a second, in which Dagster reads every migration that it knows.
    """
    from importlib.metadata import version

    # The installed version, without the second that importing dagster takes.
    installed = version("dagster")
    home = dagster_home()
    return None if _prepared_for(home) == installed else _prepare(home, installed)


def end_lost_runs(is_ours: Callable[[str], bool]) -> list[str]:
    """Mark runs as failed whose process died with its code server (a power cut, `kill -9`); their ids.

    Left alone they would count as running for ever, and a lost trading run would hold back every later one. `is_ours` tells
    by its socket whether a code server was started by the caller, who must be sure that none of those is alive.
    """
    from dagster import DagsterRunStatus, RunsFilter

    running = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
    ended: list[str] = []
    with open_instance() as instance:
        for run in instance.get_runs(RunsFilter(statuses=running)):
            socket = _json_field(run.tags.get(".dagster/grpc_info", ""), "socket")
            if is_ours(socket) and not _has_process(instance, run.run_id):
                instance.report_run_failed(run, "its process is gone: it was killed, or the machine went down")
                ended.append(run.run_id)
    return ended


def _has_process(instance: DagsterInstance, run_id: str) -> bool:
    """Whether the process that said it works on the run still lives."""
    from dagster import DagsterEventType

    for record in reversed(instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT)):
        data = record.dagster_event.engine_event_data if record.dagster_event else None
        pid = data.metadata.get("pid") if data else None
        if pid is not None:
            return is_alive(int(str(pid.value)), record.timestamp)
    return False


def is_alive(pid: int, at: float) -> bool:
    """Whether the process that had this number at a moment lives: after a restart another may bear it, which began later.

    at: seconds since 1970. Where the system does not tell when a process began, the number decides.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # Another user's.
        pass
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return True
    began = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + int(ticks) / os.sysconf("SC_CLK_TCK")
    return began < at + CLOCK_STEP_S


def _json_field(text: str, name: str) -> str:
    import json

    try:
        return str(json.loads(text)[name])
    except (ValueError, KeyError, TypeError):
        return ""


def rendered_configuration(home: Path) -> str:
    """The project's dagster.yaml with every folder of it under `home`. Raises InstanceUnusable for a storage but SQLite.

    What is stale, and which heads of the audit chain are known, is asked of the history's files.
    """
    import yaml

    source = PROJECT_ROOT / "dagster.yaml"
    configuration = yaml.safe_load(source.read_text(encoding="utf-8"))
    if "sqlite" not in (configuration.get("storage") or {}):
        raise InstanceUnusable(
            f"{source} names a storage that is not SQLite", "restore `storage: sqlite`: Kobe opens its files"
        )
    return "# Written by kobe from the project's dagster.yaml; changes here are lost.\n" + yaml.safe_dump(
        _placed(configuration, home), sort_keys=False
    )


def _placed(value: Any, home: Path) -> Any:
    if isinstance(value, dict):
        return {key: _placed(item, home) for key, item in value.items()}
    if isinstance(value, list):
        return [_placed(item, home) for item in value]
    if isinstance(value, str) and (value == DEFAULT_FOLDER or value.startswith(DEFAULT_FOLDER + "/")):
        return str(home / Path(value).relative_to(DEFAULT_FOLDER))
    return value


def _prepared_for(home: Path) -> str:
    """The Dagster version that last created or migrated the storage."""
    marker = home / "storage_version"
    return marker.read_text(encoding="utf-8") if marker.is_file() else ""


def _prepare(home: Path, version: str) -> DagsterInstance | None:
    from filelock import FileLock, Timeout

    try:
        with FileLock(home / "creation.lock", mode=0o600, timeout=CREATION_WAIT_S):
            if _prepared_for(home) == version:
                return None
            if not (home / "history").is_dir():
                instance = _instance_of(home)
                write_whole(home / "storage_version", version.encode())
                return instance
            # Dagster prints its progress; standard output belongs to the command.
            with _instance_of(home) as old, contextlib.redirect_stdout(sys.stderr):
                old.upgrade()
            write_whole(home / "storage_version", version.encode())
            return None
    except Timeout:
        raise InstanceUnusable(
            f"another process has been creating {home} for more than {CREATION_WAIT_S:g} s", "stop it and run again"
        ) from None
    except OSError as error:
        raise InstanceUnusable(
            f"{home} cannot be written ({error})", "free space, mend permissions, or set KOBE_HOME"
        ) from error
