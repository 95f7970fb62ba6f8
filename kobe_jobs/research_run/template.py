"""The file that `kobe strategies new` writes: a strategy that runs as it is, each line of it explained."""

from importlib import resources

FILE = "strategy_template.txt"
LONGEST = 40
"""Letters of an indicator's name."""


def template_of(name: str) -> str:
    """The file of a new strategy.

    The column of its own function bears the strategy's name: an indicator's name means the same in every strategy, and the
    function of another file is another.
    """
    text = resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8")
    return text.replace("COLUMN", f"up_{name}"[:LONGEST]).replace("NAME", name)
