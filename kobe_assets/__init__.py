"""What Kobe computes: the asset graph, one module an asset; the arithmetic lives in `research`."""
