"""The machine below: its clock, memory, processes and files."""
