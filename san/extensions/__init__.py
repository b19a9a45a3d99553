"""Beyond the paper's core: φ pursuit, competition, annealing, dropout, growing, warping, recordings in chunks."""
