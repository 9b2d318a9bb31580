"""Studies: measurements that anyone can rerun, each of which writes a page with a picture into docs/results."""
