"""The gallery: a fold of one totally ordered log, searched exactly. Only this service compares."""
