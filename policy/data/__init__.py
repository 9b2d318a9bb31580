"""Demonstrations and their conversion to training examples."""
