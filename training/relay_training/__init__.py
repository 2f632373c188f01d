"""relay_training: train the click model, and measure it against others with one robot.

It may use the predictor, the model, views, sources and the store (reading); nothing of the app uses it
except by starting `python -m relay_training ...` or through the command line's `evaluate`. Read
`__main__.py` first for what can be run, then `robot.py` and `metrics.py` for how a model is judged.
"""
