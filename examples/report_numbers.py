"""The numbers behind the report's page, as DataFrames: figures, folds, trades, and what they cost.

kobe report
python examples/report_numbers.py
"""

import sys

from kobe_resources import open_warehouse


def main() -> None:
    """Print the figures that decide, the folds that were worst, and why trades ended."""
    tables = open_warehouse()
    kpis = tables.query("SELECT strategy, mode, figure, value FROM kpis ORDER BY strategy, mode")
    wanted = ["sharpe", "cagr", "max_drawdown", "profit_factor"]
    figures = kpis.pivot_table(index=["strategy", "mode"], columns="figure", values="value")
    sys.stdout.write("Out of sample, after costs:\n" + figures[wanted].round(3).to_string() + "\n\n")
    folds = tables.folds("rsi2", "canonical").sort_values("sharpe")
    sys.stdout.write(
        "The worst folds of rsi2:\n" + folds[["fold", "test_start", "sharpe", "net_pnl"]].head(3).to_string() + "\n\n"
    )
    ends = tables.trades("rsi2", "canonical").groupby("exit_reason")["pnl"].agg(["count", "mean", "sum"])
    sys.stdout.write("How trades of rsi2 ended, dollars:\n" + ends.round(2).to_string() + "\n")


if __name__ == "__main__":
    main()
