"""Charts of a run for a notebook, as plotly figures: the account with its drawdown, and one symbol's bars with its trades."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kobe_assets.research.panel import Panel
from kobe_resources.errors import UsageError

INK, OWN, LOSS, GAIN, SOFT, RULE = "#1d1c1a", "#1f5fa8", "#b5402f", "#1a7d55", "#625e57", "#e3dfd6"
"""The colours of the report's page on paper."""


def equity_figure(title: str, curves: dict[str, pd.DataFrame]) -> Any:
    """Equity above drawdown. curves: name → frame with session, equity and drawdown; the first is the one that matters."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.7, 0.3], vertical_spacing=0.04)
    for k, (name, curve) in enumerate(curves.items()):
        look: dict[str, Any] = {"x": curve["session"], "line": {"color": OWN if k == 0 else SOFT, "width": 1.4}}
        more = {"name": name, "legendgroup": name, "mode": "lines"}
        figure.add_scatter(y=curve["equity"], hovertemplate="%{x|%Y-%m-%d} $%{y:,.2f}", row=1, col=1, **look, **more)
        under = {"showlegend": False, "fill": "tozeroy" if k == 0 else None}
        figure.add_scatter(y=curve["drawdown"], hovertemplate="%{x|%Y-%m-%d} %{y:.1%}", row=2, col=1, **look, **more, **under)
    figure.update_yaxes(title_text="equity ($)", tickformat=",", row=1, col=1)
    figure.update_yaxes(title_text="drawdown", tickformat=".2~%", row=2, col=1)
    return _styled(figure, title)


def symbol_figure(title: str, panel: Panel, symbol: str, first: int, last: int, trades: pd.DataFrame) -> Any:
    """The adjusted bars of `symbol` in the window `first`..`last`, and its trades. Raises UsageError where it has none."""
    import plotly.graph_objects as go

    if symbol not in panel.spans:
        raise UsageError(f"there are no bars of {symbol}", f"there are {', '.join(panel.names[:10])}")
    span = panel.spans[symbol]
    bars = np.arange(span.start, span.stop)
    bars = bars[(panel.session[bars] >= first) & (panel.session[bars] <= last)]
    if not len(bars):
        raise UsageError(f"{symbol} has no bars in the window", "name another symbol, or another window")
    figure = go.Figure()
    figure.add_candlestick(
        x=panel.sessions[panel.session[bars]].astype("datetime64[s]"),
        open=panel.open[bars], high=panel.high[bars], low=panel.low[bars], close=panel.close[bars],
        increasing={"line": {"color": SOFT, "width": 1}}, decreasing={"line": {"color": INK, "width": 1}},
        name=symbol, showlegend=False,
    )  # fmt: skip
    own = trades[trades["symbol"] == symbol]
    for side, shape in (("long", "triangle-up"), ("short", "triangle-down")):
        some = own[own["side"] == side]
        if some.empty:
            continue
        marker = {"symbol": shape, "size": 10, "color": OWN, "line": {"color": "#fff", "width": 1}}
        figure.add_scatter(
            x=some["entry_session"], y=some["entry_price"], mode="markers", marker=marker, name=f"{side} entry",
            hovertemplate="in %{x|%Y-%m-%d} $%{y:,.2f}<extra></extra>",
        )  # fmt: skip
    if len(own):
        colors = np.where(own["pnl"] > 0, GAIN, LOSS)
        labels = np.stack([own["exit_reason"].astype(str), own["pnl"].map("{:,.2f}".format)], axis=1)
        figure.add_scatter(
            x=own["exit_session"], y=own["exit_price"], mode="markers", customdata=labels, name="exit",
            marker={"symbol": "x", "size": 9, "color": colors},
            hovertemplate="out %{x|%Y-%m-%d} $%{y:,.2f}, %{customdata[0]}, $%{customdata[1]}<extra></extra>",
        )  # fmt: skip
    figure.update_yaxes(title_text="adjusted price ($)")
    figure.update_xaxes(rangeslider_visible=False)
    return _styled(figure, title)


def _styled(figure: Any, title: str) -> Any:
    figure.update_layout(
        title={"text": title, "font": {"size": 16, "color": INK}}, template="none", hovermode="x",
        paper_bgcolor="#ffffff", plot_bgcolor="#ffffff", margin={"l": 70, "r": 20, "t": 50, "b": 40},
        legend={"orientation": "h", "y": 1.06, "x": 0}, font={"color": SOFT, "size": 12},
    )  # fmt: skip
    figure.update_xaxes(gridcolor=RULE)
    figure.update_yaxes(gridcolor=RULE, zerolinecolor=RULE)
    return figure
