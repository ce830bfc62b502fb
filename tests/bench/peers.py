#!/usr/bin/env python3
"""No-op tasks a second of Ray and of Dask, plain and in chunks: the peers of mesh.py.

Owns how a peer is started, warmed up and asked: two workers of one thread, one client, all results back in the client.
Must never start both at once. One JSON line a measurement.

Usage: peers.py ray|dask [--workers 2] [--tasks 10000] [--chunk 256] [--chunks 4000]
Needs the packages of requirements-mesh.txt.
"""

import argparse
import json
import os
import time


def nothing():
    return None


def nothings(count):
    for _ in range(count):
        nothing()
    return count


def start_ray(workers):
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    import ray

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="error",
             object_store_memory=256 << 20)
    one, many = ray.remote(nothing), ray.remote(nothings)

    def plain(tasks):
        ray.get([one.remote() for _ in range(tasks)])

    def chunked(chunks, size):
        ray.get([many.remote(size) for _ in range(chunks)])

    return ray.__version__, plain, chunked, ray.shutdown


def start_dask(workers):
    import distributed

    cluster = distributed.LocalCluster(n_workers=workers, threads_per_worker=1, processes=True,
                                       dashboard_address=None, host="127.0.0.1", silence_logs=50)
    client = distributed.Client(cluster)

    def plain(tasks):
        client.gather(client.map(lambda _: None, range(tasks), pure=False))

    def chunked(chunks, size):
        client.gather(client.map(nothings, [size] * chunks, pure=False))

    def stop():
        client.close()
        cluster.close()

    return distributed.__version__, plain, chunked, stop


def timed(work, *arguments):
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=["ray", "dask"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--chunk", type=int, default=256)
    parser.add_argument("--chunks", type=int, default=4_000)
    options = parser.parse_args()
    version, plain, chunked, stop = (start_ray if options.peer == "ray" else start_dask)(options.workers)
    plain(1_000)
    chunked(100, options.chunk)
    alone = []
    for _ in range(50):
        alone.append(timed(plain, 1))
    line = {"peer": options.peer, "version": version, "workers": options.workers,
            "tasks": options.tasks, "plain_s": timed(plain, options.tasks),
            "chunk": options.chunk, "chunks": options.chunks,
            "chunked_s": timed(chunked, options.chunks, options.chunk), "one_task_s": sorted(alone)[len(alone) // 2]}
    print(json.dumps(line), flush=True)
    stop()


if __name__ == "__main__":
    main()
