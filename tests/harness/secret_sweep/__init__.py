"""The search for secrets that follows every test."""
