"""The file that `kobe strategies new` writes: a strategy that runs as it is, each line of it explained."""

from importlib import resources

FILE = "strategy_template.txt"


def template_of(name: str) -> str:
    """The file of a new strategy."""
    return resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8").replace("NAME", name)
