"""An archive over many machines, with Dask's scheduler and workers."""
