//! Tests of the forward passes against each other.
