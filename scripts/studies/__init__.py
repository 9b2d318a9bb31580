"""Studies: reproducible measurements. Each writes a page with a picture to docs/results."""
