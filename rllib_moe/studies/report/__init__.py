"""The report of finished and running trainings: reading runs, computing curves, drawing, and the page."""
