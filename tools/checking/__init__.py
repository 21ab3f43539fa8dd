"""What `runstate check` is made of: witnesses asked, findings kept, whole folders surveyed."""
