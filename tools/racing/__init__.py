"""What `runstate race` is made of: which questions there are, who answers, how that reads."""
