"""Kills and signals at random moments; the same command goes on, bit for bit."""

import signal

from scripts.attack.lab import Lab, Random, require
from scripts.attack.targets import (
    decoding,
    digits,
    goes_on,
    reproduction,
    sweep,
    unharmed,
)
from scripts.attack.victim import Harm

_NOTICED = (130, 143)  # What a command ends with that noticed Ctrl-C or SIGTERM.
_LONGEST = 12.0  # Seconds that a command takes, about, with starting and compiling.


def trial(lab: Lab, random: Random) -> str:
    """Ends a command once or several times, at a file operation or at any moment."""
    found = [digits(name) for name in ("arsg", "orsg", "schedule_free_adamw", "ranger")]
    found = [found[random.integers(len(found))], decoding(lab), reproduction(), sweep()]
    target = found[random.choice(len(found), p=[0.55, 0.15, 0.15, 0.15])]
    operations = unharmed(lab, target).operations
    name = str(
        random.choice(
            ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"], p=[0.7, 0.1, 0.1, 0.1]
        )
    )
    with lab.trial_folder() as folder:
        harms = []
        for _ in range(random.integers(1, 4)):
            harm = Harm(
                under=str(folder), at=int(random.integers(operations)), signal=name
            )
            # Python itself has no word for Ctrl-C while it starts.
            if random.random() < 0.3 and name != "SIGINT":
                harm = Harm(after=float(random.uniform(1, _LONGEST)), signal=name)
            harms.append(harm)
            code, printed = lab.run(target.command(folder), folder, harm)
            if code == 0:
                break
            expected = (-signal.Signals[name], *_NOTICED)
            require(
                code in expected, f"{name} ends {target.name} with {code}: {printed}"
            )
        goes_on(lab, target, folder, f"{harms}")
    return f"{target.name}, {name}"
