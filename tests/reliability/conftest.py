from harness import undisturbed  # noqa: F401
