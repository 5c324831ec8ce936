"""How fast the service is, beside the physical limit and beside its peers. `python -m bench --help`."""
