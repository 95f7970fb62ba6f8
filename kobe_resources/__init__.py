"""With what Kobe works: settings, the warehouse, vendors, the broker, each behind one typed door."""
