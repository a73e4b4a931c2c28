"""The named optimizers: each one a chain of transforms, one paper's name a file."""
