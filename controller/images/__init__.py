"""Which images the cluster uses, and where each of them is whole: one `ImageAvailability` for each."""
