"""The output of runs for people: console tables, CSV files, the tables of the paper and the report."""
