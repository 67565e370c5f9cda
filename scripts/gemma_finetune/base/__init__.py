"""Where a base model comes from: a tiny one is made here, a real Gemma is downloaded or copied."""
