"""What stands behind the rule book: its rules, the evidence they judge, and updates to ask for."""
