"""The papers' algorithms in NumPy float64, line by line.

Each takes the gradient as a function (t, parameters) -> array, the parameters as one
array, hyper-parameters indexed by t as functions of t, and yields what the algorithm
holds after each step. Updates are counted from 0, as in the package.
"""
