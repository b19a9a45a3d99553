"""Baseline methods from other libraries, one per file, and their metrics."""
