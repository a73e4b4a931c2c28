"""Small states of every format that there was, and what made them."""
