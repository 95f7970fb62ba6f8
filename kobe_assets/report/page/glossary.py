"""Words of the page that are no figures: how the test was run, and where the ideas come from."""

from __future__ import annotations

NOTES = (
    (
        "Out of sample",
        "Sessions that no choice was based on. All money figures on this page come from them.",
        "Pardo (2008), The Evaluation and Optimization of Trading Strategies, 2nd ed.",
    ),
    (
        "Walk-forward, test window",
        "History is cut into windows: parameters are chosen on a training window and traded on the test window that "
        "follows, then both move on. The test windows joined end to end are the curve shown here. In tables and commands "
        "a training window with its test window is a “fold”.",
        "Pardo (2008)",
    ),
    (
        "Fixed parameters, chosen in training",
        "With fixed parameters the textbook values trade in every test window (in tables and commands: “canonical”). Chosen in "
        "training means that each window trades the set of the grid with the best Sharpe ratio in training (“optimized”).",
        "Kobe rules, section 5",
    ),
    (
        "Best in hindsight",
        "The one parameter set of the grid that turned out best over the very sessions shown: what a careless test promises. "
        "The gap to the real curve is the price of not knowing the future.",
        "Pardo (2008)",
    ),
    (
        "Buy and hold",
        "Every selected stock that was listed then, bought in equal parts at the close before the first session and left "
        "alone, without costs. A dividend is reinvested in its stock. A stock that ends stays in cash at its last close; a "
        "suspect move does not count.",
        "Kobe",
    ),
    (
        "Holding with as much money at work",
        "Buy and hold with only that share of the account which the strategy had in the market on average, the rest in cash. "
        "It tells trading from merely being invested.",
        "Kobe",
    ),
    (
        "R",
        "A trade's profit over what it risked: the dollars between the fill and its protective stop. −1 R is a full stop.",
        "Tharp (2008), Definitive Guide to Position Sizing",
    ),
    (
        "MAE, MFE",
        "The furthest a trade went against the position and for it while it was open, here in R.",
        "Sweeney (1996), Maximum Adverse Excursion",
    ),
    (
        "Gate, threshold",
        "A gate is a test that a strategy passes or fails; its threshold is the number that decides.",
        "Kobe",
    ),
    (
        "RSI(n)",
        "How much of the movement of the last n closes was upward, from 0 to 100: near 0 after falls, near 100 after rises.",
        "Wilder (1978), New Concepts in Technical Trading Systems",
    ),
    ("IBS", "Where the close lies in the day's range: 0 at its low, 1 at its high.", "Pagonidis (2014)"),
    (
        "ATR(n)",
        "The dollars between high and low of a usual day, gaps from the close before included, over about n days.",
        "Wilder (1978)",
    ),
    ("Basis point (bps)", "A hundredth of a percent. 5 bps on $75 are 3.75 cents.", ""),
    ("Slippage", "What a fill is worse than the price seen: paid here on every entry and exit.", "Kobe rules, section 4"),
    (
        "Quarantine",
        "A stock that jumps by over 45 % on ordinary volume (a missed split, a bad print) gives no signals for 200 bars.",
        "Kobe rules, section 2",
    ),
    ("Dollar volume", "Price times shares traded in a day; here the median day of the stock in that year.", "Kobe"),
)

SOURCES_OF_STRATEGIES = (
    (
        "rsi2",
        "Connors & Alvarez (2009), Short Term Trading Strategies That Work; "
        "RSI: Wilder (1978), New Concepts in Technical Trading Systems",
    ),
    ("ibs", "Pagonidis (2014), The IBS Effect: Mean Reversion in Equity ETFs"),
    ("rsi2_ibs", "Both conditions at once"),
)
