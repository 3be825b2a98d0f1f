"""Models: cards, their registry, and weights. Importing this loads no torch."""

from SpineSegLib.models.cards import Card, Weights, card, registry
from SpineSegLib.models.describe import describe
from SpineSegLib.models.weights import (
    delete_weights,
    initial_network,
    install_weights,
    load_network,
    verify_weights,
    weights_file,
    weights_folder,
    weights_state,
)

__all__ = [
    "Card",
    "Weights",
    "card",
    "delete_weights",
    "describe",
    "initial_network",
    "install_weights",
    "load_network",
    "registry",
    "verify_weights",
    "weights_file",
    "weights_folder",
    "weights_state",
]
