"""The worker's own readiness, told to whoever watches the process."""
