"""Demonstrations as training sees them."""
