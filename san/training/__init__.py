"""Training on PyTorch Lightning: modules, data module, classifiers and callbacks."""
