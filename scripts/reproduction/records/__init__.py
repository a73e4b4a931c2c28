"""What a run is, and the record that it leaves."""
