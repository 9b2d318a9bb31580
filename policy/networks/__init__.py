"""Networks: what predicts, and what its sizes are."""
