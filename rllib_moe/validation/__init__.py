"""Checked settings and arguments, what users write and name, and refusals in words. Knows no field of any settings."""
