"""Fine-tune Gemma 3 on chat data and export it to a device."""
