"""What was measured into figures with intervals: by task, and what is wrong with answers."""
