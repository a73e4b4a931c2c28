"""The papers' experiments: what is run, what was found, and what it says of a claim."""
