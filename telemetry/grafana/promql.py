"""PromQL that the dashboards share; ``{here}`` stands for the labels that a dashboard's variables choose."""


def rate(counter: str, by: str = "", where: str = "") -> str:
    """Return how fast *counter* grows, a second, by the labels named in *by*, of those series *where* labels are so."""
    chosen = f"{where}, {{here}}" if where else "{here}"
    summed = f"sum by ({by})" if by else "sum"
    return f"{summed} (rate({counter}{{{chosen}}}[$__rate_interval]))"


def quantile(share: float, histogram: str, by: str = "") -> str:
    """Return the value that so large a *share* of what *histogram* has counted does not exceed."""
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', f'le, {by}' if by else 'le')})"


def quantiles(histogram: str) -> dict[str, str]:
    """Return two curves: what half of the values do not exceed, and what 99 in a hundred do not."""
    return {"p50": quantile(0.5, histogram), "p99": quantile(0.99, histogram)}


def mean(histogram: str) -> str:
    """Return the mean of the values that *histogram* has counted."""
    return f"{rate(f'{histogram}_sum')} / {rate(f'{histogram}_count')}"
