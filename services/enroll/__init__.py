"""From a capture to its templates, or to the reasons to take it again. Only this service touches pixels."""
