"""How Midfill's embedded models are made: corpus, tokenizer, examples, training, evaluation, GGUF.

One module per step, each runnable by itself (`python -m training.<step>`), and `make_model.py`, which runs
them in order. Nothing here is imported by the library or the server.
"""
