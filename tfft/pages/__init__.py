"""What a run is and does as a page: HTML and SVG made here, in one file, without scripts and without network."""
