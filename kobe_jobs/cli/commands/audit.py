"""`kobe audit`: the hash chain of the order ledger, checked, shown, and accepted after it was set back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kobe_jobs.cli.output import output
from kobe_jobs.cli.screen import print_json, warn_of
from kobe_resources.errors import KobeError, UsageError
from kobe_resources.settings.load import load_settings

if TYPE_CHECKING:
    from kobe_resources.order_ledger import OrderLedger

audit_app = typer.Typer(help="The audit trail: a hash chain over every decision, order, answer and fill.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this area's commands."""
    audit_app.command("verify")(verify)
    audit_app.command("head")(head)
    audit_app.command("accept")(accept)
    app.add_typer(audit_app, name="audit")


def verify(
    head: Annotated[
        str | None, typer.Option(help="A head (seq:hash) that was kept elsewhere, as from a run's metadata.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the chain, its head, the rows it records, and its copy audit.jsonl; the first bad record or row is named.

    Heads that Dagster's history and the newest backup know are asked too. Exit code 1 where something is wrong.
    """
    from kobe_jobs.trading.known_heads import MEND, find_rollback

    with _existing_ledger() as ledger:
        found = ledger.verify_audit(head)
        rollback = find_rollback(ledger) if found.holds else ""
    problem = found.problem or rollback
    if as_json:
        details = {key: getattr(found, key) for key in ("records", "head", "first_bad", "not_copied")}
        print_json({"holds": not problem, **details, "problem": problem, "restored": list(found.restored)})
    elif not problem:
        late = f" ({found.not_copied} not yet copied to audit.jsonl)" if found.not_copied else ""
        output().print(f"{found.description}{late}; head {found.head}", soft_wrap=True, highlight=False, markup=False)
    if problem:
        hint = MEND if rollback else "keep orders.sqlite and audit.jsonl as evidence, and do not trade"
        raise KobeError(f"the audit trail does not hold: {problem}", hint)


def accept(reason: Annotated[str, typer.Argument(help="Why the chain was set back: a restore, say.")]) -> None:
    """Go on with a chain that was set back on purpose: the heads that it lacks are put on it with the reason."""
    from kobe_jobs.trading.known_heads import accept_rollback
    from kobe_jobs.trading.reporting.alerts import alert_if_healed

    if not reason.strip():
        raise UsageError("a chain that was set back is accepted for a reason", 'kobe audit accept "what happened"')
    with _existing_ledger() as ledger:
        heads = accept_rollback(ledger, reason)
        ledger.copy_audit()
        warn_of(alert_if_healed(load_settings(), ledger))
    line = (
        f"accepted, and on the chain: {', '.join(heads)}" if heads else "nothing to accept: every head known elsewhere is there"
    )
    output().say(line)


def head() -> None:
    """Print the end of the chain as seq:hash; kept elsewhere, it proves that nothing was cut off or rebuilt."""
    with _existing_ledger() as ledger:
        output().print(ledger.audit_head(), soft_wrap=True, highlight=False)


def _existing_ledger() -> OrderLedger:
    """The ledger of this data folder, where it has one or a copy of its chain."""
    from kobe_jobs.trading.context import open_ledger

    ledger = open_ledger(load_settings())
    if not (ledger.path.exists() or ledger.audit_path.exists()):
        raise KobeError(
            f"{ledger.path.parent} holds neither orders.sqlite nor audit.jsonl",
            "set KOBE_HOME to the folder that trades; `kobe trade` begins a trail",
        )
    return ledger
