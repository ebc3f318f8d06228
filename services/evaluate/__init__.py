"""Measures models on labelled faces: the real extractor, scores and gallery, and what can be said of them."""
