"""Episodes in closed loop: the loop, its records and videos, runs that can be resumed, and backends that compute them."""
