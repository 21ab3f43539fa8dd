"""What `runstate judge` is made of: a shipped writer opened, run, counted, and its verdict told."""
