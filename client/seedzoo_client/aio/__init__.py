"""The asynchronous twin of the client, on grpc.aio; its class is :class:`seedzoo_client.AsyncClient`.

What needs no connection is shared with the synchronous client: requests, checks, conversion, errors, when to try again
and where to resume. Here are only the calls, the pauses, and the file work that goes to threads.
"""
