"""ID/OOD pairs: which data set is known, which are near- and far-OOD to it."""
