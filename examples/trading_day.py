"""What the trading job did: the latest orders, and one of them back to its signal.

KOBE_BROKER__STAGE=simulated kobe trade
python examples/trading_day.py
"""

import sys

from kobe_jobs.trading.context import open_ledger
from kobe_jobs.trading.reporting.order_rows import latest_orders
from kobe_jobs.trading.reporting.trace import trace
from kobe_resources.settings.load import load_settings
from kobe_resources.warehouse.store import Warehouse


def main() -> None:
    """Print the orders, newest first, and the trace of the newest in words."""
    with open_ledger(load_settings()) as ledger:
        orders = latest_orders(ledger, 10)
        for row in orders:
            sys.stdout.write(f"{row['session']} {row['stage']} {row['symbol']} {row['side']} {row['state']} {row['reason']}\n")
        if not orders:
            sys.stdout.write("no orders yet: `kobe trade` decides the first ones\n")
            return
        found = trace(ledger, Warehouse(), orders[0]["client_order_id"])
    sys.stdout.write(f"{found.kind} {found.id}\n" + "\n".join(found.in_words) + "\n")


if __name__ == "__main__":
    main()
