"""Networks and their settings."""
