"""Judging a run and showing it: the gate, the summary, the model card and its pictures."""
