"""`track rejected`: rejected records listed, looked at, repaired and replayed."""
