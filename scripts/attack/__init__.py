"""Attacks on the package, counted: `python -m scripts.attack --minutes 20`.

A file of this folder holds one kind of attack. Its function `trial(lab, random)` tries
one thing and returns what it tried; it raises :class:`scripts.attack.lab.Failed` where
the package did not survive.
"""
