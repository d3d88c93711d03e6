"""A network as an accelerator runs it: activations folded, aliases resolved, tensors counted in rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from autobuild.cost.fusion.bitmask import bits
from autobuild.cost.fusion.row_access import Access


@dataclass(frozen=True)
class Tensor:
    """What is written to memory, or read from it, as one.

    Attributes:
        name: Of the operation or input that it comes from.
        producer: Number of the operation that writes it; -1 for inputs of the network and constants.
        consumers: Bit i: operation i reads it.
        rows: How many rows.
        row_bytes: Bytes of one row on chip: of four-byte accumulators where it is a sum over rows.
        dram_bytes: Bytes of all of it in memory.
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
        """Bytes of all rows on chip."""
        return self.rows * self.row_bytes


@dataclass(frozen=True)
class FusedOperation:
    """An operation with what was folded into it.

    Attributes:
        name: Of the first node.
        type: Of the first node, one of :data:`autobuild.graphs.operations.OPERATIONS`.
        members: Names of all nodes in it, in order.
        operands: Tensors that it reads, with how; a tensor that is read in several ways stands here several times.
        outputs: Tensors that it writes.
        rows: Rows of its output.
        weight_bytes: Bytes of its weights.
        weight_tiles: In how many tiles of one output channel its weights can be cut; 1 where they cannot be.
        macs: Multiply-accumulates; 0 where there is no rule.
        accumulator_bytes: Sums over rows that it holds beside its output.
        pointwise: Whether its output may take the place of an operand.
        moves: Whether it only moves numbers.
        barrier: Whether it is an operator that is not known: it never fuses.
        folded_bytes: Bytes that its folded activations would move if they were operations of their own.
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
    """Operations in an order in which they can run, and the tensors between them. Groups of operations are bitmasks.

    Attributes:
        ops: The operations; every operand comes from an operation before it or from outside.
        tensors: The tensors.
        name: Of the network.
        weight_bytes: Bytes of one weight; biases have at least four.
        activation_bytes: Bytes of one activation.
        shared: Weights that several operations read: the mask of those, and their bytes, which are part of the
            ``weight_bytes`` of each. A group reads them once.
        uncounted: Operators whose multiply-accumulates are not known, so that ``macs`` leaves them out, and how often
            each occurs.
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
        """For each operation the mask of those whose tensors it reads."""
        found = [0] * len(self.ops)
        for tensor in self.tensors:
            if tensor.producer >= 0:
                for i in bits(tensor.consumers):
                    found[i] |= 1 << tensor.producer
        return tuple(found)

    @cached_property
    def succs(self) -> tuple[int, ...]:
        """For each operation the mask of those that read its tensors."""
        found = [0] * len(self.ops)
        for tensor in self.tensors:
            if tensor.producer >= 0:
                found[tensor.producer] |= tensor.consumers
        return tuple(found)

    @cached_property
    def neighbours(self) -> tuple[int, ...]:
        """For each operation the mask of those that it may share a group with directly: a tensor lies between them,
        or both read the same one."""
        found = [0] * len(self.ops)
        for tensor in self.tensors:
            touching = tensor.consumers | (1 << tensor.producer if tensor.producer >= 0 else 0)
            for i in bits(touching):
                found[i] |= touching & ~(1 << i)
        return tuple(found)

    @property
    def full(self) -> int:
        """The mask of all operations."""
        return (1 << len(self.ops)) - 1

    def names(self, mask: int) -> tuple[str, ...]:
        """Names of the operations in a mask."""
        return tuple(self.ops[i].name for i in bits(mask))

    def repeated_bytes(self, mask: int) -> int:
        """Bytes of weights that the operations of a group count more than once between them."""
        return sum(size * max((readers & mask).bit_count() - 1, 0) for readers, size in self.shared)

    def common_bytes(self, mask: int) -> int:
        """Bytes of the weights that two operations of a group or more read."""
        return sum(size for readers, size in self.shared if (readers & mask).bit_count() > 1)

    @cached_property
    def read_tensors(self) -> tuple[Tensor, ...]:
        """The tensors, and shared weights as such from outside: what partitions are reckoned with."""
        own = (Tensor("shared weights", -1, readers, 1, size, size) for readers, size in self.shared)
        return (*self.tensors, *own)

    @cached_property
    def own_weight_bytes(self) -> tuple[int, ...]:
        """For each operation the bytes of weights that no other one reads."""
        found = [op.weight_bytes for op in self.ops]
        for readers, size in self.shared:
            for i in bits(readers):
                found[i] -= size
        return tuple(found)

    def dram_bytes(self, mask: int) -> int:
        """Bytes of a group: its weights, every tensor from outside once, every tensor that leaves it once."""
        moved = sum(self.ops[i].weight_bytes for i in bits(mask)) - self.repeated_bytes(mask)
        for tensor in self.tensors:
            if tensor.producer >= 0 and mask >> tensor.producer & 1:
                moved += tensor.dram_bytes * bool(tensor.output or tensor.consumers & ~mask)
            else:
                moved += tensor.dram_bytes * bool(tensor.consumers & mask)
        return moved

    @property
    def unfused_bytes(self) -> int:
        """Bytes if every operation is a group of its own: every tensor is written once, and read by each reader."""
        moved = sum(op.weight_bytes for op in self.ops)
        return moved + sum(
            tensor.dram_bytes * (tensor.consumers.bit_count() + (tensor.producer >= 0)) for tensor in self.tensors
        )

    @property
    def separate_bytes(self) -> int:
        """Bytes if every folded activation, too, is one: printed beside the others, never used for a target."""
        return self.unfused_bytes + sum(op.folded_bytes for op in self.ops)

    @property
    def floor_bytes(self) -> int:
        """Bytes that no fusion saves: weights, the network's inputs and its outputs."""
        return self.dram_bytes(self.full)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all operations that have a rule; :attr:`uncounted` says what is left out."""
        return sum(op.macs for op in self.ops)
