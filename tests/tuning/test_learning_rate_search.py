"""The search of a step size: equal to trainings one by one, however it is run."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import arsg_optax
from arsg_optax.tuning import _plans, search_learning_rate
from arsg_optax.tuning.learning_rate_search import refined
from tests.tuning.searches import losses_of, regression, square_loss, start

RATES = [0.003, 0.01, 0.03, 0.1]
ENGINES = ["vmapped", "unrolled", "sequential"]
FACTORIES = {
    "rsg": functools.partial(arsg_optax.rsg, b1=0.9),
    "arsg": functools.partial(arsg_optax.arsg, b1=0.9),
    "arsgb": functools.partial(arsg_optax.arsgb, b1=0.9, observation=0.05),
    "adarem": arsg_optax.adarem,
    "optax.adam": optax.adam,
    "schedule": lambda rate: optax.sgd(optax.cosine_decay_schedule(rate, 20)),
    "injected": lambda rate: optax.inject_hyperparams(optax.sgd)(learning_rate=rate),
}


def _search(make=FACTORIES["rsg"], rates=RATES, steps=20, **options):
    return search_learning_rate(
        make, square_loss, start(), regression(), rates, steps=steps, **options
    )


@functools.cache
def _one_by_one(name):
    """Losses of all rates' trainings, for all engines: compiled once, side by side."""
    optimizers = [FACTORIES[name](jnp.float32(rate)) for rate in RATES]

    @jax.jit
    def run(params, batches):
        return [losses_of(each, params, batches, 20) for each in optimizers]

    return run(start(), regression())


# An engine does not look into an optimizer: one that reads the loss and one with
# hyper-parameters in its state stand for all.
@pytest.mark.parametrize(
    ("name", "engine"),
    [
        *((name, "vmapped") for name in FACTORIES),
        *((name, engine) for name in ("arsgb", "injected") for engine in ENGINES[1:]),
    ],
)
def test_curves_are_those_of_trainings_one_by_one(name, engine, relaxed_promotion):
    found = _search(FACTORIES[name], engine=engine)
    assert found.losses.shape == (4, 20)
    assert found.engine == engine
    for losses, expected in zip(found.losses, _one_by_one(name), strict=True):
        np.testing.assert_allclose(losses, expected, rtol=1e-4)
    np.testing.assert_allclose(
        found.final_losses, found.losses[:, -2:].astype(np.float64).mean(1), rtol=1e-6
    )
    assert found.learning_rate == RATES[int(np.argmin(found.final_losses))]
    assert not found.diverged.any()


@pytest.mark.parametrize(
    ("engine", "seeds"), [("vmapped", 1), ("vmapped", 2), ("unrolled", 2)]
)
def test_a_score_takes_the_place_of_the_last_losses(engine: str, seeds: int):
    distances = []

    def score(params, opt_state, aux):
        assert aux is None
        iterate = arsg_optax.eval_params(opt_state, params)["w"]
        distances.append(float(jnp.linalg.norm(iterate - start()["w"] - 0.05)))
        return math.nan if distances[-1] > 10 else distances[-1]

    found = _search(rates=[*RATES, 30.0], engine=engine, seeds=seeds, score=score)
    of_seeds = np.reshape(distances, (5, seeds))[:4]
    means = of_seeds.mean(1)
    assert found.diverged.tolist() == [False] * 4 + [True]
    np.testing.assert_allclose(found.final_losses, [*means, math.inf])
    np.testing.assert_allclose(found.spread, [*of_seeds.std(1), math.inf], atol=1e-9)
    assert found.learning_rate == RATES[int(means.argmin())]
    # Not what the training loss would choose.
    assert found.learning_rate != _search(engine=engine, seeds=seeds).learning_rate


@pytest.mark.parametrize("engine", ENGINES)
def test_a_candidate_that_diverges_is_frozen_reported_and_not_chosen(engine):
    # 1e30 gives a finite loss in the first step, inf in the second.
    found = _search(rates=[1e30, 0.01, 1e-3], engine=engine)
    assert found.diverged.tolist() == [True, False, False]
    assert np.isfinite(found.losses[0, 0])
    assert np.isinf(found.losses[0, 1:]).all()
    assert found.final_losses[0] == math.inf
    assert found.learning_rate == 0.01
    alone = _search(rates=[0.01, 1e-3], engine=engine)
    np.testing.assert_allclose(found.losses[1:], alone.losses, rtol=1e-5)
    assert "diverged" in str(found)
    assert "0.01" in next(line for line in str(found).splitlines() if "best" in line)


def test_parameters_lost_in_the_last_step_count_as_diverged():
    found = _search(optax.sgd, rates=[3e38, 0.01], steps=1)
    assert found.diverged.tolist() == [True, False]
    assert found.learning_rate == 0.01


def test_none_is_chosen_where_all_diverge():
    found = _search(rates=[1e30, 1e31], refine=True)
    assert math.isnan(found.learning_rate)
    assert found.diverged.all()
    assert "all diverged" in str(found)


@pytest.mark.parametrize("seeds", [1, 2])
def test_groups_change_nothing(seeds):
    whole = _search(seeds=seeds)
    assert whole.group == 4
    grouped = _search(seeds=seeds, memory_limit=1)
    assert grouped.group == 1
    np.testing.assert_allclose(grouped.losses, whole.losses, rtol=1e-5)
    assert grouped.learning_rate == whole.learning_rate


def test_a_margin_prefers_smaller_steps():
    losses = _search().final_losses
    order = np.argsort(losses)
    second = losses[order[1]] / losses[order[0]] - 1
    assert order[1] < order[0], "the problem no longer suits"
    assert _search(margin=0.9 * second).learning_rate == RATES[order[0]]
    assert _search(margin=1.1 * second).learning_rate == RATES[order[1]]


def test_groups_are_as_large_as_memory_allows():
    def loss(params, batch):
        return jnp.sum((params - batch) ** 2)

    params, batches = jnp.zeros(100_000), jnp.ones((1, 100_000))
    rates = np.geomspace(1e-3, 1e-1, 10)
    search = functools.partial(
        search_learning_rate, arsg_optax.rsg, loss, params, batches, rates, steps=2
    )
    # Parameters and momentum 0.8 MB a candidate; whatever XLA adds stays below as much.
    found = search(memory_limit=6_000_000)
    assert 2 <= found.group <= 5
    np.testing.assert_allclose(found.losses, search().losses, rtol=1e-5)


def test_seeds_differ_in_parameters_and_order():
    found = search_learning_rate(
        FACTORIES["rsg"], square_loss, start, regression(), RATES, steps=20, seeds=3
    )
    firsts = [
        float(square_loss(start(s), jax.tree.map(lambda a: a[0], regression())))
        for s in range(3)
    ]
    one = search_learning_rate(
        FACTORIES["rsg"], square_loss, start, regression(), RATES, steps=20
    )
    # The second and third begin with another batch, so only the first can be compared.
    assert abs(found.losses[0, 0] - np.mean(firsts)) > 1e-3
    assert (found.spread > 0).all()
    assert (one.spread == 0).all()
    np.testing.assert_allclose(one.losses[0, 0], firsts[0], rtol=1e-5)


def test_every_seed_sees_every_batch_once_a_pass():
    def loss(params, batch):
        return params * 0.0 + batch

    found = search_learning_rate(
        optax.sgd, loss, jnp.float32(0), jnp.arange(1.0, 9.0), [0.1], steps=16, seeds=4
    )
    np.testing.assert_allclose(found.losses[0, :8].sum(), 36, rtol=1e-6)
    np.testing.assert_allclose(found.losses[0, 8:].sum(), 36, rtol=1e-6)
    assert (found.losses[0, :8] != found.losses[0, 8:]).any()


def test_batches_may_be_a_function_of_seed_and_step():
    batches = regression()

    def at(arrays, seed, step):
        return jax.tree.map(lambda array: array[(seed.astype(int) + step) % 8], arrays)

    for function in (
        jax.tree_util.Partial(at, batches),
        functools.partial(at, batches),
    ):
        found = search_learning_rate(
            FACTORIES["rsg"], square_loss, start(), function, RATES, steps=20
        )
        np.testing.assert_allclose(found.losses, _search().losses, rtol=1e-6)


def test_model_state_goes_along():
    def loss(params, mean, batch):
        x, _ = batch
        mean = 0.9 * mean + 0.1 * jnp.mean(x, axis=0)
        return square_loss(params, batch) + jnp.sum(mean), mean

    found = search_learning_rate(
        FACTORIES["rsg"], loss, start(), regression(), RATES, steps=20, aux=jnp.zeros(4)
    )
    mean, extra = np.zeros(4), []
    for step in range(20):
        mean = 0.9 * mean + 0.1 * np.mean(np.asarray(regression()[0])[step % 8], axis=0)
        extra.append(mean.sum())
    expected = _search().losses + np.array(extra)
    np.testing.assert_allclose(found.losses, expected, rtol=1e-4, atol=1e-5)


def test_fast_and_slow_parameters(relaxed_promotion):
    def make(rate):
        return optax.lookahead(optax.sgd(rate), 5, 0.5)

    params = optax.LookaheadParams.init_synced(start())
    found = search_learning_rate(
        make,
        square_loss,
        params,
        regression(),
        RATES,
        steps=12,
        gradient_point=lambda pair: pair.fast,
    )
    first = _search(optax.sgd, steps=5)
    np.testing.assert_allclose(found.losses[:, :5], first.losses, rtol=1e-5)
    assert (found.losses[:, 5:] != _search(optax.sgd, steps=12).losses[:, 5:]).any()


@pytest.mark.parametrize(
    ("count", "seeds", "kind"), [(8, 1, "Auto"), (5, 2, "Explicit"), (11, 1, "Auto")]
)
def test_eight_devices_equal_one(count, seeds, kind):
    types = (getattr(jax.sharding.AxisType, kind),) * 2
    mesh = jax.make_mesh((4, 2), ("one", "two"), axis_types=types)
    rates = np.geomspace(0.001, 0.1, count).tolist()
    one = _search(rates=rates, seeds=seeds)
    eight = _search(rates=rates, seeds=seeds, mesh=mesh)
    np.testing.assert_allclose(eight.losses, one.losses, rtol=1e-5)
    assert eight.learning_rate == one.learning_rate
    assert eight.group == 8 * -(-count // 8)


def test_refining_tries_as_many_between_the_neighbours():
    coarse, fine = _search(), _search(refine=True)
    np.testing.assert_array_equal(fine.losses[:4], coarse.losses)
    new = fine.learning_rates[4:]
    assert len(new) == 4
    assert fine.final_losses.min() <= coarse.final_losses.min()
    assert fine.learning_rate in fine.learning_rates
    np.testing.assert_allclose(
        fine.losses[4:], _search(rates=new.tolist()).losses, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("best", "low", "high"), [(0.1, 0.01, 1.0), (0.01, 0.001, 0.1), (1.0, 0.1, 10.0)]
)
@pytest.mark.parametrize("count", [3, 4])
def test_refined_rates_lie_between_the_neighbours(best, low, high, count):
    grid = np.array([0.1, 1.0, 0.01, *[0.1] * (count - 3)])
    rates = refined(grid, best)
    assert len(rates) == (4 if count == 4 else 2)
    ratios = rates[1:] / rates[:-1]
    np.testing.assert_allclose(ratios, ratios[0])
    np.testing.assert_allclose(rates[0] / low, ratios[0])
    np.testing.assert_allclose(high / rates[-1], ratios[0])
    assert np.min(np.abs(np.log(rates / best))) > 0.1


def test_the_same_seed_gives_the_same_numbers():
    one, other = (_search(seeds=2) for _ in range(2))
    np.testing.assert_array_equal(one.losses, other.losses)


@pytest.mark.parametrize("rates", [RATES, RATES[:3], RATES[:1]])
def test_progress_goes_to_one(rates):
    shares = []
    _search(rates=rates, refine=True, memory_limit=1, on_progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def test_of_convolutions_on_the_cpu_the_fastest_way_is_taken(monkeypatch):
    def loss(params, batch):
        out = jax.lax.conv(batch, params, (1, 1), "SAME")
        return jnp.mean((out - 1.0) ** 2)

    random = np.random.default_rng(0)
    images = jnp.asarray(random.normal(size=(3, 2, 1, 6, 6)), jnp.float32)
    params = jnp.asarray(random.normal(size=(2, 1, 3, 3)), jnp.float32)
    search = functools.partial(
        search_learning_rate, optax.sgd, loss, params, images, RATES, steps=7
    )
    for fastest in ENGINES:
        times = {engine: 1.0 + (engine != fastest) for engine in ENGINES}
        # A group of all, or of one.
        monkeypatch.setattr(
            _plans,
            "_seconds_a_step",
            lambda group, hypers, t=times: t[group.plan.name] * group.plan.size,
        )
        found = search()
        assert found.engine == fastest
        alone = search(engine=fastest)
        np.testing.assert_allclose(found.losses, alone.losses, rtol=1e-4)
