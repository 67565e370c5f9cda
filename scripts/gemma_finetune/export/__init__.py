"""From an adapter to the files that a device runs."""
