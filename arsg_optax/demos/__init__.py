"""Demonstrations: real tasks, their training loop, and the `arsg` command line.

Importing this package needs nothing beyond the core dependencies. Its modules need the
`demos` extra: ``pip install "arsg_optax[demos]"``.
"""
