"""The network, in pure PyTorch, and its RLlib adapter.

One legend of shapes holds for the whole package:

    B  batch                F  features of a node       K  experts
    N  nodes, padding included                          A  actions
    H  attention heads      C  width of a head          D  hidden width (D = H * C)
    R  edge types, a node's edge to itself included (the encoder adds it to those of the environment)
    V  nodes of the whole batch, without padding
    I  width of the router's input
    M  candidates of the router
"""
