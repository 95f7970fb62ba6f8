"""What the entries of a session may carry: the tighter of the policy's two limits, in dollars, and in words."""

from __future__ import annotations

from kobe_resources.settings.models import PolicySettings


def daily_budget(policy: PolicySettings, equity: float) -> tuple[float | None, float | None]:
    """(dollars, the share of the account that they are); no dollars without a limit, no share where dollars are the limit.

    equity: dollars at the close before the session, as the policy gate counts them.
    """
    dollars, share = policy.max_daily_notional, policy.max_daily_fraction
    if share is None or (dollars is not None and dollars <= share * equity):
        return dollars, None
    return share * equity, share


def budget_words(dollars: float | None, share: float | None) -> str:
    """The limit behind an amount, as in '$100.00 of $1,000.00 a session (10 % of the account)'."""
    if dollars is None:
        return "without a daily budget"
    of_account = "" if share is None else f" ({100 * share:g} % of the account)"
    return f"of ${dollars:,.2f} a session{of_account}"
