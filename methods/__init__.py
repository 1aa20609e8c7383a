"""Methods of our own; each arrives through the same entry-point group as anyone's plugin."""
