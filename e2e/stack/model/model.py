"""A model that costs what an accelerator would: alpha + beta per item, spent waiting.

The wait stands in for GPU time and needs no CPU, so many replicas fit on a small machine. `parallel` executions run at
a time on the pod's device; with 1, a second instance only queues for it, as it would on a GPU that one kernel fills.
The device serves in the order of asking, also across the old and the new model of a reload.
Everything else (the server, its batcher, the backend, the tensors, the wire) is real.
Parameters: alpha_us, beta_us, parallel (default 1), fail_above (items; a larger batch raises), cliff_above and
cliff_factor (a batch above it takes that many times as long). A request that holds POISON breaks this process of the
model, as a leak or a lost device would: it fails all requests until the model is loaded again. One that holds HANG is
executed for HANG_SECONDS, as on a device that does not answer.
"""

import fcntl
import json
import mmap
import struct
import time

import numpy
import triton_python_backend_utils as pb_utils

# Exactly: load generators send random bits.
POISON = numpy.float32(-1.0e30)
HANG, HANG_SECONDS = numpy.float32(-2.0e30), 100.0


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.add_input({"name": "X", "data_type": "TYPE_FP32", "dims": [8]})
        config.add_output({"name": "Y", "data_type": "TYPE_FP32", "dims": [1]})
        return config

    def initialize(self, args):
        parameters = json.loads(args["model_config"]).get("parameters", {})

        def number(name, default):
            return float(parameters.get(name, {}).get("string_value", default))

        self.alpha_s, self.beta_s = number("alpha_us", 1000) / 1e6, number("beta_us", 0) / 1e6
        self.fail_above, self.cliff_above = number("fail_above", 1e9), number("cliff_above", 1e9)
        self.cliff_factor = number("cliff_factor", 1)
        self.broken = False
        # args["model_instance_name"] ends in the instance's index; instances of one slot share it.
        slot = int(args["model_instance_name"].rsplit("_", 1)[-1]) % max(1, int(number("parallel", 1)))
        self.file = open(f"/dev/shm/device-{slot}", "a+b")
        self.file.truncate(8)
        self.free_at = mmap.mmap(self.file.fileno(), 8)

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
        if items > self.fail_above:
            raise pb_utils.TritonModelException(f"a batch of {items} does not fit the device")
        seconds = self.alpha_s + self.beta_s * items
        if items > self.cliff_above:
            seconds *= self.cliff_factor
        self.occupy(seconds)
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("Y", b.sum(axis=-1, keepdims=True).astype(numpy.float32))])
            for b in batches
        ]

    def finalize(self):
        self.free_at.close()
        self.file.close()
