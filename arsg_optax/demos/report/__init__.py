"""What a reader gets of runs: progress, tables, curves, one page."""
