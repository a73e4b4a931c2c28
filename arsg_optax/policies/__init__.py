"""Policies: transforms around transforms, which change the update as training goes."""
