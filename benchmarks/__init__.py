"""Programs that measure. Each prints a table and writes JSON with --out; none is a test."""
