"""Stands for a module that changes between releases: tests put the class `PartConfig` of a release here."""
