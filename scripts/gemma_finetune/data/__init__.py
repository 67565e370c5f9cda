"""Chat data: from raw rows of any format to Gemma's chat template."""
