"""What can go wrong with Alpaca as a vendor of bars, one class a mend, and how patiently each is met.

No text here ever holds a key: the transport scrubs what the vendor says before it reaches an error.
"""

from __future__ import annotations

from kobe_resources.broker.alpaca.transport import Answer
from kobe_resources.market_data.over_network import RESUMES, RetryBudget
from kobe_resources.market_data.protocol import MarketDataError

CHECK_KEYS = (
    "check ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY; a live account's keys need "
    'data.alpaca.assets_url = "https://api.alpaca.markets"'
)
TOO_RECENT = 42210000
INVALID_SYMBOL = "invalid symbol: "


class AlpacaError(MarketDataError):
    """Bars that Alpaca did not give."""


class AlpacaAuthError(AlpacaError):
    """No keys, or keys that the vendor does not take; asking again cannot help."""


class AlpacaPlanError(AlpacaError):
    """The account's plan does not give what was asked; asking again at once cannot help."""


class AlpacaRefused(AlpacaError):
    """A request the vendor calls wrong (another 3xx or 4xx); asking again cannot help."""


class AlpacaInvalidSymbol(AlpacaRefused):
    """The vendor refuses a whole call for one symbol, and names it."""

    def __init__(self, symbol: str) -> None:
        super().__init__(f"Alpaca takes {symbol!r} for no symbol", "leave it out of data.alpaca.candidates")
        self.symbol = symbol


class AlpacaRateError(AlpacaError):
    """Too many calls for the account. wait_s: seconds after which it counts anew, None where it did not say."""

    def __init__(self, wait_s: float | None) -> None:
        super().__init__("Alpaca was asked too often", f"lower data.alpaca.calls_per_minute; {RESUMES}")
        self.wait_s = wait_s


class AlpacaServerError(AlpacaError):
    """The vendor failed (5xx)."""


class AlpacaTransportError(AlpacaError):
    """No answer, or half of one: refused, reset, timed out, cut off."""


class AlpacaMalformed(AlpacaError):
    """An answer that is not what the vendor documents."""


class AlpacaIncomplete(AlpacaError):
    """A load that could not be finished."""


def retries_after(error: AlpacaError, budget: RetryBudget) -> int:
    """How often a call that failed with `error` is asked again."""
    if isinstance(error, AlpacaRateError):
        return budget.after_limit(error.wait_s)
    if isinstance(error, AlpacaServerError):
        return budget.after_server
    if isinstance(error, AlpacaTransportError):
        return budget.after_transport
    return budget.after_malformed if isinstance(error, AlpacaMalformed) else 0


def error_of(answer: Answer, where: str) -> AlpacaError | None:
    """The typed error of an answer; None where its body may be read. where: names what was asked for."""
    status, said = answer.status, answer.message
    reason = f" ({said})" if said else ""
    if status is None:
        return AlpacaTransportError(
            f"no whole answer from Alpaca for {where} ({answer.problem})",
            f"check the network and data.alpaca.base_url; {RESUMES}",
        )
    if answer.ok:
        is_whole = isinstance(answer.body, dict | list)
        return None if is_whole else AlpacaMalformed(f"Alpaca answered with no JSON for {where}", RESUMES)
    if status == 429:
        return AlpacaRateError(answer.reset_s)
    if status in (408, 425) or status >= 500:
        return AlpacaServerError(f"Alpaca failed with HTTP {status} for {where}{reason}", RESUMES)
    if status < 300:
        return AlpacaMalformed(f"Alpaca answered with {answer.problem} for {where}", RESUMES)
    if status in (403, 422) and (answer.code == TOO_RECENT or "recent sip" in said.lower()):
        return AlpacaPlanError(
            f"the free Alpaca plan gives no prices of the last 15 minutes{reason}",
            "set this machine's clock right, run again a quarter of an hour later, or set data.end to an earlier day",
        )
    if status in (401, 403):
        return AlpacaAuthError(f"Alpaca does not take the keys for {where} (HTTP {status}){reason}", CHECK_KEYS)
    if status == 400 and said.lower().startswith(INVALID_SYMBOL):
        return AlpacaInvalidSymbol(said[len(INVALID_SYMBOL) :].strip())
    return AlpacaRefused(f"Alpaca refuses {where} with HTTP {status}{reason}", "check data.alpaca and data.start")
