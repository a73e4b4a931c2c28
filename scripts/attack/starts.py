"""One run started several times at once: one does it, the others say why not."""

import subprocess
import time

from scripts.attack.lab import Lab, Random, no_traceback, require, same
from scripts.attack.targets import digits, reproduction, unharmed
from scripts.attack.victim import Harm

_REFUSED = ("is in use by", "out must be a new directory")


def trial(lab: Lab, random: Random) -> str:
    """Starts a run, a run that was cut short, or the reproduction."""
    kind = str(random.choice(["new run", "resumed run", "reproduction"]))
    target = reproduction() if kind == "reproduction" else digits("arsg")
    wanted = unharmed(lab, target)
    with lab.trial_folder() as folder:
        if kind == "resumed run":
            at = int(random.integers(wanted.operations // 2, wanted.operations))
            harm = Harm(under=str(folder), at=at, signal="SIGKILL")
            lab.run(target.begin, folder, harm)
        processes = []
        for _ in range(random.integers(2, 4)):
            processes.append(lab.start(target.command(folder), folder))
            time.sleep(random.uniform(0, 0.3))
        ends = [_end(process) for process in processes]
        done = [code for code, _ in ends if code == 0]
        refused = [text for code, text in ends if code == 2]
        require(len(done) + len(refused) == len(ends), f"{kind}: {ends}")
        require(done, f"{kind}: none of them does it: {ends}")
        require(len(done) == 1 or kind != "new run", f"{kind}: several do it: {ends}")
        require(not refused or kind != "reproduction", f"{kind} refuses: {refused}")
        for text in refused:
            require(any(why in text for why in _REFUSED), f"{kind} refuses: {text}")
        require(same(target.result(folder), wanted.result), f"{kind}: another result")
    return f"{kind}, {len(ends)} at once"


def _end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    printed, _ = process.communicate()
    return process.returncode, no_traceback(printed, ("started at once:",))
