"""What a command exits with; each verb's --help says what "equal" means to it."""

# A module of its own: every start of the command loads it, and findings.py takes 3 ms.
EQUAL, DIFFERENT, USAGE, NOT_CHECKED, INTERNAL = 0, 1, 2, 3, 70
