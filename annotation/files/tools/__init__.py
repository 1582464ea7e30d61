"""Files of other annotation tools: how CORAL's rows are written for each, and how a record of each becomes a row."""
