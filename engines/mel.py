"""Log-mel features of growing audio."""
