"""What every stage needs: plain errors, whole files, the device."""
