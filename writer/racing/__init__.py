"""The parts of the race checker: accesses, the search over them, and the table of its answers."""
