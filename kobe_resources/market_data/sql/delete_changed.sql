DELETE FROM daily_bars
USING bar_changes c
WHERE daily_bars.symbol = c.symbol AND daily_bars.session = c.session AND c.change <> 'added';
