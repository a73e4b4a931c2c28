"""ORSG: RSG whose direction is orthogonalized."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import optax

from arsg_optax._trees import chosen_of, spread
from arsg_optax.optimizers._matrices import hidden_matrices
from arsg_optax.optimizers.arsgw import arsgw
from arsg_optax.schedules import log_time_momentum
from arsg_optax.transforms._decay import Mask
from arsg_optax.transforms.orthogonalization import (
    MUON,
    Scale,
    as_matrix_axes,
    is_axes,
    orthogonalize,
)
from arsg_optax.transforms.remote_chain import remote_chain

_ORTHOGONALIZED, _REST = "matrices", "rest"


def orsg(
    learning_rate: optax.ScalarOrSchedule,
    b1: optax.ScalarOrSchedule = log_time_momentum(),  # noqa: B008 - it is a function
    observation: optax.ScalarOrSchedule = 0.2,
    *,
    learning_rate_rest: optax.ScalarOrSchedule | None = None,
    matrices: Any | Callable[[optax.Params], Any] | None = None,
    b2: optax.ScalarOrSchedule = 0.99,
    eps: chex.Numeric = 1e-8,
    coefficients: Sequence[float] | Sequence[Sequence[float]] = MUON,
    scale: Scale = "width",
    exact: bool = False,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    mask: Mask = None,
    mu_dtype: Any | None = None,
    nu_dtype: Any | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""ORSG: RSG's direction, orthogonalized, with a momentum that grows with the run.

    Let :math:`\alpha_t` be the learning rate, :math:`\beta_t` and :math:`\mu_t` the
    arguments ``b1`` and ``observation``, :math:`\gamma` the weight decay. For every
    hidden matrix :math:`y`, from :math:`m_0 = 0`,

    .. math::

      \begin{align*}
        m_t &\leftarrow \beta_t m_{t-1} + (1-\beta_t) g_t,
          \qquad \beta_t = (t+1)/(t+1+8) \\
        d_t &\leftarrow (1-\mu_t) m_t + \mu_t g_t \\
        y_{t+1} &\leftarrow y_t - \alpha_t \left( \sqrt{\max(1, \text{out}/\text{in})}\,
          \mathrm{NewtonSchulz}(d_t) + \gamma y_t \right)
      \end{align*}

    and everything else is :func:`arsg_optax.arsgw` with the same momentum and
    observation. Evaluate at :func:`arsg_optax.eval_params`: matrices have no iterate in
    this form and come back as they are, everything else comes back at its iterate.
    Behind a schedule that ends at 0 both points are the same.

    Muon is ``b1=0.95, observation=0.05``; without a hidden matrix it is ``arsgw``.
    State: one array per parameter of a matrix, two per parameter of the rest.

    Args:
      learning_rate: finite and at least 0, or a schedule.
      b1: decay rate of the momentum, in [0, 1), or a schedule.
      observation: observation factor, dimensionless, in [0, 1), or a schedule.
      learning_rate_rest: learning rate of what is not orthogonalized; None is
        ``learning_rate``.
      matrices: what is orthogonalized: a tree shaped as the parameters, whose leaves
        are True (input first), :class:`arsg_optax.MatrixAxes`, False or None, or a
        callable that makes such a tree from the parameters (with ``inject_hyperparams``
        name it in ``static_args``). None is :func:`arsg_optax.hidden_matrices`: all
        arrays of two axes but embeddings, positions and output heads. It refuses arrays
        with more axes until they are named.
      b2: decay rate of the second moment, in [0, 1), or a schedule; like ``eps`` it
        only matters to what is not orthogonalized.
      eps: added to the root of the second moment, in units of the gradient.
      coefficients: three numbers for five iterations of Newton and Schulz, or three for
        each of any number of iterations, see :func:`arsg_optax.orthogonalize`.
      scale: as there. ``"rms"`` makes a step as large as AdamW's, so that its learning
        rate and decay can be reused untouched.
      exact: the two-point form around the orthogonalized step, as in
        :func:`arsg_optax.remote_chain`; the state has one more array per parameter of a
        matrix. Take it with a number for ``b1``: a direction always has the same
        length, so with the default the observation point runs away from the iterate, by
        about :math:`\alpha_t \mu_t t / 8` in each singular value.
      nu_dtype: dtype that stores the second moment.
      weight_decay, mask, mu_dtype: as in :func:`arsg_optax.remote_chain`.

    Raises:
      ValueError: if an argument is out of range, or if nothing says which matrix an
        array is.

    Examples:
      >>> import arsg_optax, jax, jax.numpy as jnp, optax
      >>> def f(p): return jnp.sum((p['w'] @ p['b'] - 1) ** 2)
      >>> solver = arsg_optax.orsg(learning_rate=0.1)
      >>> params = {'w': jnp.eye(3), 'b': jnp.array([1., 2., 3.])}
      >>> state = solver.init(params)
      >>> for _ in range(5):
      ...     updates, state = solver.update(jax.grad(f)(params), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> print(f'Objective function: from 5.00 to {f(params):.2f}')
      Objective function: from 5.00 to 0.37

    References:
      Jordan et al, `Muon: An optimizer for hidden layers in neural networks
      <https://kellerjordan.github.io/posts/muon/>`_, 2024; Chen et al, `An Adaptive
      Remote Stochastic Gradient Method for Training Neural Networks
      <https://arxiv.org/abs/1905.01422>`_, 2020, eq. 3, for the direction; Ferbach et
      al, `Logarithmic-time Schedules for Scaling Language Models with Momentum
      <https://arxiv.org/abs/2602.05298>`_, 2026, for the momentum's schedule. The
      combination is ours.
    """
    chosen = hidden_matrices if matrices is None else matrices

    def axes(params):
        tree = chosen_of(chosen, params)
        verdict = functools.partial(as_matrix_axes, "matrices must hold")
        return jax.tree.map(verdict, tree, is_leaf=is_axes)

    def labels(params):
        """Which of the two optimizers takes each array."""
        remedy = "give each array True, a MatrixAxes, False or None."
        said = spread("matrices", axes(params), params, remedy, is_leaf=is_axes)
        names = [_REST if each is None else _ORTHOGONALIZED for each in said]
        return jax.tree.unflatten(jax.tree.structure(params), names)

    common: dict[str, Any] = dict(
        b1=b1,
        observation=observation,
        exact=exact,
        weight_decay=weight_decay,
        mask=mask,
        mu_dtype=mu_dtype,
    )
    link = orthogonalize(
        steps=None, coefficients=coefficients, scale=scale, matrix_axes=axes
    )
    rate_rest = learning_rate if learning_rate_rest is None else learning_rate_rest
    return optax.partition(
        {
            _ORTHOGONALIZED: remote_chain(link, learning_rate=learning_rate, **common),
            _REST: arsgw(rate_rest, b2=b2, eps=eps, nu_dtype=nu_dtype, **common),
        },
        labels,
    )
