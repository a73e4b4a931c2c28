"""What this site adds to Sphinx, one idea a file."""
