"""Recorded editing, played to the real server: what a person who types sees, and what it costs."""
