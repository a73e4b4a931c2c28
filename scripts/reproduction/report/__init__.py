"""What a reader gets of it: tables, figures, one page."""
