"""From an adapter to files that a device runs."""
