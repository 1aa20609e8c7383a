"""One job: a method on a model at a budget with a seed."""
