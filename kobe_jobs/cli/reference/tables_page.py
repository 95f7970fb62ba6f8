"""The warehouse's tables as the migrations make them, with the words of the schema files and of the assets."""

from __future__ import annotations

import re

from kobe_resources.warehouse.migrations import SCHEMA_FOLDER, migrate

INTERNAL = ("schema_migrations",)
MADE = re.compile(r"((?:^--.*\n)+)\s*CREATE (?:OR REPLACE )?(?:TABLE|VIEW)(?: IF NOT EXISTS)? (\w+)", re.MULTILINE)


def tables_page() -> str:
    """Every table and view: what it holds, its columns and their meaning where it is written down."""
    import duckdb

    from kobe_assets.graph.table_schemas import TABLES

    with duckdb.connect() as connection:
        migrate(connection)
        rows = connection.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns ORDER BY table_name, ordinal_position"
        ).fetchall()
    words = _words()
    lines = [
        "`kobe.duckdb` in the data folder. Prices are dollars, sessions are dates of the exchange; `open_warehouse()` reads"
    ]
    lines += ["every one of them as a DataFrame."]
    table = ""
    for name, column, kind in rows:
        if name in INTERNAL:
            continue
        if name != table:
            table = name
            lines += ["", f"## `{name}`", "", *([words[name], ""] if name in words else [])]
            lines += ["| column | type | meaning |", "|---|---|---|"]
        meaning = TABLES.get(name, {}).get(column, ("", ""))[1]
        lines.append(f"| `{column}` | {kind.replace('TIMESTAMP WITH TIME ZONE', 'TIMESTAMPTZ')} | {meaning} |")
    return "\n".join(lines)


def _words() -> dict[str, str]:
    """What stands before each table in the schema files."""
    found: dict[str, str] = {}
    for path in sorted(SCHEMA_FOLDER.glob("[0-9]*.sql")):
        for comment, name in MADE.findall(path.read_text(encoding="utf-8")):
            found[name] = " ".join(line.removeprefix("--").strip() for line in comment.strip().splitlines())
    return found
