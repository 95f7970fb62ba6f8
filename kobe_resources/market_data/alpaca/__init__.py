"""The vendor `alpaca`: ten years of raw consolidated daily bars and corporate actions with a free account's keys."""
