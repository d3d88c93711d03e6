"""Types of arrays that annotations use everywhere; what an array holds and its shape stand where it is used."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
