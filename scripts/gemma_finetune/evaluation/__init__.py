"""What each hop of the export cost, and whether that is acceptable."""
