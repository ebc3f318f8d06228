"""What installs, runs and describes the system."""
