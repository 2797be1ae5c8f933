"""Events in Parquet files, a day at a time: `track export` writes, `track import` reads them."""
