SELECT * FROM signals WHERE symbol = $symbol AND session = $session AND strategy = $strategy
