"""The named optimizers: one call of the combinator or one chain, one name a file."""
