"""The papers' experiments: what is run, what was found, and what it says of a claim.

From the ground up, each folder importing only those below it: `records`, `experiments`,
`runs`, `findings`, `report`, `commands`.
"""
