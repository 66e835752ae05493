"""Reinforcement learning from a sentence: rendering, CLIP, reward and learning in one XLA program."""

__version__ = "0.1.0"
