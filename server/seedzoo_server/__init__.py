"""The gRPC server: servicers, storage of users' data, the runner of selections, settings and wiring."""
