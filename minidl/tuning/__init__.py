"""Search for good settings of train.py, with Optuna (extra ``tune``).

Reading order: plan (the file that says what to search), study (trials, each a process of
train.py), outcome (a table and a picture of what mattered).
"""
