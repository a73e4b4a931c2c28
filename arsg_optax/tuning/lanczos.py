"""Eigenvalues of a symmetric operator that is known only by its products."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from arsg_optax._precision import compute_dtype

# A residual this small, in units of the operator's resolution, is rounding.
_PRODUCT_ROUNDING = 32


class Tridiagonal(NamedTuple):
    """A symmetric operator on the k-dimensional Krylov space of a vector."""

    alpha: np.ndarray  # (k,) float64, the diagonal.
    # (k,) float64: next to the diagonal, and last the residual's length, which leads
    # out of the space.
    beta: np.ndarray
    # Tree as the start, leaves (k, *shape): k orthonormal trees, the first along the
    # start.
    basis: Any


class Ritz(NamedTuple):
    """Eigenvalues on a Krylov space, ascending; all arrays are float64."""

    values: np.ndarray  # (k,)
    weights: np.ndarray  # (k,), the start's squared components; their sum is 1.
    residuals: np.ndarray  # (k,), within which the operator has an eigenvalue.
    vectors: np.ndarray  # (k, k), as columns, in terms of the basis.


def lanczos(matvec: Callable[[Any], Any], start: Any, iterations: int) -> Tridiagonal:
    r"""Lanczos's recurrence, each vector orthogonalised against all before.

    From :math:`v_1` = ``start`` / ||``start``|| and :math:`\beta_0 = 0`,

    .. math::

      \begin{align*}
        \alpha_j &= v_j^\top H v_j \\
        \beta_j v_{j+1} &= H v_j - \alpha_j v_j - \beta_{j-1} v_{j-1}
      \end{align*}

    where rounding would bring back the vectors already found, and with them copies of
    their eigenvalues, Gram-Schmidt against all of them is applied twice. If
    :math:`\beta_j` is not above rounding, the space is invariant and the recurrence
    ends: the result is exact, though it has fewer than ``iterations`` rows.

    The loop is in Python, so ``matvec`` need not be traceable; it is called once per
    row. Vectors are trees, so that arrays sharded in any way stay where they are.

    Args:
      matvec: takes a tree to its product with a symmetric operator, a tree of the same
        shapes and dtypes.
      start: tree of floating point arrays, not all 0.
      iterations: how many products are formed, at least 1 and at most the number of
        entries.

    Returns:
      The operator on the span of ``start`` and what follows from it; the basis in
      the dtypes of ``start``.

    Raises:
      ValueError: if ``iterations`` is out of range or ``start`` has no finite length
        above 0.
      FloatingPointError: if a product is not finite.

    References:
      Lanczos, `An Iteration Method for the Solution of the Eigenvalue Problem of
      Linear Differential and Integral Operators
      <https://doi.org/10.6028/jres.045.026>`_, 1950.
    """
    leaves = jax.tree.leaves(start)
    size = sum(leaf.size for leaf in leaves)
    if not 1 <= iterations <= size:
        raise ValueError(
            f"iterations must be in [1, {size}], got {iterations}; there are no more "
            "orthogonal vectors than the start has entries."
        )
    basis, vector, length = _begin(start, iterations)
    if not 0 < float(length) < np.inf:
        raise ValueError(
            f"start must have a finite length above 0, got {length}; pass for example "
            "normal random numbers."
        )
    rounding = _PRODUCT_ROUNDING * max(float(jnp.finfo(x.dtype).eps) for x in leaves)
    alphas: list[float] = []
    betas: list[float] = []
    for index in range(iterations):
        product = matvec(vector)
        basis, vector, *numbers = _extend(basis, vector, product, np.int32(index))
        alpha, beta = map(float, numbers)
        if not (np.isfinite(alpha) and np.isfinite(beta)):
            raise FloatingPointError(f"product {index} of the operator is not finite")
        alphas.append(alpha)
        betas.append(beta)
        if beta <= rounding * max(map(abs, alphas + betas)):
            basis = jax.tree.map(lambda rows: rows[: len(alphas)], basis)
            break
    return Tridiagonal(np.array(alphas), np.array(betas), basis)


def projections(basis: Any, vector: Any) -> jax.Array:
    """Scalar products of a basis' rows with a vector, (k,).

    Args:
      basis: tree of leaves (k, *shape).
      vector: tree of leaves of these shapes.
    """

    def along(rows, x):
        # Not a matrix product: on GPU and TPU these are less exact by default, and a
        # contraction over a sharded axis would have to be told where its result lies.
        return jnp.sum(rows * x[None], axis=tuple(range(1, rows.ndim)))

    return _sum_leaves(jax.tree.map(along, basis, vector))


@jax.jit
def squared_norm(vector: Any) -> jax.Array:
    """Sum of a tree's squares, ()."""
    return _sum_leaves(jax.tree.map(lambda x: jnp.sum(x * x), vector))


def _sum_leaves(tree: Any) -> jax.Array:
    leaves = jax.tree.leaves(tree)
    dtype = compute_dtype(*leaves)
    return functools.reduce(jnp.add, [x.astype(dtype) for x in leaves])


@functools.partial(jax.jit, static_argnums=1)
def _begin(start: Any, rows: int) -> tuple[Any, Any, jax.Array]:
    """A basis of zeros, the start as a unit vector, and its length."""
    length = jnp.sqrt(squared_norm(start))
    zeros = np.zeros(rows)

    def as_rows(x):
        # A product, so that it lies as the start does.
        return jnp.asarray(zeros, x.dtype).reshape(rows, *(1,) * x.ndim) * x[None]

    return jax.tree.map(as_rows, start), _divided(start, length), length


@functools.partial(jax.jit, donate_argnums=0)
def _extend(
    basis: Any, vector: Any, product: Any, index: jax.Array
) -> tuple[Any, Any, jax.Array, jax.Array]:
    """The basis with one more row, the vector after it, alpha and beta.

    Rows that are not found yet are 0 and take nothing away.
    """
    basis = jax.tree.map(
        lambda rows, x: jax.lax.dynamic_update_index_in_dim(rows, x, index, 0),
        basis,
        vector,
    )
    found = projections(basis, product)
    rest = _without(product, found, basis)
    again = projections(basis, rest)
    rest = _without(rest, again, basis)
    beta = jnp.sqrt(squared_norm(rest))
    following = _divided(rest, jnp.where(beta > 0, beta, 1))
    return basis, following, (found + again)[index], beta


def _without(vector: Any, components: jax.Array, basis: Any) -> Any:
    """A vector minus a combination of a basis' rows."""

    def subtract(x, rows):
        exact = jax.lax.Precision.HIGHEST
        weights = components.astype(x.dtype)
        return x - jnp.tensordot(weights, rows, axes=1, precision=exact)

    return jax.tree.map(subtract, vector, basis)


def _divided(vector: Any, by: jax.Array) -> Any:
    return jax.tree.map(lambda x: x / by.astype(x.dtype), vector)


def ritz(tridiagonal: Tridiagonal) -> Ritz:
    r"""Eigenvalues of an operator on a Krylov space, with bounds and weights.

    With the eigenvectors :math:`T s_i = \theta_i s_i` of the (k, k) tridiagonal matrix,
    whose approximation to one of the operator :math:`H` is :math:`V^\top s_i`:

    - some eigenvalue of :math:`H` is no further from the Ritz value :math:`\theta_i`
      than the residual :math:`\|H V^\top s_i - \theta_i V^\top s_i\| =
      |\beta_k s_{ki}|`, up to rounding;
    - :math:`\theta_i` and :math:`w_i = s_{1i}^2` are the nodes and weights of the
      Gauss quadrature of the measure that the start :math:`v` puts on the eigenvalues:
      :math:`\|v\|^2 \sum_i w_i f(\theta_i) = v^\top f(H) v`, exactly for polynomials of
      degree up to 2k - 1.

    Args:
      tridiagonal: from :func:`lanczos`.

    Returns:
      All k, ascending.

    References:
      Golub and Welsch, `Calculation of Gauss Quadrature Rules
      <https://doi.org/10.1090/S0025-5718-69-99647-1>`_, 1969; Golub and Meurant,
      `Matrices, Moments and Quadrature with Applications
      <https://doi.org/10.1515/9781400833887>`_, 2010.
    """
    alpha, beta = tridiagonal.alpha, tridiagonal.beta
    matrix = np.diag(alpha) + np.diag(beta[:-1], 1) + np.diag(beta[:-1], -1)
    values, vectors = np.linalg.eigh(matrix)
    return Ritz(values, vectors[0] ** 2, np.abs(beta[-1] * vectors[-1]), vectors)
