"""The links that optimizers are chained from, one idea of the papers a file."""
