"""What each hop of the export cost, measured on the test split."""
