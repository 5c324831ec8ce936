"""The documentation as a site: the pages of docs as they stand, and a reference that is made from the source."""
