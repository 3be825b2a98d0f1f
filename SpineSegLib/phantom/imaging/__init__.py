"""Images of a digital patient: radiographs, CT and MR, each with its truth."""
