"""PREDICTION: quantiles of the return over the horizon, by volatility and quantile regression."""
