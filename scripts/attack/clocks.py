"""A clock that goes back and jumps, and one that stands still between steps."""

from scripts.attack.lab import Lab, Random, require
from scripts.attack.targets import digits, goes_on, reproduction, unharmed
from scripts.attack.victim import Harm


def trial(lab: Lab, random: Random) -> str:
    """The result depends on no clock, and a run goes on after a kill under it."""
    target = digits("arsg") if random.random() < 0.7 else reproduction()
    wanted = unharmed(lab, target)
    seed, at = int(random.integers(2**31)), int(random.integers(wanted.operations))
    with lab.trial_folder() as folder:
        for harm in (
            Harm(under=str(folder), at=at, signal="SIGKILL", clock=seed),
            Harm(clock=seed + 1),
        ):
            code, printed = lab.run(target.command(folder), folder, harm)
            # Orbax waits by the clock; if that jumps, a checkpoint may fail, loudly.
            require(code in (0, 1, -9), f"{harm}: {code} of {target.name}: {printed}")
        goes_on(lab, target, folder, f"{harm}")
    return f"{target.name}, killed in between"
