"""Templates, styles and scripts of the report page; a package so that they are installed with it."""
