"""The `eyni` command: runs the services and speaks to them as their users would."""
