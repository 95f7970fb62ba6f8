"""The strategies of the settings: those that Kobe brings, and every `Strategy` of the *.py in [strategy] folder.

A file is read as text, and the text is what runs here, on a worker of a cluster and in a code version, so that none of them
can differ. Files may import each other by their plain names.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import hashlib
import importlib.machinery
import importlib.util
import inspect
import re
import sys
import threading
import time
import traceback
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import lru_cache
from importlib.abc import Loader, MetaPathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kobe_assets.graph.own_code import OWN, print_to_stderr, refuse_exit
from kobe_assets.research import language
from kobe_assets.research.declared import Indicator, function_of
from kobe_assets.research.faults import (
    PACKAGE,
    StrategyBroken,
    StrategyFault,
    TakesTooLong,
    is_a_fault,
    line_of,
    one_line,
    place_of,
)
from kobe_assets.research.strategies import STRATEGIES, Strategy
from kobe_assets.research.strategies.asking import try_out
from kobe_assets.research.strategies.register import columns_of, joined
from kobe_resources.errors import UsageError, did_you_mean
from kobe_resources.runtime.deadline import stopped_after
from kobe_resources.runtime.process_state import kept_process_state

if TYPE_CHECKING:
    from kobe_resources.settings.models import Settings

Files = tuple[tuple[str, str], ...]
"""(path, text) of every file of a folder, sorted."""

DEADLINE_S = 30.0
"""Seconds in which all files of the folder must have been imported, and every function of theirs asked once."""

WRONG_CALL = re.compile(r"([\w.]+)\(\) (?:got an unexpected|missing \d|takes \d)")
"""How Python begins to say that a function was called with what it does not take."""
NOT_THERE = re.compile(r"cannot import name '(\w+)' from")
"""How Python begins to say that a module has no such name."""

_one_imports = threading.RLock()
_too_slow: dict[Files, StrategyBroken | StrategyFault] = {}
"""Files that ran into the deadline: the same ones are not waited for twice."""


@dataclass(frozen=True)
class OwnStrategy:
    """A strategy of a person's own. path: the file that holds it. sources: that file and those of the folder it imports."""

    strategy: Strategy
    path: str
    sources: Files


def no_strategy(name: str, known: Iterable[str], setting: str = "") -> UsageError:
    """The refusal of a name that no strategy bears. known: the names there are. setting: what names it; "" for a person."""
    what = f"settings: {setting} names {name!r}, which is no strategy" if setting else f"there is no strategy {name!r}"
    own = ", or put its file into [strategy] folder" if setting else ""
    return UsageError(f"{what}{did_you_mean(name, known)}", f"use one of {', '.join(sorted(known))}{own}")


def strategies_of(settings: Settings) -> dict[str, Strategy]:
    """Every registered strategy by name, Kobe's own first. Raises StrategyBroken, one line with file, line and mend."""
    return joined(STRATEGIES, (own.strategy for own in own_strategies(own_files(settings))))


def read_of(settings: Settings) -> set[str]:
    """The symbols whose indicators the strategies of the settings read beside their own stock's: `of(symbol)`."""
    waiting, found = list(declared_indicators(strategies_of(settings).values()).values()), set[str]()
    while waiting:
        indicator = waiting.pop()
        found |= {indicator.symbol} if indicator.symbol else set()
        waiting += [indicator.inner] if indicator.inner is not None else []
    return found


def own_files(settings: Settings) -> Files:
    """The files of [strategy] folder; none without one. Raises StrategyBroken where one cannot be read."""
    folder = settings.strategy.folder
    if folder is None:
        return ()
    if folder.is_file():
        raise StrategyBroken(f"strategy.folder names {folder}, which is a file: name the folder that holds it")
    if not folder.is_dir():
        raise StrategyBroken(f"strategy.folder names {folder}, which is no folder: `kobe strategies new NAME` makes it")
    found = []
    for path in sorted(folder.glob("*.py")):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            continue
        if path.exists() and not path.is_file():
            raise StrategyBroken(f"the strategies cannot be imported, see {path} (it is no file)")
        try:
            found.append((str(path), _text_of(path)))
        except OSError as error:
            raise StrategyBroken(f"the strategies cannot be imported, see {path} ({one_line(error)})") from error
    return tuple(found)


def _text_of(path: Path) -> str:
    """The source as Python reads it: UTF-8, with or without a byte order mark, or the encoding that its first lines name."""
    content, at = path.read_bytes(), 0
    try:
        text = importlib.util.decode_source(content)
        # UTF-16 reads as UTF-8 with a null in every second place.
        at = content.find(b"\0")
        if at < 0:
            return text
    except UnicodeDecodeError as error:
        at = error.start
    except SyntaxError:
        # The encoding that its first lines name is none.
        pass
    line = content.count(b"\n", 0, at) + 1
    raise StrategyBroken(f"the strategies cannot be imported, see {path}:{line} (it is no text in UTF-8): save it in UTF-8")


@lru_cache(maxsize=8)
def own_strategies(files: Files) -> tuple[OwnStrategy, ...]:
    """Every module-level `Strategy` of the files, each tried out on invented bars. Raises StrategyBroken, StrategyFault."""
    if not files:
        return ()
    with _one_imports:
        if files in _too_slow:
            raise _too_slow[files]
        begun = time.monotonic()
        try:
            # What a file prints belongs to no answer of a command, least of all to JSON.
            with kept_process_state(), stopped_after(DEADLINE_S, TakesTooLong), contextlib.redirect_stdout(sys.stderr):
                return _imported(files)
        except (StrategyBroken, StrategyFault, TakesTooLong) as error:
            message = f"the strategies cannot be imported, see {place_of(error, files[0][0])} ({one_line(error)})"
            fault = StrategyBroken(message) if isinstance(error, TakesTooLong) else error
            if time.monotonic() - begun >= DEADLINE_S:
                _too_slow[files] = fault
            raise fault from error.__cause__


def _imported(files: Files) -> tuple[OwnStrategy, ...]:
    modules = _FolderOfModules(files)
    found: dict[int, OwnStrategy] = {}
    for path, _ in files:
        for value in list(vars(modules.module_of(path)).values()):
            # What is imported from Kobe, or from a neighbour, is registered where it is declared.
            if isinstance(value, Strategy) and not value.file.startswith(PACKAGE):
                own = OwnStrategy(value, path, sources_of(files, path))
                if id(value) not in found or value.file == path:
                    found[id(value)] = own
    for own in found.values():
        try_out(own.strategy)
    return tuple(found.values())


def sources_of(files: Files, path: str) -> Files:
    """A file and those beside it that it imports, however far."""
    texts, stems = dict(files), {Path(other).stem: other for other, _ in files}
    wanted, found = [path], set()
    while wanted:
        file = wanted.pop()
        if file in found:
            continue
        found.add(file)
        for node in ast.walk(ast.parse(texts[file])):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            wanted += [stems[name.split(".")[0]] for name in names if name.split(".")[0] in stems]
    return tuple((file, texts[file]) for file in sorted(found))


def files_of_none(settings: Settings) -> list[str]:
    """The files of the folder that declare no strategy and that none which does imports."""
    files = own_files(settings)
    used = {path for own in own_strategies(files) for path, _ in own.sources}
    return [path for path, _ in files if path not in used and Path(path).name != "__init__.py"]


def declared_indicators(strategies: Iterable[Strategy]) -> dict[str, Indicator]:
    """name → declaration of every indicator that the strategies declare. Raises StrategyBroken where two share a name."""
    return columns_of(strategies)


def source_hashes(settings: Settings) -> dict[str, str]:
    """strategy → hash of its source, for the own ones."""
    return {own.strategy.name: _digest(own.sources) for own in own_strategies(own_files(settings))}


def indicator_versions(settings: Settings) -> dict[str, str]:
    """indicator → its declaration, and of a function of a person's own the hash of its source.

    Its source is the file that holds it, and the one that declares it: what it is given there is no part of the function.
    """
    files = own_files(settings)
    paths = {path for path, _ in files}
    found = {}
    for name, indicator in sorted(declared_indicators(strategies_of(settings).values()).items()):
        places = (line_of(function_of(indicator)), indicator.place)
        own = {path for path in (place.rpartition(":")[0] for place in places) if path in paths}
        sources = {source for path in own for source in sources_of(files, path)}
        found[name] = f"{indicator} {_digest(tuple(sorted(sources)))}" if sources else str(indicator)
    return found


def source_record(settings: Settings, name: str) -> dict[str, Any] | None:
    """What an order's trace says of the source of an own strategy: file → text, and their hash; None for Kobe's own."""
    for own in own_strategies(own_files(settings)):
        if own.strategy.name == name:
            return {"sha256": _digest(own.sources), "files": {Path(path).name: text for path, text in own.sources}}
    return None


def _digest(sources: Files) -> str:
    named = [(Path(path).name, text) for path, text in sources]
    return hashlib.sha256(repr(named).encode()).hexdigest()


def _meant(error: BaseException) -> str:
    """What was probably meant: by a name that is not there, by a word of the language that was called with something else."""
    if isinstance(error, NameError) and error.name:
        if error.name == Strategy.__name__ or _is_a_word(error.name):
            return f", write from {language.__name__} import {error.name}"
        close = get_close_matches(error.name, _names_at(error), 1)
        return f", did you mean {close[0]}?" if close else ""
    missed = NOT_THERE.match(str(error)) if isinstance(error, ImportError) and error.name == language.__name__ else None
    if missed:
        close = get_close_matches(missed[1], language.__all__, 1)
        return f", did you mean {close[0]}?" if close else f", there are {', '.join(language.__all__)}"
    called = WRONG_CALL.match(str(error)) if isinstance(error, TypeError) else None
    if called and called[1] == "Strategy.__init__":
        return f", there are {', '.join(own.name for own in fields(Strategy) if own.init)}"
    if called is None or not _is_a_word(called[1]):
        return ""
    takes = inspect.signature(getattr(language, called[1])).parameters.values()
    parameters = (own.name if own.default is own.empty else f"{own.name}={own.default!r}" for own in takes)
    return f", write {called[1]}({', '.join(parameters)})"


def _is_a_word(name: str) -> bool:
    """Whether the language declares indicators by it."""
    return (
        not name.startswith("_")
        and inspect.isfunction(word := getattr(language, name, None))
        and word.__module__ == language.__name__
    )


def _names_at(error: BaseException) -> list[str]:
    """The names that were there where an error was raised."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return [*frame.f_locals, *frame.f_globals, *vars(builtins)]


class _FolderOfModules(MetaPathFinder, Loader):
    """The files of a folder as modules, each run once, and found by each other while they are."""

    def __init__(self, files: Files) -> None:
        self.texts = {Path(path).stem: (path, text) for path, text in files}
        self.prefix = OWN + hashlib.sha256(repr(files).encode()).hexdigest()[:12]
        self.modules: dict[str, types.ModuleType] = {}

    def module_of(self, path: str) -> types.ModuleType:
        """The module of a file, run. Raises StrategyBroken."""
        stem = Path(path).stem
        before = set(sys.modules)
        sys.meta_path.append(self)
        try:
            module = self._made(stem)
            self.exec_module(module)
        except BaseException as error:
            # A person's own file may raise anything.
            if not is_a_fault(error):
                raise
            place = place_of(error, path)
            reason = one_line(error) + _meant(error)
            raise StrategyBroken(f"the strategies cannot be imported, see {place} ({reason})") from error
        finally:
            sys.meta_path.remove(self)
            for name in set(sys.modules) - before:
                if name in self.texts:
                    del sys.modules[name]
        return module

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A file beside, by its plain name."""
        if fullname not in self.texts:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=self.texts[fullname][0])

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """The one module of the file."""
        return self._made(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the file, once."""
        state = vars(module)
        if state.get("__kobe_run__"):
            return
        state.update(__kobe_run__=True, print=print_to_stderr)
        refuse_exit()
        path, text = self.texts[module.__name__.removeprefix(f"{self.prefix}.")]
        exec(compile(text, path, "exec"), state)

    def _made(self, stem: str) -> types.ModuleType:
        if stem not in self.modules:
            module = types.ModuleType(f"{self.prefix}.{stem}")
            module.__file__ = self.texts[stem][0]
            self.modules[stem] = module
            # Where dataclasses and pickles look for it.
            sys.modules[module.__name__] = module
        return self.modules[stem]
