"""The OSIA ABIS interface for border, visa and enrolment systems. Holds no model, sees no template."""
