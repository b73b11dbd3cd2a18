"""Where cases run: on this machine, or on those of a Ray cluster. Rows come to one folder.

Whatever the executor, a case gives the same rows, up to its seconds.
"""
