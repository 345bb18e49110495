"""Containers that may be hostile: pickles, torch files, zip, ``.npy`` and HDF5."""
