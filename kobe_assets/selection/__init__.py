"""Which symbols may trade: eligibility by liquidity and history, and membership day by day."""
