"""Models: cards, their registry, and weights. Importing this loads no torch."""

from SpineSegLib.models.cards import Card, Weights, card, registry
from SpineSegLib.models.describe import describe
from SpineSegLib.models.places import choose_folder, weights_folder
from SpineSegLib.models.store import (
    Offer,
    delete_weights,
    install_weights,
    offered,
    weights_file,
    weights_list,
    weights_state,
)
from SpineSegLib.models.weights import initial_network, load_network, verify_weights

__all__ = [
    "Card",
    "Offer",
    "Weights",
    "card",
    "choose_folder",
    "delete_weights",
    "describe",
    "initial_network",
    "install_weights",
    "load_network",
    "offered",
    "registry",
    "verify_weights",
    "weights_file",
    "weights_folder",
    "weights_list",
    "weights_state",
]
