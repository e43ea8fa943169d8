"""One torch thread a process: the tests' tensors are small, and Ray's workers share the cores."""

import torch

torch.set_num_threads(1)
