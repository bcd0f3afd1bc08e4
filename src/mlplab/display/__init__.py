"""What notebooks show of runs, histories and sweeps: small fragments of HTML."""
