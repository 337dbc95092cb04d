"""A demo data set: short videos of jointed figures that do six actions.

`python -m slowfast_finetune.demo FOLDER` writes it, and so does `generate_demo`.
"""
