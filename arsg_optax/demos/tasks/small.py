"""The tasks of seconds: digits, and logistic regression on MNIST."""

from functools import partial

from arsg_optax.demos.data import load_digits, load_mnist
from arsg_optax.demos.models import MLP, LogisticRegression
from arsg_optax.demos.tasks.kinds import Images
from arsg_optax.demos.tasks.settings import AtEpoch, Ramp, Settings
from arsg_optax.demos.tasks.task import Task

# Found by scripts/search_learning_rates.py; everything else is at its default, but for
# the epochs to boost and to switch at, a quarter and half of the run as in the papers.
_DIGITS_SETTINGS = {
    "orsg": Settings(0.005),
    "arsgw": Settings(0.001),
    "arsg": Settings(0.002),
    "arsgb": Settings(0.01, {"boost_at": AtEpoch(8)}),
    "rsg": Settings(0.5),
    "namsg": Settings(0.001),
    "swnts": Settings(0.0005, {"switch_at": AtEpoch(16)}),
    "adarem": Settings(0.5),
    "sgd": Settings(0.2),
    "adam": Settings(0.001),
    "adamw": Settings(0.001),
    "nadam": Settings(0.001),
    "amsgrad": Settings(0.002),
    "ranger": Settings(0.005),
    "schedule_free_adamw": Settings(0.001),
    "muon": Settings(0.005),
    "inner_muon": Settings(0.005),
}

# Table A1 of the ARSG paper, except: namsg as in its own paper; swnts, adarem, adamw,
# schedule_free_adamw and muon, which the table lacks, by the search above. The table
# writes SGD(2.0, 0.99) for a momentum that is a mean of gradients, Optax's is a sum.
_MNIST_LOGREG_SETTINGS = {
    "orsg": Settings(0.01),
    "arsgw": Settings(0.001),
    "arsg": Settings(0.05, {"b1": 0.999, "b2": 0.99, "observation": 0.1}),
    "arsgb": Settings(
        0.1, {"b1": 0.999, "b2": 0.99, "observation": 0.05, "boost_at": AtEpoch(6)}
    ),
    "rsg": Settings(5.0, {"b1": 0.999, "observation": 0.1}),
    "namsg": Settings(0.002, {"b1": 0.9, "b2": 0.99, "distance": Ramp(0.9, 3.0)}),
    "swnts": Settings(0.002, {"switch_at": AtEpoch(11)}),
    "adarem": Settings(0.2),
    "sgd": Settings(2.0 * (1 - 0.99), {"momentum": 0.99}),
    "adam": Settings(0.005, {"b1": 0.999, "b2": 0.999}),
    "adamw": Settings(0.002),
    "nadam": Settings(0.01, {"b1": 0.999, "b2": 0.999}),
    "amsgrad": Settings(0.005, {"b1": 0.99, "b2": 0.999}),
    "ranger": Settings(
        0.02, {"b1": 0.99, "b2": 0.999, "sync_period": 5, "slow_step_size": 0.5}
    ),
    "schedule_free_adamw": Settings(0.002),
    "muon": Settings(0.005),
    "inner_muon": Settings(0.005),
}

DIGITS_MLP = Task(
    "digits-mlp",
    "scikit-learn's handwritten digits (8x8), MLP 64-128-128-10",
    load_digits,
    partial(MLP, (8, 8), (128, 128)),
    Images(),
    batch_size=64,
    epochs=30,
    presets={"fast": _DIGITS_SETTINGS},
    searched=tuple(_DIGITS_SETTINGS),
)
MNIST_LOGREG = Task(
    "mnist-logreg",
    "MNIST (28x28), logistic regression from zero",
    load_mnist,
    partial(LogisticRegression, (28, 28)),
    Images(),
    batch_size=256,
    epochs=20,
    presets={"fast": _MNIST_LOGREG_SETTINGS},
    searched=(
        *("orsg", "arsgw", "swnts", "adarem"),
        *("adamw", "schedule_free_adamw", "muon", "inner_muon"),
    ),
)
