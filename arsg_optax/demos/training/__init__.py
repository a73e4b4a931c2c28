"""One trainer behind all tasks; see :func:`arsg_optax.demos.tasks.run.train`."""
