"""The first settings file: a look at where bars come from, sizes that fit account and prices, and the commented text."""
