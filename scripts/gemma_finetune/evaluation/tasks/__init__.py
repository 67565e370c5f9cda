"""Figures of answers, by the kind of answer that the test set asks for."""
