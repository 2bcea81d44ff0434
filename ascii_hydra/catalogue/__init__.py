"""Which instance types there are, what they are and what they cost. Facts, and no network."""

from ascii_hydra.catalogue.instances import InstanceType, instance_types, size_rank
from ascii_hydra.catalogue.matching import matching

__all__ = ["InstanceType", "instance_types", "matching", "size_rank"]
