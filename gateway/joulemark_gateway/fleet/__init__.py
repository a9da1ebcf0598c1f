"""Many meters from Parquet files, measured in this process or by Dask workers (extra `[fleet]`).

What is computed is `measure.fleet.measure_many`; here bytes are moved and the order is kept.
"""
