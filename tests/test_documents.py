"""The pages beside the code: links lead somewhere, and every folder and file they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from kobe_jobs.cli.reference.pages import generated_pages

ROOT = Path(__file__).resolve().parent.parent
DOCS = tuple(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))
PAGES = ("README.md", "OPERATING.md", "CONTRIBUTING.md", "CHANGELOG.md", *DOCS)
LONGEST_README = 250
PACKAGES = ("kobe_assets", "kobe_resources", "kobe_jobs")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_that_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_the_reference_is_what_the_code_says() -> None:
    pages = generated_pages()
    stale = [name for name, text in pages.items() if (ROOT / "docs" / name).read_text(encoding="utf-8") != text]
    assert stale == [], "run `make docs`"
    assert len(pages) >= 6


def test_each_thing_is_listed_once() -> None:
    for name, text in generated_pages().items():
        headings = re.findall(r"^#+ .*$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
        assert sorted(headings) == sorted(set(headings)), name
        assert headings


def test_every_command_of_the_reference_is_whole() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert re.findall(r"^\* .*\.\.\.$", text, re.MULTILINE) == []
    assert text.count("\n### `kobe ") > 15


def test_the_readme_can_be_read_at_once() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= LONGEST_README


def test_where_a_new_line_goes_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split("## Where does it go?")[1].split("## Habits")[0]
    named = set(re.findall(r"`([\w/]+(?:/|\.py|\.md))`", table))
    assert len(named) > 20
    bases = [ROOT, *(ROOT / package for package in PACKAGES), *(path for p in PACKAGES for path in (ROOT / p).rglob("*/"))]
    assert [name for name in sorted(named) if not any((base / name).exists() for base in bases)] == []


def test_the_readme_leads_to_every_other_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page for page in PAGES[1:] if f"]({page})" not in text] == []


def test_hooks_run_what_make_lint_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    lint = (ROOT / "Makefile").read_text(encoding="utf-8").split("\nlint:")[1].split("\n\n")[0]
    assert re.findall(r"\$\(BIN\)/([^\n.]+)", lint) != []
    wanted = [" ".join(line.split()).removesuffix(" .") for line in re.findall(r"\$\(BIN\)/([^\n]+)", lint)]
    assert [hook["entry"].removeprefix(".venv/bin/") for hook in hooks] == wanted


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_that_it_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
    assert "py.typed" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
