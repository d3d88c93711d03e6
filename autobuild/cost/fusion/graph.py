"""The fusion graph: operations with folded activations, and the tensors between them, measured in rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.row_access import Access


@dataclass(frozen=True)
class Tensor:
    """A tensor that is written to DRAM or read from it as a whole.

    Attributes:
        name: Name of the operation or input that produces it.
        producer: Number of the operation that writes it; -1 for inputs of the network and constants.
        consumers: Mask of the operations that read it.
        rows: Number of rows.
        row_bytes: Bytes of one row on chip. The result of a reduction over rows is held in four-byte accumulators.
        dram_bytes: Bytes of the tensor in DRAM.
        output: Whether it is an output of the network.
    """

    name: str
    producer: int
    consumers: int
    rows: int
    row_bytes: int
    dram_bytes: int
    output: bool = False

    @property
    def held_bytes(self) -> int:
        """Bytes of the whole tensor on chip."""
        return self.rows * self.row_bytes


@dataclass(frozen=True)
class FusedOperation:
    """An operation with the batch norm and activation that are folded into it.

    Attributes:
        name: Name of the first node.
        type: Type of the first node, one of :data:`autobuild.graphs.operations.OPERATIONS`.
        members: Names of all its nodes, in order.
        operands: Tensors that it reads, each with its access; a tensor with several accesses is listed several times.
        outputs: Tensors that it writes.
        rows: Number of rows of its output.
        weight_bytes: Bytes of its weights.
        weight_tiles: Number of output channels that its weights can be divided into; 1 if they cannot.
        macs: Multiply-accumulates; 0 if there is no rule.
        accumulator_bytes: Bytes of intermediate sums on chip, besides the output.
        pointwise: Whether its output may overwrite an operand.
        moves: Whether it only moves data.
        barrier: Whether it is an unknown operator, which never fuses.
        folded_bytes: DRAM bytes that its folded activations would move as separate operations.
    """

    name: str
    type: str
    members: tuple[str, ...]
    operands: tuple[tuple[int, Access], ...]
    outputs: tuple[int, ...]
    rows: int
    weight_bytes: int = 0
    weight_tiles: int = 1
    macs: int = 0
    accumulator_bytes: int = 0
    pointwise: bool = False
    moves: bool = False
    barrier: bool = False
    folded_bytes: int = 0


@dataclass(frozen=True)
class FusionGraph:
    """Operations in topological order, and the tensors between them. Groups of operations are bitmasks.

    Attributes:
        ops: The operations. Every operand comes from an earlier operation or from outside.
        tensors: The tensors.
        name: Name of the network.
        weight_bytes: Bytes of one weight. A bias has at least four.
        activation_bytes: Bytes of one activation.
        shared: Weights that several operations read: the mask of these operations, and the bytes. The bytes are part of
            the ``weight_bytes`` of each operation; a group reads them once.
        uncounted: Operators without a rule for multiply-accumulates, which ``macs`` leaves out, and their number.
    """

    ops: tuple[FusedOperation, ...]
    tensors: tuple[Tensor, ...]
    name: str = ""
    weight_bytes: int = 1
    activation_bytes: int = 1
    shared: tuple[tuple[int, int], ...] = ()
    uncounted: tuple[tuple[str, int], ...] = ()

    def __len__(self) -> int:
        return len(self.ops)

    @cached_property
    def preds(self) -> tuple[int, ...]:
        """For each operation the mask of its producers."""
        masks = [0] * len(self.ops)
        for tensor in self.tensors:
            if tensor.producer >= 0:
                for i in bits(tensor.consumers):
                    masks[i] |= 1 << tensor.producer
        return tuple(masks)

    @cached_property
    def succs(self) -> tuple[int, ...]:
        """For each operation the mask of its consumers."""
        masks = [0] * len(self.ops)
        for tensor in self.tensors:
            if tensor.producer >= 0:
                masks[tensor.producer] |= tensor.consumers
        return tuple(masks)

    @cached_property
    def neighbours(self) -> tuple[int, ...]:
        """For each operation the mask of its neighbours: those with a tensor between them, or a common operand."""
        masks = [0] * len(self.ops)
        for tensor in self.tensors:
            connected = tensor.consumers | (1 << tensor.producer if tensor.producer >= 0 else 0)
            for i in bits(connected):
                masks[i] |= connected & ~(1 << i)
        return tuple(masks)

    @property
    def full(self) -> int:
        """The mask of all operations."""
        return (1 << len(self.ops)) - 1

    def names(self, mask: int) -> tuple[str, ...]:
        """Names of the operations in a mask."""
        return tuple(self.ops[i].name for i in bits(mask))

    def repeated_bytes(self, mask: int) -> int:
        """Bytes of shared weights that the sum over the operations of a group counts more than once."""
        return sum(size * max((readers & mask).bit_count() - 1, 0) for readers, size in self.shared)

    def common_bytes(self, mask: int) -> int:
        """Bytes of the weights that at least two operations of a group read."""
        return sum(size for readers, size in self.shared if (readers & mask).bit_count() > 1)

    @cached_property
    def read_tensors(self) -> tuple[Tensor, ...]:
        """All tensors that partitions count: the tensors of the graph, and shared weights as tensors from outside."""
        shared = (Tensor("shared weights", -1, readers, 1, size, size) for readers, size in self.shared)
        return (*self.tensors, *shared)

    @cached_property
    def own_weight_bytes(self) -> tuple[int, ...]:
        """For each operation the bytes of the weights that no other operation reads."""
        own = [op.weight_bytes for op in self.ops]
        for readers, size in self.shared:
            for i in bits(readers):
                own[i] -= size
        return tuple(own)

    def dram_bytes(self, mask: int) -> int:
        """DRAM bytes of a group: its weights, tensors from outside, and tensors that are read outside, each once."""
        moved = sum(self.ops[i].weight_bytes for i in bits(mask)) - self.repeated_bytes(mask)
        for tensor in self.tensors:
            if tensor.producer >= 0 and mask >> tensor.producer & 1:
                moved += tensor.dram_bytes * bool(tensor.output or tensor.consumers & ~mask)
            else:
                moved += tensor.dram_bytes * bool(tensor.consumers & mask)
        return moved

    @property
    def unfused_bytes(self) -> int:
        """DRAM bytes if every operation is its own group: each tensor is written once, and read by each consumer."""
        moved = sum(op.weight_bytes for op in self.ops)
        return moved + sum(
            tensor.dram_bytes * (tensor.consumers.bit_count() + (tensor.producer >= 0)) for tensor in self.tensors
        )

    @property
    def separate_bytes(self) -> int:
        """DRAM bytes if folded activations are separate operations, too. Only for comparison, never in a target."""
        return self.unfused_bytes + sum(op.folded_bytes for op in self.ops)

    @property
    def floor_bytes(self) -> int:
        """DRAM bytes that no fusion saves: weights, inputs and outputs of the network."""
        return self.dram_bytes(self.full)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all operations with a rule; :attr:`uncounted` lists the others."""
        return sum(op.macs for op in self.ops)
