"""Executors: where the jobs of a run are executed. Each is ``base.Executor``."""
