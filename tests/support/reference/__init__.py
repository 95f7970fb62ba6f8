"""A plain, slow reading of the rules in lists and dicts: the independent opinion the fast kernel is held against.

Nothing here imports the product. Every module's docstring lists how it reads what the rules leave open.
"""
