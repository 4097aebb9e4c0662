"""chimera_train: from raw text to a Transformers checkpoint that `chimera convert` turns into a GGUF."""

__version__ = "0.1.0"
