"""What the notebook beside it shares with others: reading and summarising measurements."""

import pandas as pd


def read_measurements(path: str) -> pd.DataFrame:
    """One row a day and station: day, station, temperature in °C, humidity in %."""
    return pd.read_csv(path, parse_dates=["day"])


def summarise(measurements: pd.DataFrame) -> pd.DataFrame:
    """Count, mean and extremes of the temperature at each station."""
    return measurements.groupby("station").temperature.agg(["count", "mean", "min", "max"])
