"""Experts from outside: ONNX files, Stable-Baselines3's models, and functions of the user's own.

No reader runs code from a file. See `registry`.
"""
