"""The use of trained models, without a command line: load, encode, decode, fit."""
