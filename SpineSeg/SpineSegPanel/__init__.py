"""Parts of the module's panel. Slicer takes every .py beside SpineSeg.py for a module, so they lie in a folder."""
