"""The services, which meet only on the log, and the `eyni` command that runs them."""
