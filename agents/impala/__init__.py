"""IMPALA: Importance Weighted Actor-Learner Architectures.

Espeholt et al., 2018, https://arxiv.org/abs/1802.01561.
"""
