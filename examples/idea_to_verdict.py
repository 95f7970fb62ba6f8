"""A strategy of one's own from idea to verdict, on the stored bars: one backtest, then the folds that no choice has seen.

kobe report                           # once: loads the bars
python examples/idea_to_verdict.py
"""

import sys

from kobe_assets import backtest, walk_forward
from kobe_assets.research.language import Strategy, atr, rsi, sma

# The idea: a stock above its long mean that fell hard for two days comes back within a week.
IDEA = Strategy(
    name="two_hard_days",
    summary="Two hard days above the long mean",
    indicators={"rsi2": rsi(2), "sma150": sma(150), "atr10": atr(10)},
    parameters={"entry": 8.0, "leave": 60.0, "atr_stop": 2.5, "time_stop": 6},
    long=lambda at, p: (at.rsi2 <= p["entry"]) & (at.close > at.sma150),
    score_long=lambda at: at.rsi2,
    leave_long=lambda at, p: at.rsi2 >= p["leave"],
    leave_reason="rebound",
    stop="atr10",
    grid={"entry": (5.0, 8.0, 12.0), "atr_stop": (2.0, 3.0)},
)


def main() -> None:
    """Print what one look says, and what the walk-forward says of it."""
    look = backtest(IDEA)
    sys.stdout.write(f"one look, over everything: {look!r}\n")
    # What was looked at proves nothing: parameters chosen in training, judged on the sessions after it, do.
    walk = walk_forward(IDEA)
    for mode, figures in walk.figures.items():
        # A figure that is not defined, for want of trades say, is None.
        sharpe, fall = figures["sharpe"] or 0.0, figures["max_drawdown"] or 0.0
        sys.stdout.write(f"unseen, {mode}: Sharpe {sharpe:.2f}, worst fall {fall:.1%}\n")
    # look.plot() and walk.plot() are plotly figures; in a notebook they show themselves.
    deserves = all((figures["sharpe"] or 0.0) > 1.0 for figures in walk.figures.values())
    sys.stdout.write(f"verdict: {'worth a report' if deserves else 'not worth money so far'}\n")


if __name__ == "__main__":
    main()
