"""The command line: composition, allow-list, processes, errors. Only this folder imports Hydra."""
