"""Install what is named into the environment of this Python, at the versions of constraints.txt, and show how far it is.

`python .ci/install.py .` or `'.[test]'`: pip does it; its own words are shown only where it fails. Ends with pip's exit code.
Bytecode is written afterwards of what Kobe imports, a tenth of what is installed; Kobe's own modules among it, since where
Python may not write it, each command would compile them anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque

LAST_LINES = 40
EVERY_S = 10.0
IMPORT_ALL = """
import importlib, pkgutil
for root in ("kobe_resources", "kobe_assets", "kobe_jobs"):
    for module in pkgutil.walk_packages(importlib.import_module(root).__path__, root + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""


def main(what: list[str]) -> int:
    """Run pip, count the packages that it names, and tell the count; pip's exit code."""
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", "--no-compile"]
    command += ["--constraint", "constraints.txt", "--editable", *what]
    began = told = time.monotonic()
    last: deque[str] = deque(maxlen=LAST_LINES)
    count = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            last.append(line)
            count += line.startswith("Collecting ")
            installing = line.startswith("Installing collected packages")
            if sys.stdout.isatty():
                show("\r  installing them   " if installing else f"\r  package {count}: {' '.join(line.split()[:2])[:50]:<50}")
            elif installing or time.monotonic() - told > EVERY_S:
                told = time.monotonic()
                show(f"  {count} packages found{', installing them' if installing else ''}\n")
    if pip.returncode:
        show("\n" + "".join(last))
    else:
        compile_imports()
        show(f"{chr(13) if sys.stdout.isatty() else ''}  installed in {time.monotonic() - began:.0f} s{'':<50}\n")
    return pip.returncode


def compile_imports() -> None:
    """Write the bytecode of each module of Kobe and what it imports, by importing it; a fault is for the commands to show."""
    allowed = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-c", IMPORT_ALL], env=allowed, stderr=subprocess.DEVNULL, check=False)


def show(text: str) -> None:
    """Write at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
