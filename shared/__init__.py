"""What two services need: the nouns, the facts, the rules of the gallery, the log, the settings."""
