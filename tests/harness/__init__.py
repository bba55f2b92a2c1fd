"""Helpers that the tests of several areas share; docs/testing.md draws which stands for what."""
