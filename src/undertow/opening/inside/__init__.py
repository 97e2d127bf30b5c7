"""What runs in a process of its own: pickles and archives, read with nothing but the standard library.

Modules here import only each other (relatively): the process starts in 30 ms and has no way to reach anything else.
Nothing is imported, called or unpickled on behalf of the file.
"""
