"""The local cloud: what lets the program, the functions and the jobs run on one machine, unchanged."""
