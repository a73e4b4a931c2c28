"""The scalars of a remote chain: checked when it is made, and read at each update."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from arsg_optax._hyperparameters import as_scalar, scaled, value_at
from arsg_optax._validation import check, concrete
from arsg_optax.dynamics.regions import fastest_tau
from arsg_optax.hyperparams import observation_from_distance

DEFAULT_OBSERVATION = 0.1
_Scalar = float | jax.Array


class Coefficients(NamedTuple):
    """The scalars of one update: Python floats or () arrays."""

    b1: _Scalar
    observation: _Scalar
    distance: _Scalar
    learning_rate: _Scalar


class Schedules(NamedTuple):
    """What the scalars of an update are read from: numbers or schedules."""

    learning_rate: optax.ScalarOrSchedule
    b1: optax.ScalarOrSchedule
    observation: optax.ScalarOrSchedule | None
    distance: optax.ScalarOrSchedule | None
    exact: bool  # In the exact form any distance is possible.

    def check(self) -> None:
        """Refuses numbers out of range, and arguments that contradict each other."""
        check("learning_rate", self.learning_rate)
        check("b1", self.b1)
        if self.distance is not None:
            self._check_distance()
        elif self.observation is None:
            raise ValueError(
                "observation must be given where distance is not, got None for both; "
                f"pass observation={DEFAULT_OBSERVATION}, or a distance."
            )
        else:
            check("observation", self.observation)

    def _check_distance(self) -> None:
        check("distance", self.distance)
        value = self.observation
        if value is not None and not callable(value):
            check("observation", value)
            value = concrete(value)
            # The default may come as a float32, and as None where it cannot be read.
            unread = value is None or np.isclose(value, DEFAULT_OBSERVATION, rtol=1e-7)
            value = None if unread else value
        if value is not None:
            raise ValueError(
                "observation must be None where distance is given, got "
                f"{self.observation!r} and distance={self.distance!r}; both say how "
                "far ahead the gradient is taken."
            )
        distance, b1 = self.distance, self.b1
        if not (self.exact or callable(distance) or callable(b1) or distance is None):
            observation_from_distance(distance, b1)

    def at(
        self,
        count: jax.Array,
        observation_scale: jax.Array | None = None,
        learning_rate_scale: jax.Array | None = None,
        observation_boost: jax.Array | None = None,
    ) -> Coefficients:
        """The scalars at an update, each multiplied by its () scale.

        A boost multiplies the observation, if that stays below 1, and the learning rate
        by the ratio of the fastest steps, see :func:`arsg_optax.observation_boost`.
        """
        b1 = value_at("b1", self.b1, count)
        scale = learning_rate_scale
        rate = value_at("learning_rate", self.learning_rate, count, scale)
        if self.distance is None:
            observation = value_at("observation", self.observation, count)
            distance = observation * b1 / (1 - b1)
        else:
            distance = value_at("distance", self.distance, count)
            observation = self._observation(distance, b1)
        observation = scaled(observation, observation_scale)
        distance = scaled(distance, observation_scale)
        if observation_boost is None:
            return Coefficients(b1, observation, distance, rate)
        boost, factor = as_scalar(observation_boost), as_scalar(observation)
        boost = jnp.where(boost * factor < 1, boost, jnp.ones_like(boost))
        # A distance may stand for a factor of 1 and more, for which there is no ratio.
        factor = jnp.where(factor < 1, factor, jnp.zeros_like(factor))
        fastest = [fastest_tau(b1, each) for each in (factor, boost * factor)]
        return Coefficients(
            b1, boost * observation, boost * distance, rate * fastest[1] / fastest[0]
        )

    def _observation(self, distance: _Scalar, b1: _Scalar) -> Any:
        """The factor that a distance stands for; infinite where b1 is 0."""
        if not self.exact:
            return observation_from_distance(distance, b1)
        if isinstance(b1, float) and b1 > 0:
            return distance * (1 - b1) / b1
        b1 = as_scalar(b1)
        infinite = jnp.where(as_scalar(distance) > 0, jnp.inf, 0)
        share = (1 - b1) / jnp.where(b1 > 0, b1, jnp.ones_like(b1))
        return jnp.where(b1 > 0, distance * share, infinite)
