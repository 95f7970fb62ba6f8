"""Programs and helpers that drive the product from outside."""
