"""Where a base model comes from: the tiny one is made here, a real Gemma is downloaded or
copied.
"""
