"""From an experiment to its records: the plan, the choice of settings, the runs."""
