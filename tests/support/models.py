"""This module makes models for tests that work with any network."""

import functools

import jax
import jax.numpy as jnp

import cwcf_jax
from tests.support import shared, thin
from tests.support.slow import cases


@functools.cache
def any_model(**options):
    """Returns a thin network with random weights, which compiles fast; if CWCF_SLOW is set, SqueezeNet 1.1.

    ``options`` are fields of `cwcf_jax.EncoderConfig`.
    """
    return cases(_thin, _squeezenet)(**options)


def _thin(**options):
    network, params = thin.initialized()
    return cwcf_jax.load(network, jax.tree.map(jnp.asarray, params), **options)


def _squeezenet(**options):
    return cwcf_jax.load("squeezenet1_1", shared.require("weights/squeezenet_v1.1.npz"), **options)
