"""What leaves tfft to be served."""
