"""Parameters that stay in a set or on a sphere."""
