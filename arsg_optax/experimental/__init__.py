"""What works in experiments, and may change or go without notice."""
