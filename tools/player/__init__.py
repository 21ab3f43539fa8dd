"""The player: an update and a race, step by step, as a figure in an HTML page."""
