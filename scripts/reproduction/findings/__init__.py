"""What the records say: means, epochs to a loss, intervals, and verdicts on claims."""
