"""The kill switch: a file KILL_SWITCH in the data folder that stops every order. What cannot be read is on.

Cancels pass it, and a protective stop in the place of one that a run had just lifted.

It is a file and no row, so that it works when nothing else does: `touch KILL_SWITCH` is enough.
"""

from __future__ import annotations

import datetime as dt
import getpass
import json
import os
from dataclasses import dataclass
from pathlib import Path

from kobe_resources.errors import KobeError
from kobe_resources.runtime.atomic_files import private_file, private_folder, sync_folder, write_whole
from kobe_resources.settings.load import kobe_home

MAX_BYTES = 10_000


class KillSwitchOn(KobeError):
    """Nothing may be sent while the switch is on."""


class KillSwitchStuck(KobeError):
    """The file could not be written or removed."""


@dataclass(frozen=True, slots=True)
class KillStatus:
    """Whether orders are stopped, since when (UTC, as text), by whom and why."""

    is_on: bool
    reason: str = ""
    by: str = ""
    at: str = ""

    @property
    def description(self) -> str:
        """On or off, why, and by whom and when where that is known, in one line."""
        known = " ".join(filter(None, (self.by, self.at)))
        return f"on: {self.reason}{f' ({known})' if known else ''}" if self.is_on else "off"


class KillSwitch:
    """The switch at `path` (default: KILL_SWITCH in the data folder). Never cached: each question reads the file."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or kobe_home() / "KILL_SWITCH"

    def status(self) -> KillStatus:
        """On where the file exists, whatever it holds, and where its existence cannot be read."""
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_BYTES)
        except FileNotFoundError:
            # A dangling link still stands in the folder: a person put it there.
            return KillStatus(True, "the file cannot be read") if self.path.is_symlink() else KillStatus(False)
        except OSError as error:
            return KillStatus(True, f"the file cannot be read ({error.strerror})")
        try:
            details = json.loads(content)
        except (ValueError, RecursionError):
            details = None
        if not isinstance(details, dict):
            return KillStatus(True, content.decode("utf-8", "replace").strip() or "no reason given")
        return KillStatus(True, str(details.get("reason", "")), str(details.get("by", "")), str(details.get("at", "")))

    def check(self) -> None:
        """Raise KillSwitchOn where the switch is on."""
        status = self.status()
        if status.is_on:
            raise KillSwitchOn(f"the kill switch is on ({status.reason})", "`kobe kill off` when the reason is gone")

    def turn_on(self, reason: str) -> KillStatus:
        """Stop every order but cancels, and stops in the place of one that a run had lifted; on disk before this returns.

        Turning on twice keeps the latest reason.
        """
        body = {"reason": reason, "by": _who(), "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds")}
        try:
            private_folder(self.path.parent)
            write_whole(self.path, json.dumps(body).encode())
        except OSError as error:
            # On a full disk there is room for a name: a file without a reason stops as much as one with it.
            if not self._made_empty():
                raise KillSwitchStuck(
                    f"{self.path} cannot be written ({error.strerror})", f"create any file there by hand: touch {self.path}"
                ) from error
        return self.status()

    def _made_empty(self) -> bool:
        try:
            private_file(self.path)
            sync_folder(self.path.parent)
        except OSError:
            return False
        return self.status().is_on

    def turn_off(self, seen: KillStatus | None = None) -> None:
        """Let orders pass again; harmless where the switch is off.

        seen: what is turned off. A switch that was turned on after it was read stays on, and KillSwitchOn is raised.
        """
        if not os.path.lexists(self.path):
            # A disk that is read-only refuses to remove what is not there.
            return
        # One step takes the file away; only then is it sure which one it was.
        aside = self.path.with_name(f".{self.path.name}.{os.getpid()}.off")
        try:
            self.path.rename(aside)
            try:
                newer = KillSwitch(aside).status()
                if seen is None or newer == seen:
                    aside.unlink()
            finally:
                if os.path.lexists(aside):
                    aside.rename(self.path)
            sync_folder(self.path.parent)
        except FileNotFoundError:
            return
        except OSError as error:
            raise KillSwitchStuck(f"{self.path} cannot be removed ({error.strerror})", "remove it by hand") from error
        if seen is not None and newer != seen:
            raise KillSwitchOn(
                f"the kill switch was turned on meanwhile ({newer.reason})",
                "`kobe kill off` again when that is gone, too",
            )


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"
