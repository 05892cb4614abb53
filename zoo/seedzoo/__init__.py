"""The seedzoo library: records, statistics, inference, stress tests, catalog and training. It knows no gRPC."""
