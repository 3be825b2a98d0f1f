"""From spine to vertebrae: one mask of a whole spine becomes one segment a vertebra.

The bodies are parted at the discs, which are found along the spine's own axis; arches and processes, which overlap and
touch in the joints, by a watershed on the distance to the surface, between surfaces that slope down behind the canal.
Paper 003 (Attention LinkNet-152) ends with the whole spine; this step goes on from there, and for any other model of CT
whose result is a spine in one.
"""

from SpineSegLib.pipelines.vertebrae.split import Split, split_into_vertebrae

__all__ = ["Split", "split_into_vertebrae"]
