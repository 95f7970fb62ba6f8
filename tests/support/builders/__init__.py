"""Small markets, frames and values for tests."""
