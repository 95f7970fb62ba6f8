"""What tests are made with: the reference, a loopback Polygon, drivers and builders."""
