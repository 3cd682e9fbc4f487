"""Programs that speak only the wire."""
