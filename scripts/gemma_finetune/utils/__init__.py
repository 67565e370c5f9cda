"""What every stage needs: plain errors, files that are complete or absent, the device."""
