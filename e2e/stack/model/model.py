"""A model that costs what an accelerator would: alpha + beta per item, spent waiting.

The wait stands in for GPU time and needs no CPU, so many replicas fit on a small machine. `parallel` executions run at
a time on the pod's device; with 1, a second instance only queues for it, as it would on a GPU that one kernel fills.
The device serves in the order of asking, also across the old and the new model of a reload.
Everything else (the server, its batcher, the backend, the tensors, the wire) is real.
The answer to a row is its sum, so that answers of different rows can be told apart.

Parameters: alpha_us, beta_us, parallel (default 1). All others are off by default:
- knee_batch, knee_item_ms: each item of a batch beyond the first knee_batch costs knee_item_ms instead of beta.
- cliff_above, cliff_factor: a batch above it takes that many times as long.
- table: JSON, milliseconds by number of instances and batch, as {"1": {"1": 5.7, "8": 7.7}, "2": {"1": 9.3}}. It takes
  the place of alpha, beta and the knee. Values between are interpolated, beyond the ends the last one holds. Give it as
  many `parallel` executions as there may be instances: what instances cost each other is in the table.
- cold_executions, cold_ms: the first executions of each instance take that long, without the device.
- fail_above_batch: an execution of more items raises.
- mixes_rows: 1 gives all rows of an execution the first one's answer; mixes_requests: 1 gives it to all of an
  execution of several requests, while one request of several rows is answered well.

A request that holds POISON breaks this process of the model, as a leak or a lost device would: it fails all requests
until the model is loaded again. One that holds HANG is executed for HANG_SECONDS, as on a device that does not answer.
"""

import fcntl
import json
import mmap
import os
import pathlib
import struct
import time

import numpy
import triton_python_backend_utils as pb_utils

# Exactly: load generators send random bits.
POISON = numpy.float32(-1.0e30)
HANG, HANG_SECONDS = numpy.float32(-2.0e30), 100.0


# One file for each instance of the pod, named by its process.
INSTANCES = pathlib.Path("/dev/shm/instances")


def interpolated(points, at):
    """The value at a place among (place, value), the nearest one's beyond the ends."""
    places, values = zip(*sorted(points), strict=True)
    return float(numpy.interp(at, places, values))


def live_instances():
    """How many instances the pod has: a reload that only changes their number tells the ones that stay nothing. While a
    model is loaded anew its old instances count, too: they are on the device until they end.
    """
    mine = pathlib.Path("/proc/self/comm").read_text()
    count = 0
    for entry in INSTANCES.iterdir():
        try:
            count += pathlib.Path("/proc", entry.name, "comm").read_text() == mine
        except OSError:
            continue  # its process was killed
    return count


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.add_input({"name": "X", "data_type": "TYPE_FP32", "dims": [8]})
        config.add_output({"name": "Y", "data_type": "TYPE_FP32", "dims": [1]})
        return config

    def initialize(self, args):
        parameters = json.loads(args["model_config"]).get("parameters", {})

        def text(name, default=""):
            return parameters.get(name, {}).get("string_value", default)

        def number(name, default):
            return float(text(name, default))

        self.alpha_s, self.beta_s = number("alpha_us", 1000) / 1e6, number("beta_us", 0) / 1e6
        self.knee_batch, self.knee_item_s = number("knee_batch", 1e9), number("knee_item_ms", 0) / 1e3
        self.cliff_above, self.cliff_factor = number("cliff_above", 1e9), number("cliff_factor", 1)
        self.cold_left, self.cold_s = int(number("cold_executions", 0)), number("cold_ms", 0) / 1e3
        self.fail_above_batch = number("fail_above_batch", 1e9)
        self.mixes_rows, self.mixes_requests = number("mixes_rows", 0) > 0, number("mixes_requests", 0) > 0
        self.table = {
            int(instances): [(int(batch), float(ms) / 1e3) for batch, ms in row.items()]
            for instances, row in json.loads(text("table", "{}")).items()
        }
        self.broken = False
        # args["model_instance_name"] ends in the instance's index; instances of one slot share it.
        slot = int(args["model_instance_name"].rsplit("_", 1)[-1]) % max(1, int(number("parallel", 1)))
        self.file = open(f"/dev/shm/device-{slot}", "a+b")
        self.file.truncate(8)
        self.free_at = mmap.mmap(self.file.fileno(), 8)
        INSTANCES.mkdir(exist_ok=True)
        self.here = INSTANCES / str(os.getpid())
        self.here.touch()

    def seconds(self, items):
        """What an execution of so many items takes."""
        if self.table:
            by_instances = [(instances, interpolated(row, items)) for instances, row in self.table.items()]
            seconds = interpolated(by_instances, live_instances())
        else:
            beyond = max(0.0, items - self.knee_batch)
            seconds = self.alpha_s + self.beta_s * (items - beyond) + self.knee_item_s * beyond
        return seconds * (self.cliff_factor if items > self.cliff_above else 1)

    def occupy(self, seconds):
        """Take the device for so long, after all who asked before."""
        fcntl.flock(self.file, fcntl.LOCK_EX)
        try:
            (free_at,) = struct.unpack("d", self.free_at)
            end = max(free_at, time.monotonic()) + seconds
            self.free_at[:] = struct.pack("d", end)
        finally:
            fcntl.flock(self.file, fcntl.LOCK_UN)
        time.sleep(max(0.0, end - time.monotonic()))

    def execute(self, requests):
        batches = [pb_utils.get_input_tensor_by_name(r, "X").as_numpy() for r in requests]
        self.broken = self.broken or any((b == POISON).any() for b in batches)
        if self.broken:
            raise pb_utils.TritonModelException("the model is broken")
        if any((b == HANG).any() for b in batches):
            time.sleep(HANG_SECONDS)
        items = sum(len(b) for b in batches)
        if items > self.fail_above_batch:
            raise pb_utils.TritonModelException(f"a batch of {items} does not fit the device")
        if self.cold_left > 0:
            self.cold_left -= 1
            time.sleep(self.cold_s)
        else:
            self.occupy(self.seconds(items))
        answers = [b.sum(axis=-1, keepdims=True).astype(numpy.float32) for b in batches]
        if self.mixes_rows or (self.mixes_requests and len(requests) > 1):
            answers = [numpy.full_like(a, answers[0][0, 0]) for a in answers]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", a)]) for a in answers]

    def finalize(self):
        self.here.unlink(missing_ok=True)
        self.free_at.close()
        self.file.close()
