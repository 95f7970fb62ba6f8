"""The embedded broker as a process of its own: `python -m kobe_resources.broker.exchange --folder F`.

Bars come from the warehouse of KOBE_HOME and terms from the settings, or both from `--bars FILE` (JSON: {"bars":
[[symbol, "2020-01-02", open, high, low, close], …], "splits": [[symbol, date, ratio]], "terms": {…, "strictness": {…}}}).
Once it listens, `F/address.json` holds {"url", "pid"}; SIGTERM or SIGINT ends it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from kobe_resources.broker.exchange.account import follow_settings
from kobe_resources.broker.exchange.bars import ExchangeSplit
from kobe_resources.broker.exchange.embedded import PROMPT, EmbeddedBroker, StoredBars, Terms
from kobe_resources.runtime.atomic_files import write_whole


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal ends it."""
    parser = argparse.ArgumentParser(prog="python -m kobe_resources.broker.exchange", description="A broker on loopback.")
    parser.add_argument("--folder", type=Path, required=True, help="where its state is kept")
    parser.add_argument("--port", type=int, default=0, help="0: any free one, named in address.json")
    parser.add_argument("--bars", type=Path, help="a JSON file instead of the warehouse")
    parser.add_argument("--faults", type=Path, help="a JSON list of faults")
    parser.add_argument("--session", type=dt.date.fromisoformat, help="advance to the opening of this session")
    given = parser.parse_args(arguments)

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    bars, terms = _from_file(given.bars) if given.bars else _from_settings()
    faults = json.loads(given.faults.read_text(encoding="utf-8")) if given.faults else []
    with EmbeddedBroker(given.folder, bars, terms, faults, given.port) as broker:
        if not given.bars:
            follow_settings(broker)
        if given.session:
            broker.advance_to(given.session, "open")
        _announce(given.folder, broker.url)
        ended.wait()


def _from_file(path: Path) -> tuple[StoredBars, Terms]:
    data = json.loads(path.read_text(encoding="utf-8"))
    rows = [(symbol, dt.date.fromisoformat(session), *prices) for symbol, session, *prices in data["bars"]]
    splits = [ExchangeSplit(symbol, dt.date.fromisoformat(day), float(ratio)) for symbol, day, ratio in data.get("splits", [])]
    terms = dict(data.get("terms", {}))
    strictness = PROMPT.changed(terms.pop("strictness", {}))
    return StoredBars.of_rows(rows, splits), Terms(**terms, strictness=strictness)


def _from_settings() -> tuple[StoredBars, Terms]:
    from kobe_resources.broker.open import simulated_terms
    from kobe_resources.market_data.store import warehouse_of
    from kobe_resources.settings.load import load_settings

    settings = load_settings()
    return StoredBars.of_warehouse(warehouse_of(settings)), simulated_terms(settings)


def _announce(folder: Path, url: str) -> None:
    """Write the address whole or not at all, since a process waits for it."""
    write_whole(folder / "address.json", json.dumps({"url": url, "pid": os.getpid()}).encode())


if __name__ == "__main__":
    main()
