"""What is odd about rows before they are trained on: leaks, copies, conflicts, doubtful labels, characters."""
