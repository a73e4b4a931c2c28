"""Curvature of a loss, and how much its gradient varies from batch to batch."""

import math
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax

from arsg_optax._validation import check
from arsg_optax.tuning._objective import Loss, Objective, widened
from arsg_optax.tuning.lanczos import Tridiagonal, lanczos, ritz, squared_norm


class Curvature(NamedTuple):
    """Eigenvalues of a loss and the gradient along their eigenvectors.

    Numbers are Python floats, arrays are NumPy's in float64. They are per unit of the
    parameters, or with a preconditioner D per unit of the coordinates D^(1/2) params.
    """

    eigenvalues: np.ndarray  # (k,) Ritz values, ascending; loss per unit².
    errors: np.ndarray  # (k,) an eigenvalue is within this distance, up to rounding.
    # (k,) squared components of the start: from the gradient they add up to the mean
    # gradient's squared norm (noise included), from a random start to 1.
    weights: np.ndarray
    noise: np.ndarray  # (k,) variance of one batch's gradient along each Ritz vector.
    noise_outside: float  # Variance along all directions orthogonal to these.
    noise_trace: float  # Variance along all directions.
    noise_trace_error: float  # Standard error; infinite for two batches.
    gradient_square: float  # Squared norm without noise, unbiased: may be below 0.
    loss: float  # Mean over the batches.
    batches: int
    gradients: float  # Cost in gradients of one batch, a Hessian product being two.
    start: str  # "gradient" or "random".

    @property
    def largest(self) -> float:
        """The largest Ritz value: a lower bound of the largest eigenvalue."""
        return float(self.eigenvalues[-1])

    @property
    def largest_error(self) -> float:
        """Within this distance of :attr:`largest` there is an eigenvalue."""
        return float(self.errors[-1])

    @property
    def smallest(self) -> float:
        """The smallest Ritz value: an upper bound of the smallest eigenvalue."""
        return float(self.eigenvalues[0])

    @property
    def smallest_error(self) -> float:
        """Within this distance of :attr:`smallest` there is an eigenvalue."""
        return float(self.errors[0])

    @property
    def noise_scale(self) -> float:
        """Batches whose mean gradient is half noise; infinite without a gradient."""
        if self.gradient_square <= 0:
            return math.inf
        return self.noise_trace / self.gradient_square

    def __str__(self) -> str:
        outside = self.noise_outside / (self.noise_trace or 1.0)
        return "\n".join(
            (
                f"loss {self.loss:.6g}, mean of {self.batches} batches "
                f"(cost: {self.gradients:.0f} gradients)",
                f"eigenvalues {self.smallest:.4g} ± {self.smallest_error:.2g} to "
                f"{self.largest:.4g} ± {self.largest_error:.2g} "
                f"({len(self.eigenvalues)} from the {self.start} start)",
                f"squared gradient {self.gradient_square:.4g}, noise of one batch "
                f"{self.noise_trace:.4g} ± {self.noise_trace_error:.2g} "
                f"({outside:.0%} outside of these eigenvectors)",
            )
        )


def curvature(
    loss_fn: Loss,
    params: optax.Params,
    batches: Any,
    *,
    key: jax.Array | None = None,
    preconditioner: optax.Params | None = None,
    iterations: int = 16,
    start: Literal["gradient", "random"] = "gradient",
) -> Curvature:
    r"""Measures eigenvalues of the Hessian, and the gradient and its noise along them.

    This is what a learning rate meets. With the mean loss :math:`L` over all batches,
    the gradient :math:`g_i` of batch :math:`i` and the ``preconditioner`` :math:`D`
    (what an optimizer divides by),

    .. math::

      \begin{align*}
        H &= D^{-1/2} \nabla^2 L D^{-1/2} &
        \bar g &= \tfrac{1}{n} \textstyle\sum_i D^{-1/2} g_i \\
        \operatorname{tr} C &= \tfrac{1}{n-1} \textstyle\sum_i q_i &
        q_i &= \|D^{-1/2} g_i - \bar g\|^2
      \end{align*}

    Lanczos's recurrence runs on :math:`H`, which is known by its products only (forward
    over reverse differentiation).

    - ``start="gradient"``: eigenvalues :math:`\lambda_j` and weights :math:`w_j` are
      the Gauss quadrature :math:`\sum_j w_j f(\lambda_j) \approx \bar g^\top f(H) \bar
      g`, exact for polynomials of degree up to 2k - 1. With f = 1 - λη/2 it is what a
      step of :math:`\eta D^{-1} g` takes off the loss, per η, to second order.
      Eigenvectors that the gradient has no part in are not seen.
    - ``start="random"``: the extremes of all eigenvalues; the weights are a rough
      estimate of their density.

    ``gradient_square`` is :math:`\|\bar g\|^2 - \operatorname{tr} C / n`, without bias.
    For independent batches, the variance of :math:`\operatorname{tr} C` is that of
    :math:`\|D^{-1/2}g_i - \mathrm{E}\|^2` divided by n, plus
    :math:`2 \operatorname{tr} C^2 / (n(n-1))`. The jackknife estimates both from the
    spread of :math:`q_i`; multiplied by (n-2)/(n-1), it has no bias for normal noise:

    .. math::

      \mathtt{noise\_trace\_error}^2 = \frac{n}{(n-1)^2 (n-2)}
        \textstyle\sum_i (q_i - \bar q)^2

    The cost is 2 gradients and ``iterations`` Hessian products of each batch, a product
    counted as two gradients (it takes two to three). One batch is differentiated at a
    time. Memory: ``iterations`` copies of the parameters in float32, and all batches.
    Arrays may be sharded; the copies lie as the parameters do.

    The loss must be deterministic, so randomness such as dropout's keys goes into the
    batches, and must be twice differentiable. Parameters of 16 bits are widened to
    float32 before it sees them. Where matrix products default to less than float32
    (GPU, TPU), eigenvalues are as exact as these; call this under
    ``jax.default_matmul_precision("float32")`` for more.

    Args:
      loss_fn: takes the parameters and one batch, returns its mean loss, a real scalar.
      params: tree of floating point arrays.
      batches: tree of arrays with the batches, n >= 2 of one size, along axis 0.
      key: for ``start="random"``.
      preconditioner: tree as ``params`` of divisors D >= 0, such as
        ``state.denominator()`` of our preconditioners' states. None is D = 1. Where D
        is 0 or infinite, the parameter counts as fixed: its gradient and curvature are
        left out.
      iterations: k, at most the number of parameters (more is cut to it). There are
        fewer results if the eigenvectors are exhausted.
      start: where the recurrence starts.

    Returns:
      :class:`Curvature`.

    Raises:
      ValueError: if an argument does not fit, if loss, gradient or Hessian product are
        not finite, or if the gradient is 0 and to be started from.

    Examples:
      >>> import jax.numpy as jnp
      >>> from arsg_optax.tuning import curvature
      >>> def loss(params, batch):
      ...     quadratic = jnp.sum(jnp.array([1.0, 4.0]) * params**2) / 2
      ...     return quadratic + jnp.dot(batch, params)
      >>> batches = jnp.array([[0.5, 0.0], [-0.5, 0.0]])
      >>> found = curvature(loss, jnp.array([1.0, 1.0]), batches)
      >>> print(found.eigenvalues.round(4), found.weights.round(4))
      [1. 4.] [ 1. 16.]
      >>> print(found.noise.round(4), round(found.noise_trace, 4))
      [0.5 0. ] 0.5

    References:
      Ghorbani, Krishnan and Xiao, `An Investigation into Neural Net Optimization via
      Hessian Eigenvalue Density <https://arxiv.org/abs/1901.10159>`_, 2019; McCandlish
      et al., `An Empirical Model of Large-Batch Training
      <https://arxiv.org/abs/1812.06162>`_, 2018 (tr C and the squared gradient). For
      the quadrature see ``arsg_optax.tuning.lanczos``.
    """
    check("iterations", iterations)
    _check_start(start, key)
    objective = Objective(loss_fn, widened(params), preconditioner, batches)
    gradient, loss = objective.mean_gradient()
    vector = gradient if start == "gradient" else objective.random(key, gradient)
    krylov = _krylov(objective, vector, int(iterations))
    found = ritz(krylov)
    along, squares = objective.deviations(krylov.basis, gradient)
    n, square = objective.batches, float(squared_norm(gradient))
    noise = np.sum((along @ found.vectors) ** 2, axis=0) / (n - 1)
    trace = float(np.sum(squares)) / (n - 1)
    return Curvature(
        eigenvalues=found.values,
        errors=found.residuals,
        weights=found.weights * (square if start == "gradient" else 1.0),
        noise=noise,
        noise_outside=max(trace - float(np.sum(noise)), 0.0),
        noise_trace=trace,
        noise_trace_error=_trace_error(squares),
        gradient_square=square - trace / n,
        loss=loss,
        batches=n,
        gradients=2.0 * n * (1 + len(noise)),
        start=start,
    )


def _krylov(objective: Objective, start: Any, iterations: int) -> Tridiagonal:
    """The Hessian on the Krylov space of a start, which may be a gradient of 0."""
    if float(squared_norm(start)) == 0:
        raise ValueError(
            "start must be 'random' at params where the gradient is 0, got 'gradient'; "
            "pass a key as well."
        )
    try:
        return lanczos(objective.product, start, min(iterations, objective.size))
    except FloatingPointError as error:
        raise ValueError(
            f"loss_fn must have finite second derivatives, but {error}; pass params at "
            "which they are, and guard roots of 0."
        ) from error


def _trace_error(squares: np.ndarray) -> float:
    """Standard error of the trace, from each batch's squared deviation, (n,)."""
    n = len(squares)
    if n == 2:  # Both deviate equally.
        return math.inf
    spread = float(np.sum((squares - np.mean(squares)) ** 2))
    return math.sqrt(n * spread / (n - 2)) / (n - 1)


def _check_start(start: Any, key: Any) -> None:
    if start not in ("gradient", "random"):
        raise ValueError(
            f"start must be 'gradient' or 'random', got {start!r}; the gradient sees "
            "what a step meets, a random vector all eigenvalues."
        )
    if start == "random" and key is None:
        raise ValueError(
            "key must be a JAX key for start='random', got None; pass for example "
            "jax.random.key(0)."
        )
